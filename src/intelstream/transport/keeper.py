"""What a worker does for the streams beside reading them: lives, takes over, scrubs, brings back what is due."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from intelstream.transport.link import GroupGone, Link, ServerTrouble
from intelstream.transport.names import GROUP
from intelstream.transport.scripts import script
from intelstream.transport.transport import Transport

LIFETIME: Final = 15.0  # seconds after which a silent worker counts as gone
RENEWAL: Final = 3.0
SWEEP: Final = 5.0
SCRUB: Final = 60.0
STEP: Final = 1000
DUE: Final = 256
TAKEN: Final = 64


class Pulse:
    """A thread that says that this worker lives, over a connection of its own: a blocked loop is not a dead worker."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._key = transport.lane.alive(transport.consumer)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)

    async def __aenter__(self) -> Self:
        # Before anything is read: a worker with entries and no sign of life looks gone.
        await self._transport.run("alive", [self._key], "1", int(LIFETIME * 1000))
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join, RENEWAL)

    def _beat(self) -> None:
        alive = script("alive")
        retry = Retry(NoBackoff(), 0)
        server = redis.Redis.from_url(self._transport.client.address, retry=retry, socket_timeout=RENEWAL, protocol=2)
        with contextlib.closing(server):
            while True:
                # Trouble is reported by the loop, which meets it too; here only the next beat counts.
                with contextlib.suppress(redis.RedisError, OSError):
                    server.eval(alive.text, 1, self._key, "1", str(int(LIFETIME * 1000)))
                if self._stop.wait(RENEWAL):
                    with contextlib.suppress(redis.RedisError, OSError):
                        server.delete(self._key)
                    return


class Keeper:
    """Periodic care for the streams of `stages`. `recheck` is called with a stage that has got entries back."""

    def __init__(
        self,
        transport: Transport,
        stages: Sequence[str],
        recheck: Callable[[str], Awaitable[None]],
        on_stranded: Callable[[str, int], None],
    ) -> None:
        self._transport = transport
        self.stages = stages
        self._recheck = recheck
        self._on_stranded = on_stranded

    async def run(self) -> None:
        """Sweep and scrub for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._every(SWEEP, self.sweep))
            tasks.create_task(self._every(SCRUB, self.scrub))
            tasks.create_task(self._due())
            tasks.create_task(self._listen())

    async def sweep(self) -> None:
        """Take over the entries of workers that are gone.

        After trouble with the server all have to say first that they live: for one lifetime only those are taken over
        of which somebody knows that they are gone.
        """
        for stage in self.stages:
            for consumer in await self._transport.consumers(stage):
                if self._transport.awaits(consumer):
                    continue
                if consumer in self._transport.buried or self._transport.steady(LIFETIME):
                    await self._take(stage, consumer)

    async def takeover(self, stage: str, consumer: str) -> int:
        """Take over all entries of a worker, if it is gone; return their number.

        Raises:
            ServerTrouble: asked again after it, one that lives might look gone. Some may have been taken over.
        """
        lane = self._transport.lane
        keys = [lane.stream(stage), lane.alive(consumer), lane.hash(stage)]
        taken = 0
        while ids := await self._transport.once("takeover", keys, GROUP, consumer, self._transport.consumer, TAKEN):
            taken += len(ids)
        return taken

    async def scrub(self) -> None:
        """Bring back entries that were delivered once and are in no pending list; after trouble at the next time."""
        for stage in self.stages:
            try:
                found = await self._scrub(stage)
            except ServerTrouble:
                await self._recheck(stage)  # the answer is lost, and what it told of may be ours now
                return
            if found:
                self._on_stranded(stage, found)
                await self._recheck(stage)

    async def _take(self, stage: str, consumer: str) -> None:
        try:
            taken = await self.takeover(stage, consumer)
        except ServerTrouble:
            taken = 1  # perhaps: the answer is lost, and what it told of may be ours now
        except GroupGone:
            return  # whoever reads the stage meets it too, and says so
        if taken:
            await self._recheck(stage)

    async def _scrub(self, stage: str) -> int:
        lane, found, start = self._transport.lane, 0, "-"
        while start:
            keys = [lane.stream(stage), lane.hash(stage)]
            answer = await self._transport.once("scrub", keys, GROUP, self._transport.consumer, start, STEP)
            start = bytes(answer[0]).decode()
            found += len(answer) - 1
        return found

    async def _due(self) -> None:
        """Move delayed messages back when their time has come."""
        lane = self._transport.lane
        while True:
            wait = 1.0
            for stage in self.stages:
                now = int(time.time() * 1000)
                moved, due = await self._transport.run("due", [lane.later(stage), lane.stream(stage)], now, DUE)
                if moved == DUE:
                    wait = 0.0
                elif due:
                    wait = min(wait, max(0.01, float(due) / 1000 - time.time()))
            await asyncio.sleep(wait)

    async def _listen(self) -> None:
        """Pass on the wake-ups of other workers."""
        link = Link(self._transport.client)
        try:
            while True:
                try:
                    await link.call("SUBSCRIBE", self._transport.lane.wake)
                    while True:
                        if await link.read(RENEWAL):
                            self._transport.freed()
                except ServerTrouble:
                    await asyncio.sleep(1)  # whoever waits for room looks each second anyway
        finally:
            await link.close()

    @staticmethod
    async def _every(seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            await act()
            await asyncio.sleep(seconds)
