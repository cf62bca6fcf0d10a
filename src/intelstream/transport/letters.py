"""Dead letters of a lane: the newest on the server, older ones in files; counted, read, changed and sent back as one.

On the server a letter lies in its stage's stream, and its id is that of its entry. Where there are too many, the oldest
move to files (`segments`): the file is durable first, then one script takes its letters off the stream. Which letters
of a file are no more stands in a set on the server, so that a letter leaves in the very script that sends it on,
wherever it lies. The set also tells that the first script has been run: a file without that (a crash between the two,
or a server that lost its last second) is settled by the same script before anything else is done with it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import orjson

from intelstream.transport import segments
from intelstream.transport.frames import OVERHEAD, unpack
from intelstream.transport.segments import LETTERS, REMOVED, SUFFIX, Position, Segment, position
from intelstream.transport.transport import Transport

MOST: Final = 10_000  # letters of one stage on the server
BYTES: Final = 16 * 1024 * 1024  # of them
PAGE: Final = 2000  # letters read at once, unless they are long
LARGEST: Final = 4 * 1024 * 1024  # bytes that move at once
LOOK: Final = 1000  # letters after which a stage is looked at again
SETTLED: Final = "-1"
UNSETTLED: Final = -7
EMPTY: Final = "0-0"
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


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A frame, packed, of so many messages, for which letters leave."""

    frame: bytes
    letters: Sequence[Kept]
    messages: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Letters of one cause."""

    signature: str
    count: int
    first: Mapping[str, Any]
    last: str


@dataclass(slots=True)
class _Stage:
    """What is remembered of a stage: its files, and how many letters came since somebody looked."""

    files: dict[str, Segment] = field(default_factory=dict[str, Segment])
    settled: dict[str, int] = field(default_factory=dict[str, int])  # in which epoch of the server
    since: int = LOOK
    bytes: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


async def _at_once(_: str) -> None:
    """Wait for nothing."""


class DeadLetters:
    """The dead letters of a lane, by the stage that gave up.

    `directory` is where files go, `limit` the most bytes of all of them; `barrier` returns when what the server of a
    run_id acknowledged is on its disk.
    """

    def __init__(
        self,
        transport: Transport,
        directory: Path,
        *,
        barrier: Callable[[str], Awaitable[None]] = _at_once,
        limit: int = 1 << 62,
        most: int | None = None,
        bytes: int | None = None,
    ) -> None:
        self._transport = transport
        self._lane = transport.lane
        self.directory = directory / f"{transport.lane.pipeline}.{transport.lane.number}"
        self._barrier = barrier
        self._limit = limit
        self._most = MOST if most is None else most
        self._bytes = BYTES if bytes is None else bytes
        self._stages: dict[str, _Stage] = {}
        self._last: tuple[str, list[dict[str, Any]]] = ("", [])

    async def count(self, stage: str) -> int:
        """Return the number of letters, wherever they lie."""
        return sum(group.count for group in await self.groups(stage))

    async def groups(self, stage: str) -> list[Group]:
        """Return the letters by cause, most frequent first; that reads no letter."""
        async with self._stage(stage).lock:
            await self._files(stage)
        flat = await self._transport.call("HGETALL", self._lane.groups(stage))
        kept = {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}
        causes = [name.removeprefix("n:") for name in kept if name.startswith("n:")]
        found = [
            Group(
                signature=cause,
                count=int(kept[f"n:{cause}"]),
                first=orjson.loads(kept[f"first:{cause}"]),
                last=kept[f"last:{cause}"].decode(),
            )
            for cause in causes
        ]
        return sorted(found, key=lambda group: -group.count)

    async def page(
        self, stage: str, after: str = EMPTY, causes: frozenset[str] = frozenset(), count: int = PAGE
    ) -> tuple[list[Kept], str]:
        """Return the oldest letters behind the id `after`, and the id to go on behind; that one is "" at the end.

        With signatures as `causes`, those of other ones are left out, and a page may hold fewer than there are.
        """
        start, read = position(after), 0
        found: list[Kept] = []
        async with self._stage(stage).lock:
            for segment in sorted(await self._files(stage), key=lambda one: one.first):
                if segment.last <= start or (causes and not segment.groups.keys() & causes):
                    continue
                if len(found) >= count and segment.first > position(found[count - 1].id):
                    break
                found += [one for one in await self._of(segment) if position(one.id) > start]
                found.sort(key=lambda one: position(one.id))
                read += segment.size
                if found and read > LARGEST:  # long letters: fewer of them
                    count = min(count, len(found))
            if len(found) < count or await self._first(stage) < position(found[count - 1].id):
                rows = await self._transport.call("XRANGE", self._lane.dead(stage), f"({after}", "+", "COUNT", count)
                found = sorted(found + [_of_row(row) for row in rows], key=lambda one: position(one.id))
        more, found = len(found) >= count, found[:count]
        cursor = found[-1].id if more else ""
        if causes:
            found = [one for one in found if one.data["signature"] in causes]
        return await self._amended(stage, found), cursor

    async def find(self, stage: str, ids: Iterable[str]) -> list[Kept]:
        """Return those of these letters that are there.

        Raises:
            ValueError: one of them is no id.
        """
        async with self._stage(stage).lock:
            return await self._amended(stage, await self._find(stage, ids))

    async def revive(self, stage: str, outgoing: Sequence[Outgoing], to: str, room: int) -> int | None:
        """Send frames to a stage, each if all of its letters are still there; return how many letters left.

        Nothing is sent and None returned where the lane would hold more than `room` bytes then. May be repeated.
        """
        left = 0
        for segment, some in _by_file(outgoing, lambda one: one.letters[0].segment):
            letters: list[Kept] = []
            frames: list[Any] = []
            for number, one in enumerate(some):
                places = range(len(letters) + 1, len(letters) + 1 + len(one.letters))
                letters += one.letters
                frames.append([number + 2, one.messages, list(places)])
            bodies = [one.frame for one in some]
            async with self._stage(stage).lock:
                count = await self._leave(stage, segment, letters, frames, bodies, to, room)
            if count is None:
                return left or None
            left += count
        return left

    async def drop(self, stage: str, letters: Sequence[Kept]) -> int:
        """Delete letters; return how many were still there."""
        left = 0
        for segment, some in _by_file(letters, lambda one: one.segment):
            async with self._stage(stage).lock:
                left += await self._leave(stage, segment, some, [], [], stage, 0) or 0
        return left

    async def amend(self, stage: str, changes: Sequence[tuple[Kept, Mapping[str, Any]]]) -> int:
        """Keep changes of letters: fields of the message with their values, None for one that goes."""
        changed = 0
        for segment, some in _by_file(changes, lambda one: one[0].segment):
            args: list[Any] = ["1" if segment else "0"]
            for letter, change in some:
                args += (letter.id, letter.place, orjson.dumps({**letter.data.get("edited", {}), **change}))
            keys = [self._lane.dead(stage), self._lane.edits(stage), self._gone(segment)]
            async with self._stage(stage).lock:
                changed += await self._settling(stage, segment, "amend", keys, *args)
        return changed

    async def adopt(self, stage: str, letters: Sequence[dict[str, Any]]) -> int:
        """Take letters in that come from outside, each with its `id`; return how many were not there already."""
        kept = 0
        async with self._stage(stage).lock:
            for low in range(0, len(letters), LETTERS):
                some = {letter["id"]: letter for letter in letters[low : low + LETTERS]}
                for known in await self._find(stage, some):
                    del some[known.id]
                if some:
                    new = sorted(some.values(), key=lambda one: position(one["id"]))
                    kept += await self._shelve(stage, new, moved=False)
        return kept

    async def relieve(self, stage: str, came: int = LOOK, bytes: int = 0) -> bool:
        """Note that letters came; move the oldest to files where there are more than may lie on the server.

        Return whether there is room for more.
        """
        known = self._stage(stage)
        known.since += came
        known.bytes += bytes
        if known.since < min(LOOK, self._most) and known.bytes < self._bytes // 16:
            return True
        async with known.lock:
            known.since = known.bytes = 0
            while count := await self._surplus(stage):
                if await asyncio.to_thread(_used, self.directory) > self._limit:
                    known.since = LOOK
                    return False
                rows = await self._transport.call("XRANGE", self._lane.dead(stage), "-", "+", "COUNT", count)
                if moving := [one.data | {SIZE: one.size} for one in map(_of_row, rows)]:
                    await self._shelve(stage, moving, moved=True)
        return True

    async def rename(self, old: str, new: str) -> None:
        """Give the files of a stage to the one that it is called now."""
        if (self.directory / old).is_dir() and not (self.directory / new).exists():
            await asyncio.to_thread((self.directory / old).rename, self.directory / new)
            self._stages.pop(old, None)

    async def origins(self, stage: str) -> frozenset[str]:
        """Return the reports that letters are rows of."""
        return frozenset(name.decode() for name in await self._transport.call("HKEYS", self._lane.origins(stage)))

    async def _surplus(self, stage: str) -> int:
        """Return how many letters are to move now."""
        count = int(await self._transport.call("XLEN", self._lane.dead(stage)))
        size = int(await self._transport.call("HGET", self._lane.groups(stage), "bytes") or 0)
        if not count or (count <= self._most and size <= self._bytes):
            return 0
        return max(1, min(LETTERS, LARGEST * count // max(1, size)))

    async def _first(self, stage: str) -> Position:
        found = await self._transport.call("XRANGE", self._lane.dead(stage), "-", "+", "COUNT", 1)
        return position(bytes(found[0][0]).decode()) if found else (1 << 63, 0)

    async def _find(self, stage: str, ids: Iterable[str]) -> list[Kept]:
        wanted = {id_: position(id_) for id_ in ids}
        found: list[Kept] = []
        for segment in await self._files(stage):
            if any(segment.first <= place <= segment.last for place in wanted.values()):
                found += [one for one in await self._of(segment) if one.id in wanted]
        for id_ in sorted(wanted.keys() - {one.id for one in found}):
            found += map(_of_row, await self._transport.call("XRANGE", self._lane.dead(stage), id_, id_))
        return sorted(found, key=lambda one: position(one.id))

    async def _of(self, segment: Segment) -> list[Kept]:
        """Return what is left of a file."""
        token, rows = self._last
        if token != segment.token:
            rows = await asyncio.to_thread(segments.read, segment)
            self._last = segment.token, rows
        gone = {int(one) for one in await self._transport.call("SMEMBERS", self._gone(segment))}
        return [
            Kept(row["id"], {name: value for name, value in row.items() if name != SIZE}, 0, segment, place)
            for place, row in enumerate(rows)
            if place not in gone
        ]

    async def _amended(self, stage: str, letters: list[Kept]) -> list[Kept]:
        """Return letters with what operators have changed, which stands in `edited` besides."""
        if not letters or not await self._transport.call("HLEN", self._lane.edits(stage)):
            return letters
        edits = await self._transport.call("HMGET", self._lane.edits(stage), *(one.id for one in letters))
        return [
            one if edit is None else one.changed(orjson.loads(edit)) for one, edit in zip(letters, edits, strict=True)
        ]

    def _stage(self, stage: str) -> _Stage:
        return self._stages.setdefault(stage, _Stage())

    async def _files(self, stage: str) -> list[Segment]:
        """Return the files of a stage, all of them settled."""
        known = self._stage(stage)
        known.files, removed = await asyncio.to_thread(_listed, self.directory / stage, known.files)
        for path in removed:  # the daemon was killed while it removed them
            await self._transport.call("DEL", self._lane.gone(path.name.split(".")[1]))
            await asyncio.to_thread(path.unlink, missing_ok=True)
        epoch = self._transport.client.epoch
        for segment in known.files.values():
            if known.settled.get(segment.token) != epoch:
                if not await self._transport.call("SISMEMBER", self._gone(segment), SETTLED):
                    await self._settle(stage, segment)
                known.settled[segment.token] = epoch
        return list(known.files.values())

    async def _shelve(self, stage: str, letters: Sequence[dict[str, Any]], *, moved: bool) -> int:
        """Put letters into a file and have it count; return how many of them do."""
        segment = await asyncio.to_thread(segments.write, self.directory / stage, letters, moved=moved)
        return await self._settle(stage, segment, letters)

    async def _settle(self, stage: str, segment: Segment, letters: Sequence[dict[str, Any]] = ()) -> int:
        letters = letters or await asyncio.to_thread(segments.read, segment)
        lane = self._lane
        keys = [lane.dead(stage), lane.groups(stage), lane.origins(stage), lane.hash(stage), self._gone(segment)]
        references = [
            [one["id"], one["signature"], origin(one), one.get(SIZE, 0), about(one), one["time"]] for one in letters
        ]
        header = orjson.dumps({"moved": segment.moved, "letters": references})
        return int(await self._transport.run("shelve", keys, header))

    async def _leave(  # noqa: PLR0917 - the arguments of one script
        self,
        stage: str,
        segment: Segment | None,
        letters: Sequence[Kept],
        frames: Sequence[Any],
        bodies: Sequence[bytes],
        to: str,
        room: int,
    ) -> int | None:
        lane = self._lane
        header = {
            "file": segment is not None,
            "letters": [one.reference() for one in letters],
            "frames": frames,
            "to": to,
            "room": room,
        }
        keys = [lane.dead(stage), lane.groups(stage), lane.origins(stage), lane.edits(stage), lane.hash(stage)]
        keys += [lane.sizes, lane.stream(to), self._gone(segment)]
        left = await self._settling(stage, segment, "leave", keys, orjson.dumps(header), *bodies, admits=bool(frames))
        if left > 0 and segment:
            await self._remove_if_gone(segment)
        return None if left < 0 else left

    async def _settling(
        self, stage: str, segment: Segment | None, name: str, keys: Sequence[str], *args: Any, admits: bool = False
    ) -> int:
        """Run a script on letters of a file, again when the file had to be settled first."""
        while (answer := int(await self._transport.run(name, keys, *args, admits=admits))) == UNSETTLED and segment:
            if not segment.path.exists():  # all of its letters have gone, and it went with them
                return 0
            await self._settle(stage, segment)
        return answer

    async def _remove_if_gone(self, segment: Segment) -> None:
        """Delete a file none of whose letters is left, once that is on the server's disk too."""
        gone, client = self._gone(segment), self._transport.client
        if int(await self._transport.call("SCARD", gone)) <= segment.count:
            return
        await self._barrier(client.run_id)
        if int(await self._transport.call("SCARD", gone)) <= segment.count:  # the server lost its last second
            return
        removed = segment.path.with_name(segment.path.name + REMOVED)
        await asyncio.to_thread(_renamed, segment.path, removed)
        await self._transport.call("DEL", gone)
        await asyncio.to_thread(removed.unlink, missing_ok=True)

    def _gone(self, segment: Segment | None) -> str:
        return self._lane.gone(segment.token if segment else "none")


def about(letter: Mapping[str, Any]) -> str:
    """Return what is shown of a group, as JSON, from its first letter."""
    shown = {name: letter.get(name) for name in ("time", "error", "field")}
    return orjson.dumps(shown | {"text": str(letter.get("text", ""))[:200]}).decode()


def origin(letter: Mapping[str, Any]) -> str:
    """Return the report that a letter is a row of, "" for none."""
    return letter.get("report") or "" if letter.get("row") is not None and not letter.get("whole") else ""


def _of_row(row: Any) -> Kept:
    id_, fields = row
    name, body = bytes(id_).decode(), fields[1]
    return Kept(name, {"id": name, **orjson.loads(unpack(body))}, len(body) + OVERHEAD)


def _by_file(
    some: Sequence[Any], file_of: Callable[[Any], Segment | None]
) -> Iterable[tuple[Segment | None, list[Any]]]:
    ordered = sorted(some, key=lambda one: file.token if (file := file_of(one)) else "")
    for _, members in groupby(ordered, key=lambda one: file.token if (file := file_of(one)) else ""):
        listed = list(members)
        yield file_of(listed[0]), listed


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
