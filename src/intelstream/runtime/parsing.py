"""Runs parsers: from reports to events, row by row, with the row number as position."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from intelstream.errors import Crashed, IntelstreamError, StageError
from intelstream.ontology import Event, Report, ids
from intelstream.runtime import letters
from intelstream.runtime.drain import Parsed, parse, straight
from intelstream.runtime.running import CRASHES, NotMine, Runner
from intelstream.runtime.spec import ERROR
from intelstream.runtime.station import Lost, Site, Station, passed, settle
from intelstream.sdk import Expert, Parser
from intelstream.transport.commit import Commit, Entry
from intelstream.transport.frames import COMMIT, FrameBroken, Spooled, Wanted, decode_report, is_report, unpack

EVENTS: Final = 1024  # in one commit, at most
FEW: Final = 20  # rows under which nothing is said of a report as a whole


class TooManyBadRows(StageError):
    """Most rows of a report failed: the format has changed, or the parser is the wrong one."""

    code = "too_many_bad_rows"


class Detour(IntelstreamError):
    """What came since the last commit is to be parsed again, and to go through the streams of those behind."""


@dataclass(slots=True)
class Part:
    """What has been parsed of a report since the last commit, and the rows so far; `done` are those committed.

    `direct` says that the events go through the stages behind at once.
    """

    entry: Entry
    wanted: Wanted
    direct: bool
    digest: str = field(init=False)
    events: list[Event] = field(default_factory=list[Event])
    bad: list[Parsed] = field(default_factory=list[Parsed])
    rows: int = 0
    failed: int = 0
    last: int = 0
    done: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        self.digest = ids.entry_digest(f"{self.entry.stage}/{self.entry.id}")  # ids alone may be alike

    def commit(self, to: str | None) -> None:
        """Begin anew behind what is committed."""
        self.entry = replace(self.entry, position=to or "")
        self.events, self.bad, self.done = [], [], (self.rows, self.failed, self.last)

    def take_back(self) -> None:
        """Go back to where the last commit came to; from here on by the streams."""
        self.events, self.bad, self.direct = [], [], False
        self.rows, self.failed, self.last = self.done


class Parsing(Runner):
    """One parser.

    `tail` are the stages that it runs its events through, where the plan has such: one commit then takes them as far
    as they get. When anything fails there, the events go by the stream instead, and the stage itself finds out with
    which of them; they keep the arrival that their marks were set with.
    """

    ahead = 2  # reports are large

    def __init__(self, site: Site, stations: Sequence[Station], tail: Sequence[Station]) -> None:
        super().__init__(site, stations)
        self.tail = tail
        self.experts: list[Expert[Any]] = []
        self.room = [limit for station in (self.first, *tail) for limit in station.room()]
        stages = site.pipeline.stages
        kinds = [stages[to].stage for to in self.first.spec.to.get("default", ()) if to in stages]
        self.marked = any(issubclass(kind, Expert) and kind.claiming for kind in kinds)

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            parser = await stack.enter_async_context(self.first.open())
            self.experts = [await stack.enter_async_context(one.open()) for one in self.tail]
            while not self.first.stopping.is_set():
                for entry in await self.read():
                    if self.first.stopping.is_set():
                        return  # it stays pending
                    with suppress(NotMine):
                        await self._step(parser, entry)

    async def _step(self, parser: Parser[Any], entry: Entry) -> None:
        try:
            wanted = self._report(entry)
        except FrameBroken as error:
            await self.refuse(entry, error)
            return
        self.first.status.enter("running")
        report = wanted.report
        report.prepare(self.first.spec.set, self.first.spec.tags)
        alone = self.suspects(entry)
        start = max(wanted.row, int(entry.position or 0))
        part = Part(entry, wanted, bool(self.tail) and not alone, last=start, done=(0, 0, start))
        try:
            kept = await self._parse(parser, part, report, alone=alone)
        except Detour:
            part.take_back()
            kept = await self._parse(parser, part, report, alone=alone)
        if wanted.spooled and not kept:
            await asyncio.to_thread(Path(wanted.spooled.path).unlink, missing_ok=True)

    async def _parse(self, parser: Parser[Any], part: Part, report: Report, *, alone: bool) -> bool:
        """Parse and commit; say whether the report is still needed.

        Raises:
            Detour: an event could not go straight through.
        """
        wanted = part.wanted
        rows = parse(parser, report, part.last, wanted.only, wanted.first or 0)
        while True:
            if alone and not await self.survives(part.entry, str(part.last)):
                await self._give_up_rest(part, report)
                return True
            if (parsed := next(rows, None)) is None:
                break
            self._add(part, parsed)
            if len(part.events) + len(part.bad) >= (0 if alone else EVENTS) and not parsed.ended:
                if self._hopeless(part):
                    break
                await self._commit(part, report, to=str(part.last))
                if self.first.stopping.is_set():
                    return True  # the rest stays pending, behind this position
        return await self._commit(part, report, to=None)

    def _report(self, entry: Entry) -> Wanted:
        body = unpack(entry.frame)
        if not is_report(body):
            raise FrameBroken(f"{entry.stage} takes reports, not events: it stands behind a collector")
        wanted = decode_report(body, self.site.pipeline.ontology)
        return replace(wanted, report=self._located(wanted.report, wanted.spooled))

    def _located(self, report: Report, spooled: Spooled | None) -> Report:
        """Return the report with its bytes: those of a large one lie in a file of this host."""
        if spooled is None:
            return report
        path = Path(spooled.path)
        if spooled.host != socket.gethostname() or not path.is_file():
            raise FrameBroken(f"opening {spooled.path} on {spooled.host}: the spooled report is not there")
        found = Report(path)
        found.id, found.fields, found.tags, found.ontology = report.id, report.fields, report.tags, report.ontology
        return found

    def _add(self, part: Part, parsed: Parsed) -> None:
        part.rows += 1
        part.last = parsed.number + 1
        if parsed.error:
            part.failed += 1
            part.bad.append(parsed)
        elif self.site.pipeline.raw == "off":
            for event in parsed.events:
                event.raw = None
        if self.marked:
            for index, event in enumerate(parsed.events):
                event.arrival = ids.arrival(part.digest, parsed.number, index)
        part.events += parsed.events

    def _hopeless(self, part: Part) -> bool:
        if part.wanted.only:  # they failed before, and are no sign of what the whole report is like
            return False
        return part.rows >= FEW and part.failed > part.rows * self.first.spec.max_bad

    async def _commit(self, part: Part, report: Report, to: str | None) -> bool:
        """Commit what was parsed; None for `to` ends the report. Say whether a dead letter keeps the report."""
        commit = self.first.commit()
        held = to is None and self._hopeless(part)
        unread = any(parsed.ended for parsed in part.bad)
        if held:
            self._hold_back(commit, part, report)
        else:
            if part.events and part.direct:
                await self._straight(commit, part.events)
            elif part.events:
                self.first.send(commit, "default", part.events, arrived=self.marked)
            for parsed in part.bad:
                self._give_up(commit, part, report, parsed)
            if commit.buried and part.wanted.first is None:
                await self._keep(report)
        commit.count(self.name, "rows", len(part.events) + len(part.bad))
        if to is None:
            commit.count(self.name, "in")
        commit.take(part.entry, count=int(to is None), to=to)
        await self.settle(commit, [part.entry], ends=to is None)
        part.commit(to)
        return held or unread

    async def _straight(self, commit: Commit, events: Sequence[Event]) -> None:
        """Run events through the stages behind, and put into the commit what becomes of them.

        Raises:
            Detour: one of them fails there, or they become more than one commit may hold.
        """
        try:
            outcome = await straight(self.experts, events, self.load)
        except Lost:
            raise
        except Exception as error:
            raise Detour from error
        commit.room = self.room
        settle(self.tail, commit, outcome)
        passed(commit, (self.first, *self.tail), (len(events), *outcome.reached))
        for station in self.tail:
            station.status.enter("running")
        if commit.size > COMMIT:
            raise Detour

    async def _give_up_rest(self, part: Part, report: Report) -> None:
        """Make one dead letter of a report from the row on that has brought workers down."""
        error = Crashed(f"{CRASHES} workers have died while they had row {part.last} of report {report.id} alone")
        commit = self.first.commit()
        self.first.bury(commit, self._letter(part, report, part.last, error))
        commit.count(self.name, "in")
        commit.take(part.entry, count=1, to=None)
        await self.settle(commit, [part.entry])

    def _hold_back(self, commit: Commit, part: Part, report: Report) -> None:
        """Make one dead letter of the report from the last position on, and raise one alert."""
        sample = next(one.error for one in part.bad if one.error)
        text = f"{part.failed} of {part.rows} rows failed (`max_bad`), such as: {sample}"
        error = TooManyBadRows(f"parsing report {report.id} of {report.fields.get('feed.name', self.name)}: {text}")
        start = int(part.entry.position or 0)
        self.first.log.error(
            "report_held_back", report=report.id, failed=part.failed, rows=part.rows, sample=str(sample)
        )
        self.first.bury(commit, letters.of_report(self.name, report, start, error, self.site.now()))

    async def _keep(self, report: Report) -> None:
        """Keep the report for the day when its bad rows are sent again; their letters have their text in any case."""
        try:
            await asyncio.to_thread(self.site.originals.keep, self.name, report)
        except OSError as error:
            self.first.log.warning("report_not_kept", report=report.id, error=str(error))

    def _letter(self, part: Part, report: Report, row: int, error: Exception) -> letters.Letter:
        """Make the letter of a report from a row on, or of those rows behind it that are wanted."""
        letter = letters.of_report(self.name, report, row, error, self.site.now())
        if part.wanted.only:
            letter.message.update(only=sorted(part.wanted.only), first=part.wanted.first)
        return letter

    def _give_up(self, commit: Commit, part: Part, report: Report, parsed: Parsed) -> None:
        """Send a row that failed by the error path if one is connected, else bury it."""
        if parsed.error is None:
            return
        if parsed.ended:  # its rest has no rows to be told by: the letter keeps all of it
            source = report.fields.get("feed.url", report.id)
            self.first.log.error("report_not_read", report=source, row=parsed.number, error=str(parsed.error))
            self.first.bury(commit, self._letter(part, report, parsed.number, parsed.error))
            return
        letter = letters.of_row(self.name, report, parsed.number, parsed.row.text, parsed.error, self.site.now())
        if not self.first.spec.to.get(ERROR):
            self.first.bury(commit, letter)
            return
        report.seek(parsed.number)
        event = report.event()
        event.raw = parsed.row.text
        event.fields |= {"error.stage": self.name, "error.class": letter.error, "error.text": letter.text}
        if letter.field:
            event.fields["error.field"] = letter.field
        self.first.send(commit, ERROR, [event])
        commit.count(self.name, "errored")
