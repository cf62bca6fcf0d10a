"""Runs experts: one, or a segment of pure ones that share a decode, an encode and a commit."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

from intelstream.errors import Crashed, Unavailable
from intelstream.ontology import Event
from intelstream.runtime.drain import Failed, Outcome, drain_segment, settled
from intelstream.runtime.running import CRASHES, NotMine, Runner, events_of
from intelstream.runtime.station import Lost, Site, Station, Stopped, passed, settle
from intelstream.sdk import Batch, Expert, State
from intelstream.transport.commit import Commit, Entry
from intelstream.transport.frames import COMMIT, FrameBroken, decode, is_delayed
from intelstream.transport.link import BLOCK


@dataclass(slots=True)
class Work:
    """An entry under way: messages `low` to `total` are still to be done, of `low` the children from `child` on."""

    entry: Entry
    body: bytes
    total: int
    low: int
    child: int

    def at(self, message: int, child: int = 0) -> str | None:
        """Return the position in front of a message, or of one of its children; None for the end of the entry."""
        if message == self.total:
            return None
        return f"{message}.{child}" if child else str(message)

    def reach(self, message: int, child: int = 0) -> None:
        """Note how far the commits have come."""
        self.low, self.child = message, child
        self.entry = replace(self.entry, position=self.at(message, child) or "")


class Processing(Runner):
    """One segment of experts."""

    def __init__(self, site: Site, stations: Sequence[Station]) -> None:
        super().__init__(site, stations)
        self.experts: list[Expert[Any]] = []
        self.room = [limit for station in stations for limit in station.room()]
        self.places = {station.name: place for place, station in enumerate(stations)}

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            self.experts = [await stack.enter_async_context(one.open()) for one in self.stations]
            try:
                if self.experts[0].stateful:
                    self.version = await stack.enter_async_context(self.first.leased())
                if self.first.spec.concurrency == 1 or self.experts[0].stateful:
                    await self._one_by_one()
                else:
                    await self._together()
            except Stopped:
                return

    async def _one_by_one(self) -> None:
        timer = self.experts[0].timer
        self.wait = BLOCK if timer is None else min(BLOCK, timer)  # time goes on where nothing comes
        clock = asyncio.get_running_loop().time
        fired = clock()
        while not self.first.stopping.is_set():
            for entry in await self.read():
                await self.step(entry)
            if timer is not None and clock() - fired >= timer:
                fired = clock()
                await self._on_timer()

    async def _together(self) -> None:
        slots = asyncio.Semaphore(self.first.spec.concurrency)

        async def one(entry: Entry) -> None:
            try:
                await self.step(entry)
            except Stopped:
                return
            finally:
                slots.release()

        async with asyncio.TaskGroup() as tasks:
            while not self.first.stopping.is_set():
                for entry in await self.read():
                    await slots.acquire()
                    tasks.create_task(one(entry))

    async def step(self, entry: Entry) -> None:
        """Take one entry through the segment, from the member whose stream it was in."""
        message, _, child = entry.position.partition(".")
        try:
            work = Work(entry, events_of(entry), entry.count, int(message or 0), int(child or 0))
            self.enter("running")
            alone = self.suspects(entry)
            while work.low < work.total:
                if not alone:
                    await self._advance(work, work.total)
                elif await self.survives(work.entry, work.at(work.low, work.child) or ""):
                    await self._advance(work, work.low + 1)
                else:
                    await self._give_up(work)
        except FrameBroken as error:
            await self.refuse(entry, error)
        except NotMine:
            return

    async def _give_up(self, work: Work) -> None:
        """Make a dead letter of a message that has brought workers down."""
        event = decode(work.body, self.site.pipeline.ontology)[work.low]
        error = Crashed(f"{CRASHES} workers have died while they had it alone")
        failed = Failed(self.places[work.entry.stage], event, error)
        commit = self._commit(work, Outcome(failed=[failed]), self.version, work.low + 1)
        to = work.at(work.low + 1)
        commit.take(work.entry, count=1, to=to)
        await self.settle(commit, [work.entry], ends=to is None)
        work.reach(work.low + 1)

    async def _advance(self, work: Work, high: int) -> None:
        """Commit as many messages up to `high` as fit into one commit, or one message in several."""
        high = high if not work.child else work.low + 1
        outcome, version = await self._process(work, high)
        while (commit := self._commit(work, outcome, version, high)).size > COMMIT and high - work.low > 1:
            high = work.low + (high - work.low) // 2
            outcome, version = await self._process(work, high)
        if high - work.low == 1 and (work.child or (commit.size > COMMIT and len(outcome.flat()) > 1)):
            await self._children(work, outcome, version, commit.size)
            return
        to = work.at(high)
        commit.take(work.entry, count=high - work.low, to=to)
        await self.settle(commit, [work.entry], ends=to is None)
        work.reach(high)

    async def _children(self, work: Work, outcome: Outcome, version: str, size: int) -> None:
        """Commit what one message became in several steps: its children are the same each time it is processed."""
        sent = outcome.flat()
        step = max(1, len(sent) * COMMIT // (2 * max(size, 1)))
        while len(sent) - work.child > step:
            upto = work.child + step
            part = self._commit(work, Outcome.of(sent[work.child : upto]), self.version, work.low)
            part.take(work.entry, count=0, to=work.at(work.low, upto))
            await self.settle(part, [work.entry], ends=False)
            if version and not self.version:
                raise Lost(f"{self.name}: state and {len(sent)} children of one event do not go together")
            work.reach(work.low, upto)
        rest = Outcome.of(sent[work.child :]).sent
        last = self._commit(work, replace(outcome, sent=rest), version, work.low + 1)
        to = work.at(work.low + 1)
        last.take(work.entry, count=1, to=to)
        await self.settle(last, [work.entry], ends=to is None)
        work.reach(work.low + 1)

    async def _process(self, work: Work, high: int) -> tuple[Outcome, str]:
        """Run messages up to `high` until nothing that they need is away; with the version their state had."""
        low, body, name = work.low, work.body, work.entry.id
        entry = "" if self.experts[0].pure else name  # pure stages claim nothing: their arrival is of no use
        version = self.version

        def events() -> list[Event]:
            return decode(body, self.site.pipeline.ontology, entry)[low:high]

        async def load(keys: Sequence[str]) -> Sequence[Any]:
            nonlocal version
            now, values = await self.site.transport.states(self.name, keys)
            version = version or now
            return values

        tries = 0
        while True:
            try:
                return await drain_segment(self.experts, events, load, self.places[work.entry.stage]), version
            except Unavailable as down:
                await self.wait_out(down, tries)
                tries += 1

    def _commit(self, work: Work, outcome: Outcome, version: str, high: int) -> Commit:
        commit = self.first.commit(version)
        commit.total = self.site.totals[self.stations[-1].name]
        commit.room = self.room
        settle(self.stations, commit, outcome)
        count = high - work.low
        if is_delayed(work.body):
            commit.count(work.entry.stage, "retrying", -count)
        else:
            commit.count(work.entry.stage, "in", count)
        passed(commit, self.stations[self.places[work.entry.stage] :], outcome.reached)
        return commit

    async def _on_timer(self) -> None:
        """Commit what time alone makes leave; one version guards frames and timer alike."""
        batch = Batch((), State(self.load))
        outcome = await settled(batch, self.experts[0].on_timer(batch), self.name)
        commit = self.first.commit(self.version, operation=f"timer:{self.version}")
        settle(self.stations, commit, outcome)
        if not commit.empty:
            await self.settle(commit, [])
