"""A daemon that has nothing but its server: in the test's own process, or as a program that can be killed.

As a program: `python -m services.daemons STATE_DIR SERVER`. It writes a line of JSON when the server is ready, and
reads `barrier N`, upon which it waits for N barriers at once and appends `synced` to SLOW_FSYNC_TRACE.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import uvloop

from intelstream.runtime.server import BundledServer, StateDirectory
from intelstream.runtime.server.locks import holds
from intelstream.transport.link import connect
from services.servers import until

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


@contextmanager
def daemon(path: Path, program: str, **environment: str) -> Iterator[tuple["subprocess.Popen[bytes]", dict[str, Any]]]:
    """Run a daemon as a process of its own; give it and what it says of its server."""
    command = [sys.executable, "-m", "services.daemons", str(path), program]
    environment["PYTHONPATH"] = str(Path(__file__).parent.parent)
    with subprocess.Popen(  # noqa: S603 - our own command
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | environment
    ) as process:
        assert process.stdout
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def is_alive(pid: int) -> bool:
    """Whether a process runs: one that ended and was not waited for by its parent does not."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def servers_of(path: Path) -> list[int]:
    """Return every process that has the lock of this directory's server open."""
    found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [pid for pid in found if pid != os.getpid() and holds(pid, path / "server.lock")]


def kill(server: BundledServer) -> None:
    assert server.pid
    os.kill(server.pid, signal.SIGKILL)


async def restarted(server: BundledServer, times: int = 1) -> None:
    await until(lambda: server.restarts == times, "a restart")


async def ask(address: str, *command: str) -> Any:
    async with connect(address) as call:
        return await call(*command)


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
