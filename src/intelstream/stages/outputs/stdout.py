"""Write events to standard output, one JSON object per line."""

import os
import select
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from intelstream import sdk
from intelstream.errors import Unavailable
from intelstream.sdk.edge import Form

STDOUT: Final = 1
PATIENCE: Final = 500  # milliseconds between two looks at whether the stage stops
ATOMIC: Final = select.PIPE_BUF  # bytes that a pipe takes at once, if it takes any


class Stdout(sdk.Output[Form]):
    """Write events to standard output, one JSON object per line.

    After a crash up to 256 of them may come twice: nobody can take back what a pipe has taken.
    """

    batch = 256

    def __init__(self, params: Form, ctx: sdk.StageContext) -> None:
        super().__init__(params, ctx)
        self.stopping = threading.Event()

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self.stopping.set()  # ends a write that nobody reads

    async def write(self, batch: sdk.Batch) -> None:
        try:
            await self.ctx.in_thread(self._write, self.params.lines(batch))
        except OSError as error:
            raise Unavailable(f"writing standard output: {error.strerror}") from error

    def _write(self, lines: bytearray) -> None:
        room = select.poll()
        room.register(STDOUT, select.POLLOUT)
        rest = memoryview(lines)
        while rest:
            if room.poll(PATIENCE):
                rest = rest[os.write(STDOUT, rest[:ATOMIC]) :]
            elif self.stopping.is_set():
                raise Unavailable("writing standard output: nobody reads it, and the stage stops")
