"""Runs one segment until it is told to stop: again when it crashes, later each time, and visibly."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import structlog

from intelstream.errors import Unavailable
from intelstream.runtime.collecting import Collecting
from intelstream.runtime.delivering import Delivering
from intelstream.runtime.parsing import Parsing
from intelstream.runtime.processing import Processing
from intelstream.runtime.running import Runner
from intelstream.runtime.spec import Kind, StageSpec
from intelstream.runtime.station import Lost, Site, Station
from intelstream.sdk import Lines, Parser

NUDGE: Final = 0.1
FIRST_WAIT: Final = 1.0
LAST_WAIT: Final = 60.0
RUNNERS: Final[Mapping[Kind, type[Processing | Delivering]]] = {
    "expert": Processing,
    "output": Delivering,
}
HEALTHY: Final = 60.0  # seconds after which a crash counts as the first one again


class Runs(Protocol):
    """Whatever runs a segment until it is told to stop."""

    async def run(self) -> None: ...


class Hosting:
    """One segment on this worker.

    `specs` are its members; `receivers` those that a collector sends to, or that a parser runs its events through. The
    two are all that makes a segment what it is: while they stay the same it goes on through a change of the pipeline.
    """

    def __init__(self, site: Site, specs: Sequence[StageSpec], receivers: Sequence[StageSpec]) -> None:
        self.site = site
        self.specs = tuple(specs)
        self.receivers = tuple(receivers)
        self.stopping = asyncio.Event()
        self._stations = [Station(site, spec, self.stopping) for spec in specs]
        self._log = structlog.get_logger(stage=specs[0].name)
        self._runner: Runner | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.specs)

    def same(self, other: "Hosting") -> bool:
        """Tell whether nothing has changed for those who run."""
        return self.specs == other.specs and self.receivers == other.receivers

    async def run(self) -> None:
        """Run it until `stopping` is set."""
        loop, first, tries = asyncio.get_running_loop(), self._stations[0], 0
        while not self.stopping.is_set():
            began = loop.time()
            try:
                await self._make().run()
            except Exception as error:  # noqa: BLE001 - the boundary between the daemon and its stages
                if only := _only_lost(error):
                    self._log.info("stage_resumed", reason=str(only))
                    await first.pause(NUDGE)
                    continue
                if loop.time() - began > HEALTHY:
                    tries = 0
                await self._wait_out(first, error, tries)
                tries += 1
            finally:
                if self._runner:
                    await self._runner.reader.close()
                self._runner = None
        for station in self._stations:
            station.status.enter("stopped")

    async def interrupt(self) -> None:
        """Wake it if it waits for input."""
        if self._runner:
            await self._runner.reader.interrupt()

    async def recheck(self) -> None:
        """Have it look for entries that have come back to this worker."""
        if self._runner:
            await self._runner.reader.recheck()

    def _make(self) -> Runs:
        """Make what runs it; anew at each start."""
        kind = self._stations[0].spec.kind
        if kind == "collector":
            return Collecting(self.site, self._stations[0], _split(self.site, self.receivers, self.stopping))
        if kind == "parser":
            tail = [Station(self.site, spec, self.stopping) for spec in self.receivers]
            self._runner = Parsing(self.site, self._stations, tail)
        else:
            self._runner = RUNNERS[kind](self.site, self._stations)
        return self._runner

    async def _wait_out(self, station: Station, error: Exception, tries: int) -> None:
        """Show why a stage does not run, and wait."""
        if isinstance(error, Unavailable):  # what it needs to begin with is not there, such as a port
            await station.hold_off(error, tries)
            return
        wait = min(LAST_WAIT, FIRST_WAIT * 2 ** min(tries, 10))
        station.status.last_error = f"{type(error).__name__}: {error}"
        station.status.enter("backoff", station.status.last_error)
        self._log.error("stage_crashed", next_try=wait, exc_info=error)
        await station.pause(wait)


def _split(site: Site, receivers: Sequence[StageSpec], stopping: asyncio.Event) -> Lines | None:
    """Return where all parsers behind a collector let a report be cut; None if one of them does not."""
    found: set[Lines | None] = set()
    for spec in receivers:
        if not issubclass(spec.stage, Parser):
            return None
        parser: Parser[Any] = spec.stage(spec.params, Station(site, spec, stopping).context())
        found.add(parser.split)
    return found.pop() if len(found) == 1 else None


def _only_lost(error: Exception) -> Exception | None:
    """Return the loss of a lease or position that an error consists of, None if it is something else."""
    if isinstance(error, ExceptionGroup):
        found = [_only_lost(one) for one in error.exceptions]
        return found[0] if all(found) else None
    return error if isinstance(error, Lost) else None
