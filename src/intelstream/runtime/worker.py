"""Hosts the segments of a pipeline on one event loop, changes them under way, and stops them between two frames."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import structlog

from intelstream.runtime.hosting import NUDGE, Hosting
from intelstream.runtime.plan import segments, tails
from intelstream.runtime.spec import PipelineSpec, StageSpec
from intelstream.runtime.station import Site, Stopped
from intelstream.runtime.status import StageStatus
from intelstream.transport.keeper import Keeper, Pulse

GRACE: Final = 30.0  # seconds that stages have to finish the frame in hand


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a change of the pipeline did to the segments of a worker, each by its members."""

    started: tuple[tuple[str, ...], ...] = ()
    stopped: tuple[tuple[str, ...], ...] = ()
    kept: int = 0


async def unless(stopping: asyncio.Event, step: Coroutine[Any, Any, None]) -> bool:
    """Do something that may wait for the server, but not longer than until the worker stops; say whether it is done."""
    doing, stop = asyncio.create_task(step), asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((doing, stop), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
        return doing.done()
    finally:
        doing.cancel()
        stop.cancel()
        await asyncio.gather(doing, stop, return_exceptions=True)


def everything(_: StageSpec) -> bool:
    """Host all stages."""
    return True


class Worker:
    """One process of a pipeline; `hosts` says which stages run in it.

    Setting `stopping` lets the stages finish what they have in hand; cancelling `run` does not.
    """

    def __init__(self, site: Site, stopping: asyncio.Event, hosts: Callable[[StageSpec], bool] = everything) -> None:
        self.site = site
        self._stopping = stopping
        self._hosts = hosts
        self._running: dict[tuple[str, ...], tuple[Hosting, asyncio.Task[None]]] = {}
        self._orders: asyncio.Queue[tuple[PipelineSpec, asyncio.Future[Change]]] = asyncio.Queue()
        self._log = structlog.get_logger()
        self.keeper = Keeper(site.transport, (), self._recheck, self._stranded)

    async def run(self) -> None:
        """Run until it is told to stop and every stage has ended.

        Raises:
            NewerFormat: the server holds data of a newer version.
        """
        async with AsyncExitStack() as stack:
            if not await unless(self._stopping, self._open(stack)):
                return
            self._begin(self._planned(self.site.pipeline))
            care = asyncio.create_task(self.keeper.run())
            ordered = asyncio.create_task(self._obey())
            stop = asyncio.create_task(self._stopping.wait())
            try:
                await asyncio.wait((care, ordered, stop), return_when=asyncio.FIRST_COMPLETED)
                for task in (care, ordered):
                    if task.done():
                        task.result()  # neither ends of itself
                await self._cancelled(ordered)
                await self._end(list(self._running))
            finally:
                tasks = [task for _, task in self._running.values()]
                await self._cancelled(care, ordered, stop, *tasks)
                while not self._orders.empty():
                    self._orders.get_nowait()[1].set_exception(Stopped())

    async def _open(self, stack: AsyncExitStack) -> None:
        """Make ready what the stages need.

        What workers had that are known to be gone is taken over before anything new is read: an output that was killed
        in the middle of a write is to meet the same events first.
        """
        transport = self.site.transport
        await self._rename(self.site.pipeline)
        await transport.open(list(self.site.pipeline.stages))
        await stack.enter_async_context(Pulse(transport))
        if transport.buried:
            planned = self._planned(self.site.pipeline)
            self.keeper.stages = [name for names in planned for name in names]
            await self.keeper.sweep()

    async def apply(self, pipeline: PipelineSpec) -> Change:
        """Go over to another pipeline: what has not changed runs on, the rest is stopped and started between frames.

        Raises:
            Stopped: the worker stops, and how far this has come shows at the next start.
        """
        if self._stopping.is_set():
            raise Stopped
        done: asyncio.Future[Change] = asyncio.get_running_loop().create_future()
        self._orders.put_nowait((pipeline, done))
        return await asyncio.shield(done)

    async def _obey(self) -> None:
        while True:
            pipeline, done = await self._orders.get()
            try:
                done.set_result(await self._apply(pipeline))
            except Exception as error:  # noqa: BLE001 - whoever asked for it gets it; what runs goes on
                done.set_exception(error)
            finally:
                if not done.done():
                    done.set_exception(Stopped())

    async def _apply(self, pipeline: PipelineSpec) -> Change:
        site = self.site
        planned = self._planned(pipeline)
        gone = [names for names, (running, _) in self._running.items() if not _goes_on(running, planned.get(names))]
        await self._end(gone)
        await self._rename(pipeline)
        await site.transport.open(list(pipeline.stages))
        site.become(pipeline)
        for name in set(site.statuses) - set(pipeline.stages):
            del site.statuses[name]
        new = {names: hosting for names, hosting in planned.items() if names not in self._running}
        kept = len(self._running)
        self._begin(new)
        return Change(started=tuple(new), stopped=tuple(gone), kept=kept)

    async def _rename(self, pipeline: PipelineSpec) -> None:
        """Give what is kept of renamed stages to them."""
        for spec in pipeline.stages.values():
            if spec.was and spec.was not in pipeline.stages:
                await self.site.letters.rename(spec.was, spec.name)
                if await self.site.transport.rename(spec.was, spec.name):
                    self._log.info("stage_renamed", stage=spec.name, was=spec.was)

    def _planned(self, pipeline: PipelineSpec) -> dict[tuple[str, ...], Hosting]:
        """Return what runs each segment that this worker hosts, by its members."""
        specs = pipeline.stages
        for name in specs:
            self.site.statuses.setdefault(name, StageStatus(name, self.site.now))
        found: dict[tuple[str, ...], Hosting] = {}
        through = tails(specs)
        for names in segments(specs):
            first = specs[names[0]]
            if first.enabled and self._hosts(first):
                behind = first.targets() if first.kind == "collector" else through.get(first.name, ())
                receivers = [specs[to] for to in behind]
                found[names] = Hosting(self.site, [specs[name] for name in names], receivers)
        return found

    def _begin(self, planned: dict[tuple[str, ...], Hosting]) -> None:
        for name, spec in self.site.pipeline.stages.items():
            if not spec.enabled:
                self.site.statuses[name].enter("disabled")
        for names, hosting in planned.items():
            self._running[names] = hosting, asyncio.create_task(hosting.run(), name=names[0])
        self.keeper.stages = [name for names in self._running for name in names]

    async def _end(self, gone: Iterable[tuple[str, ...]]) -> None:
        """Have segments end: wake those that wait for input until all have ended or the time is over."""
        ending = {names: self._running[names] for names in gone}
        for hosting, _ in ending.values():
            hosting.stopping.set()
        over = asyncio.get_running_loop().time() + GRACE
        while waiting := [task for _, task in ending.values() if not task.done()]:
            if asyncio.get_running_loop().time() > over:
                self._log.warning("stages_cut_off", stages=[task.get_name() for task in waiting], grace=GRACE)
                break
            for hosting, task in ending.values():
                if not task.done():
                    await hosting.interrupt()
            await asyncio.wait(waiting, timeout=NUDGE)
        await self._cancelled(*(task for _, task in ending.values()))
        for names in ending:
            del self._running[names]
        self.keeper.stages = [name for names in self._running for name in names]

    @staticmethod
    async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _recheck(self, stage: str) -> None:
        """Tell whoever reads a stage's stream that entries have come back to this worker."""
        for names, (hosting, _) in list(self._running.items()):
            if stage in names:
                await hosting.recheck()

    def _stranded(self, stage: str, count: int) -> None:
        self._log.error("entries_stranded", stage=stage, count=count, cure="they are delivered again")


def _goes_on(running: Hosting, planned: Hosting | None) -> bool:
    return planned is not None and running.same(planned)
