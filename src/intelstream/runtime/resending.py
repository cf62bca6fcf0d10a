"""How dead letters go back to work: events as they failed, rows with the report that they are of, reports whole."""

import base64
import os
import secrets
import socket
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import orjson

from intelstream.errors import IntelstreamError, InvalidValue
from intelstream.ontology import Event, Ontology, Report
from intelstream.runtime.originals import Originals
from intelstream.sdk import Parser
from intelstream.sdk.cutting import header_end
from intelstream.transport.frames import BYTES, Spooled, encode_again, encode_report, pack
from intelstream.transport.letters import Outgoing
from intelstream.transport.shelf import Kept

TOGETHER: Final = 64  # events in one frame: it goes only if all of its letters are still there
OWN: Final = frozenset({"__type", "__id", "__tags", "raw", "spooled", "only", "first"})


class NotResendable(IntelstreamError):
    """A letter cannot go where it is sent; the text says why, and what can be done."""


class Resending:
    """Makes frames of the letters of a stage for another one, or the same. `parser` is that one, if it is a parser."""

    def __init__(
        self, source: str, to: str, parser: Parser[Any] | None, *, ontology: Ontology, originals: Originals, spool: Path
    ) -> None:
        self._source = source
        self._stage = to
        self._ontology = ontology
        self._originals = originals
        self._spool = spool
        self._parser = parser

    def frames(self, letters: Sequence[Kept]) -> tuple[list[Outgoing], list[tuple[Kept, str]]]:
        """Return frames, and the letters that cannot be sent, with the reason. It reads files: run it in a thread."""
        made: list[Outgoing] = []
        refused: list[tuple[Kept, str]] = []
        for key, some in groupby(sorted(letters, key=_together), key=_together):
            members = list(some)
            try:
                made += self._made(key[0], members)
            except (NotResendable, InvalidValue, OSError) as error:
                refused += [(letter, str(error)) for letter in members]
        return made, refused

    def _made(self, kind: str, letters: Sequence[Kept]) -> list[Outgoing]:
        if kind == "Frame":
            return [Outgoing(base64.b64decode(one.data["message"]["raw"]), [one]) for one in letters]
        if kind == "Event":
            if self._parser:
                raise NotResendable(f"{self._stage} is a parser, and takes no events: name another stage with --to")
            return self._events(letters)
        if self._parser is None:
            raise NotResendable(f"{self._stage} is no parser, and takes no reports: name a parser with --to")
        if kind == "Report":
            return [self._report(one) for one in letters]
        if kind == "Edited":
            return [self._edited(one) for one in letters]
        return [self._rows(letters)]

    def _events(self, letters: Sequence[Kept]) -> list[Outgoing]:
        frames: list[Outgoing] = []
        for low in range(0, len(letters), TOGETHER):
            some = letters[low : low + TOGETHER]
            body = encode_again([event_of(one.data, self._ontology) for one in some])
            if len(body) > BYTES:
                single = ((one, encode_again([event_of(one.data, self._ontology)])) for one in some)
                frames += [Outgoing(pack(own), [one]) for one, own in single]
            else:
                frames.append(Outgoing(pack(body), some, len(some)))
        return frames

    def _rows(self, letters: Sequence[Kept]) -> Outgoing:
        """Return the report that letters are rows of, for these rows alone."""
        report = self._header(letters[0].data)
        found = self._originals.find(self._source, report.id)
        if found is None:
            raise NotResendable(
                f"the report {report.id} is not kept any more; its rows can be sent as they are after "
                f"`intelstream dead edit ID --set raw=TEXT`"
            )
        rows = [one.data["row"] for one in letters]
        return self._outgoing(report, found, letters, only=rows)

    def _edited(self, letter: Kept) -> Outgoing:
        """Return a report of one row that was changed by hand, below the header of the report that it was in."""
        report = self._header(letter.data)
        text = base64.b64decode(letter.data["message"]["raw"]).decode(errors="replace")
        top, row = b"", letter.data["row"]
        split = self._parser.split if self._parser else None
        if split and (split.header or split.titled):
            found = self._originals.find(self._source, report.id)
            if not isinstance(found, bytes) or (end := header_end(found, split)) is None:
                raise NotResendable(f"the header of the report {report.id} is not kept any more")
            top = found[:end]
        encoding = getattr(self._parser.params if self._parser else None, "encoding", "utf-8")
        return self._outgoing(report, top + text.encode(encoding, "replace"), [letter], only=[row], first=row)

    def _report(self, letter: Kept) -> Outgoing:
        message = letter.data["message"]
        report, row = self._header(letter.data), letter.data["row"]
        only, first = message.get("only", ()), message.get("first")
        if path := message.get("spooled"):
            if not Path(path).is_file():
                raise NotResendable(f"opening {path}: the report is not there; it lies on the host that parsed it")
            spooled = Spooled(socket.gethostname(), path, Path(path).stat().st_size)
            return Outgoing(pack(encode_report(report, spooled, row, only, first)), [letter])
        whole = Report(base64.b64decode(message["raw"]))
        whole.id, whole.fields, whole.tags = report.id, report.fields, report.tags
        return Outgoing(pack(encode_report(whole, None, row, only, first)), [letter])

    def _outgoing(
        self,
        report: Report,
        found: Path | bytes,
        letters: Sequence[Kept],
        only: Sequence[int],
        first: int | None = None,
    ) -> Outgoing:
        if isinstance(found, Path):  # the parser deletes what it has read, so it gets a name of its own
            path = self._spool / self._stage / f"{report.id}.{secrets.token_hex(4)}"
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(found, path)
            spooled = Spooled(socket.gethostname(), str(path.resolve()), found.stat().st_size)
            return Outgoing(pack(encode_report(report, spooled, only=only)), letters)
        whole = Report(found)
        whole.id, whole.fields, whole.tags = report.id, report.fields, report.tags
        return Outgoing(pack(encode_report(whole, only=only, first=first)), letters)

    def _header(self, letter: dict[str, Any]) -> Report:
        message = letter["message"]
        report = Report(b"")
        fields = {name: value for name, value in message.items() if name not in OWN}
        return report.stamp(
            id=message["__id"], fields=fields, tags=frozenset(message["__tags"]), ontology=self._ontology
        )


def kind_of(letter: dict[str, Any]) -> str:
    """Return what a letter goes back as: Event, Frame, Row, Edited (a row whose text was changed), or Report."""
    message = letter["message"]
    if message["__type"] != "Report":
        return str(message["__type"])
    if letter.get("row") is None or letter.get("whole") or "spooled" in message:
        return "Report"
    return "Edited" if "raw" in letter.get("edited", {}) else "Row"


def event_of(letter: dict[str, Any], ontology: Ontology) -> Event:
    """Return the event of a letter."""
    return Event.load(orjson.dumps(letter["message"]), ontology)


def _together(letter: Kept) -> tuple[str, str, str]:
    """Order letters so that those come together of which one frame is made; a file has its own script call."""
    kind = kind_of(letter.data)
    report = letter.data["message"]["__id"] if kind == "Row" else ""
    return kind, report, letter.segment.token if letter.segment else ""
