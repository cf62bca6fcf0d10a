"""Stages that only a proof uses: a source that keeps book, and experts that split, fail and count."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, Literal, Self

from pydantic import Field, PrivateAttr, ValidationInfo, model_validator

from intelstream import sdk
from intelstream.errors import InvalidValue
from intelstream.ontology import STANDARD, Event, Ontology, Report, ids, keys
from intelstream.sdk.incoming import read_events
from intelstream.sdk.types import ontology_of

NUMBER: Final = "extra.proof"  # says which event it is, whatever the engine calls it
PART: Final = "extra.part"
COUNT: Final = "extra.count"
GROUP: Final = str(keys.CLASSIFICATION_TYPE)
LOOK: Final = 0.02  # seconds between two looks at how far the source is released
LARGEST: Final = 200  # events handed over together


class SourceParams(sdk.Params):
    path: Path = Field(description="File with one row or one event per line.")
    gate: Path = Field(description="File that says which share of the lines is released.")
    acknowledged: Path = Field(description="File that gets the number of lines that are safe, one count per line.")
    lines: int = Field(ge=0, description="How many lines the file has.")
    gives: Literal["reports", "events"] = Field("reports", description="What the lines are.")
    durable: bool = Field(False, description="Whether lines are acknowledged when they are on the server's disk.")
    seed: int = Field(0, description="Decides how many lines are handed over together.")
    _ontology: Ontology = PrivateAttr(STANDARD)

    @model_validator(mode="after")
    def _knows_its_fields(self, info: ValidationInfo) -> Self:
        self._ontology = ontology_of(info)
        return self

    @property
    def ontology(self) -> Ontology:
        """The fields of the pipeline that the stage is in."""
        return self._ontology


class Source(sdk.Collector[SourceParams]):
    """Hand over the lines of a file as far as they are released, and write down what was acknowledged as safe."""

    mode = "stream"

    def __init__(self, params: SourceParams, ctx: sdk.StageContext) -> None:
        super().__init__(params, ctx)
        self.durable = params.durable

    @classmethod
    def gives_of(cls, params: sdk.Params) -> Literal["reports", "events"]:
        return params.gives if isinstance(params, SourceParams) else "reports"

    async def collect(self, cursor: tuple[int, int] | None) -> AsyncIterator[sdk.Collected]:
        line, offset = cursor or (0, 0)
        while line < self.params.lines:
            if line >= await self.ctx.in_thread(self._released):
                await self.ctx.sleep(LOOK)
                continue
            wanted = Random(f"{self.params.seed}:{line}").randint(1, LARGEST)  # noqa: S311 - the same when begun again
            wanted = min(wanted, self.params.lines - line)
            rows = await self.ctx.in_thread(self._read, offset, wanted)
            line, offset = line + wanted, offset + len(rows)
            yield sdk.Begin(str(line))
            if self.params.gives == "reports":
                yield Report(rows, cursor=(line, offset), after_commit=partial(self._acknowledge, line))
                continue
            events, wrong = await self.ctx.in_thread(read_events, rows, self.params.ontology)
            if wrong:
                raise InvalidValue(*wrong[0])
            for event in events:
                yield event
            yield sdk.Commit((line, offset), partial(self._acknowledge, line))
        await asyncio.Event().wait()

    def _released(self) -> int:
        return int(float(self.params.gate.read_text("ascii")) * self.params.lines)

    def _read(self, offset: int, wanted: int) -> bytes:
        with self.params.path.open("rb") as file:
            file.seek(offset)
            return b"".join(file.readline() for _ in range(wanted))

    async def _acknowledge(self, line: int) -> None:
        await self.ctx.in_thread(self._note, line)

    def _note(self, line: int) -> None:
        number = os.open(self.params.acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(number, b"%d\n" % line)
        finally:
            os.close(number)


class Through(sdk.Expert[sdk.Params]):
    """Let every event pass: stands in for an expert that would ask the network."""

    pure = True

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        for event in batch:
            yield event


class Split(sdk.Expert[sdk.Params]):
    """Make three events of each."""

    pure = True

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        for event in batch:
            for place in range(3):
                child = event.derive(place)
                child[PART] = place
                yield child


class Failing(sdk.Expert[sdk.Params]):
    """Fail for some events: for some always, for some at the first try only, and refuse some."""

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        for event in batch:
            match int(event[NUMBER]) % 200:
                case 7:
                    raise RuntimeError("this event always fails")
                case 107 if not event.attempts:
                    raise RuntimeError("this event fails at its first try")
                case 41:
                    batch.reject(event, InvalidValue(NUMBER, event[NUMBER], "refused"))
                case _:
                    yield event


class Tally(sdk.Expert[sdk.Params]):
    """Count events by type, and give the counts when the timer says so: each event is in one count."""

    stateful = True
    timer = 0.5

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        counts = Counter((await batch.state.get("counts")) or {})
        for event in batch:
            counts[event[GROUP]] += 1
            batch.drop(event, "counted")
        batch.state.set("counts", dict(counts))
        return
        yield

    async def on_timer(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        counts, window = await batch.state.get_many(("counts", "window"))
        if not counts:
            return
        window = (window or 0) + 1
        for group, count in counts.items():
            yield self._sum(group, count, window)
        batch.state.set("counts", None)
        batch.state.set("window", window)

    def _sum(self, group: str, count: int, window: int) -> Event:
        fields: dict[str, Any] = {GROUP: group, COUNT: count, "extra.window": window}
        return Event(fields, id=ids.derived("", self.ctx.name, group, window))
