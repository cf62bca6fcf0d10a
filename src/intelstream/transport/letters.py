"""Dead letters of a lane: the newest on the server, older ones in files; counted, read, changed and sent back as one.

On the server a letter lies in its stage's stream, and its id is that of its entry. Where there are too many, the oldest
move to files (`shelf`). It leaves in the very script that sends it on, wherever it lies.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import orjson

from intelstream.transport.segments import LETTERS, Position, Segment, position
from intelstream.transport.shelf import SIZE, Kept, Shelf, of_row
from intelstream.transport.transport import Transport

MOST: Final = 10_000  # letters of one stage on the server
BYTES: Final = 16 * 1024 * 1024  # of them
PAGE: Final = 2000  # letters read at once, unless they are long
LARGEST: Final = 4 * 1024 * 1024  # bytes that move at once
LOOK: Final = 1000  # letters after which a stage is looked at again
EMPTY: Final = "0-0"


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
    """What is remembered of a stage: how many letters came since somebody looked."""

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
        self._shelf = Shelf(transport, self.directory, barrier)
        self._limit = limit
        self._most = MOST if most is None else most
        self._bytes = BYTES if bytes is None else bytes
        self._stages: dict[str, _Stage] = {}

    async def count(self, stage: str) -> int:
        """Return the number of letters, wherever they lie."""
        return sum(group.count for group in await self.groups(stage))

    async def groups(self, stage: str) -> list[Group]:
        """Return the letters by cause, most frequent first; that reads no letter."""
        async with self._stage(stage).lock:
            await self._shelf.files(stage)
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
            for segment in sorted(await self._shelf.files(stage), key=lambda one: one.first):
                if segment.last <= start or (causes and not segment.groups.keys() & causes):
                    continue
                if len(found) >= count and segment.first > position(found[count - 1].id):
                    break
                found += [one for one in await self._shelf.left(segment) if position(one.id) > start]
                found.sort(key=lambda one: position(one.id))
                read += segment.size
                if found and read > LARGEST:  # long letters: fewer of them
                    count = min(count, len(found))
            if len(found) < count or await self._first(stage) < position(found[count - 1].id):
                rows = await self._transport.call("XRANGE", self._lane.dead(stage), f"({after}", "+", "COUNT", count)
                found = sorted(found + [of_row(row) for row in rows], key=lambda one: position(one.id))
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
            keys = [self._lane.dead(stage), self._lane.edits(stage), self._shelf.gone(segment)]
            async with self._stage(stage).lock:
                changed += await self._shelf.run(stage, segment, "amend", keys, *args)
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
                    kept += await self._shelf.put(stage, new, moved=False)
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
                if await self._shelf.fills(self._limit):
                    known.since = LOOK
                    return False
                rows = await self._transport.call("XRANGE", self._lane.dead(stage), "-", "+", "COUNT", count)
                if moving := [one.data | {SIZE: one.size} for one in map(of_row, rows)]:
                    await self._shelf.put(stage, moving, moved=True)
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
        for segment in await self._shelf.files(stage):
            if any(segment.first <= place <= segment.last for place in wanted.values()):
                found += [one for one in await self._shelf.left(segment) if one.id in wanted]
        for id_ in sorted(wanted.keys() - {one.id for one in found}):
            found += map(of_row, await self._transport.call("XRANGE", self._lane.dead(stage), id_, id_))
        return sorted(found, key=lambda one: position(one.id))

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
        keys += [lane.sizes, lane.stream(to), self._shelf.gone(segment)]
        left = await self._shelf.run(stage, segment, "leave", keys, orjson.dumps(header), *bodies, admits=bool(frames))
        if left > 0 and segment:
            await self._shelf.remove_if_gone(segment)
        return None if left < 0 else left


def _by_file(
    some: Sequence[Any], file_of: Callable[[Any], Segment | None]
) -> Iterable[tuple[Segment | None, list[Any]]]:
    ordered = sorted(some, key=lambda one: file.token if (file := file_of(one)) else "")
    for _, members in groupby(ordered, key=lambda one: file.token if (file := file_of(one)) else ""):
        listed = list(members)
        yield file_of(listed[0]), listed
