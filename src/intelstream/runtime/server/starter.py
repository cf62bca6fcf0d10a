"""One start and one end of the server: used again if it lives, never two on one directory."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from intelstream.errors import Unavailable, UnusableServer
from intelstream.runtime.server.call import ANSWER, Call, ask, info, setting
from intelstream.runtime.server.config import Layout, configuration, limits, write_durably
from intelstream.runtime.server.disk import bound_log, keep_ballast
from intelstream.runtime.server.locks import FileLock, holds
from intelstream.runtime.server.mend import mend
from intelstream.runtime.server.process import Process
from intelstream.runtime.server.program import Program, Version

SOON: Final = 0.02  # seconds between two looks at a server that is starting
STARTS: Final = 60.0  # seconds in which a new server answers; loading its data may take longer
ATTEMPTS: Final = 2  # Redis refuses once to start with a torn file that is not its last, having cut it
CLOSED: Final = 1.0  # seconds from closing its connections to the end of a server
GRACE: Final = 10.0  # seconds for each way of asking a server to end


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """Starts and ends one program on one directory; `on_trouble` is told what an operator should know."""

    program: Program
    layout: Layout
    socket: Path
    memory: int
    call: Call
    on_trouble: Callable[[str], None]

    async def start(self) -> Process:
        """Return the server that lives in the directory, else start one and wait until it has loaded its data.

        Raises:
            UnusableServer: it does not start; the text says why.
            OSError: its files cannot be written.
        """
        lock = FileLock(self.layout.lock)
        tell_at = time.monotonic() + ANSWER
        while not lock.acquire():
            if found := await self._found():
                return found
            if time.monotonic() > tell_at:
                tell_at = float("inf")
                self.on_trouble(
                    f"starting {self.program}: {lock.holder()} holds {lock.path} and does not answer as a server "
                    "of this directory; waiting until it has ended"
                )
            await asyncio.sleep(SOON)
        try:
            return await self._launch(lock)
        finally:
            lock.release()  # from here on the server alone holds it

    async def end(self, process: Process) -> None:
        """Shut a server down: asked, told, killed. It is told at least, if this is cancelled."""
        try:
            if process.alive:
                with suppress(Unavailable):  # it answers by closing the connection
                    await ask(self.call, "SHUTDOWN", within=GRACE)
                await process.ended(within=CLOSED)
        finally:
            process.send(signal.SIGTERM)
        if not await process.ended(within=GRACE):
            self.on_trouble(f"shutting down {self.program}: process {process.pid} does not end; killing it")
            await process.kill()

    async def _found(self) -> Process | None:
        """Return the living server once it is ready, if it is that of this directory and of our version."""
        try:
            facts = await info(self.call, "server")
            if await setting(self.call, "dir") != str(self.layout.data.resolve()):
                return None
            for name, value in limits(self.layout, self.memory).items():
                await ask(self.call, "CONFIG", "SET", name, value)
            process = Process(int(facts["process_id"]))
        except (Unavailable, ProcessLookupError):
            return None
        if not holds(process.pid, self.layout.lock):  # a number of another container's
            process.forget()
            return None
        if Version.told(facts) != self.program.version:
            await self.end(process)
        return process if await self._ready(process) else None

    async def _launch(self, lock: FileLock) -> Process:
        """Start the server; it inherits the lock."""
        keep_ballast(self.layout)
        write_durably(self.layout.config, configuration(self.layout, self.socket, self.memory).encode())
        for _ in range(ATTEMPTS):
            process = await self._run(lock)
            try:
                if await self._ready(process):
                    return process
            except BaseException:
                await self.end(process)
                raise
            await self.end(process)
        raise UnusableServer(
            f"starting {self.program} in {self.layout.data}: {_last_line(self.layout.log)}; see {self.layout.log}"
        )

    async def _run(self, lock: FileLock) -> Process:
        if cut := await mend(self.program, self.layout, lock.descriptor):
            self.on_trouble(f"mending {self.layout.appended}: cut {cut} bytes of a write that a crash had cut short")
        bound_log(self.layout)
        log = os.open(self.layout.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            args = [str(self.layout.config)]
            process = Process.start(self.program.path, args, output=log, keep=[lock.descriptor])
        finally:
            os.close(log)
        lock.name_holder(process.pid)
        return process

    async def _ready(self, process: Process) -> bool:
        """Wait until a server has loaded its data; say whether it has come to that."""
        deadline = time.monotonic() + STARTS
        loading = False
        while not await process.ended(within=SOON):
            try:
                facts = await info(self.call, "persistence")
            except Unavailable:
                if time.monotonic() > deadline and not loading:
                    return False
                continue
            if facts["loading"] == "0":
                return True
            if not loading:
                loading = True
                size = int(facts.get("loading_total_bytes", 0)) // 2**20
                self.on_trouble(f"starting {self.program}: it loads {size} MiB of data")
        return False


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")
