"""A process watched by its pidfd: the same for one that was started here and one that was found."""

import asyncio
import os
import signal
import subprocess
from asyncio.subprocess import DEVNULL
from collections.abc import Sequence
from pathlib import Path
from typing import Self


class Process:
    """A running process. Its number may be given to another one when it has ended; a pidfd never is."""

    def __init__(self, pid: int, child: "subprocess.Popen[bytes] | None" = None) -> None:
        self.pid = pid
        self.code: int | None = None  # as of Popen; stays None for a process that was not started here
        self._child = child
        self._pidfd = os.pidfd_open(pid)
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._loop.add_reader(self._pidfd, self._note_end)

    @classmethod
    def start(
        cls,
        program: Path,
        args: Sequence[str],
        *,
        output: int,
        keep: Sequence[int] = (),
        called: str | None = None,
    ) -> Self:
        """Start a program in a session of its own, so that Ctrl-C does not reach it.

        `output` takes both its streams, `keep` are descriptors that it inherits, `called` is its argv[0]. Not a
        coroutine: nothing can be cancelled between the start and holding what was started. asyncio's own children
        know neither `umask` nor, under uvloop, argv[0].
        """
        child = subprocess.Popen(  # noqa: S603 - the host file names the program, no shell is in between
            [called or str(program), *args],
            executable=program,
            stdin=DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=keep,
            start_new_session=True,
            umask=0o077,
        )
        return cls(child.pid, child)

    @classmethod
    async def output(
        cls,
        program: Path,
        *args: str,
        called: str | None = None,
        keep: Sequence[int] = (),
        within: float | None = None,
    ) -> str:
        """Run a program that says less than a pipe holds, and return what it said; the rest as in `start`.

        Raises:
            OSError: it cannot be run, or did not end within so many seconds.
        """
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as said:
            try:
                process = cls.start(program, args, output=writing, keep=keep, called=called)
            finally:
                os.close(writing)
            try:
                async with asyncio.timeout(within):
                    await process.ended()
            finally:
                await process.kill()
            os.set_blocking(reading, False)  # a grandchild may still hold the other end
            return (said.read() or b"").decode(errors="replace").strip()

    @property
    def alive(self) -> bool:
        return not self._ended.is_set()

    async def ended(self, within: float | None = None) -> bool:
        """Wait until the process has ended; say whether it has within so many seconds."""
        # Not `asyncio.timeout`: in a task that is being cancelled, as when cleaning up, Python before 3.11.3 (Debian 12
        # has 3.11.2) turns its end into another cancellation.
        waiting = asyncio.ensure_future(self._ended.wait())
        try:
            done, _ = await asyncio.wait({waiting}, timeout=within)
        finally:
            waiting.cancel()
        return bool(done)

    def send(self, number: signal.Signals) -> None:
        if self.alive:
            signal.pidfd_send_signal(self._pidfd, number)

    async def kill(self) -> None:
        """End it at once, and wait for that."""
        self.send(signal.SIGKILL)
        await self._ended.wait()

    def forget(self) -> None:
        """Watch it no longer: it is none of ours."""
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)

    def _note_end(self) -> None:
        self.forget()
        if self._child:
            self.code = self._child.wait()
        self._ended.set()
