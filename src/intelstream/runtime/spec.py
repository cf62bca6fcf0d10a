"""What the runtime knows of a pipeline and its host: checked values, no YAML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from intelstream.ontology import STANDARD, Ontology
from intelstream.sdk import Collector, Expert, Output, Params, Parser, Stage

Priority = Literal["high", "normal", "bulk"]
Kind = Literal["collector", "parser", "expert", "output"]
KINDS: Final[tuple[tuple[type[Stage[Any]], Kind], ...]] = (
    (Collector, "collector"),
    (Parser, "parser"),
    (Expert, "expert"),
    (Output, "output"),
)
ERROR: Final = "error"  # the engine's own path, open to every stage


def kind_of(stage: type[Stage[Any]]) -> Kind:
    """Return which of the four kinds a stage is of."""
    return next(kind for base, kind in KINDS if issubclass(stage, base))


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a message that a stage failed with is tried again, and after how many seconds each time."""

    attempts: int = 3
    delay: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpec:
    """One stage of a pipeline, ready to be built.

    `every`, `jitter` and `timeout` are seconds, `backlog` is messages, `max_bad` a share from 0 to 1. An isolated stage
    is ended when its loop stands still for `timeout`.
    """

    name: str
    use: str
    stage: type[Stage[Any]]
    params: Params
    to: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    labels: Mapping[str, Any] = field(default_factory=dict[str, Any])
    set: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tags: frozenset[str] = frozenset()
    every: float | None = None
    cron: str | None = None
    timezone: str = "UTC"
    jitter: float = 0.0
    missed: Literal["run", "skip"] = "run"
    timeout: float | None = None
    enabled: bool = True
    priority: Priority = "normal"
    backlog: int | None = None
    retry: Retry = Retry()
    concurrency: int = 1
    fuse: bool = True
    isolate: Literal["no", "process"] = "no"
    was: str | None = None
    max_bad: float = 0.5
    description: str = ""

    @property
    def kind(self) -> Kind:
        return kind_of(self.stage)

    @property
    def fusable(self) -> bool:
        """Tell whether it may run in a segment."""
        return issubclass(self.stage, Expert) and self.stage.pure and self._joins

    @property
    def leads(self) -> bool:
        """Tell whether it may be the first of a segment."""
        return issubclass(self.stage, Expert) and (self.stage.pure or self.stage.claiming) and self._joins

    @property
    def _joins(self) -> bool:
        return self.fuse and self.concurrency == 1 and self.enabled and self.isolate == "no"

    def targets(self) -> tuple[str, ...]:
        """Return every stage that this one sends to, each once."""
        return tuple(dict.fromkeys(target for way in self.to.values() for target in way))


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSpec:
    """A checked pipeline. `raw` says whether events carry the text of their row."""

    name: str
    description: str = ""
    stages: Mapping[str, StageSpec]
    ontology: Ontology = STANDARD
    raw: Literal["keep", "off"] = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpec:
    """What the host allows and gives: no pipeline file can change it.

    `memory` is bytes for backlogs, `dead_letters` bytes on disk for letters, `workers` the number of processes that
    share the stages.
    """

    state_dir: Path
    redis: str | None = field(default=None, repr=False)  # it may hold a password
    server: str = "bundled"
    memory: int
    dead_letters: int = 4 * 1024**3
    workers: int = 1
    plugins: tuple[str, ...] = ()
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    secrets: tuple[Path, ...] = ()
