"""Marks that belong to whoever set them first, and a cache: both shared by all workers, both bounded."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from intelstream.transport.link import ServerTrouble
from intelstream.transport.transport import Transport

GENERATIONS: Final = 4  # a mark lives exactly to a quarter of its time
PREFIXES: Final = 4096  # so that a bucket of a million marks stays small enough to be packed


class StageMarks:
    """`ctx.claims` of one stage.

    A mark is a field of a hash: buckets by the first bits of the key's digest, so that the server packs them (about 43
    bytes a mark), and by generation, so that they go as a whole when their time is over. `most` bounds their number:
    beyond it the oldest generation goes early, and `on_evicted` is told how many went.
    """

    def __init__(self, transport: Transport, stage: str, now: Any, most: int = 10_000_000) -> None:
        self._transport = transport
        self._stage = stage
        self._now = now
        self._most = most

    async def claim_many(self, claims: Sequence[tuple[str, str]], ttl: float) -> list[str]:
        if not claims:
            return []
        span = max(1.0, ttl / GENERATIONS)
        newest = int(self._now().timestamp() / span)
        keys: list[str] = []
        places: dict[int, int] = {}
        args: list[Any] = [GENERATIONS + 1, int((GENERATIONS + 1) * span * 1000)]
        for key, owner in claims:
            digest = blake2b(key.encode(), digest_size=16).digest()
            prefix = int.from_bytes(digest[:2]) % PREFIXES
            place = places.get(prefix)
            if place is None:
                place = places[prefix] = len(keys) + 1
                lane = self._transport.lane
                keys += (lane.marks(self._stage, newest - age, f"{prefix:x}") for age in range(GENERATIONS + 1))
            args += (place, digest[1:], bytes.fromhex(owner))
        answer = await self._transport.run("claim", keys, *args)
        return [bytes(owner).hex() for owner in answer[:-1]]


class StageCache:
    """`ctx.cache` of one stage: what may be asked for again, so trouble with the server is a miss."""

    def __init__(self, transport: Transport, stage: str) -> None:
        self._transport = transport
        self._stage = stage

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        if not keys:
            return []
        try:
            found: list[bytes | None] = await self._transport.client.call("MGET", *map(self._key, keys))
        except ServerTrouble:
            return [None] * len(keys)
        return found

    async def set_many(self, values: Mapping[str, bytes], ttl: float) -> None:
        try:
            async with self._transport.client.link() as link:
                for key, value in values.items():
                    await link.call("SET", self._key(key), value, "PX", int(ttl * 1000))
        except ServerTrouble:
            return

    def _key(self, key: str) -> str:
        return self._transport.lane.cache(self._stage, key)
