"""A proxy before the server that cuts a connection when the server has answered and before the client knows it."""

import asyncio
import tempfile
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

CHUNK: Final = 1 << 16
LINE_END: Final = b"\r\n"


def frame_end(data: bytes | bytearray, start: int = 0) -> int | None:
    """Return where the RESP value that begins at `start` ends; None if more of it is to come."""
    line = data.find(LINE_END, start)
    if line < 0:
        return None
    after = line + len(LINE_END)
    kind, rest = data[start : start + 1], data[start + 1 : line]
    end: int | None = after
    if kind in b"$=!":
        whole = after + int(rest) + len(LINE_END) if int(rest) >= 0 else after
        return whole if whole <= len(data) else None
    if kind not in b"*~>%":
        return after
    for _ in range(int(rest) * (2 if kind == b"%" else 1)):
        if end is None:
            return None
        end = frame_end(data, end)
    return end


def command_of(request: bytes) -> str:
    """Return the name of the command in one request."""
    return bytes(request.split(LINE_END, 3)[2]).decode().upper()


class CuttingProxy:
    """Stands before a server; `address` is its own. `cuts` counts the connections that it has cut."""

    def __init__(self, target: Callable[[], Path], path: Path) -> None:
        self.path = path
        self.cuts = 0
        self._target = target
        self._wanted: dict[str, int] = {}

    @property
    def address(self) -> str:
        return f"unix://{self.path}"

    def cut(self, command: str, nth: int = 1) -> None:
        """Cut the connection instead of passing on the answer to the n-th such command from now on."""
        self._wanted[command.upper()] = nth

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(self._target())
        except OSError:  # no server is there: the client is told in the same way as without a proxy
            writer.close()
            return
        asked: deque[bool] = deque()  # for each request under way: whether its answer is the one to swallow
        ways = (self._requests(reader, server_writer, asked), self._answers(server_reader, writer, asked))
        tasks = [asyncio.create_task(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for one in (writer, server_writer):
                one.close()
            await asyncio.gather(*tasks, writer.wait_closed(), server_writer.wait_closed(), return_exceptions=True)

    async def _requests(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, asked: deque[bool]) -> None:
        waiting = bytearray()
        while data := await source.read(CHUNK):
            waiting += data
            while waiting and (end := frame_end(waiting)):
                asked.append(self._is_wanted(command_of(bytes(waiting[:end]))))
                sink.write(bytes(waiting[:end]))
                del waiting[:end]
            await sink.drain()

    async def _answers(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, asked: deque[bool]) -> None:
        waiting = bytearray()
        while data := await source.read(CHUNK):
            waiting += data
            while waiting and (end := frame_end(waiting)):
                pushed = waiting[:1] == b">" or not asked  # a message that nobody asked for
                if not pushed and asked.popleft():
                    self.cuts += 1
                    return
                sink.write(bytes(waiting[:end]))
                del waiting[:end]
            await sink.drain()

    def _is_wanted(self, command: str) -> bool:
        left = self._wanted.get(command, 0)
        if left:
            self._wanted[command] = left - 1
        return left == 1


@asynccontextmanager
async def cutting_proxy(target: Path | Callable[[], Path]) -> AsyncGenerator[CuttingProxy]:
    """Listen on a socket of its own and pass everything on to the server's, or to the one that it has by then."""
    where = target if callable(target) else lambda: target
    with tempfile.TemporaryDirectory(prefix="intelstream-") as directory:
        proxy = CuttingProxy(where, Path(directory) / "proxy.sock")
        async with asyncio.TaskGroup() as group:
            served: list[asyncio.Task[None]] = []

            def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                served.append(group.create_task(proxy.serve(reader, writer)))

            async with await asyncio.start_unix_server(serve, proxy.path):
                yield proxy
                for task in served:
                    task.cancel()
