"""Marks that belong to whoever set them first, and a cache: both shared by all workers, both bounded."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Final

from intelstream.transport.link import ServerTrouble
from intelstream.transport.transport import Transport

GENERATIONS: Final = 4  # a mark lives exactly to a quarter of its time
MOST: Final = 10_000_000  # marks of a stage that does not say how many it wants
PREFIX: Final = 3  # hex digits: 4096 buckets a generation, so that those of half a million marks are still packed


class StageMarks:
    """`ctx.claims` of one stage.

    A mark is a field of a hash: buckets by the first bits of the key's digest, so that the server packs them (about 43
    bytes a mark), and by generation, so that they go as a whole when their time is over. Where there are more than
    `most`, the oldest generation goes early, and `on_early` is told how many marks went with it. A mark is of the
    incarnation of the server that the entry came from: another one may have forgotten the entry, and what comes in its
    place would find the mark taken.
    """

    def __init__(
        self, transport: Transport, stage: str, now: Callable[[], datetime], on_early: Callable[[int], None]
    ) -> None:
        self._transport = transport
        self._stage = stage
        self._now = now
        self._on_early = on_early
        self._epoch = transport.client.epoch

    async def claim_many(self, claims: Sequence[tuple[str, str]], ttl: float, most: int = MOST) -> list[str]:
        if not claims:
            return []
        span = max(1.0, ttl / GENERATIONS)
        newest = int(self._now().timestamp() / span)
        digests = [blake2b(key.encode(), digest_size=17).hexdigest() for key, _ in claims]
        prefixes = "".join([digest[:PREFIX] for digest in digests])
        records = bytes.fromhex(
            "".join([digest[4:] + owner for digest, (_, owner) in zip(digests, claims, strict=True)])
        )
        keys = [self._transport.lane.marks(self._stage), self._transport.lane.marked(self._stage)]
        lives = int((GENERATIONS + 1) * span * 1000)
        args = (newest, GENERATIONS + 1, lives, prefixes, records, most)
        answer, early = await self._transport.run("claim", keys, *args, epoch=self._epoch)
        if early:
            self._on_early(early)
        owners = bytes(answer).hex()
        return [owners[place : place + 32] for place in range(0, len(owners), 32)]


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
