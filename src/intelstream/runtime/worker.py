"""Hosts the stages of a pipeline on one event loop, restarts those that crash, and stops them between two frames."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import structlog

from intelstream.errors import Unavailable
from intelstream.runtime.collecting import Collecting
from intelstream.runtime.delivering import Delivering
from intelstream.runtime.parsing import Parsing
from intelstream.runtime.plan import segments
from intelstream.runtime.processing import Processing
from intelstream.runtime.running import Runner
from intelstream.runtime.station import Lost, Site, Station
from intelstream.sdk import Lines, Parser
from intelstream.transport.keeper import Keeper, Pulse

GRACE: Final = 30.0  # seconds that stages have to finish the frame in hand
NUDGE: Final = 0.1
FIRST_WAIT: Final = 1.0
LAST_WAIT: Final = 60.0
HEALTHY: Final = 60.0  # seconds after which a crash counts as the first one again


class Runs(Protocol):
    """Whatever runs a stage until the worker stops."""

    async def run(self) -> None: ...


class Worker:
    """One process of a pipeline. `stop` lets the stages finish what they have in hand; cancelling `run` does not."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.stations = {name: Station(site, spec) for name, spec in site.pipeline.stages.items()}
        self.log = structlog.get_logger()
        self._readers: dict[str, Runner] = {}

    async def run(self) -> None:
        """Run until `site.stopping` is set and every stage has ended.

        Raises:
            NewerFormat: the server holds data of a newer version.
        """
        transport = self.site.transport
        specs = self.site.pipeline.stages
        for spec in specs.values():
            if spec.was and spec.was not in specs and await transport.rename(spec.was, spec.name):
                self.log.info("stage_renamed", stage=spec.name, was=spec.was)
        await transport.open(list(specs))
        keeper = Keeper(transport, list(specs), self._recheck, self._stranded)
        async with Pulse(transport):
            care = asyncio.create_task(keeper.run())
            try:
                await self._run_stages(care)
            finally:
                care.cancel()
                await asyncio.gather(care, return_exceptions=True)

    async def _run_stages(self, care: asyncio.Task[None]) -> None:
        tasks = [
            asyncio.create_task(self._keep(members, make), name=members[0].name) for members, make in self._makers()
        ]
        ending = asyncio.create_task(self._end(tasks))
        try:
            await asyncio.wait([ending, care], return_when=asyncio.FIRST_COMPLETED)
            if care.done():
                care.result()  # the keeper never ends of itself
        finally:
            ending.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(ending, *tasks, return_exceptions=True)

    def _makers(self) -> list[tuple[list[Station], Callable[[], Runs]]]:
        """Return each stage or segment, and what runs it, made anew at each start."""
        site, stations = self.site, self.stations
        makers: list[tuple[list[Station], Callable[[], Runs]]] = []

        def add(members: list[Station], make: Callable[..., Runs], *args: Any) -> None:
            makers.append((members, lambda: make(site, *args)))

        for names in segments(site.pipeline.stages):
            members = [stations[name] for name in names if stations[name].spec.enabled]
            for name in names:
                if not stations[name].spec.enabled:
                    stations[name].status.enter("disabled")
            if not members:
                continue
            match members[0].spec.kind:
                case "collector":
                    add(members, Collecting, members[0], self._split(members[0]))
                case "parser":
                    add(members, Parsing, members)
                case "expert":
                    add(members, Processing, members)
                case "output":
                    add(members, Delivering, members)
        return makers

    def _split(self, collector: Station) -> Lines | None:
        """Return where all parsers behind a collector let a report be cut; None if one of them does not."""
        found: set[Lines | None] = set()
        for target in collector.spec.targets():
            station = self.stations[target]
            if not issubclass(station.spec.stage, Parser):
                return None
            parser: Parser[Any] = station.spec.stage(station.spec.params, station.context())
            found.add(parser.split)
        return found.pop() if len(found) == 1 else None

    async def _keep(self, members: Sequence[Station], make: Callable[[], Runs]) -> None:
        """Run a stage, and run it again when it ends with an error: later each time, and visibly."""
        loop, station, tries = asyncio.get_running_loop(), members[0], 0
        while not self.site.stopping.is_set():
            runs, began = make(), loop.time()
            if isinstance(runs, Runner):
                self._readers[station.name] = runs
            try:
                await runs.run()
            except Exception as error:  # noqa: BLE001 - the boundary between the daemon and its stages
                if only := _only_lost(error):
                    self.log.info("stage_resumed", stage=station.name, reason=str(only))
                    await self.site.pause(NUDGE)
                    continue
                if loop.time() - began > HEALTHY:
                    tries = 0
                await self._wait_out(station, error, tries)
                tries += 1
            finally:
                if isinstance(runs, Runner):
                    await runs.reader.close()
        for member in members:
            member.status.enter("stopped")

    async def _wait_out(self, station: Station, error: Exception, tries: int) -> None:
        """Show why a stage does not run, and wait."""
        if isinstance(error, Unavailable):  # what it needs to begin with is not there, such as a port
            await station.hold_off(error, tries)
            return
        wait = min(LAST_WAIT, FIRST_WAIT * 2 ** min(tries, 10))
        station.status.last_error = f"{type(error).__name__}: {error}"
        station.status.enter("backoff", station.status.last_error)
        self.log.error("stage_crashed", stage=station.name, next_try=wait, exc_info=error)
        await self.site.pause(wait)

    async def _end(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """When the worker is to stop, wake those that wait for input until all have ended or the time is over."""
        await self.site.stopping.wait()
        over = asyncio.get_running_loop().time() + GRACE
        while waiting := [task for task in tasks if not task.done()]:
            if asyncio.get_running_loop().time() > over:
                self.log.warning("stages_cut_off", stages=[task.get_name() for task in waiting], grace=GRACE)
                return
            for runner in list(self._readers.values()):
                await runner.reader.interrupt()
            await asyncio.wait(waiting, timeout=NUDGE)

    async def _recheck(self, stage: str) -> None:
        """Tell whoever reads a stage's stream that entries have come back to this worker."""
        for runner in list(self._readers.values()):
            if any(station.name == stage for station in runner.stations):
                await runner.reader.recheck()

    def _stranded(self, stage: str, count: int) -> None:
        self.log.error("entries_stranded", stage=stage, count=count, cure="they are delivered again")


def _only_lost(error: Exception) -> Exception | None:
    """Return the loss of a lease or position that an error consists of, None if it is something else."""
    if isinstance(error, ExceptionGroup):
        found = [_only_lost(one) for one in error.exceptions]
        return found[0] if all(found) else None
    return error if isinstance(error, Lost) else None
