"""A pipeline closed to the outside: its sources are ours, its outputs record, nothing asks the network."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from intelstream.app.dry import dry_outputs
from intelstream.app.prove import sources
from intelstream.app.prove.stages import Source, Through
from intelstream.runtime.spec import PipelineSpec, Retry, StageSpec
from intelstream.sdk import Collector
from intelstream.sdk.sql.params import SqlParams

DELAY: Final = 0.5  # seconds between two tries of a message, at most: nobody wants to wait for more in a proof
OUT: Final = "out"  # below the proof's directory: what the outputs record
SQL: Final = ".sqlite"
TABLE: Final = "events"
MOST_SAMPLES: Final = 100_000
USE: Final = "intelstream.app.prove.stages:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A place at which events come in: the stage that a source of ours stands in for, and its lines.

    `durable` says that what it stands for acknowledges only what is on the server's disk.
    """

    stage: StageSpec
    gives: str
    durable: bool
    first: int
    lines: int
    labels: Mapping[str, Any]
    tags: frozenset[str]


def entries(spec: PipelineSpec, events: int, *, parses: bool) -> list[Entry]:
    """Share events out among the places where they come in: the exits of parsers, or, if it `parses`, before them."""
    found = [one for one in spec.stages.values() if one.enabled and one.to.get("default") and _enters(one, parses)]
    shares = [events // len(found) + (place < events % len(found)) for place in range(len(found))]
    first, made = 0, list[Entry]()
    for one, lines in zip(found, shares, strict=True):
        before = [*_senders(spec, one.name), one]
        labels = {key: value for sender in before for key, value in sender.labels.items()}
        tags = frozenset[str]().union(*(sender.tags for sender in before))
        gives = "reports" if parses else "events"
        durable = any(map(_is_durable, before))
        made.append(Entry(stage=one, gives=gives, durable=durable, first=first, lines=lines, labels=labels, tags=tags))
        first += lines
    return made


def closed(spec: PipelineSpec, directory: Path, events: int, seed: int, *, parses: bool) -> PipelineSpec:
    """Return the pipeline as it is proved: experts and ways are those of the file.

    Sources read from `directory`, outputs write there, experts that would ask the network let everything pass, and
    what is tried again is tried again soon. What is disabled in the middle is enabled: nothing may wait for ever.
    """
    sourced = {one.stage.name: _source(spec, one, directory, seed) for one in entries(spec, events, parses=parses)}
    stages: dict[str, StageSpec] = {}
    for name, one in spec.stages.items():
        if name in sourced:
            stages[name] = sourced[name]
        elif one.kind == "expert" and one.stage.network:
            stages[name] = _own(one, Through, {"default": one.to.get("default", ())})
        elif one.kind in ("expert", "output") or (parses and one.kind == "parser"):
            stages[name] = one
    soon = {
        name: replace(one, retry=Retry(attempts=one.retry.attempts, delay=min(one.retry.delay, DELAY)), enabled=True)
        for name, one in stages.items()
    }
    ours = {name: replace(_filed(one, spec, directory), was=None) for name, one in soon.items()}
    return dry_outputs(replace(spec, stages=ours), directory / OUT, keep=is_sqlite)


def is_sqlite(one: StageSpec) -> bool:
    """Tell whether it is an output to SQLite: it may stay one, with a file of ours."""
    return isinstance(one.params, SqlParams) and one.kind == "output" and one.params.path is not None


def table_of(directory: Path, output: str) -> Path:
    """Return the file of an output to SQLite."""
    return directory / OUT / f"{output}{SQL}"


def _filed(one: StageSpec, spec: PipelineSpec, directory: Path) -> StageSpec:
    if not is_sqlite(one):
        return one
    given = {"path": table_of(directory, one.name), "table": TABLE, "raw": True}
    return replace(one, params=one.stage.Params.model_validate(given, context={"ontology": spec.ontology}))


def write_sources(made: Sequence[Entry], directory: Path, seed: int, events_file: Path | None) -> None:
    """Write the lines of every entry, and the gate, which is shut.

    Raises:
        ConfigError: the file of events is wrong.
    """
    given = sources.of_file(events_file, MOST_SAMPLES) if events_file else None
    for one in made:
        if one.gives == "reports":
            lines = sources.rows(one.first, one.lines, seed)
        else:
            labels = {f"feed.{name}": value for name, value in one.labels.items()}
            samples = given or sources.of_feeds(one.labels)
            lines = sources.events(samples, one.first, one.lines, labels | dict(one.stage.set), one.tags)
        path = lines_of(directory, one.stage.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.writelines(lines)
    open_gate(directory, 0.0)


def open_gate(directory: Path, share: float) -> None:
    """Release a share of every source."""
    part = directory / "gate.part"
    part.write_text(f"{share:.9f}", encoding="ascii")
    part.replace(directory / "gate")


def lines_of(directory: Path, stage: str) -> Path:
    """Return the file with the lines of an entry."""
    return directory / "in" / stage


def acknowledged(directory: Path, stage: str) -> int:
    """Return how many lines of an entry have been acknowledged as safe."""
    path = directory / "in" / f"{stage}.acknowledged"
    return max((int(line) for line in path.read_bytes().split()), default=0) if path.exists() else 0


def _enters(one: StageSpec, parses: bool) -> bool:  # noqa: FBT001 - of this file alone
    if parses or not issubclass(one.stage, Collector):
        return one.kind == ("collector" if parses else "parser")
    return one.stage.gives_of(one.params) == "events"


def _is_durable(one: StageSpec) -> bool:
    return issubclass(one.stage, Collector) and (one.stage.mode == "listen" or one.stage.durable)


def _senders(spec: PipelineSpec, name: str) -> Iterator[StageSpec]:
    return (one for one in spec.stages.values() if name in one.targets())


def _source(spec: PipelineSpec, entry: Entry, directory: Path, seed: int) -> StageSpec:
    name = entry.stage.name
    given = {
        "path": lines_of(directory, name),
        "gate": directory / "gate",
        "acknowledged": directory / "in" / f"{name}.acknowledged",
        "lines": entry.lines,
        "gives": entry.gives,
        "durable": entry.durable,
        "seed": seed,
    }
    params = Source.Params.model_validate(given, context={"ontology": spec.ontology})
    own = _own(entry.stage, Source, {"default": entry.stage.to["default"]})
    return replace(own, params=params, every=None, cron=None, labels={}, set={}, tags=frozenset())


def _own(one: StageSpec, stage: type[Source | Through], to: Mapping[str, tuple[str, ...]]) -> StageSpec:
    """Return a stage with one of ours in its place."""
    params = stage.Params() if stage is Through else one.params
    return replace(one, use=f"{USE}{stage.__name__}", stage=stage, params=params, to=to)
