"""The loop that all stages with an input share: read, work, commit, and what each answer of the commit means."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final

from intelstream.errors import IntelstreamError, Unavailable
from intelstream.runtime import letters
from intelstream.runtime.station import Lost, Site, Station, Stopped
from intelstream.runtime.status import StateName
from intelstream.transport.commit import Answer, Commit, Entry
from intelstream.transport.frames import FrameBroken, is_report, unpack
from intelstream.transport.link import BLOCK, Restarted
from intelstream.transport.reader import Reader

SUSPECT: Final = 2  # workers gone after which an entry is one
CRASHES: Final = 3  # of one message that was alone

RESTARTED: Final = "the server has been restarted"


class NotMine(IntelstreamError):
    """The entry belongs to another worker now, or to nobody until the scrub finds it: let go of it."""


def events_of(entry: Entry) -> bytes:
    """Return the body of an entry that has to hold events.

    Raises:
        FrameBroken: it does not.
    """
    body = unpack(entry.frame)
    if is_report(body):
        raise FrameBroken(f"{entry.stage} takes events, not reports: put a parser before it")
    return body


class Runner(ABC):
    """Runs a stage, or a segment of stages, from the streams of its members until the worker stops."""

    ahead = 4  # entries read at once
    wait = BLOCK  # seconds for which a read waits for them

    def __init__(self, site: Site, stations: Sequence[Station]) -> None:
        self.site = site
        self.stations = stations
        self.first = stations[0]
        self.name = self.first.name
        names = [station.name for station in stations]
        self.reader = Reader(site.transport, names, takes_new=site.role.kind != "quarantine")
        self.epoch = site.transport.client.epoch  # what another incarnation of the server has said is void
        self.version = ""  # of a stage under a lease; "" for those that need none

    @abstractmethod
    async def run(self) -> None:
        """Run until the worker stops.

        Raises:
            Lost: to be run again, from what is committed.
        """

    def enter(self, state: StateName, reason: str = "") -> None:
        """Note the state of all members."""
        for station in self.stations:
            station.status.enter(state, reason)

    async def read(self) -> list[Entry]:
        """Return what came in, nothing if nothing came."""
        if self.first.status.state == "starting":
            self.enter("idle")
        entries = await self._innocent(await self.reader.read(self.ahead, self.wait))
        if self.epoch != self.site.transport.client.epoch:
            self.reader.forget(entries)
            raise Lost(f"{self.name}: {RESTARTED}")
        if not entries:
            self.enter("idle")
        return entries

    async def _innocent(self, entries: list[Entry]) -> list[Entry]:
        """Hand suspects on to where they are tried alone, if there is such a place; return the others.

        Those of a stage under a lease stay: the lease is here.
        """
        quarantine = self.site.quarantine
        if quarantine is None or self.version or not (suspects := [entry for entry in entries if self.suspects(entry)]):
            return entries
        for entry in suspects:
            await quarantine(entry)
        self.reader.done(suspects)
        return [entry for entry in entries if not self.suspects(entry)]

    def suspects(self, entry: Entry) -> bool:
        """Tell whether workers have died with an entry, so that its messages are to be tried alone, one by one."""
        return entry.tries >= (1 if self.site.role.alone else SUSPECT)

    async def survives(self, entry: Entry, position: str) -> bool:
        """Note that the message at a position is about to be tried alone; False where that was enough already."""
        return await self.site.transport.alone(entry.stage, entry.id, position) < CRASHES

    async def settle(self, commit: Commit, entries: Sequence[Entry], *, ends: bool = True) -> None:
        """Write a commit. `ends` says that the entries end with it; else more of them is still to be done.

        Raises:
            NotMine: the entries are to be let go of.
            Lost: position, version or lease are not what the step started from.
        """
        try:
            answer = await self.site.transport.commit(commit, on_hold=self.first.status.hold, epoch=self.epoch)
        except Restarted as error:
            self.reader.forget(entries)
            raise Lost(f"{self.name}: {RESTARTED}") from error
        if answer.written:
            self.site.note(commit)
            if ends:
                self.reader.done(entries)
            if self.version:
                self.version = commit.version
            await self.first.relieve(commit)
            return
        self.first.log.warning("commit_refused", answer=answer.name.lower(), entries=[one.id for one in entries])
        if answer in (Answer.MOVED, Answer.STALE):
            self.reader.forget(entries)
            raise Lost(f"{self.name}: {answer.name.lower()}")
        self.reader.done(entries)
        if self.version:
            raise Lost(f"{self.name}: {answer.name.lower()}")
        raise NotMine(f"{self.name}: {answer.name.lower()}")

    async def refuse(self, entry: Entry, error: FrameBroken) -> None:
        """Bury a stream entry that is no frame for this stage, and go on."""
        station = next(one for one in self.stations if one.name == entry.stage)
        commit = station.commit(self.version)
        station.bury(commit, letters.of_frame(station.name, entry.frame, error, self.site.now()))
        commit.count(station.name, "in", entry.count)
        commit.take(entry, count=entry.count)
        await self.settle(commit, [entry])

    async def wait_out(self, down: Unavailable, tries: int) -> None:
        """Pause while the far side is away.

        Raises:
            Stopped: the worker stops.
            Lost: it was our own server, which has been started again.
        """
        if isinstance(down, Restarted):
            raise Lost(f"{self.name}: {RESTARTED}") from down
        if await self.first.hold_off(down, tries):
            raise Stopped

    async def load(self, keys: Sequence[str]) -> Sequence[Any]:
        """Load values of the first member's state."""
        return (await self.site.transport.states(self.name, keys))[1]
