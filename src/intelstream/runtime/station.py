"""What every running stage has: its place in the pipeline, its world, and what it does when something fails."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import aiohttp
import structlog

from intelstream.errors import Crashed, IntelstreamError, InvalidValue, Rejected, Unavailable
from intelstream.ontology import Event
from intelstream.runtime import letters
from intelstream.runtime.drain import Outcome, Uncertain
from intelstream.runtime.originals import Originals
from intelstream.runtime.plan import levels
from intelstream.runtime.resolver import DnsResolver
from intelstream.runtime.roles import MAIN, Role
from intelstream.runtime.spec import ERROR, PipelineSpec, StageSpec
from intelstream.runtime.status import StageStatus
from intelstream.sdk import StageContext
from intelstream.sdk.concurrency import concurrently
from intelstream.transport.commit import Commit, Entry
from intelstream.transport.frames import encode_waiting, pack, slices
from intelstream.transport.letters import DeadLetters
from intelstream.transport.marks import StageCache, StageMarks
from intelstream.transport.transport import STATE, Transport

POLL: Final = 2.0  # seconds between two tries to take a lease that another daemon holds, or looks at the disk
LOW: Final = "the disk is nearly full"
NO_SPACE: Final = "the space for dead letters is used up"
SHORTEST: Final = 1.0
LONGEST: Final = 60.0


@dataclass(slots=True)
class Site:
    """What all stages of a worker share.

    `memory` is bytes for backlogs; `barrier` returns when what the server of a run_id acknowledged is on
    its disk; `low_on_disk` says that nothing more should be taken in. `quarantine` takes an entry under which
    workers have died; where there is none, the messages of such are tried one by one. `space` is bytes for dead letters
    on disk.
    """

    pipeline: PipelineSpec
    transport: Transport
    http: aiohttp.ClientSession
    state_dir: Path
    memory: int
    statuses: dict[str, StageStatus]
    barrier: Callable[[str], Awaitable[None]]
    low_on_disk: Callable[[], bool] = lambda: False
    role: Role = MAIN
    quarantine: Callable[[Entry], Awaitable[None]] | None = None
    space: int = 4 * 1024**3
    totals: dict[str, int] = field(init=False)
    letters: DeadLetters = field(init=False)
    originals: Originals = field(init=False)

    def __post_init__(self) -> None:
        directory = self.state_dir / "dead"
        self.letters = DeadLetters(self.transport, directory, barrier=self.barrier, limit=self.space)
        self.originals = Originals(self.letters.directory, self.space // 4)
        self.become(self.pipeline)

    def become(self, pipeline: PipelineSpec) -> None:
        """Go over to another pipeline: its limits hold from the next commit on."""
        self.pipeline = pipeline
        self.totals = {name: int(level * self.memory) for name, level in levels(self.pipeline.stages).items()}

    def now(self) -> datetime:
        return datetime.now(UTC)

    def note(self, commit: Commit) -> None:
        """Show what a commit has counted; it is written by now."""
        for stage, name, by in commit.counts():
            self.statuses[stage].count(name, by)


class Lost(IntelstreamError):
    """What the stage knew is not so any more: begin again from what is committed."""


class Stopped(IntelstreamError):
    """The worker stops; what is in hand stays pending for the next one."""


class Station:
    """One stage that runs, or is a member of a segment that does."""

    def __init__(self, site: Site, spec: StageSpec, stopping: asyncio.Event) -> None:
        self.site = site
        self.stopping = stopping
        self.spec = spec
        self.name = spec.name
        self.status = site.statuses[spec.name]
        self.log = structlog.get_logger(stage=spec.name)

    async def pause(self, seconds: float) -> bool:
        """Wait, but not longer than until the stage is to stop; say whether it is."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return False
        return True

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Any]:
        """Build the stage and keep what it acquires for as long as it is used. Its kind is the caller's to know."""
        stage = self.spec.stage(self.spec.params, self.context())
        async with stage.lifespan():
            yield stage

    @asynccontextmanager
    async def leased(self) -> AsyncGenerator[str]:
        """Hold the stage's lease and give its version; waits while a living worker has it.

        Raises:
            Stopped: the worker stops before it got it.
        """
        while (version := await self.site.transport.lease(self.name)) is None:
            self.status.enter("waiting", "another daemon runs it")
            if await self.pause(POLL):
                raise Stopped
        try:
            yield version
        finally:
            await self.site.transport.release(self.name)

    def context(self) -> StageContext:
        """Return all that the stage may touch."""
        site = self.site
        directory = site.state_dir / "stages" / self.name
        directory.mkdir(parents=True, exist_ok=True)
        return StageContext(
            name=self.name,
            log=self.log,
            now=site.now,
            sleep=asyncio.sleep,
            random=random.Random(),  # noqa: S311 - for jitter, not for secrets
            http=site.http,
            dns=DnsResolver(),
            address=lambda host, port: (host, port),
            directory=directory,
            cache=StageCache(site.transport, self.name),
            claims=StageMarks(site.transport, self.name, site.now, self._forgot),
            concurrently=concurrently,
            in_thread=asyncio.to_thread,
            held=self.held,
        )

    def held(self) -> str:
        """Say why nothing more should be taken in at the moment; empty while there is room."""
        if self.site.low_on_disk():
            return LOW
        return self.status.reason if self.status.state == "throttled" else ""

    async def wait_for_room(self) -> bool:
        """Wait while the disk is nearly full; say whether the worker stops meanwhile."""
        while self.site.low_on_disk():
            if self.status.enter("throttled", LOW):
                self.log.warning("collector_held", reason=LOW, cure=f"make room in {self.site.state_dir}")
            if await self.pause(POLL):
                return True
        return False

    def _forgot(self, count: int) -> None:
        self.log.warning("marks_forgotten_early", count=count, cure="raise `max_keys` or shorten `ttl`")

    def commit(self, version: str = "", operation: str = "") -> Commit:
        """Begin a step of this stage, within the limits of those it sends to."""
        return Commit(
            self.site.transport.lane,
            self.name,
            self.site.transport.consumer,
            version=version,
            operation=operation,
            room=self.room(),
            total=self.site.totals[self.name],
        )

    def room(self) -> list[tuple[str, int]]:
        """Return those it sends to that take no more than so many messages."""
        stages = self.site.pipeline.stages
        return [(to, limit) for to in self.spec.targets() if to in stages and (limit := stages[to].backlog)]

    def send(self, commit: Commit, path: str, events: Sequence[Event], *, arrived: bool = False) -> None:
        """Send events by a path; one that leads nowhere drops them, under its name.

        `arrived` ones keep the arrival that they have.
        """
        targets = self.spec.to.get(path, ())
        if not targets:
            optional = path in self.spec.stage.optional
            commit.count(self.name, f"dropped:{self.name if optional else f'unconnected:{path}'}", len(events))
            return
        for count, body in slices(events, arrived=arrived):
            commit.send(targets, pack(body), count)
        for target in targets:
            commit.count(self.name, f"sent:{path}:{target}", len(events))
        commit.count(self.name, "out", len(events))

    def fail(self, commit: Commit, event: Event, error: Exception) -> None:
        """Put a failed event where its error sends it: aside for a while, by the error path, or to the dead letters."""
        retry = self.spec.retry
        if isinstance(error, Unavailable):
            self._put_aside(commit, event, error.retry_after or retry.delay)
        elif not isinstance(error, InvalidValue | Rejected | Crashed | Uncertain) and event.attempts < retry.attempts:
            event.attempts += 1
            self._put_aside(commit, event, retry.delay)
        else:
            self.give_up(commit, event, error)

    def give_up(self, commit: Commit, event: Event, error: Exception) -> None:
        """Send an event by the error path if one is connected, else bury it."""
        letter = letters.of_event(self.name, event, error, self.site.now())
        if self.spec.to.get(ERROR):
            event.fields |= {"error.stage": self.name, "error.class": letter.error, "error.text": letter.text}
            if letter.field:
                event.fields["error.field"] = letter.field
            event.attempts = 0
            self.send(commit, ERROR, [event])
            commit.count(self.name, "errored")
        else:
            self.bury(commit, letter)

    def bury(self, commit: Commit, letter: letters.Letter) -> None:
        commit.bury(self.name, pack(letter.dump()), letter.cause)
        commit.count(self.name, "dead")
        commit.count(self.name, f"dead:{letter.error}")
        self.status.last_error = letter.text

    async def relieve(self, commit: Commit) -> None:
        """Move old dead letters to files where a commit has made too many; wait while there is no room for them."""
        for stage, (number, size) in commit.buried.items():
            while not await self.site.letters.relieve(stage, number, size):
                if self.status.enter("paused", NO_SPACE):
                    self.log.error("dead_letters_full", cure="retry, export or drop some: `intelstream dead group`")
                if await self.pause(POLL):
                    return

    def _put_aside(self, commit: Commit, event: Event, delay: float) -> None:
        due = int((self.site.now().timestamp() + delay) * 1000)
        commit.delay(self.name, pack(encode_waiting(event, delayed=True)), due)
        commit.count(self.name, "retrying")

    async def hold_off(self, down: Unavailable, tries: int) -> bool:
        """Pause because the far side is away, longer each time; say whether the worker stops."""
        wait = down.retry_after or min(LONGEST, SHORTEST * 2 ** min(tries, 10))
        self.status.last_error = str(down)
        self.status.enter("paused", str(down))
        self.log.warning("paused", error=str(down), next_try=wait)
        return await self.pause(wait)


def passed(commit: Commit, members: Sequence[Station], reached: Sequence[int]) -> None:
    """Count events that went from each member to the next one without a trip through its stream."""
    for (sender, receiver), number in zip(pairwise(members), reached, strict=False):
        commit.count(sender.name, f"sent:default:{receiver.name}", number)
        commit.count(sender.name, "out", number)
        commit.count(receiver.name, "in", number)


def settle(stations: Sequence[Station], commit: Commit, outcome: Outcome) -> None:
    """Put an outcome into the commit: each event by the path, reason or error of the member that it ended at."""
    for (member, path), events in outcome.sent.items():
        stations[member].send(commit, path, events)
    for dropped in outcome.dropped:
        commit.count(stations[dropped.member].name, f"dropped:{dropped.reason[:64]}")
    for failed in outcome.failed:
        stations[failed.member].fail(commit, failed.event, failed.error)
    for key, value in outcome.state.items():
        commit.write(STATE + key, value)
