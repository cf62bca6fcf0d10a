"""How messages travel: many in one stream entry, column by column, compressed.

A frame is one flag byte and a body. `j` is JSON, `z` the same behind zstd level 1. The JSON of events is an object of
columns (`fields`, `id`, `raw`, and `arrivals` where those are the sender's), and `runs` of neighbours that share
parents and tags, as [number, parents, tags]; one that comes back to its stage has `arrival`, `attempts`, `again` and
`delayed` besides, and those that an operator sends again have `again`. So nothing is copied per event. A report is its
header as JSON, a line break, and its bytes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, Final

import orjson
import zstandard

from intelstream.errors import IntelstreamError
from intelstream.ontology import STANDARD, Event, Ontology, Report, ids

FORMAT: Final = 1  # of frames and keys; a server that holds a newer one is refused
MESSAGES: Final = 256  # in one frame
BYTES: Final = 224 * 1024  # of one frame as JSON; just under an allocator's class
COMMIT: Final = 1024 * 1024  # of all bodies of one commit, times their destinations
OVERHEAD: Final = 128  # of one stream entry; the scripts say the same
LARGEST: Final = 64 * 1024 * 1024  # of a frame unpacked; nothing of ours comes near
_PLAIN: Final = 4096
_JSON, _ZSTD = b"j", b"z"
_DELAYED: Final = b',"delayed":true}'
_FAMILY: Final = attrgetter("parents", "tags")


class FrameBroken(IntelstreamError):
    """A stream entry holds what is no frame: somebody else wrote it."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """A report that lies in a file of the worker's host until its last row is out."""

    host: str
    path: str
    size: int


# Made once: their tables cost more than a frame. Only the loop packs and unpacks, so nobody shares them.
@cache
def _compressor() -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=1)


@cache
def _decompressor() -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor()


def pack(body: bytes) -> bytes:
    """Put the flag in front, and compress where it pays."""
    if len(body) < _PLAIN:
        return _JSON + body
    return _ZSTD + _compressor().compress(body)


def unpack(frame: bytes) -> bytes:
    """Return the body.

    Raises:
        FrameBroken: it is none of ours.
    """
    if frame[:1] == _JSON:
        return frame[1:]
    if frame[:1] == _ZSTD:
        try:
            return _decompressor().decompress(frame[1:], max_output_size=LARGEST)
        except zstandard.ZstdError as error:
            raise FrameBroken(f"unpacking a frame: {error}") from error
    raise FrameBroken(f"unpacking a frame: it begins with {frame[:1]!r}")


def encode(events: Sequence[Event], *, arrived: bool = False) -> bytes:
    """Return the body of a frame of events; `arrived` ones take their arrival with them."""
    columns: dict[str, Any] = {
        "fields": [event.fields for event in events],
        "id": [event.id for event in events],
        "raw": [event.raw for event in events],
        "runs": [(len(list(run)), parents, sorted(tags)) for (parents, tags), run in groupby(events, _FAMILY)],
    }
    if arrived:
        columns["arrivals"] = [event.arrival for event in events]
    return orjson.dumps(columns)


def encode_waiting(event: Event, *, delayed: bool) -> bytes:
    """Return the body of a frame of one event that comes back to its stage: it keeps its arrival and its tries.

    `delayed` tells one that the stage put aside itself from a dead letter that was sent again.
    """
    columns: dict[str, Any] = orjson.loads(encode([event]))
    columns |= {"arrival": event.arrival, "attempts": event.attempts, "again": event.again, "delayed": delayed}
    return orjson.dumps(columns)


def encode_again(events: Sequence[Event]) -> bytes:
    """Return the body of a frame of events that are sent again on purpose: their own marks let them pass."""
    columns: dict[str, Any] = orjson.loads(encode(events))
    return orjson.dumps(columns | {"again": True})


def is_delayed(body: bytes) -> bool:
    """Tell whether a frame comes back from the delayed retries."""
    return body.endswith(_DELAYED)


def decode(body: bytes, ontology: Ontology = STANDARD, entry: str = "") -> list[Event]:
    """Return the events of a frame, new ones at each call. `entry` is where they came: it makes their arrival."""
    try:
        columns = orjson.loads(body)
        rows = zip(columns["fields"], columns["id"], columns["raw"], strict=True)
        events: list[Event] = []
        for count, parents, tags in columns["runs"]:
            family, labels = tuple(parents), frozenset(tags)
            events += [
                Event(fields, ontology, id=own, parents=family, tags=labels, raw=raw)
                for fields, own, raw in islice(rows, count)
            ]
    except (orjson.JSONDecodeError, KeyError, ValueError, TypeError) as error:
        raise FrameBroken(f"reading a frame: {error}") from error
    if len(events) != len(columns["id"]):
        raise FrameBroken(f"reading a frame: {len(columns['id'])} events, but `runs` of {len(events)}")
    if entry:
        arrivals = columns.get("arrivals") or ids.arrivals(entry, len(events))
        for event, arrival in zip(events, arrivals, strict=True):
            event.arrival = arrival
    if "arrival" in columns:
        [event] = events
        event.arrival = columns["arrival"] or event.arrival
        event.attempts = columns["attempts"]
    if columns.get("again"):
        for event in events:
            event.again = True
    return events


def slices(events: Sequence[Event], *, arrived: bool = False) -> list[tuple[int, bytes]]:
    """Cut events into bodies of frames, none larger than a frame may be unless one event is; with their counts."""
    cut: list[tuple[int, bytes]] = []
    for start in range(0, len(events), MESSAGES):
        cut += _halved(events[start : start + MESSAGES], arrived=arrived)
    return cut


def _halved(events: Sequence[Event], *, arrived: bool) -> list[tuple[int, bytes]]:
    body = encode(events, arrived=arrived)
    if len(body) <= BYTES or len(events) == 1:
        return [(len(events), body)]
    middle = len(events) // 2
    return _halved(events[:middle], arrived=arrived) + _halved(events[middle:], arrived=arrived)


def encode_report(
    report: Report, spooled: Spooled | None = None, row: int = 0, only: Collection[int] = (), first: int | None = None
) -> bytes:
    """Return the body of a report; of one that lies in a file only where that is.

    `row` is the first one wanted; `only` are those wanted, if not all; `first` is the number of the first one there is
    in a report that was cut out of another one.
    """
    header: dict[str, Any] = {"id": report.id, "fields": report.fields, "tags": sorted(report.tags), "row": row}
    if only:
        header["only"] = sorted(only)
    if first is not None:
        header["first"] = first
    if spooled:
        header["spooled"] = {"host": spooled.host, "path": spooled.path, "size": spooled.size}
    return orjson.dumps(header) + b"\n" + (b"" if spooled else report.raw)


def is_report(body: bytes) -> bool:
    """Tell a report from events by how it begins."""
    return body.startswith(b'{"id":')


@dataclass(frozen=True, slots=True)
class Wanted:
    """A report, where its bytes lie if not here, and which of its rows are wanted: from `row` on, or `only` some.

    `first` is the number of the first row there is: of a report that was cut out of another one.
    """

    report: Report
    spooled: Spooled | None
    row: int
    only: frozenset[int]
    first: int | None


def decode_report(body: bytes, ontology: Ontology = STANDARD) -> Wanted:
    """Return the report and what is wanted of it."""
    head, _, raw = body.partition(b"\n")
    try:
        header = orjson.loads(head)
        spooled = Spooled(**header["spooled"]) if "spooled" in header else None
        report = Report(raw)
        report.id, report.fields, report.tags = header["id"], header["fields"], frozenset(header["tags"])
        report.ontology = ontology
        report.prepare({})
        return Wanted(report, spooled, header["row"], frozenset(header.get("only", ())), header.get("first"))
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise FrameBroken(f"reading a report: {error}") from error
