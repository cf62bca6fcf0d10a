"""The keys of a pipeline file: what the engine takes, each with its type and its description."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from intelstream.formats.faults import near
from intelstream.formats.yaml import Place
from intelstream.runtime.spec import Kind, Priority
from intelstream.sdk import Duration

LABELS: Final = ("provider", "name", "code", "accuracy", "documentation", "url")
FIRES: Final = frozenset[Kind]({"collector"})
TAKES: Final = frozenset[Kind]({"parser", "expert", "output"})
KINDS: Final[Mapping[str, frozenset[Kind]]] = {
    **dict.fromkeys(("every", "cron", "timezone", "jitter", "missed", "labels", "priority"), FIRES),
    **dict.fromkeys(("backlog", "retry", "concurrency", "isolate"), TAKES),
    **dict.fromkeys(("set", "max_bad"), frozenset[Kind]({"parser"})),
    "tags": frozenset[Kind]({"collector", "parser"}),
    "fuse": frozenset[Kind]({"expert"}),
}
"""The keys that only some kinds of stages have."""
FEED_ONLY: Final = frozenset({"parser", "sample"})


def _cron(text: str) -> str:
    try:
        next(CronSim(text, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise ValueError(f"expected five fields such as `30 4 * * *`: {str(error).lower()}") from error
    except StopIteration as error:
        raise ValueError("no such day will ever come") from error
    return text


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(near("no such time zone", name, available_timezones())) from error
    return name


def _pause(value: Any) -> float:
    return 0.0 if str(value) in ("0", "0s") else Duration(value)


def _share(value: Any) -> float:
    text = re.fullmatch(r"(\d{1,3}(?:\.\d{1,10})?)\s*(%?)", str(value), re.ASCII)
    if text is None or (share := float(text[1]) / (100 if text[2] else 1)) > 1:
        raise ValueError("expected a share such as 50 %")
    return share


def _listed(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _ways(value: object) -> dict[str, tuple[str, ...]]:
    """Spell out `a`, `[a, b]` and `{path: a}`, which are short for `{path: [a, b]}`."""
    ways: dict[str, object] = value if isinstance(value, dict) else {"default": value}
    spelt: dict[str, tuple[str, ...]] = {}
    for path, to in ways.items():
        names: list[object] = to if isinstance(to, list) else [to]
        spelt[path] = tuple(name for name in names if isinstance(name, str))
        if not names or len(spelt[path]) < len(names):
            raise ValueError("expected a stage, a list of stages, or a mapping of paths to such")
    return spelt


_stages: Final = {"type": ["string", "array"], "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}
_to: Final = {
    "type": ["string", "array", "object"],
    "items": {"type": "string"},
    "minItems": 1,
    "additionalProperties": _stages,
}
NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Tag = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$", max_length=64)]
Tags = Annotated[
    frozenset[Tag],
    BeforeValidator(_listed),
    WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}}),
    "text or list of text",
]
Ways = Annotated[
    dict[str, tuple[str, ...]],
    PlainValidator(_ways),
    WithJsonSchema(_to),
    "stage, list of stages, or mapping of paths to such",
]
Cron = Annotated[str, AfterValidator(_cron), "cron expression"]
Timezone = Annotated[str, AfterValidator(_timezone), "time zone"]
Pause = Annotated[float, PlainValidator(_pause), WithJsonSchema({"type": ["string", "number"]}), "duration"]
Share = Annotated[float, PlainValidator(_share), WithJsonSchema({"type": ["string", "number"]}), "share, such as 50 %"]
Texts = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}}),
    "text or list of text",
]


class Keys(BaseModel):
    """Keys of a file: unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RetryKeys(Keys):
    """How a message is tried again that a stage failed with."""

    attempts: int = Field(
        default=3, ge=0, le=100, description="How often it is tried again before it is a dead letter."
    )
    delay: Pause = Field(default=Duration("15s"), description="How long each time is waited before.")


class ParserKeys(Keys):
    """What an entry says of the parser of its feed."""

    use: str | None = Field(
        default=None, description="Another parser than the feed's, which then has none of its parameters."
    )
    given: dict[str, Any] = Field(default={}, alias="with", description="Parameters, on top of the feed's.")
    set: dict[str, Any] = Field(
        default={}, description="Values of fields that a row may replace, on top of the feed's."
    )


class Entry(Keys):
    """One entry under `stages`."""

    use: str | None = Field(None, description="The stage, such as `experts.taxonomy`.")
    feed: str | None = Field(None, description="A feed of the catalogue: a collector and a parser, ready to run.")
    given: dict[str, Any] = Field({}, alias="with", description="The parameters of the stage (of a feed's collector).")
    sample: bool = Field(
        default=False,
        description="Whether the sample that comes with the feed is read, and nothing is fetched.",
    )
    parser: ParserKeys = Field(ParserKeys(), description="What is different for the parser of a feed.")
    to: Ways = Field({}, description="Where to: a stage, several, or a mapping of paths to such.")
    every: Duration | None = Field(
        None,
        description="How often a collector runs; if nothing is said, every hour, or minute if it needs no network.",
    )
    cron: Cron | None = Field(None, description="When a collector runs, such as `30 4 * * *`.")
    timezone: Timezone = Field("UTC", description="The time zone of `cron`.")
    jitter: Pause = Field(0.0, description="By how much, at random, a run may begin later.")
    missed: Literal["run", "skip"] = Field("run", description="What becomes of a run missed while nothing ran.")
    timeout: Duration | None = Field(
        None, description="Longest time that one run of a collector may take, or an isolated stage may block."
    )
    labels: dict[str, Any] = Field({}, description="What is known of the feed: `feed.*` of its reports.")
    tags: Tags = Field(frozenset(), description="Tags of the messages that come from here.")
    set: dict[str, Any] = Field({}, description="Values of fields that a row may replace.")
    enabled: bool = Field(True, description="Whether it runs; what is sent to it waits meanwhile.")
    priority: Priority = Field("normal", description="Who is held first when memory is short: `bulk`.")
    backlog: int | None = Field(None, ge=1, description="Most messages that may wait for the stage.")
    retry: RetryKeys = Field(RetryKeys(), description="How messages are tried again that the stage failed with.")
    concurrency: int = Field(1, ge=1, le=1000, description="How many frames it works on at a time; order is lost.")
    fuse: bool = Field(True, description="Whether it may run together with its neighbours.")
    isolate: Literal["no", "process"] = Field(
        "no", description="Whether it runs in a process of its own, which is ended when it blocks too long."
    )
    was: Name | None = Field(None, description="Its former name, whose messages and state it takes over.")
    max_bad: Share = Field(0.5, description="Share of bad rows above which a report is held back as a whole.")
    description: str = Field("", description="What it is for.")


class TemplateKeys(Keys):
    """One of `templates`: its stages are made once for each item."""

    for_each: list[Any] = Field([], description="The items: mappings of placeholders to values, or values of `{item}`.")
    stages: dict[str, Any] = Field({}, description="The stages, with `{placeholders}` in their names and values.")


class TopKeys(Keys):
    """The keys of a pipeline file."""

    name: Name = Field("pipeline", description="Name of the pipeline.")
    description: str = Field("", description="What it is for.")
    raw: Literal["keep", "off"] = Field("keep", description="Whether events carry the text of their row.")
    ontology: dict[str, Any] = Field({}, description="Own fields, each with its type.")
    include: Texts = Field((), description="Further files, as patterns below this file's directory: `stages` only.")
    feeds: Texts = Field((), description="Directories of own feeds, which come before the built-in ones.")
    templates: dict[str, Any] = Field({}, description="Stages with `{placeholders}`, made once for each item, by name.")
    stages: dict[str, Any] = Field({}, description="The stages, by name.")


@dataclass(frozen=True, slots=True)
class Target:
    """One stage that a way leads to, and where in `to` it is named."""

    path: str
    name: str
    place: Place


def targets(to: object) -> Iterator[Target]:
    """Yield what a valid `to` names, each with its place."""
    for path, value, place in (
        [(path, value, (path,)) for path, value in to.items()] if isinstance(to, dict) else [("default", to, ())]
    ):
        if isinstance(value, list):
            yield from (Target(path, name, (*place, n)) for n, name in enumerate(value))
        else:
            yield Target(path, str(value), place)
