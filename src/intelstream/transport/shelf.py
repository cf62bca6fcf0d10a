"""The files that dead letters move to, each with the set on the server that says which of its letters are no more.

A file is durable before one script takes its letters off the stream. The set also tells that the script has been run: a
file without that (a crash between the two, or a server that lost its last second) is settled by the same script before
anything else is done with it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson

from intelstream.transport import segments
from intelstream.transport.frames import OVERHEAD, unpack
from intelstream.transport.segments import REMOVED, SUFFIX, Segment
from intelstream.transport.transport import Transport

SETTLED: Final = "-1"
UNSETTLED: Final = -7
SIZE: Final = "__size"  # in a file: bytes that the letter took on the server


@dataclass(frozen=True, slots=True)
class Kept:
    """A letter as it lies: `data` is its JSON with the changes that operators made; `segment` its file, if any."""

    id: str
    data: dict[str, Any]
    size: int = 0
    segment: Segment | None = None
    place: int = 0

    def reference(self) -> list[Any]:
        """Return what the scripts have to know of it."""
        return [self.id, self.place, self.data["signature"], origin(self.data), self.size]

    def changed(self, change: Mapping[str, Any]) -> "Kept":
        """Return it with other fields of its message, those without a value removed; what changed is in `edited`."""
        message = {**self.data["message"], **change}
        for name in [name for name, value in change.items() if value is None and name != "__raw"]:
            message.pop(name, None)
        return replace(self, data=self.data | {"message": message, "edited": dict(change)})


class Shelf:
    """The files of a lane, by stage, below `directory`. Of one stage, its caller does one thing at a time.

    `barrier` returns when what the server of a run_id acknowledged is on its disk.
    """

    def __init__(self, transport: Transport, directory: Path, barrier: Callable[[str], Awaitable[None]]) -> None:
        self._transport = transport
        self._lane = transport.lane
        self.directory = directory
        self._barrier = barrier
        self._known: dict[str, dict[str, Segment]] = {}
        self._settled: dict[str, int] = {}  # in which epoch of the server a file was seen to be
        self._used: int | None = None  # bytes of all files, or more: those that went are not taken off
        self._last: tuple[str, list[dict[str, Any]]] = ("", [])

    async def files(self, stage: str) -> list[Segment]:
        """Return the files of a stage, all of them settled."""
        known, removed = await asyncio.to_thread(_listed, self.directory / stage, self._known.get(stage, {}))
        self._known[stage] = known
        for path in removed:  # the daemon was killed while it removed them
            await self._transport.call("DEL", self._lane.gone(path.name.split(".")[1]))
            await asyncio.to_thread(path.unlink, missing_ok=True)
        epoch = self._transport.client.epoch
        for segment in known.values():
            if self._settled.get(segment.token) != epoch:
                if not await self._transport.call("SISMEMBER", self.gone(segment), SETTLED):
                    await self._settle(stage, segment)
                self._settled[segment.token] = epoch
        return list(known.values())

    async def fills(self, limit: int) -> bool:
        """Tell whether the files take more than so many bytes; they are looked at only where that may be."""
        if self._used is None or self._used > limit:
            self._used = await asyncio.to_thread(_used, self.directory)
        return self._used > limit

    async def put(self, stage: str, letters: Sequence[dict[str, Any]], *, moved: bool) -> int:
        """Put letters into a file and have it count; return how many of them do."""
        segment = await asyncio.to_thread(segments.write, self.directory / stage, letters, moved=moved)
        self._used = None if self._used is None else self._used + segment.size
        return await self._settle(stage, segment, letters)

    async def _settle(self, stage: str, segment: Segment, letters: Sequence[dict[str, Any]] = ()) -> int:
        letters = letters or await asyncio.to_thread(segments.read, segment)
        lane = self._lane
        keys = [lane.dead(stage), lane.groups(stage), lane.origins(stage), lane.hash(stage), self.gone(segment)]
        references = [
            [one["id"], one["signature"], origin(one), one.get(SIZE, 0), about(one), one["time"]] for one in letters
        ]
        header = orjson.dumps({"moved": segment.moved, "letters": references})
        return int(await self._transport.run("shelve", keys, header))

    async def left(self, segment: Segment) -> list[Kept]:
        """Return what is left of a file."""
        token, rows = self._last
        if token != segment.token:
            rows = await asyncio.to_thread(segments.read, segment)
            self._last = segment.token, rows
        gone = {int(one) for one in await self._transport.call("SMEMBERS", self.gone(segment))}
        return [
            Kept(row["id"], {name: value for name, value in row.items() if name != SIZE}, 0, segment, place)
            for place, row in enumerate(rows)
            if place not in gone
        ]

    async def run(
        self, stage: str, segment: Segment | None, name: str, keys: Sequence[str], *args: Any, admits: bool = False
    ) -> int:
        """Run a script on letters of a file, again when the file had to be settled first."""
        while (answer := int(await self._transport.run(name, keys, *args, admits=admits))) == UNSETTLED and segment:
            if not segment.path.exists():  # all of its letters have gone, and it went with them
                return 0
            await self._settle(stage, segment)
        return answer

    async def remove_if_gone(self, segment: Segment) -> None:
        """Delete a file none of whose letters is left, once that is on the server's disk too."""
        places, client = self.gone(segment), self._transport.client
        if int(await self._transport.call("SCARD", places)) <= segment.count:
            return
        await self._barrier(client.run_id)
        if int(await self._transport.call("SCARD", places)) <= segment.count:  # the server lost its last second
            return
        removed = segment.path.with_name(segment.path.name + REMOVED)
        await asyncio.to_thread(_renamed, segment.path, removed)
        await self._transport.call("DEL", places)
        await asyncio.to_thread(removed.unlink, missing_ok=True)

    def gone(self, segment: Segment | None) -> str:
        """Name the set of what is no more in a file; of none, one that is never there."""
        return self._lane.gone(segment.token if segment else "none")


def of_row(row: Any) -> Kept:
    """Read a letter of the stream as the server gives it."""
    id_, fields = row
    name, body = bytes(id_).decode(), fields[1]
    return Kept(name, {"id": name, **orjson.loads(unpack(body))}, len(body) + OVERHEAD)


def about(letter: Mapping[str, Any]) -> str:
    """Return what is shown of a group, as JSON, from its first letter."""
    shown = {name: letter.get(name) for name in ("time", "error", "field")}
    return orjson.dumps(shown | {"text": str(letter.get("text", ""))[:200]}).decode()


def origin(letter: Mapping[str, Any]) -> str:
    """Return the report that a letter is a row of, "" for none."""
    return letter.get("report") or "" if letter.get("row") is not None and not letter.get("whole") else ""


def _listed(directory: Path, known: Mapping[str, Segment]) -> tuple[dict[str, Segment], list[Path]]:
    """Return the segments in a directory by file, and what is left of some; headers of those not known are read."""
    names = list(directory.iterdir()) if directory.is_dir() else []
    files = {path.name: known.get(path.name) or segments.header(path) for path in names if path.name.endswith(SUFFIX)}
    return files, [path for path in names if path.name.endswith(REMOVED)]


def _used(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob(f"*{SUFFIX}"))


def _renamed(path: Path, to: Path) -> None:
    path.replace(to)
    segments.sync(path.parent)
