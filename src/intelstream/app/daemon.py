"""One running pipeline: its server, its worker, and the socket over which commands ask it."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import aiohttp
import structlog

from intelstream.app.control import Instance, listening
from intelstream.app.servers import Server, instance_of, serve
from intelstream.runtime.server import StateDirectory
from intelstream.runtime.spec import HostSpec, PipelineSpec
from intelstream.runtime.station import Site
from intelstream.runtime.status import StageStatus
from intelstream.runtime.worker import Worker
from intelstream.transport.link import Client, ServerTrouble
from intelstream.transport.names import Lane
from intelstream.transport.transport import Transport

Serve = Callable[[HostSpec, StateDirectory, str | None], AbstractAsyncContextManager[Server]]


class Daemon:
    """A pipeline on this host. `stop` ends it between two frames; so does cancelling `run`, or at once if it stops.

    `serve` gives the server that it works on.
    """

    def __init__(
        self, pipeline: PipelineSpec, host: HostSpec, *, runtime_dir: str | None = None, serve: Serve = serve
    ) -> None:
        self.pipeline = pipeline
        self.host = host
        self.ready = asyncio.Event()
        self.statuses: dict[str, StageStatus] = {}
        self.server_pid: Callable[[], int | None] = lambda: None
        self._runtime_dir = runtime_dir
        self._serve = serve
        self._stopping = asyncio.Event()
        self._log = structlog.get_logger()

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
        transport = Transport(
            client, Lane(self.pipeline.name), f"{mine}{os.getpid()}.{secrets.token_hex(4)}", self._on_trouble
        )
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
                statuses=self.statuses,
                barrier=server.barrier,
                low_on_disk=server.low_on_disk,
            )
            self.statuses.update({name: StageStatus(name, site.now) for name in self.pipeline.stages})
            await stack.enter_async_context(listening(Instance(site, server.pid), directory.path))
            await transport.bury_predecessors(mine, list(self.pipeline.stages))
            self._log.info(
                "daemon_started",
                pipeline=self.pipeline.name,
                stages=len(self.statuses),
                state_dir=str(directory.path),
            )
            work = asyncio.create_task(Worker(site, self._stopping).run())
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
