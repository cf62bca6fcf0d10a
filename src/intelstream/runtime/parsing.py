"""Runs parsers: from reports to events, row by row, with the row number as position."""

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from intelstream.errors import Crashed, StageError
from intelstream.ontology import Event, Report
from intelstream.runtime import letters
from intelstream.runtime.drain import Parsed, parse
from intelstream.runtime.running import CRASHES, NotMine, Runner
from intelstream.runtime.spec import ERROR
from intelstream.sdk import Parser
from intelstream.transport.commit import Commit, Entry
from intelstream.transport.frames import FrameBroken, Spooled, Wanted, decode_report, is_report, unpack

EVENTS: Final = 1024  # in one commit, at most
FEW: Final = 20  # rows under which nothing is said of a report as a whole


class TooManyBadRows(StageError):
    """Most rows of a report failed: the format has changed, or the parser is the wrong one."""

    code = "too_many_bad_rows"


@dataclass(slots=True)
class Part:
    """What has been parsed of a report since the last commit, and the rows so far."""

    entry: Entry
    wanted: Wanted
    events: list[Event] = field(default_factory=list[Event])
    bad: list[Parsed] = field(default_factory=list[Parsed])
    rows: int = 0
    failed: int = 0
    last: int = 0


class Parsing(Runner):
    """One parser."""

    ahead = 2  # reports are large

    async def run(self) -> None:
        async with self.first.open() as parser:
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
        part = Part(entry, wanted, last=max(wanted.row, int(entry.position or 0)))
        alone = self.suspects(entry)
        rows = parse(parser, report, part.last, wanted.only, wanted.first or 0)
        while True:
            if alone and not await self.survives(entry, str(part.last)):
                await self._give_up_rest(part, report)
                return
            if (parsed := next(rows, None)) is None:
                break
            self._add(part, parsed)
            if len(part.events) + len(part.bad) >= (0 if alone else EVENTS) and not parsed.ended:
                if self._hopeless(part):
                    break
                await self._commit(part, report, to=str(part.last))
                if self.first.stopping.is_set():
                    return  # the rest stays pending, behind this position
        held = await self._commit(part, report, to=None)
        if wanted.spooled and not held:
            await asyncio.to_thread(Path(wanted.spooled.path).unlink, missing_ok=True)

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
            if part.events:
                self.first.send(commit, "default", part.events)
            for parsed in part.bad:
                self._give_up(commit, part, report, parsed)
            if commit.buried and part.wanted.first is None:
                await self._keep(report)
        commit.count(self.name, "rows", len(part.events) + len(part.bad))
        if to is None:
            commit.count(self.name, "in")
        commit.take(part.entry, count=int(to is None), to=to)
        await self.settle(commit, [part.entry], ends=to is None)
        part.entry = replace(part.entry, position=to or "")
        part.events, part.bad = [], []
        return held or unread

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
