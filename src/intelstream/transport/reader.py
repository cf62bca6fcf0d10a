"""Reads what waits for some stages, over a connection of its own, and forgets nothing that it was given."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from intelstream.transport.commit import Entry
from intelstream.transport.link import BLOCK, Link, ServerTrouble
from intelstream.transport.names import GROUP
from intelstream.transport.transport import Transport, entry

NEW: Final = ">"
REST: Final = 1.0  # seconds between two looks of one that takes nothing new


class Reader:
    """The input of one runner: one stream per stage, in the order given.

    What is in this worker's pending list and not in flight comes first: after the start, after any trouble with the
    connection (entries may have been delivered that nobody saw), and when `recheck` was called because entries were
    taken over. `interrupt` ends a wait from outside; a read that is cancelled gives up its connection, and what it may
    have been given stays pending. One that does not take new entries has only those that it takes over.
    """

    def __init__(self, transport: Transport, stages: Sequence[str], *, takes_new: bool = True) -> None:
        self._transport = transport
        self._stages = {transport.lane.stream(stage): stage for stage in stages}
        self._link: Link | None = None
        self._flying: set[tuple[str, str]] = set()
        self._takes_new = takes_new
        self._owed = True  # the pending list has to be read first
        self._waiting = False

    async def read(self, count: int, wait: float = BLOCK) -> list[Entry]:
        """Return up to so many entries per stage, or none if nothing came within so many seconds.

        Raises:
            GroupGone: somebody deleted the consumer group.
        """
        if self._owed:
            self._owed = False
            if found := await self._pending(count):
                self._owed = True  # there may be more
                return self._given(found)
        if not self._takes_new:
            await asyncio.sleep(REST)
            return []
        # A server that lost its newest writes delivers again what is in flight here.
        return self._given([one for one in await self._new(count, wait) if (one.stage, one.id) not in self._flying])

    def done(self, entries: Sequence[Entry]) -> None:
        """Note that these are not in flight any more: committed, or given up to another worker."""
        self._flying.difference_update((one.stage, one.id) for one in entries)

    def forget(self, entries: Sequence[Entry]) -> None:
        """Have these delivered again, if they are still pending: their commit found another position or version."""
        self.done(entries)
        self._owed = True

    async def recheck(self) -> None:
        """Read the pending list next, and soon."""
        self._owed = True
        await self.interrupt()

    async def interrupt(self) -> None:
        """End a wait under way; the server answers as if its time were over, so nothing can get lost."""
        if self._waiting and self._link:
            try:
                await self._transport.client.call("CLIENT", "UNBLOCK", self._link.number)
            except ServerTrouble:
                return  # then the wait ends by itself

    async def close(self) -> None:
        if self._link:
            await self._link.close()

    async def _new(self, count: int, wait: float) -> list[Entry]:
        self._waiting = True
        try:
            found = await self._ask(count, "BLOCK", max(1, int(min(wait, BLOCK) * 1000)), start=NEW)
        finally:
            self._waiting = False
        return [entry(stage, one) for stage, rows in found.items() for one in rows if one[1]]

    async def _pending(self, count: int) -> list[Entry]:
        """Return entries of the pending list that are not in flight; looks on behind those that are."""
        found: list[Entry] = []
        for stream, stage in self._stages.items():
            last = "0"
            while len(found) < count:
                rows = (await self._ask(count + len(self._flying), start=last, streams=[stream])).get(stage)
                if not rows:
                    break
                last = bytes(rows[-1][0]).decode()
                there = [entry(stage, row) for row in rows if row[1]]  # of the others somebody deleted the body
                mine = [one for one in there if (stage, one.id) not in self._flying]
                ids = [one.id for one in mine]
                at, tries = await self._transport.positions(stage, ids), await self._transport.tries(stage, ids)
                found += [replace(one, position=p, tries=n) for one, p, n in zip(mine, at, tries, strict=True)]
        return found

    async def _ask(self, count: int, *extra: Any, start: str, streams: Sequence[str] = ()) -> dict[str, Sequence[Any]]:
        """Return the rows of each stage that has some."""
        names = list(streams or self._stages)
        args = ["XREADGROUP", "GROUP", GROUP, self._transport.consumer, "COUNT", count, *extra]

        async def ask() -> Any:
            if start == NEW and self._owed:  # asked again after trouble: what was delivered then comes first
                await self._call("PING")
                return None
            return await self._call(*args, "STREAMS", *names, *[start] * len(names))

        answer = await self._transport.patiently(ask)
        return {self._stages[bytes(name).decode()]: rows for name, rows in answer or ()}

    async def _call(self, *args: Any) -> Any:
        if self._link is None:
            self._link = Link(self._transport.client)
        try:
            return await self._link.call(*args)
        except (ServerTrouble, asyncio.CancelledError):
            self._owed = True
            raise

    def _given(self, entries: list[Entry]) -> list[Entry]:
        self._flying.update((one.stage, one.id) for one in entries)
        return entries
