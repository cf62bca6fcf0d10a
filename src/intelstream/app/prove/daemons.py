"""The processes under proof: started, asked, killed, stopped and woken by the prover, who survives them all."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from intelstream.app import control
from intelstream.app.control import NotRunning
from intelstream.app.prove.proof import Proof
from intelstream.app.prove.underproof import SECOND, second_dir
from intelstream.errors import IntelstreamError
from intelstream.transport.link import CommandRefused, ServerTrouble, connect

MODULE: Final = "intelstream.app.prove.underproof"
PATIENCE: Final = 60.0  # seconds for a daemon to answer after its start, or to end
LOOK: Final = 0.05


class ProofBroken(IntelstreamError):
    """The proof cannot go on: a process ended by itself, or does not answer."""


class UnderProof:
    """One daemon as a process; a killed one is started again on the same state."""

    def __init__(self, proof: Proof, proxy: str, *, second: bool = False) -> None:
        self.state_dir = second_dir(proof) if second else proof.state_dir
        self.log = proof.directory / ("second.log" if second else "daemon.log")
        self._command = (sys.executable, "-m", MODULE, str(proof.directory), proxy, *((SECOND,) if second else ()))
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it; it has a process group of its own, so that Ctrl-C reaches the prover alone."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdout=log, stderr=log, start_new_session=True
            )

    def signal(self, number: signal.Signals) -> None:
        if self._process and self.running:
            self._process.send_signal(number)

    async def kill(self) -> None:
        """End it as a crash does."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def ended(self) -> int:
        """Wait until it has ended, and return its exit code.

        Raises:
            ProofBroken: it does not end.
        """
        if self._process is None:
            return 0
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._process.wait()
        except TimeoutError as error:
            raise ProofBroken(f"ending the daemon {self._process.pid}: it runs on, see {self.log}") from error

    async def ask(self, path: str) -> Any:
        """Ask the daemon until it answers.

        Raises:
            ProofBroken: it ended by itself, or does not answer in time.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                async with asyncio.timeout(max(LOOK, deadline - time.monotonic())):
                    return await control.ask(self.state_dir, path)
            except (NotRunning, TimeoutError) as error:
                if not self.running:
                    raise ProofBroken(f"running the daemon: it ended by itself, see {self.log}") from error
                if time.monotonic() > deadline:
                    raise ProofBroken(f"asking the daemon: no answer within {PATIENCE:g} s, see {self.log}") from error
            await asyncio.sleep(LOOK)


class ServerUnderProof:
    """The server of the daemon under proof, reached directly, not through the proxy."""

    def __init__(self, socket: Path) -> None:
        self.address = f"unix://{socket}"

    async def pid(self) -> int | None:
        """Return the number of its process; None while there is none that answers."""
        try:
            async with connect(self.address) as call:
                info = bytes(await call("INFO", "server")).decode()
        except (ServerTrouble, CommandRefused):
            return None
        return next(int(line.partition(":")[2]) for line in info.splitlines() if line.startswith("process_id:"))

    async def kill(self) -> bool:
        """End it as a crash does, as soon as it answers; say whether it did."""
        deadline = time.monotonic() + PATIENCE
        while (pid := await self.pid()) is None:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(LOOK)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return True

    async def fill(self, seconds: float) -> bool:
        """Leave it no memory for so long; say whether there was one to do that to."""
        try:
            async with connect(self.address) as call:
                _, before = await call("CONFIG", "GET", "maxmemory")
                await call("CONFIG", "SET", "maxmemory", "1mb")
                await asyncio.sleep(seconds)
                await call("CONFIG", "SET", "maxmemory", before)
        except ServerTrouble:
            return False  # when it is started again its memory is as it was
        return True


@asynccontextmanager
async def cleared(proof: Proof, *daemons: UnderProof) -> AsyncGenerator[None]:
    """Leave no process behind, whatever happens."""
    try:
        yield
    finally:
        for daemon in daemons:
            daemon.signal(signal.SIGCONT)
            await daemon.kill()
        with suppress(ServerTrouble, CommandRefused):
            async with connect(f"unix://{proof.socket}") as call:
                await call("SHUTDOWN", "NOSAVE")
