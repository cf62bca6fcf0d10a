"""Dead letters as they lie on the server: counted, listed, sent back to work, dropped, while everything runs."""

from collections.abc import Sequence
from typing import Any

import orjson

from intelstream.transport.frames import pack, unpack
from intelstream.transport.transport import Transport


class DeadLetters:
    """The dead letters of a lane, by the stage that gave up. A letter's id is that of its stream entry."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._lane = transport.lane

    async def count(self, stage: str) -> int:
        return int(await self._transport.call("XLEN", self._lane.dead(stage)))

    async def list(self, stage: str, count: int, after: str = "-") -> list[dict[str, Any]]:
        """Return the oldest letters, or those behind the id `after`, each with its `id`."""
        start = after if after == "-" else f"({after}"
        found = await self._transport.call("XRANGE", self._lane.dead(stage), start, "+", "COUNT", count)
        return [{"id": bytes(id_).decode(), **orjson.loads(unpack(fields[1]))} for id_, fields in found]

    async def revive(self, stage: str, bodies: Sequence[tuple[str, bytes]], to: str, room: int) -> int | None:
        """Send letters, each as (id, body of a frame of one message), to a stage; return how many were still there.

        Nothing is sent and None returned where the lane holds more than `room` bytes then. May be repeated.
        """
        args: list[Any] = [to, room]
        for id_, body in bodies:
            args += (id_, pack(body))
        keys = [self._lane.dead(stage), self._lane.sizes, self._lane.stream(to), self._lane.hash(stage)]
        revived = int(await self._transport.run("revive", keys, *args, admits=True))
        return None if revived < 0 else revived

    async def drop(self, stage: str, ids: Sequence[str]) -> int:
        """Delete letters; return how many were still there."""
        return int(await self._transport.call("XDEL", self._lane.dead(stage), *ids)) if ids else 0
