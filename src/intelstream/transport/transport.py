"""A worker's side of the streams: what it reads, commits, leases and keeps."""

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeVar

import orjson

from intelstream.errors import IntelstreamError
from intelstream.transport.commit import Answer, Commit, Entry
from intelstream.transport.frames import FORMAT
from intelstream.transport.link import Client, CommandRefused, GroupGone, ServerTrouble
from intelstream.transport.names import GROUP, Lane
from intelstream.transport.scripts import script

T = TypeVar("T")
SLOWEST: Final = 5.0  # seconds between two tries while the server is in trouble
FASTEST: Final = 0.05
STATE: Final = "s:"  # in front of a stage's own keys in its hash
VERSION: Final = "version"
QUARANTINE: Final = "quarantine."  # in front of a stage: the consumer that holds entries under which workers have died


class NewerFormat(IntelstreamError):
    """The server holds data of a newer intelstream."""


class Transport:
    """All that a worker does on one lane. Every call waits out trouble of the server and may safely be repeated.

    `on_trouble` is told of trouble once when it begins, and with None when nobody has to wait any more.
    """

    def __init__(
        self,
        client: Client,
        lane: Lane,
        consumer: str,
        on_trouble: Callable[[ServerTrouble | None], None] = lambda _: None,
    ) -> None:
        self.client = client
        self.lane = lane
        self.consumer = consumer
        self._freed = 0
        self._room = asyncio.Event()
        self.buried: frozenset[str] = frozenset()
        self._troubles: dict[object, ServerTrouble] = {}  # what each of those that wait has met, latest last
        self._told: str | None = None
        self._away = -math.inf
        self._on_trouble = on_trouble

    @property
    def trouble(self) -> ServerTrouble | None:
        """What somebody waits for now."""
        return next(reversed(self._troubles.values()), None)

    def steady(self, seconds: float) -> bool:
        """Tell whether for so long every worker could say that it lives: then one that did not is gone.

        Full memory is no hindrance, as that script runs all the same.
        """
        return time.monotonic() - max(self._away, self.client.started) >= seconds

    async def patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer that is none of the server's trouble."""
        wait, mark = FASTEST, object()
        try:
            while True:
                try:
                    return await ask()
                except ServerTrouble as trouble:
                    self._meet(trouble, mark)
                await asyncio.sleep(wait)
                wait = min(SLOWEST, wait * 2)
        finally:
            if over := self._troubles.pop(mark, None):
                self._meet(over)
                self._tell()

    async def open(self, stages: Sequence[str]) -> None:
        """Make the streams and groups of these stages, unless they are there.

        Raises:
            NewerFormat: this version cannot read what is there.
        """
        known = int(await self.run("open", [self.lane.format, *map(self.lane.stream, stages)], FORMAT, GROUP))
        if known > FORMAT:
            raise NewerFormat(f"opening {self.client.address}: format {known}, this version reads {FORMAT}")

    async def rename(self, old: str, new: str) -> int:
        """Give what is kept of a stage to the one that it is called now; return the number of keys moved."""
        lane = self.lane
        kinds = (lane.stream, lane.hash, lane.later, lane.dead, lane.groups, lane.origins, lane.edits)
        pairs = [name for kind in kinds for name in (kind(old), kind(new))]
        return int(await self.run("rename", [self.lane.sizes, *pairs], old, new))

    async def call(self, *args: Any) -> Any:
        """Send one command that may be repeated."""
        return await self.patiently(lambda: self.client.call(*args))

    async def run(
        self, name: str, keys: Sequence[str], *args: Any, admits: bool = False, epoch: int | None = None
    ) -> Any:
        """Run one of our scripts.

        Raises:
            Restarted: it was for the incarnation `epoch` of the server, which is gone.
        """
        return await self.patiently(lambda: self.client.run(script(name, admits=admits), keys, args, epoch))

    async def once(self, name: str, keys: Sequence[str], *args: Any) -> Any:
        """Run one of our scripts now or not at all.

        Raises:
            ServerTrouble: there is no answer; it may have been run.
        """
        try:
            return await self.client.run(script(name), keys, args)
        except ServerTrouble as trouble:
            self._meet(trouble)
            raise

    async def commit(
        self,
        commit: Commit,
        *,
        admits: bool = False,
        on_hold: Callable[[str | None], None] = lambda _: None,
        epoch: int | None = None,
    ) -> Answer:
        """Write all of it or nothing, as soon as there is room for it.

        `admits` marks what brings messages in: refused first when memory is short. `on_hold` is told what is full
        ("" for the lane) while the commit waits, and None when it is through. `commit.version` becomes the new one.

        Raises:
            Restarted: the step began with what the incarnation `epoch` of the server said, which is gone.
        """
        keys, args = commit.call()
        held = False
        while True:
            seen = self._freed
            code, *detail = await self.run("commit", keys, *args, admits=admits, epoch=epoch)
            answer = Answer(code)
            if not answer.waits:
                break
            held = True
            on_hold(bytes(detail[0]).decode() if answer is Answer.FULL else "")
            await self.vacancy(seen)
        if held:
            on_hold(None)
        if answer.written:
            commit.version = bytes(detail[0]).decode()
            self.freed()
        return answer

    def freed(self) -> None:
        """Let those who wait for room look again."""
        self._freed += 1
        self._room.set()
        self._room = asyncio.Event()

    async def vacancy(self, seen: int, within: float = 1.0) -> None:
        """Wait until something was freed since, or so many seconds: a wake-up may have got lost."""
        if self._freed == seen:
            waiting = asyncio.ensure_future(self._room.wait())
            try:
                await asyncio.wait({waiting}, timeout=within)
            finally:
                waiting.cancel()

    async def states(self, stage: str, keys: Sequence[str]) -> tuple[str, list[Any]]:
        """Return the version of a stage and values that it keeps."""
        names = [VERSION, *(STATE + key for key in keys)]
        version, *values = await self.call("HMGET", self.lane.hash(stage), *names)
        return (version or b"0").decode(), [None if value is None else orjson.loads(value) for value in values]

    async def parts(self, stage: str, prefix: str) -> dict[str, Any]:
        """Return all values that a stage keeps under names that begin so, by the rest of the name."""
        start = STATE + prefix
        kept = await self.kept(stage)
        return {name.removeprefix(start): orjson.loads(text) for name, text in kept.items() if name.startswith(start)}

    async def kept(self, stage: str) -> dict[str, str]:
        """Return the whole hash of a stage: version, lease, state, positions, counters."""
        flat = await self.call("HGETALL", self.lane.hash(stage))
        texts = [value.decode() for value in flat]
        return dict(zip(texts[::2], texts[1::2], strict=True))

    async def positions(self, stage: str, ids: Sequence[str]) -> list[str]:
        """Return how far the entries have come."""
        return [(at or b"").decode() for at in await self._of(stage, "at", ids)]

    async def tries(self, stage: str, ids: Sequence[str]) -> list[int]:
        """Return how many workers were gone while they had the entries."""
        return [int(number or 0) for number in await self._of(stage, "tries", ids)]

    async def hand_on(self, entry: Entry, to: str) -> bool:
        """Give an entry to another consumer of its group; say whether it has it, for it may be somebody else's."""
        return bool(await self.run("hand_on", [self.lane.stream(entry.stage)], GROUP, self.consumer, to, entry.id))

    async def alone(self, stage: str, entry: str, position: str) -> int:
        """Note that the message at a position is about to be tried alone; return how often it has been."""
        name = f"alone:{entry}"
        before, _, times = ((await self.call("HGET", self.lane.hash(stage), name)) or b"").decode().rpartition("|")
        count = int(times) if times and before == position else 0
        await self.call("HSET", self.lane.hash(stage), name, f"{position}|{count + 1}")
        return count

    async def survived(self, stage: str, entry: str) -> None:
        """Note that a message that was tried alone has not brought the worker down."""
        await self.call("HDEL", self.lane.hash(stage), f"alone:{entry}")

    async def lease(self, stage: str) -> str | None:
        """Take the lease of a stage and return its version; None while a living worker holds it."""
        holder = ""
        while True:
            keys = [self.lane.hash(stage), self.lane.alive(holder or "nobody")]
            said, what = await self.run("lease", keys, self.consumer, holder)
            if said == 1:
                return bytes(what).decode()
            if said == 0:
                return None
            holder = bytes(what).decode()

    async def release(self, stage: str) -> None:
        """Give a lease back, if the server answers; if not, it is anybody's when this worker is gone."""
        with contextlib.suppress(ServerTrouble):
            await self.once("release", [self.lane.hash(stage)], self.consumer)

    async def backlogs(self) -> Mapping[str, int]:
        """Return the hash of sizes: `<stage>:n`, `<stage>:b`, `total`."""
        flat = await self.call("HGETALL", self.lane.sizes)
        return {flat[i].decode(): int(flat[i + 1]) for i in range(0, len(flat), 2)}

    async def peek(self, stage: str, count: int, start: str = "-") -> list[Entry]:
        """Return entries that wait for a stage, oldest first, without taking any."""
        found = await self.call("XRANGE", self.lane.stream(stage), start, "+", "COUNT", count)
        return [entry(stage, one) for one in found]

    async def bury(self, consumers: Collection[str]) -> None:
        """Forget that workers live which are known to be gone: what they had may be taken over at once."""
        if consumers:
            await self.call("DEL", *map(self.lane.alive, consumers))
        self.buried |= frozenset(consumers)

    async def bury_predecessors(self, prefix: str, stages: Sequence[str]) -> None:
        """Forget that earlier workers of this state directory live: whoever has its lock knows that they are gone."""
        gone = {name for stage in stages for name in await self.consumers(stage, prefix)}
        for stage in stages:
            holder = ((await self.call("HGET", self.lane.hash(stage), "lease")) or b"").decode()
            if holder.startswith(prefix) and holder != self.consumer:
                gone.add(holder)
        await self.bury(gone)

    async def consumers(self, stage: str, prefix: str = "") -> list[str]:
        """Return the workers that a stage's group knows, other than this one."""
        try:
            rows = await self.call("XINFO", "CONSUMERS", self.lane.stream(stage), GROUP)
        except (CommandRefused, GroupGone):  # no stream, or no group: nobody has read from it
            return []
        names = [dict(zip(row[::2], row[1::2], strict=True))[b"name"].decode() for row in rows]
        return [name for name in names if name != self.consumer and name.startswith(prefix)]

    def awaits(self, consumer: str) -> bool:
        """Tell whether what a consumer has is kept for somebody: nobody else takes it over."""
        return consumer.startswith(QUARANTINE) and consumer not in self.buried

    async def _of(self, stage: str, kind: str, ids: Sequence[str]) -> Sequence[bytes | None]:
        if not ids:
            return []
        found: Sequence[bytes | None] = await self.call("HMGET", self.lane.hash(stage), *(f"{kind}:{i}" for i in ids))
        return found

    def _meet(self, trouble: ServerTrouble, mark: object = None) -> None:
        if trouble.code != "oom":
            self._away = time.monotonic()
        if mark:
            self._troubles.pop(mark, None)
            self._troubles[mark] = trouble
            self._tell()

    def _tell(self) -> None:
        trouble = self.trouble
        code = trouble.code if trouble else None
        if code != self._told:
            self._told = code
            self._on_trouble(trouble)


def entry(stage: str, found: Sequence[Any], position: str = "") -> Entry:
    """Read one stream entry as the server gives it: id, then names and values in turn."""
    id_, flat = found
    values = dict(zip(flat[::2], flat[1::2], strict=True))
    return Entry(stage, bytes(id_).decode(), values.get(b"d", b""), int(values.get(b"n", 1)), position)
