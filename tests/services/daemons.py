"""A daemon that has nothing but its server: in the test's own process, or as a program that can be killed.

As a program: `daemons.py STATE_DIR SERVER`. It writes a line of JSON when the server is ready, and reads `barrier N`,
upon which it waits for N barriers at once and appends `synced` to SLOW_FSYNC_TRACE.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import uvloop

from intelstream.runtime.server import BundledServer, StateDirectory
from intelstream.transport.link import connect

MEMORY: Final = 64 * 2**20


@asynccontextmanager
async def keeping(
    path: Path,
    troubles: list[str],
    *,
    server: str = "bundled",
    memory: int = MEMORY,
    runtime_dir: str | None = None,
    supervised: bool = True,
) -> AsyncGenerator[BundledServer]:
    """Hold the state directory and, unless not supervised, keep its server alive while the context lasts."""
    with StateDirectory(path) as directory:
        bundled = BundledServer(
            directory,
            connect=connect,
            memory=memory,
            server=server,
            on_trouble=troubles.append,
            runtime_dir=runtime_dir,
        )
        async with bundled, asyncio.TaskGroup() as group:
            watch = group.create_task(bundled.supervise()) if supervised else None
            yield bundled
            if watch:
                watch.cancel()


async def main() -> None:
    [_, path, server] = sys.argv
    trace = os.open(os.environ.get("SLOW_FSYNC_TRACE", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), os.fdopen(os.dup(0), "rb")
    )
    async with keeping(Path(path), [], server=server) as bundled:
        sys.stdout.write(json.dumps({"pid": bundled.pid, "address": bundled.address}) + "\n")
        sys.stdout.flush()
        while line := await commands.readline():
            number = int(line.removeprefix(b"barrier "))
            await asyncio.gather(*(bundled.barrier() for _ in range(number)))
            os.write(trace, b"synced\n")


if __name__ == "__main__":
    uvloop.run(main())
