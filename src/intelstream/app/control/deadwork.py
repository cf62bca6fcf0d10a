"""Dead letters sent back, changed, dropped, brought in. Each may be repeated, and each takes short steps."""

import asyncio
import base64
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from intelstream.app.control.faults import Refused
from intelstream.app.control.instance import Instance
from intelstream.app.control.selecting import Selection, pages, split_id
from intelstream.errors import InvalidValue
from intelstream.ontology import Event, Report
from intelstream.runtime import letters as letters_of
from intelstream.runtime.resending import Resending, kind_of
from intelstream.runtime.station import Station
from intelstream.sdk import Parser
from intelstream.transport.shelf import Kept

STEP: Final = 2.0  # seconds that one step may take
REFUSALS: Final = 100  # told of in one step
TRIES: Final = 3
Value = Annotated[str, Field(max_length=1024 * 1024)]


class Order(BaseModel):
    """What is to be done with which letters; `cursor` and `until` are those of the step before."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    select: Selection
    cursor: str = ""
    until: int | None = None
    to: str | None = None
    changes: dict[str, Value | None] = {}
    retry: bool = False


class Letter(BaseModel):
    """A letter from outside."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    id: str = Field(max_length=200)
    message: dict[str, Any]
    error: str = Field(max_length=200)
    field: str | None = Field(None, max_length=1000)
    text: str = Field("", max_length=letters_of.LONGEST)
    traceback: str = Field("", max_length=letters_of.LONGEST)
    attempts: int = Field(1, ge=0)
    time: str = Field(max_length=64)
    report: str | None = Field(None, max_length=64)
    row: int | None = Field(None, ge=0)
    whole: bool = False


class _Rows(BaseModel):
    """Which rows of a report are wanted."""

    only: list[int] = []
    first: int | None = None


class _Steps:
    """What one step has done so far."""

    def __init__(self, order: Order) -> None:
        self.done = 0
        self.refused: list[dict[str, str]] = []
        self.passed_over = 0
        self.cursor = order.cursor
        self.held = ""
        self.until = order.until
        self._over = time.monotonic() + STEP

    @property
    def over(self) -> bool:
        return bool(self.held) or bool(self.cursor and time.monotonic() > self._over)

    def refuse(self, stage: str, kept: Kept, reason: str) -> None:
        self.passed_over += 1
        if len(self.refused) < REFUSALS:
            self.refused.append({"id": f"{stage}:{kept.id}", "reason": reason})

    def answer(self) -> dict[str, Any]:
        return {
            "done": self.done,
            "left": self.passed_over,
            "refused": self.refused,
            "held": self.held,
            "cursor": self.cursor,
            "until": self.until,
        }


async def retry(instance: Instance, order: Order) -> dict[str, Any]:
    """Send letters back to the stage that gave them up, or `to` another one, with `changes` of their fields.

    Repeated, it sends what is still there. Letters made since the first step are left alone.
    """
    target = instance.stage(order.to) if order.to else None
    if target and target.kind == "collector":
        raise Refused(f"{target.name} is a collector and takes nothing: name another stage with --to")
    steps = _Steps(order)
    if steps.until is None:
        seconds, micros = await instance.transport.call("TIME")
        steps.until = int(seconds) * 1000 + int(micros) // 1000
    async for page in pages(instance, order.select, order.cursor, steps.until):
        await _resend(instance, page.stage, page.letters, order, steps)
        if not steps.held:
            steps.cursor = page.cursor
        if steps.over:
            break
    else:
        steps.cursor = ""
    if not steps.cursor and not steps.held:
        await _clean(instance)
    return steps.answer()


async def drop(instance: Instance, order: Order) -> dict[str, Any]:
    """Delete letters for good."""
    steps = _Steps(order)
    letters = instance.site.letters
    async for page in pages(instance, order.select, order.cursor, order.until):
        spooled = [one for one in page.letters if "spooled" in one.data["message"]]
        steps.done += await letters.drop(page.stage, [one for one in page.letters if one not in spooled])
        for one in spooled:
            if await letters.drop(page.stage, [one]):
                steps.done += 1
                await asyncio.to_thread(Path(one.data["message"]["spooled"]).unlink, missing_ok=True)
        steps.cursor = page.cursor
        if steps.over:
            break
    else:
        steps.cursor = ""
    if not steps.cursor:
        await _clean(instance)
    return steps.answer()


async def edit(instance: Instance, order: Order) -> dict[str, Any]:
    """Change fields of letters, and keep them, or with `retry` send them back at once."""
    if not order.changes:
        raise Refused("say what to change: --set FIELD=VALUE, or --unset FIELD")
    if order.retry:
        return await retry(instance, order)
    steps = _Steps(order)
    async for page in pages(instance, order.select, order.cursor, order.until):
        changed = _changed(instance, page.stage, page.letters, order.changes, steps)
        steps.done += await instance.site.letters.amend(page.stage, changed)
        steps.cursor = page.cursor
        if steps.over:
            break
    else:
        steps.cursor = ""
    return steps.answer()


async def bring(instance: Instance, given: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Take letters in that were exported; those that are there already stay as they are.

    Raises:
        Refused: one of them is none; then nothing is taken in.
    """
    by_stage: dict[str, list[dict[str, Any]]] = {}
    for line, one in enumerate(given, 1):
        try:
            stage, data = _checked(instance, one)
        except (ValidationError, InvalidValue, Refused, ValueError, TypeError, KeyError) as error:
            text = str(error).splitlines()[0]
            raise Refused(f"letter {line}: {text}") from error
        by_stage.setdefault(stage, []).append(data)
    done = 0
    for stage, some in by_stage.items():
        done += await instance.site.letters.adopt(stage, some)
    return {"done": done, "known": len(given) - done}


async def _resend(instance: Instance, stage: str, letters: Sequence[Kept], order: Order, steps: _Steps) -> None:
    """Send letters; those that moved to a file meanwhile are looked up again."""
    to = order.to or stage
    spec = instance.stage(to)
    site = instance.site
    room = min(site.totals.values())
    left = list(letters)
    for _ in range(TRIES):
        backlog = (await site.transport.backlogs()).get(f"{to}:n", 0)
        if left and spec.backlog and backlog >= spec.backlog:
            steps.held = f"{to} is full"
            return
        if order.changes:
            counted = _Steps(order) if _ else steps
            left = [_merged(one, change) for one, change in _changed(instance, stage, left, order.changes, counted)]
        resending = _resending(instance, stage, to)
        frames, refused = await asyncio.to_thread(resending.frames, left)
        sent = await site.letters.revive(stage, frames, to, room)
        for one, reason in refused if not _ else ():
            steps.refuse(stage, one, reason)
        if sent is None:
            steps.held = "the memory for backlogs is used up"
            return
        steps.done += sent
        wanted = sum(len(frame.letters) for frame in frames)
        if sent == wanted:
            return
        refusals = {one.id for one, _ in refused}
        left = [one for one in await site.letters.find(stage, [one.id for one in left]) if one.id not in refusals]


def _resending(instance: Instance, stage: str, to: str) -> Resending:
    site, spec = instance.site, instance.stage(to)
    parser = None
    if issubclass(spec.stage, Parser):
        parser = spec.stage(spec.params, Station(site, spec, asyncio.Event()).context())
    return Resending(
        stage, to, parser, ontology=site.pipeline.ontology, originals=site.originals, spool=site.state_dir / "spool"
    )


def _changed(
    instance: Instance, stage: str, letters: Sequence[Kept], changes: Mapping[str, str | None], steps: _Steps
) -> list[tuple[Kept, dict[str, Any]]]:
    """Return letters with what changes in their messages, by the ontology."""
    found: list[tuple[Kept, dict[str, Any]]] = []
    for one in letters:
        try:
            found.append((one, _change(instance, one.data, changes)))
        except (InvalidValue, Refused) as error:
            steps.refuse(stage, one, str(error))
    return found


def _change(instance: Instance, data: Mapping[str, Any], changes: Mapping[str, str | None]) -> dict[str, Any]:
    kind = kind_of(dict(data))
    if kind == "Frame":
        raise Refused("it is no message, and has no fields")
    known = Event({}, instance.pipeline.ontology, id="")
    changed: dict[str, Any] = {}
    for name, value in changes.items():
        if name == "extra" or name.startswith("__"):
            raise Refused(f"{name}: expected a field, such as source.ip or extra.name")
        if name == "raw":
            wire = "__raw" if kind == "Event" else "raw"
            if value is None and kind != "Event":
                raise Refused("raw: a row has a text")
            changed[wire] = value if kind == "Event" or value is None else base64.b64encode(value.encode()).decode()
        elif value is None:
            changed[name] = None
        else:
            known[name] = value
            changed[name] = known.fields[name]
    return changed


def _merged(one: Kept, change: Mapping[str, Any]) -> Kept:
    return one.changed({**one.data.get("edited", {}), **change})


def _checked(instance: Instance, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return stage and letter of what comes from outside; its message is checked by the ontology, like any other."""
    found = Letter.model_validate(given)
    stage, id_ = split_id(found.id)
    instance.stage(stage)
    message, ontology = found.message, instance.pipeline.ontology
    match message.get("__type"):
        case "Event":
            raw = message.get("__raw")
            fields = {name: value for name, value in message.items() if name != "__raw"}
            event = Event.from_dict(fields, ontology)
            event.raw = None if raw is None else str(raw)
            checked = {**event.fields, "__type": "Event", "__id": event.id, "__parents": list(event.parents)}
            checked |= {"__tags": sorted(event.tags), "__raw": event.raw}
        case "Report":
            if "spooled" in message:
                raise Refused("it names a file of another host instead of the report")
            some = {name: message[name] for name in ("only", "first") if message.get(name) is not None}
            _Rows.model_validate(some)
            report = Report.from_dict({name: one for name, one in message.items() if name not in some}, ontology)
            checked = {**report.fields, "__type": "Report", "__id": report.id, "__tags": sorted(report.tags)}
            checked |= {"raw": base64.b64encode(report.raw).decode(), **some}
        case _:
            raise Refused("expected an event or a report")
    own = found.model_dump(exclude={"id", "message"})
    letter = letters_of.Letter(stage=stage, message=checked, **own)
    return stage, {"id": id_, **letter.to_dict()}


async def _clean(instance: Instance) -> None:
    """Delete reports that no letter is a row of any more."""
    for stage, spec in instance.pipeline.stages.items():
        if spec.kind == "parser":
            wanted = await instance.site.letters.origins(stage)
            await asyncio.to_thread(instance.site.originals.clean, stage, wanted)
