"""Makes the spec of a stage: imports it, checks its parameters and the engine's; what is wrong goes to the faults."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import RootModel

from intelstream import catalog
from intelstream.catalog import AnyStage
from intelstream.config.entries import KINDS, LABELS
from intelstream.config.parts import Part, Reading
from intelstream.errors import InvalidValue, UnknownName
from intelstream.formats.faults import near
from intelstream.ontology import Event
from intelstream.runtime.spec import Kind, Retry, StageSpec, kind_of
from intelstream.sdk import Collector, Duration, Extra, Params
from intelstream.sdk.types import FieldMap

TIMES: Final = frozenset({"every", "cron", "timezone", "jitter", "missed", "timeout"})
ARTICLE: Final[Mapping[Kind, str]] = {
    "collector": "a collector",
    "parser": "a parser",
    "expert": "an expert",
    "output": "an output",
}


class Values(RootModel[FieldMap]):
    """Values of fields, as the ontology keeps them."""


def loaded(part: Part, reading: Reading) -> AnyStage | None:
    """Import a part's stage."""
    try:
        stage = catalog.load(part.use, reading.host.plugins)
    except UnknownName as error:
        is_feed = part.use in catalog.feed_names(reading.folders)
        hint = f"; it is a feed: write `feed: {part.use}`" if is_feed else ""
        reading.faults.add(part.use_place, f"{part.use}: {error}{hint}")
        return None
    _require(stage.requires, part, reading)
    return stage


def _require(extra: Extra | None, part: Part, reading: Reading) -> None:
    if line := catalog.missing(extra):
        reading.faults.add(part.use_place, f"{part.use} needs a library that is not installed: {line}")


def spec_of(part: Part, stage: AnyStage, reading: Reading) -> StageSpec | None:
    """Return the spec, None if its parameters or its values are wrong."""
    entry, kind, faults = part.entry, kind_of(stage), reading.faults
    for key in sorted(part.keys & KINDS.keys()):
        if kind not in KINDS[key]:
            only = " and ".join(f"{kind}s" for kind in sorted(KINDS[key]))
            faults.add((*part.place, key), f"only for {only}; {part.use} is {ARTICLE[kind]}")
    params = _params(part, stage, reading)
    if params is not None:
        _require(stage.requires_of(params), part, reading)
    values = faults.check(Values, part.set, (*part.place, "set"), {"ontology": reading.ontology})
    labels = _labels(part, reading)
    every = _every(part, stage, reading)
    if params is None or values is None:
        return None
    return StageSpec(
        name=part.name,
        use=part.use,
        stage=stage,
        params=params,
        to=part.ways or {},
        labels=labels,
        set=values.root,
        tags=part.tags,
        every=every,
        cron=entry.cron if kind == "collector" else None,
        timezone=entry.timezone,
        jitter=entry.jitter,
        missed=entry.missed,
        timeout=entry.timeout,
        enabled=entry.enabled,
        priority=entry.priority,
        backlog=entry.backlog,
        retry=Retry(attempts=entry.retry.attempts, delay=entry.retry.delay),
        concurrency=entry.concurrency,
        fuse=entry.fuse,
        was=part.was,
        max_bad=entry.max_bad,
        description=entry.description,
    )


def _params(part: Part, stage: AnyStage, reading: Reading) -> Params | None:
    context = {
        "ontology": reading.ontology,
        "directory": reading.directory,
        "readable": (*reading.host.readable, *part.readable),
        "writable": reading.host.writable,
        "hidden": reading.secrets.hidden(part.with_place),
    }
    return reading.faults.check(stage.Params, part.given, part.with_place, context)


def _labels(part: Part, reading: Reading) -> dict[str, Any]:
    """Return the labels as the ontology keeps `feed.*`."""
    kept = Event({}, reading.ontology, id="")
    for name, value in part.labels.items():
        place = (*part.place, "labels", name)
        if name not in LABELS:
            reading.faults.add(place, near("no such label", name, LABELS))
            continue
        try:
            kept[f"feed.{name}"] = value
        except InvalidValue as error:
            reading.faults.add(place, error.reason)
    return {name.removeprefix("feed."): value for name, value in kept.fields.items()}


def _every(part: Part, stage: AnyStage, reading: Reading) -> float | None:
    """Return the seconds between two runs of a collector that is asked again and again."""
    entry, place, faults = part.entry, part.place, reading.faults
    if not issubclass(stage, Collector):
        return None
    if stage.mode != "poll":
        for key in sorted(part.keys & TIMES):
            faults.add((*place, key), f"{part.use} runs all the time, not at times")
        return None
    if entry.every and entry.cron:
        faults.add((*place, "cron"), "give `every` or `cron`, not both")
    if "timezone" in part.keys and "cron" not in part.keys:
        faults.add((*place, "timezone"), "goes with `cron`, which is not there")
    if entry.cron:
        return None
    return float(entry.every or part.every or Duration("1h" if stage.network else "1m"))
