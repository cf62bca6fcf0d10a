"""What has to come out: the same stages in one plain loop, without transport, restating the engine's rules."""

import base64
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from copy import deepcopy
from dataclasses import replace
from graphlib import TopologicalSorter
from itertools import islice
from pathlib import Path
from typing import Any, Final

from intelstream.app import testing
from intelstream.app.prove.closing import Entry, lines_of
from intelstream.app.prove.expected import Expected, identity_of
from intelstream.app.testing import StageRun
from intelstream.errors import InvalidValue, Rejected, Unavailable
from intelstream.ontology import Event, Report, ids
from intelstream.runtime.drain import Failed, Outcome, parse, settled
from intelstream.runtime.spec import ERROR, PipelineSpec, StageSpec
from intelstream.sdk import Batch, Expert, Parser, State
from intelstream.sdk.incoming import read_events

TOGETHER: Final = 256  # lines that go through all stages at once
DEFAULT: Final = "default"


class Passing:
    """Claims that let the first arrival of every event pass, and note which other events want the same mark.

    Which of those passes is chance; the verdict knows that it is exactly one.
    """

    def __init__(self) -> None:
        self.names: dict[str, str] = {}  # owner -> event
        self.wanted: defaultdict[str, dict[str, str]] = defaultdict(dict)  # mark -> event -> its owner

    async def claim_many(self, claims: Sequence[tuple[str, str]], ttl: float, most: int = 0) -> list[str]:  # noqa: ARG002
        return [self.wanted[key].setdefault(self.names[owner], owner) for key, owner in claims]


class Oracle:
    """Goes through the pipeline with every line of every entry."""

    def __init__(self, spec: PipelineSpec, runs: Mapping[str, StageRun]) -> None:
        self.expected = Expected.of(spec)
        self._spec = spec
        self._runs = runs
        self._claims = {name: Passing() for name in runs}
        self._arrivals = 0
        for name, run in runs.items():
            run.stage.ctx = replace(run.stage.ctx, name=name, claims=self._claims[name])
        senders = {name: [one.name for one in spec.stages.values() if name in one.targets()] for name in spec.stages}
        self._order = list(TopologicalSorter(senders).static_order())

    async def take(self, entry: Entry, lines: Sequence[bytes]) -> None:
        """Let lines of an entry go through everything."""
        self.expected.taken += len(lines)
        targets = self._spec.stages[entry.stage.name].targets()
        if entry.gives == "reports":
            for target in targets:
                await self._walk(self._parsed(target, b"".join(lines)))
            return
        events = [*read_events(b"".join(lines), self._spec.ontology)[0]]
        await self._walk(dict.fromkeys(targets, events))

    async def finish(self) -> Expected:
        """Let what only waits for time leave, and return everything."""
        for name in self._order:
            if self._spec.stages[name].kind == "expert" and self._stage(name).stateful:
                batch = Batch((), State(self._runs[name].load))
                outcome = await settled(batch, self._stage(name).on_timer(batch), name)
                self._runs[name].state |= outcome.state
                await self._walk(self._sent(self._spec.stages[name], outcome))
        for name, claims in self._claims.items():
            self.expected.note_twins(name, claims.wanted.values())
        return self.expected

    def _parsed(self, name: str, raw: bytes) -> dict[str, list[Event]]:
        """Run a report through a parser; return what each of those that it sends to gets."""
        spec, parser = self._spec.stages[name], self._runs[name].stage
        if not isinstance(parser, Parser):
            raise TypeError(f"{name} stands behind a source of reports: expected a parser")
        report = Report(raw).stamp(id=testing.PARENT, fields={}, ontology=self._spec.ontology)
        report.prepare(spec.set, spec.tags)
        made: list[Event] = []
        for parsed in parse(parser, report):
            made += parsed.events
            if parsed.error:
                text = base64.b64encode(parsed.row.text.encode(errors="surrogateescape")).decode()
                self.expected.bury(name, {"raw": text}, parsed.error)
        return self._sent(spec, Outcome(sent={(0, DEFAULT): made}))

    async def _walk(self, waiting: Mapping[str, list[Event]]) -> None:
        inboxes = defaultdict(list, waiting)
        for name in self._order:
            spec, events = self._spec.stages[name], inboxes.pop(name, [])
            if events and spec.kind == "output":
                for event in events:
                    self.expected.put(name, event.to_dict(raw=True))
            elif events:
                for target, sent in (await self._through(spec, events)).items():
                    inboxes[target] += sent

    async def _through(self, spec: StageSpec, events: Sequence[Event]) -> dict[str, list[Event]]:
        """Run events through an expert until each is sent, dropped or dead; what fails by a bug is tried again."""
        whole, tries = Outcome(), 0
        while events:
            outcome = await self._attempt(spec.name, events, tries)
            again: list[Event] = []
            for one in outcome.failed:
                if tries < spec.retry.attempts and _is_bug(one.error):
                    again.append(one.event)
                else:
                    self._give_up(spec, one.event, one.error, whole)
            whole.add(replace(outcome, failed=[]))
            events, tries = again, tries + 1
        for dropped in whole.dropped:
            self.expected.dropped[spec.name, dropped.reason[:64]] += 1
        return self._sent(spec, whole)

    async def _attempt(self, name: str, events: Sequence[Event], tries: int) -> Outcome:
        """Run events together, or where that fails each alone."""
        arrivals = ids.arrivals(str(self._arrivals), len(events))
        self._arrivals += 1
        places = [*zip(events, arrivals, strict=True)]
        try:
            return await self._run(name, [_copied(event, name, arrival, tries) for event, arrival in places])
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001, S110 - found again below, at the event that it belongs to
            pass
        whole = Outcome()
        for event, arrival in places:
            try:
                whole.add(await self._run(name, [_copied(event, name, arrival, tries)]))
            except Exception as error:  # noqa: BLE001 - whatever a stage raises
                whole.failed.append(Failed(0, _copied(event, name, arrival, tries), error))
        return whole

    async def _run(self, name: str, events: Sequence[Event]) -> Outcome:
        run, stage = self._runs[name], self._stage(name)
        self._claims[name].names = {event.owner: identity_of(event.fields) for event in events}
        batch = Batch(events, State(run.load))
        outcome = await settled(batch, stage.process(batch), name)
        run.state |= outcome.state
        return outcome

    def _give_up(self, spec: StageSpec, event: Event, error: Exception, outcome: Outcome) -> None:
        if not spec.to.get(ERROR):
            self.expected.bury(spec.name, event.fields, error)
            return
        event.fields |= {"error.stage": spec.name, "error.class": type(error).__name__, "error.text": str(error)}
        if isinstance(error, InvalidValue):
            event.fields["error.field"] = error.field
        outcome.sent.setdefault((0, ERROR), []).append(event)

    def _sent(self, spec: StageSpec, outcome: Outcome) -> dict[str, list[Event]]:
        """Return what each stage gets of what leaves; a path that leads nowhere drops."""
        sent: defaultdict[str, list[Event]] = defaultdict(list)
        for (_, path), events in outcome.sent.items():
            targets = spec.to.get(path, ())
            for target in targets:
                sent[target] += events
            if not targets:
                reason = spec.name if path in spec.stage.optional else f"unconnected:{path}"
                self.expected.dropped[spec.name, reason] += len(events)
        return sent

    def _stage(self, name: str) -> Expert[Any]:
        stage = self._runs[name].stage
        if not isinstance(stage, Expert):
            raise TypeError(f"{name}: expected an expert")
        return stage


def _copied(event: Event, stage: str, arrival: str, tries: int) -> Event:
    """Return an event of its own for a stage, which may change it in place."""
    fields = {
        name: deepcopy(value) if isinstance(value, list | dict) else value for name, value in event.fields.items()
    }
    copy = Event(fields, event.ontology, id=event.id, parents=event.parents, tags=event.tags, raw=event.raw)
    copy.stage, copy.arrival, copy.attempts = stage, arrival, tries
    return copy


def _is_bug(error: Exception) -> bool:
    return not isinstance(error, InvalidValue | Rejected)


@asynccontextmanager
async def _opened(spec: PipelineSpec) -> AsyncGenerator[Oracle]:
    async with AsyncExitStack() as stack:
        runs = {
            name: await stack.enter_async_context(testing.open_stage(one.stage, one.params))
            for name, one in spec.stages.items()
            if one.kind in ("parser", "expert")
        }
        yield Oracle(spec, runs)


def _batches(path: Path) -> Iterator[list[bytes]]:
    with path.open("rb") as file:
        while lines := list(islice(file, TOGETHER)):
            yield lines


async def foretold(spec: PipelineSpec, made: Iterable[Entry], directory: Path) -> Expected:
    """Return what has to come out of a closed pipeline when everything that its entries have has gone through."""
    async with _opened(spec) as oracle:
        for entry in made:
            for lines in _batches(lines_of(directory, entry.stage.name)):
                await oracle.take(entry, lines)
        return await oracle.finish()
