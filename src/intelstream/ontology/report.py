"""Reports: the bytes of one fetch, and what is known of all events in it."""

import base64
import io
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

from intelstream.errors import InvalidValue
from intelstream.ontology import ids
from intelstream.ontology.event import Event
from intelstream.ontology.fields import STANDARD, Ontology
from intelstream.ontology.text import decoded

PASSED_ON: Final = frozenset({"rtir_id", "time.observation"})  # from a report to its events, beside feed.*


class Report:
    """Raw bytes of one fetch, in memory or in a file. A collector gives them; the engine stamps the rest.

    `fields` are what the collector knows beside the labels of its pipeline entry, such as `feed.url`.
    """

    __slots__ = (
        "_index",
        "_places",
        "_raw",
        "_row",
        "after_commit",
        "cursor",
        "fields",
        "given",
        "id",
        "ontology",
        "path",
        "start",
        "tags",
    )

    def __init__(
        self,
        raw: bytes | Path,
        *,
        cursor: Any = None,
        after_commit: Callable[[], Awaitable[None]] | None = None,
        fields: Mapping[str, Any] | None = None,
        tags: Collection[str] = (),
    ) -> None:
        self._raw = raw if isinstance(raw, bytes) else None
        self.path = raw if isinstance(raw, Path) else None
        self.cursor = cursor
        self.after_commit = after_commit
        self.given = fields or {}
        self._places = ids.Places("")
        self.stamp(id="", tags=frozenset(tags))

    @property
    def raw(self) -> bytes:
        """All of the bytes. Where a report may be large, read from `open()` instead."""
        if self._raw is None and self.path:
            return self.path.read_bytes()
        return self._raw or b""

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.path.stat().st_size if self._raw is None and self.path else len(self._raw or b"")

    def open(self) -> BinaryIO:
        """Open the bytes for reading; the caller closes."""
        return self.path.open("rb") if self._raw is None and self.path else io.BytesIO(self._raw or b"")

    def stamp(
        self,
        *,
        id: str,
        fields: Mapping[str, Any] | None = None,
        tags: frozenset[str] = frozenset(),
        ontology: Ontology = STANDARD,
    ) -> Self:
        """Fix what every event of this report starts from; values are checked here, once for all rows."""
        self.id, self.fields, self.tags, self.ontology = id, _checked(fields or {}, ontology), tags, ontology
        self.prepare({})
        self.seek(0)
        return self

    def prepare(self, constants: Mapping[str, Any], tags: frozenset[str] = frozenset()) -> None:
        """Fix what each event begins with: what is known of the feed, and constants, which a row may replace."""
        known = {name: value for name, value in self.fields.items() if name in PASSED_ON or name.startswith("feed.")}
        self.start = _checked(constants, self.ontology) | known
        self.tags |= tags

    def seek(self, row: int) -> None:
        """Tell which row the events to come belong to; the engine does, before each row."""
        self._row, self._index = row, 0

    def event(self) -> Event:
        """Return a new event of the current row, with what is known of the whole report."""
        if self._places.report is not self.id:
            self._places = ids.Places(self.id)
        index = self._index
        self._index = index + 1
        own = self._places.of(self._row, index)
        return Event(self.start.copy(), self.ontology, id=own, parents=(self.id,), tags=self.tags)

    def to_dict(self, *, raw: bool = False, with_type: bool = False) -> dict[str, Any]:
        """Return the form at every edge, as IntelMQ has it: `raw` is base64."""
        found = self.fields | ({"raw": base64.b64encode(self.raw).decode()} if raw else {})
        return found | {"__type": "Report"} if with_type else found

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], ontology: Ontology = STANDARD, *, id: str = "") -> Self:
        """Read and check what another system gives: `raw` is base64, the `__` keys may be missing.

        Raises:
            InvalidValue: a field that the ontology has not, or a value that it refuses.
        """
        if given.get("__type", "Report") != "Report":
            raise InvalidValue("__type", given["__type"], "expected that of a report")
        known = Event.from_dict({**given, "__type": "Event", "raw": None}, ontology, id=id)
        try:
            raw = decoded(given["raw"]) if given.get("raw") else b""
        except ValueError as error:
            raise InvalidValue("raw", given["raw"], str(error)) from error
        report = cls(raw)
        report.stamp(id=known.id, fields=known.fields, tags=known.tags, ontology=ontology)
        return report


def _checked(fields: Mapping[str, Any], ontology: Ontology) -> dict[str, Any]:
    checked = Event({}, ontology, id="")
    for name, value in fields.items():
        checked[name] = value
    return checked.fields
