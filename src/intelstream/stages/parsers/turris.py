"""Parse the greylist of Turris: one event for each kind of attack that an address was seen with."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from intelstream import sdk
from intelstream.ontology import Event, Report, keys
from intelstream.sdk.columns import Column
from intelstream.sdk.delimited import Delimited
from intelstream.sdk.linetable import LineParams, TextTable, below_header
from intelstream.sdk.table import raise_if_bad


def _login(application: str, port: int | None = None) -> Mapping[str, Any]:
    found: dict[str, Any] = {
        "classification.type": "brute-force",
        "protocol.application": application,
        "protocol.transport": "tcp",
    }
    return found | {"destination.port": port} if port else found


# Tags as https://view.sentinel.turris.cz/ explains them; the trap for mail listens on several ports.
MEANING: Final[Mapping[str, Mapping[str, Any]]] = {
    "ftp": _login("ftp", 21),
    "haas": _login("ssh", 22),
    "http": _login("http", 80),
    "port_scan": {"classification.type": "scanner"},
    "smtp": _login("smtp"),
    "telnet": _login("telnet", 23),
}


class Params(LineParams):
    pass


class Turris(TextTable[Params]):
    """Parse the greylist of Turris: one event for each kind of attack that an address was seen with.

    A kind that is new to us makes an event of type `other` with its name as `classification.identifier`.
    """

    def columns(self) -> Iterable[tuple[str, Column | None]]:
        return ("Address", None), ("Tags", None)

    @property
    def split(self) -> sdk.Lines | None:
        if super().split is None:
            return None
        params = self.params
        return sdk.Lines(
            header=params.skip_lines, titled=True, quoted=True, comment=params.comment, longest=params.max_row_bytes
        )

    def records(self, report: Report) -> Iterator[sdk.Row]:
        found = Delimited(comment=self.params.comment, longest=self.params.max_row_bytes)
        with report.open() as file:
            yield from below_header(found.records(self.blocks(file)), "names", self.sources)

    def events(self, row: sdk.Row, report: Report) -> list[Event]:
        raise_if_bad(row.value)
        if not self.wants(row.text):
            return []
        address, tags = row.value
        return [self._event(address, tag.strip(), report) for tag in (tags or "").split(",")]

    def _event(self, address: str | None, tag: str, report: Report) -> Event:
        event = report.event()
        event["source.ip"] = address
        for field, value in MEANING.get(tag, {"classification.type": "other"}).items():
            event[field] = value
        if tag not in MEANING:
            event.add(keys.CLASSIFICATION_IDENTIFIER, tag)
        return event
