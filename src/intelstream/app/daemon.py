"""One running pipeline: its server, its worker, and the socket over which commands ask it."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp
import structlog

from intelstream.app.control import Instance, listening
from intelstream.app.crew import Crew
from intelstream.app.servers import Server, instance_of, serve
from intelstream.errors import CannotApply
from intelstream.runtime.roles import MAIN
from intelstream.runtime.server import StateDirectory
from intelstream.runtime.spec import HostSpec, PipelineSpec
from intelstream.runtime.station import Site
from intelstream.runtime.status import StageStatus
from intelstream.runtime.watch import LoopWatch, told
from intelstream.runtime.worker import Change, Worker, unless
from intelstream.transport.link import Client, ServerTrouble
from intelstream.transport.names import Lane
from intelstream.transport.transport import Transport

Serve = Callable[[HostSpec, StateDirectory, str | None], AbstractAsyncContextManager[Server]]


@dataclass(frozen=True, slots=True)
class Staff:
    """Who works: the worker in this process, and those in others."""

    worker: Worker
    crew: Crew

    async def run(self, pipeline: PipelineSpec, stopping: asyncio.Event) -> None:
        """Work until told to stop."""
        ending = asyncio.create_task(self._end(stopping))
        await unless(stopping, self.crew.start(pipeline))
        try:
            await self.worker.run()
        finally:
            stopping.set()
            await ending

    async def apply(self, pipeline: PipelineSpec) -> Change:
        """Go over to another pipeline: other processes by a new start, between two frames."""
        await self.crew.stop()
        change = await self.worker.apply(pipeline)
        await self.crew.start(pipeline)
        return change

    async def _end(self, stopping: asyncio.Event) -> None:
        try:
            await stopping.wait()
        finally:
            await self.crew.stop()


class Daemon:
    """A pipeline on this host. `stop` ends it between two frames; so does cancelling `run`, or at once if it stops.

    `serve` gives the server that it works on, `source` reads the pipeline again.
    """

    def __init__(
        self,
        pipeline: PipelineSpec,
        host: HostSpec,
        *,
        runtime_dir: str | None = None,
        serve: Serve = serve,
        log_level: str = "info",
        source: Callable[[], PipelineSpec] | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.host = host
        self.ready = asyncio.Event()
        self.statuses: dict[str, StageStatus] = {}
        self.server_pid: Callable[[], int | None] = lambda: None
        self._runtime_dir = runtime_dir
        self._serve = serve
        self._stopping = asyncio.Event()
        self._log_level = log_level
        self._source = source
        self._log = structlog.get_logger()
        self._staff: Staff | None = None
        self._applying = asyncio.Lock()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def stop(self) -> None:
        """Let the stages finish what they have in hand, and end."""
        self._stopping.set()

    async def run(self) -> None:
        """Run until `stop` is called.

        Raises:
            DirectoryInUse: another daemon works in the state directory.
            UnusableDirectory: it cannot be made or written.
            UnusableServer: there is no server, or none that is safe.
            NewerFormat: the data are of a newer version.
        """
        with StateDirectory(self.host.state_dir) as directory:
            async with self._serve(self.host, directory, self._runtime_dir) as server:
                self.server_pid = server.pid
                watch = asyncio.create_task(_forever(server))
                try:
                    await self._work(server, directory, watch)
                finally:
                    watch.cancel()
                    await asyncio.gather(watch, return_exceptions=True)

    async def _work(self, server: Server, directory: StateDirectory, watch: asyncio.Task[None]) -> None:
        client = Client(server.address)
        mine = f"{socket.gethostname()}.{instance_of(directory.path)}."

        def consumer() -> str:
            return f"{mine}{os.getpid()}.{secrets.token_hex(4)}"

        transport = Transport(client, Lane(self.pipeline.name), consumer(), self._on_trouble)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(client.close)
            jar = aiohttp.DummyCookieJar()
            http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=jar, trust_env=False))
            site = Site(
                pipeline=self.pipeline,
                transport=transport,
                http=http,
                state_dir=directory.path,
                memory=self.host.memory,
                space=self.host.dead_letters,
                statuses=self.statuses,
                barrier=server.barrier,
                low_on_disk=server.low_on_disk,
            )
            self.statuses.update({name: StageStatus(name, site.now) for name in self.pipeline.stages})
            worker = Worker(site, self._stopping, MAIN.hosts)
            crew = Crew(self.host, transport, self.statuses, consumer, worker.keeper.sweep, self._log_level)
            site.quarantine = crew.quarantine
            self._staff = Staff(worker, crew)
            instance = Instance(site, server.pid, crew.shown, self.reload)
            await stack.enter_async_context(listening(instance, directory.path))
            await stack.enter_async_context(LoopWatch(told))
            stages = list(self.pipeline.stages)
            if not await unless(self._stopping, transport.bury_predecessors(mine, stages)):
                return
            self._log.info(
                "daemon_started",
                pipeline=self.pipeline.name,
                stages=len(self.statuses),
                state_dir=str(directory.path),
            )
            work = asyncio.create_task(self._staff.run(self.pipeline, self._stopping))
            self.ready.set()
            patient = True
            try:
                await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                patient = not self.stopping
                raise
            finally:
                self._stopping.set()
                try:
                    if patient:
                        await asyncio.shield(work)
                finally:
                    work.cancel()
                    await asyncio.gather(work, return_exceptions=True)
            if watch.done():
                watch.result()
            self._log.info("daemon_stopped", pipeline=self.pipeline.name)

    async def reload(self) -> Change:
        """Read the pipeline file again and go over to it; a file with faults changes nothing.

        Raises:
            ConfigError: with all faults of the file.
            CannotApply: only a new start can do it.
        """
        if self._source is None:
            raise CannotApply("reading the pipeline file again: the daemon was given none; use `apply`")
        return await self.apply(await asyncio.to_thread(self._source))

    async def apply(self, pipeline: PipelineSpec) -> Change:
        """Go over to another pipeline under way; what has not changed runs on.

        Raises:
            CannotApply: only a new start can do it.
        """
        if self._staff is None or self.stopping:
            raise CannotApply("applying a pipeline: the daemon does not run, or stops")
        if pipeline.name != self.pipeline.name:
            raise CannotApply(
                f"applying a pipeline: its name is {pipeline.name!r}, {self.pipeline.name!r} runs; another name is "
                f"another set of queues: stop the daemon and start it with the new file"
            )
        async with self._applying:
            change = await self._staff.apply(pipeline)
            self.pipeline = pipeline
        self._log.info("pipeline_applied", started=len(change.started), stopped=len(change.stopped), kept=change.kept)
        return change

    def _on_trouble(self, trouble: ServerTrouble | None) -> None:
        if trouble:
            self._log.warning("server_in_trouble", error=str(trouble), code=trouble.code)
        else:
            self._log.info("server_well_again")


async def _forever(server: Server) -> None:
    await server.supervise()


@asynccontextmanager
async def running(pipeline: PipelineSpec, host: HostSpec) -> AsyncGenerator[Daemon]:
    """Run a pipeline while the context lasts; for programs and tests that embed one."""
    daemon = Daemon(pipeline, host)
    task = asyncio.create_task(daemon.run())
    ready = asyncio.create_task(daemon.ready.wait())
    try:
        await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield daemon
    finally:
        ready.cancel()
        daemon.stop()
        await task
