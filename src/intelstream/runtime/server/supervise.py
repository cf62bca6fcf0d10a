"""The daemon's own server: started or found again, kept alive, looked after, and shut down with the daemon."""

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

from intelstream.errors import Unavailable, UnusableServer
from intelstream.runtime.server.barrier import Barrier
from intelstream.runtime.server.call import Connect
from intelstream.runtime.server.config import Layout, Record, address, choose_socket, remove_socket
from intelstream.runtime.server.disk import Disk, keep_ballast
from intelstream.runtime.server.locks import StateDirectory
from intelstream.runtime.server.process import Process
from intelstream.runtime.server.program import Program, find
from intelstream.runtime.server.starter import Starter

LOOK: Final = 1.0  # seconds between two looks at the server
STEADY: Final = 60.0  # seconds after which an end is not a consequence of the last start
FIRST_WAIT: Final = 0.5  # seconds before the second start in a row
LONGEST_WAIT: Final = 30.0


def _tell_log(text: str) -> None:
    structlog.get_logger().warning("server_troubled", text=text)


class BundledServer:
    """A private Redis-compatible server in a state directory, for as long as the context lasts.

    `memory` is the sum of the pipeline's limits in bytes; `server` is `bundled`, `auto` or a path; `on_trouble` is
    told what an operator should know; `runtime_dir` is XDG_RUNTIME_DIR. A server that a killed daemon left is used
    again. When the context ends, or its beginning is cancelled, the server is shut down.

    Raises, when entered:
        UnusableServer: no program runs here, or it does not start with the data that stands here.
    """

    def __init__(
        self,
        directory: StateDirectory,
        *,
        connect: Connect,
        memory: int,
        server: str = "bundled",
        on_trouble: Callable[[str], None] = _tell_log,
        runtime_dir: str | None = None,
    ) -> None:
        self.restarts = 0
        self.on_trouble = on_trouble
        self._layout = Layout(directory.path)
        self._connect = connect
        self._memory = memory
        self._wanted = server
        self._runtime_dir = runtime_dir
        self._stack = AsyncExitStack()
        self._process: Process | None = None
        self._socket: Path
        self._starter: Starter
        self._disk: Disk
        self._barrier: Barrier

    @property
    def address(self) -> str:
        """The server's `unix://` URL; it stays the same when the server is started again."""
        return address(self._socket)

    @property
    def program(self) -> Program:
        return self._starter.program

    @property
    def pid(self) -> int | None:
        """The number of the living server's process."""
        return self._process.pid if self._process and self._process.alive else None

    @property
    def low_on_disk(self) -> bool:
        """Whether so little of the disk is free that nothing more should be taken in."""
        return self._disk.low

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except OSError as error:
            await self._leave()
            raise UnusableServer(f"starting a server in {self._layout.directory}: {error}") from error
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    async def barrier(self, run_id: str | None = None) -> None:
        """Return when every write that was acknowledged before the call is on the disk.

        `run_id` is that of the server which acknowledged it: one that was started since may not know the write.

        Raises:
            Unavailable: it is not, or nobody can tell.
        """
        await self._barrier(run_id)

    async def supervise(self) -> None:
        """Look after the server, and start it again whenever it ends; runs until it is cancelled."""
        wait = 0.0
        while True:
            begun = time.monotonic()
            if self._process:
                await self._attend(self._process)
            wait = await self._start_again(0.0 if time.monotonic() - begun > STEADY else wait)
            self.restarts += 1

    async def _open(self) -> None:
        layout = self._layout
        program = await find(self._wanted)
        layout.data.mkdir(mode=0o700, exist_ok=True)
        layout.data.chmod(0o700)
        keep_ballast(layout)
        record = Record.read(layout.record)
        if record:
            record.check(program, layout)
        self._socket = choose_socket(layout, record, self._runtime_dir)
        # Until the start has succeeded the data is that of the version which wrote it.
        written = record.version if record and layout.manifest.exists() else program.version
        Record(written, str(program.path), self._socket).write(layout.record)
        call = await self._stack.enter_async_context(self._connect(self.address))
        self._starter = Starter(
            program=program,
            layout=layout,
            socket=self._socket,
            memory=self._memory,
            call=call,
            on_trouble=self.on_trouble,
        )
        self._disk = Disk(call, layout, self.on_trouble)
        self._barrier = Barrier(await self._stack.enter_async_context(self._connect(self.address)), layout)
        await self._start()

    async def _leave(self) -> None:
        try:
            if self._process:
                await self._starter.end(self._process)
                remove_socket(self._layout, self._socket)
        finally:
            await self._stack.aclose()

    async def _start(self) -> None:
        self._process = await self._starter.start()
        Record(self.program.version, str(self.program.path), self._socket).write(self._layout.record)

    async def _start_again(self, wait: float) -> float:
        """Start the server until it lives, after longer and longer waits; return the next one."""
        while True:
            await asyncio.sleep(wait)
            wait = min(max(FIRST_WAIT, 2 * wait), LONGEST_WAIT)
            try:
                await self._start()
            except (UnusableServer, OSError) as error:
                self.on_trouble(str(error))
            else:
                return wait

    async def _attend(self, process: Process) -> None:
        """Look after a living server until it ends."""
        silent = False
        while not await process.ended(within=LOOK):
            if not self._socket.exists():
                self.on_trouble(f"running {self.program}: somebody deleted {self._socket}")
                await self._starter.end(process)
                break
            try:
                await self._disk.tend()
            except Unavailable as error:
                if not silent and process.alive:
                    self.on_trouble(f"running {self.program} as process {process.pid}: {error}")
                silent = True
            else:
                silent = False
        self.on_trouble(f"running {self.program}: it ended{_how(process)}; starting it again")


def _how(process: Process) -> str:
    """Say how a process ended, as far as its parent is told."""
    if process.code is None:
        return ""
    return f" by {signal.Signals(-process.code).name}" if process.code < 0 else f" with code {process.code}"
