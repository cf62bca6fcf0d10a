"""What the daemon and its worker processes say to each other: messages over a socket pair, each behind its length."""

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final, Self

import orjson

LENGTH: Final = struct.Struct("!I")
LONGEST: Final = 64 * 1024 * 1024


class Channel:
    """One end of the pair. Both ends are ours, so what comes is trusted; an end that is gone reads as None."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        """Take over a socket."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=LONGEST))

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message, without waiting; one for an end that is gone is lost."""
        self.give(orjson.dumps(message))

    def give(self, body: bytes) -> None:
        """Send bytes."""
        if not self._writer.is_closing():
            self._writer.write(LENGTH.pack(len(body)) + body)

    async def take(self) -> bytes | None:
        """Return the next bytes."""
        try:
            head = await self._reader.readexactly(LENGTH.size)
            return await self._reader.readexactly(*LENGTH.unpack(head))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def hear(self) -> dict[str, Any] | None:
        """Return the next message."""
        body = await self.take()
        found: dict[str, Any] | None = None if body is None else orjson.loads(body)
        return found

    async def flush(self) -> None:
        """Wait until what was sent has left."""
        await self._writer.drain()

    def close(self) -> None:
        self._writer.close()
