"""Runs outputs: writes frames together, and commits how far it has come after each write."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from intelstream.errors import Crashed, Unavailable
from intelstream.ontology import Event
from intelstream.runtime.drain import Failed, Outcome, deliver
from intelstream.runtime.running import CRASHES, NotMine, Runner, events_of
from intelstream.runtime.station import Stopped, settle
from intelstream.sdk import Output, State
from intelstream.transport.commit import Entry
from intelstream.transport.frames import FrameBroken, decode, is_delayed


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an entry that is written at once: events `low` to `low` + their number."""

    entry: Entry
    low: int
    events: Sequence[Event]
    total: int
    delayed: bool
    alone: bool  # a message under which workers have died

    @property
    def to(self) -> str | None:
        """The position behind it; None where the entry ends."""
        high = self.low + len(self.events)
        return None if high == self.total else str(high)


def _together(waiting: Sequence[Piece], most: int) -> int:
    """Return how many of the pieces are written at once."""
    taken, count = 1, len(waiting[0].events)
    while taken < len(waiting) and not (waiting[0].alone or waiting[taken].alone):
        count += len(waiting[taken].events)
        if count > most:
            break
        taken += 1
    return taken


class Delivering(Runner):
    """One output."""

    ahead = 16

    async def run(self) -> None:
        async with self.first.open() as output:
            try:
                if output.exclusive:
                    async with self.first.leased() as self.version:
                        await self._deliver(output)
                else:
                    await self._deliver(output)
            except Stopped:
                return

    async def _deliver(self, output: Output[Any]) -> None:
        await output.resume(State(self.load))
        while not self.first.stopping.is_set():
            waiting: list[Piece] = []
            for entry in await self.read():
                try:
                    waiting += self._pieces(entry, output.batch)
                except FrameBroken as error:
                    await self.refuse(entry, error)
            while waiting:
                taken = _together(waiting, output.batch)
                self.enter("running")
                waiting = await self._write(output, waiting[:taken], waiting[taken:])

    def _pieces(self, entry: Entry, most: int) -> list[Piece]:
        """Cut an entry into what fits into one write, from where it has been committed."""
        body = events_of(entry)
        events = decode(body, self.site.pipeline.ontology)
        start, alone = int(entry.position or 0), self.suspects(entry)
        most = 1 if alone else most
        pieces: list[Piece] = []
        for low in range(start, len(events), most):
            place = replace(entry, position=str(low) if low else "")
            pieces.append(Piece(place, low, events[low : low + most], len(events), is_delayed(body), alone))
        return pieces

    async def _write(self, output: Output[Any], pieces: Sequence[Piece], rest: list[Piece]) -> list[Piece]:
        """Write pieces and commit them; return what is left to write."""
        events = [event for piece in pieces for event in piece.events]
        if pieces[0].alone and not await self.survives(pieces[0].entry, str(pieces[0].low)):
            error = Crashed(f"{CRASHES} workers have died while they had it alone")
            outcome = Outcome(failed=[Failed(0, event, error) for event in events])
        else:
            outcome = await self._patiently(output, events)
        commit = self.first.commit(self.version)
        settle(self.stations, commit, outcome)
        for piece in pieces:
            commit.take(piece.entry, count=len(piece.events), to=piece.to)
            if piece.delayed:
                commit.count(self.name, "retrying", -len(piece.events))
            else:
                commit.count(self.name, "in", len(piece.events))
        written = len(events) - len(outcome.failed) - len(outcome.dropped)
        commit.count(self.name, "written", written)
        ended = [piece.entry for piece in pieces if piece.to is None]
        try:
            await self.settle(commit, [piece.entry for piece in pieces], ends=False)
        except NotMine:
            mine = {piece.entry.id for piece in pieces}
            return [piece for piece in rest if piece.entry.id not in mine]
        self.reader.done(ended)
        return rest

    async def _patiently(self, output: Output[Any], events: Sequence[Event]) -> Outcome:
        tries = 0
        while True:
            try:
                return await deliver(output, events, self.load)
            except Unavailable as down:
                await self.wait_out(down, tries)
                tries += 1
