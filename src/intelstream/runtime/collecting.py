"""Runs collectors: on schedule or for ever, each report committed together with the position behind it."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from hashlib import blake2b
from random import Random
from typing import Any, Final, cast

from intelstream.errors import StageError, Unavailable
from intelstream.ontology import Event, Report, ids
from intelstream.runtime import schedule
from intelstream.runtime.pieces import LARGEST, NoLineEnds, pieces
from intelstream.runtime.runs import Run, Unfinished
from intelstream.runtime.spool import spool
from intelstream.runtime.standing import Standing
from intelstream.runtime.station import Lost, Site, Station, Stopped
from intelstream.sdk import Begin, Collector, Lines
from intelstream.sdk import Commit as Until
from intelstream.sdk.files import digest_of
from intelstream.transport.commit import Commit
from intelstream.transport.frames import MESSAGES, Spooled, encode_report, pack
from intelstream.transport.link import Restarted
from intelstream.transport.transport import STATE

RUN, NEXT, PARTS = "run", "next", "parts"
RETRY: Final = 60.0  # seconds until a source that was away is asked again; longer each time
RETRY_MOST: Final = 3600.0


class Collecting:
    """One collector, on one worker at a time. `split` says where the parsers behind it let a report be cut."""

    def __init__(self, site: Site, station: Station, split: Lines | None) -> None:
        self.site = site
        self.station = station
        self.spec = station.spec
        self.name = station.name
        self.targets: Sequence[str] = station.spec.to.get("default", ())
        self.split = split
        self.random = Random()  # noqa: S311 - for jitter, not for secrets
        self.version = ""
        self.epoch = site.transport.client.epoch  # what another incarnation of the server has said is void
        self.standing = Standing(None, {})
        self.events: list[Event] = []
        self.record = Run(self.name, site.now())
        self.unfinished = Unfinished({})
        self.failures = 0
        self.durable = False  # whether what follows a commit waits for the disk
        self.tracks = True  # whether a run that broke off may be begun again

    async def run(self) -> None:
        """Run until the worker stops."""
        try:
            async with self.station.leased() as self.version, self.station.open() as collector:
                self.durable = collector.durable
                kept = (await self.site.transport.states(self.name, (RUN, NEXT, PARTS)))[1]
                broken, next_, parts = kept
                self.standing = await Standing.load(self.site.transport, self.name)
                self.unfinished = Unfinished(parts or {})
                if broken:
                    self.record = Run.load(self.name, broken)
                if collector.mode == "poll":
                    due = datetime.fromisoformat(next_) if next_ else None
                    slot = schedule.first(self.spec, due, self.site.now(), self.random)
                    await self._poll(collector, self.site.now() if broken else slot, begun=bool(broken))
                else:
                    self.tracks = False
                    await self._follow(collector)
        except Stopped:
            return

    async def _poll(self, collector: Collector[Any], due: datetime, *, begun: bool) -> None:
        """Run at each slot. A run that failed half way is begun again, not another one."""
        while True:
            self.station.status.next_run = due
            self.station.status.enter("waiting", self.station.status.last_error if self.failures else "")
            if await self.station.pause(max(0.0, (due - self.site.now()).total_seconds())):
                return
            if await self.station.wait_for_room():
                return
            if begun:
                self.record.again()
            else:
                self.record = Run(self.name, due)
            self.station.status.enter("running")
            due = await self._once(collector)
            begun = self.failures > 0

    async def _once(self, collector: Collector[Any]) -> datetime:
        """Run once and return when to run next. Trouble with the source is shown with the next try's time."""
        await self._save(**{RUN: self.record.dump()})
        try:
            async with asyncio.timeout(self.spec.timeout):
                await self._gather(collector)
        except (StageError, TimeoutError) as error:
            return self._later(error)
        self.failures = 0
        next_ = schedule.following(self.spec, self.record.slot, self.site.now(), self.random)
        await self._save(**{RUN: None, NEXT: next_.isoformat()})
        return next_

    def _later(self, error: Exception) -> datetime:
        """Return when a source that failed is tried again."""
        asked = error.retry_after if isinstance(error, Unavailable) else None
        wait = asked or min(RETRY * 2**self.failures, RETRY_MOST, self.spec.every or RETRY_MOST)
        self.failures = min(self.failures + 1, 16)
        next_ = self.site.now() + timedelta(seconds=wait)
        text = str(error) or f"no end within {self.spec.timeout} s (`timeout`)"
        self.station.status.last_error = text
        self.station.log.warning("collecting_failed", error=text, next_try=next_.isoformat(timespec="seconds"))
        self.station.status.enter("waiting", text)
        self.events.clear()  # none of them is out; the next run brings them again
        return next_

    async def _follow(self, collector: Collector[Any]) -> None:
        """Run a stream or a listener until the worker stops; begin again when it ends or its source fails."""
        stop = asyncio.create_task(self.station.stopping.wait())
        try:
            while not stop.done():
                self.station.status.enter("running")
                task = asyncio.create_task(self._gather(collector))
                try:
                    await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
                    if task.done():
                        task.result()
                        await self.station.pause(1.0)
                except StageError as error:
                    await self.station.pause((self._later(error) - self.site.now()).total_seconds())
                finally:
                    task.cancel()
                    await asyncio.wait((task,))
        finally:
            stop.cancel()

    async def _gather(self, collector: Collector[Any]) -> None:
        """Commit all that the collector yields, in order."""
        self.unfinished.begin("")
        async with aclosing(cast("AsyncGenerator[Any]", collector.collect(self.standing.cursor))) as found:
            async for item in found:
                if isinstance(item, Event):
                    if not self.unfinished.passes():
                        self.events.append(item)
                    if len(self.events) < MESSAGES:
                        continue
                await self._flush(item if isinstance(item, Until) else Until(), ends=isinstance(item, Until))
                if isinstance(item, Report):
                    await self._report(item)
                elif isinstance(item, Begin):
                    self.unfinished.begin(item.key)
        await self._flush(Until())

    async def _flush(self, until: Until, *, ends: bool = False) -> None:
        """Commit the events gathered so far, with a new position if there is one."""
        if not (self.events or ends):
            return
        labels = self._labels()
        commit = self._begin()
        for place, event in enumerate(self.events, self.record.out):
            event.id = ids.derived(self.record.id, place)
            event.ontology, event.tags = self.site.pipeline.ontology, event.tags | self.spec.tags
            for name, value in labels.items():
                event.add(name, value)
        if self.events:
            self.station.send(commit, "default", self.events)
        count = len(self.events)
        self.record.out += count
        self.events = []
        await self._write(commit, until, count, ends=ends)

    def _labels(self) -> dict[str, Any]:
        return {f"feed.{name}": value for name, value in self.spec.labels.items()} | {
            "time.observation": self.site.now()
        }

    async def _report(self, report: Report) -> None:
        """Commit a report: whole, cut, or as a file beside the streams."""
        if report.size <= LARGEST:
            await self._piece(report, report.raw, last=True)
            return
        if self.split:
            try:
                await self._cut(report, self.split)
            except NoLineEnds as error:
                self.station.log.warning("report_not_cut", reason=str(error))
            else:
                return
        await self._spool(report)

    async def _cut(self, report: Report, lines: Lines) -> None:
        """Commit a report piece by piece; the last one carries the position."""
        waiting = b""
        with report.open() as file:
            for place, raw in enumerate(pieces(file, lines)):
                if place:
                    await self._piece(report, waiting, last=False)
                waiting = raw
        await self._piece(report, waiting, last=True)

    async def _piece(self, report: Report, raw: bytes, *, last: bool) -> None:
        """Commit bytes as one report of their own."""
        digest = blake2b(raw, digest_size=8).hexdigest()
        if await self._is_out(report, digest, last=last):
            return
        piece = self._identified(Report(raw), report, digest)
        commit = self._begin()
        commit.send(self.targets, pack(encode_report(piece)), 1)
        await self._out(commit, report, digest, last=last)

    async def _spool(self, report: Report) -> None:
        """Leave the bytes in a file for each receiver, and send where it is."""
        digest = await asyncio.to_thread(digest_of, report)
        if await self._is_out(report, digest, last=True):
            return
        piece = self._identified(Report(b""), report, digest)
        commit = self._begin()
        for target in self.targets:
            path = (self.site.state_dir / "spool" / target / piece.id).resolve()
            size = await asyncio.to_thread(spool, report, path)
            commit.send((target,), pack(encode_report(piece, Spooled(socket.gethostname(), str(path), size))), 1)
        await self._out(commit, report, digest, last=True)

    async def _is_out(self, report: Report, digest: str, *, last: bool) -> bool:
        """Tell whether a run that broke off has committed this very piece; then only the position is missing."""
        met = self.record.meets(digest) if self.tracks else self.unfinished.passes()
        if met is None:
            self.station.log.info("source_changed_meanwhile", slot=self.record.slot.isoformat())
            self.record = Run(self.name, self.site.now())
        if met and last and (report.cursor is not None or report.after_commit):
            await self._end(self._begin(), report, 0)
        return bool(met)

    def _identified(self, piece: Report, report: Report, digest: str) -> Report:
        """Give a piece its id, and what is known of the feed and of the fetch."""
        own = self.record.piece(digest)
        fields = self._labels() | dict(report.given)
        return piece.stamp(
            id=own, fields=fields, tags=report.tags | self.spec.tags, ontology=self.site.pipeline.ontology
        )

    async def _out(self, commit: Commit, report: Report, digest: str, *, last: bool) -> None:
        for target in self.targets:
            commit.count(self.name, f"sent:default:{target}")
        commit.count(self.name, "out")
        if self.tracks:
            self.record.note(digest)
        else:
            self.record.out += 1
        if last:
            await self._end(commit, report, 1)
        else:
            await self._write(commit, Until(), 1, ends=False)

    async def _end(self, commit: Commit, report: Report, count: int) -> None:
        """Write the commit of a report's last piece."""
        until = Until(report.cursor, report.after_commit)
        await self._write(commit, until, count, ends=report.cursor is not None)

    def _begin(self) -> Commit:
        return self.station.commit(self.version, operation=f"{self.version}:{self.record.out}")

    async def _save(self, **values: Any) -> None:
        commit = self._begin()
        for name, value in values.items():
            commit.write(STATE + name, value)
        await self._settle(commit)

    async def _write(self, commit: Commit, until: Until, count: int, *, ends: bool) -> None:
        """Write a commit of so many messages with how far the run has come, then do what was to be done after it."""
        if until.cursor is not None:
            self.standing.move(commit, until.cursor)
            self.record.cover()
        commit.write(STATE + RUN, self.record.dump())
        parts = self.unfinished.after(count, ends=ends)
        if parts is not self.unfinished.out:
            commit.write(STATE + PARTS, parts or None)
        # Asked before the commit: a server that was started again since is told apart, and the sender sends again.
        acknowledging = self.site.transport.client.run_id
        await self._settle(commit)
        self.unfinished.keep(parts, ends=ends)
        if until.after_commit:
            if self.durable:
                await self._sync(acknowledging)
            await until.after_commit()

    async def _sync(self, acknowledging: str) -> None:
        """Wait for the disk; if that fails, what the server has of it is read anew: it may have lost the commit."""
        try:
            await self.site.barrier(acknowledging)
        except Unavailable as down:
            raise Lost(f"{self.name}: {down}") from down

    async def _settle(self, commit: Commit) -> None:
        hold = self.station.status.hold
        try:
            answer = await self.site.transport.commit(commit, admits=True, on_hold=hold, epoch=self.epoch)
        except Restarted as error:
            raise Lost(f"{self.name}: the server has been restarted") from error
        if not answer.written:
            raise Lost(f"{self.name}: {answer.name.lower()}")
        self.site.note(commit)
        self.version = commit.version
        if not self.tracks:
            self.failures = 0  # one that runs all the time is well when something comes through
