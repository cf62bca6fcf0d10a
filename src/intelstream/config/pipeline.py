"""Reads a pipeline file and lists every fault in it, with line, column and a hint."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from intelstream import catalog
from intelstream.errors import ConfigError, Fault, InvalidValue, Level, UnknownName
from intelstream.ontology import STANDARD, Event, Ontology
from intelstream.ontology.fields import worded
from intelstream.runtime import plan
from intelstream.runtime.spec import PipelineSpec, StageSpec
from intelstream.sdk import Collector, Duration, Output

NAME: Final = re.compile(r"[a-z][a-z0-9-]*")
SECRET: Final = re.compile(r"\$\{env:(\w+)\}")
DEEPEST: Final = 32
LARGEST: Final = 100_000
ERROR: Final = "error"  # the engine's own path, open to every stage
Place = tuple[str | int, ...]
Mark = tuple[int, int]
M = TypeVar("M", bound=BaseModel)


def _ways(value: object) -> object:
    """Spell out `a`, `[a, b]` and `{path: a}`, which are short for `{path: [a, b]}`."""
    ways = value if isinstance(value, dict) else {"default": value}
    return {path: [to] if isinstance(to, str) else to for path, to in ways.items()}


Ways = Annotated[dict[str, tuple[str, ...]], BeforeValidator(_ways)]


class Entry(BaseModel):
    """One entry under `stages`: the keys of the engine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: str | None = None
    feed: str | None = None
    given: dict[str, Any] = Field(default={}, alias="with")
    parser: dict[str, Any] = {}
    to: Ways = {}
    every: Duration | None = None
    labels: dict[str, Any] = {}
    set: dict[str, Any] = {}
    fuse: bool = True
    isolate: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSpec:
    """A checked pipeline, as `app.Pipeline` runs it."""

    name: str
    stages: Mapping[str, StageSpec]
    warnings: tuple[Fault, ...]


def load(
    text: str,
    file: str = "pipeline.yaml",
    *,
    env: Mapping[str, str],
    ontology: Ontology = STANDARD,
    plugins: Collection[str] = (),
    files: Collection[str] | None = None,
) -> PipelineSpec:
    """Return the pipeline, or raise `ConfigError` with all faults in the order of the file."""
    reader = _Reader(file, env, {"ontology": ontology, "files": files}, plugins)
    reader.read(text)
    faults = sorted(reader.faults)
    if any(fault.level == "error" for fault in faults):
        raise ConfigError(faults)
    return PipelineSpec(name=reader.name, stages=reader.specs, warnings=tuple(faults))


@dataclass(slots=True)
class _Reader:
    """One reading of one file; every check adds to `faults` and goes on."""

    file: str
    env: Mapping[str, str]
    context: dict[str, Any]
    plugins: Collection[str]
    name: str = "pipeline"
    specs: dict[str, StageSpec] = field(default_factory=dict[str, StageSpec])
    faults: list[Fault] = field(default_factory=list[Fault])
    marks: dict[Place, Mark] = field(default_factory=dict[Place, Mark])
    ways: dict[str, tuple[Place, Ways]] = field(default_factory=dict[str, tuple[Place, Ways]])

    def read(self, text: str) -> None:
        try:
            node = YAML(typ="rt", pure=True).compose(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.fault((), str(error.problem), at=(mark.line + 1, mark.column + 1) if mark else None)
            return
        whole = self._value(node, ())
        if not isinstance(whole, dict) or not isinstance(whole.get("stages"), dict):
            self.fault(("stages",), "expected a mapping of stages")
            return
        self._unknown(whole, ("name", "stages"), ())
        self.name = str(whole.get("name", self.name))
        for name, given in whole["stages"].items():
            self._entry(name, given, ("stages", name))
        self._graph()

    def fault(self, place: Place, text: str, *, at: Mark | None = None, level: Level = "error") -> None:
        """Note a fault, at the deepest part of `place` that the file has."""
        known = next((place[:n] for n in range(len(place), 0, -1) if place[:n] in self.marks), ())
        line, column = at or self.marks.get(known, (1, 1))
        self.faults.append(Fault(self.file, line, column, ".".join(map(str, place)), text, level))

    def _value(self, node: Node | None, place: Place) -> Any:
        if len(place) > DEEPEST or len(self.marks) > LARGEST:
            self.fault(place, "too deep or too large; does an alias stand for itself?")
            raise ConfigError(self.faults)
        match node:
            case MappingNode():
                found: dict[str, Any] = {}
                for key, value in node.value:
                    name = key.value if isinstance(key, ScalarNode) else "?"
                    here = (*place, name)
                    if name in found or name == "?":
                        why = "there are two of this name" if name in found else "expected a name"
                        self.fault(here, why, at=_at(key))
                        continue
                    self.marks[here] = _at(key)
                    found[name] = self._value(value, here)
                return found
            case SequenceNode():
                self.marks |= {(*place, n): _at(child) for n, child in enumerate(node.value)}
                return [self._value(child, (*place, n)) for n, child in enumerate(node.value)]
            case ScalarNode():
                return self._secret(_scalar(node), place)
            case _:
                return None

    def _secret(self, value: Any, place: Place) -> Any:
        if not isinstance(value, str):
            return value
        for name in SECRET.findall(value):
            if name not in self.env:
                self.fault(place, f"{name} is not set in the environment")
        return SECRET.sub(lambda found: self.env.get(found[1], "unset"), value)

    def _entry(self, name: str, given: object, place: Place) -> None:
        if not NAME.fullmatch(name):
            self.fault(place, "expected a name of small letters, digits and dashes")
        if not (entry := self._model(Entry, given, place)):
            self._salvage(name, given, place)
        elif entry.feed and not entry.use:
            self._feed(name, entry, place)
        elif entry.use and not entry.feed:
            self.ways[name] = (place, entry.to)
            self._stage(name, entry.use, entry.given, entry, place)
        else:
            self.fault(place, "expected `use` or `feed`, one of them")

    def _salvage(self, name: str, given: object, place: Place) -> None:
        """Check what can be checked of an entry that is wrong elsewhere: one fault hides no other."""
        self.ways[name] = (place, {})
        if (
            isinstance(given, dict)
            and isinstance(given.get("use"), str)
            and isinstance(given.get("with", {}), dict)
        ):
            self._stage(name, given["use"], given.get("with", {}), Entry(), place)

    def _feed(self, name: str, entry: Entry, place: Place) -> None:
        """Expand a feed: the collector takes the name and `with`, the parser the rest."""
        self.ways[name] = (place, {"default": (f"{name}.parser",)})
        self.ways[f"{name}.parser"] = (place, entry.to)
        try:
            feed = catalog.feed(str(entry.feed))
        except UnknownName as error:
            self.fault((*place, "feed"), str(error))
            return
        first = entry.model_copy(
            update={
                "to": {"default": (f"{name}.parser",)},
                "every": entry.every or feed.every,
                "labels": feed.labels | entry.labels,
            }
        )
        self._stage(name, feed.collector.use, feed.collector.given | entry.given, first, place)
        below = (*place, "parser")
        if mine := self._model(catalog.Part, {"use": feed.parser.use} | entry.parser, below):
            second = entry.model_copy(update={"set": feed.parser.set | entry.set | mine.set})
            self._stage(f"{name}.parser", mine.use, feed.parser.given | mine.given, second, below)

    def _stage(self, name: str, use: str, given: dict[str, Any], entry: Entry, place: Place) -> None:
        try:
            stage = catalog.load(use, self.plugins)
        except UnknownName as error:
            self.fault((*place, "use"), f"{use}: {error}")
            return
        if line := catalog.missing(stage):
            self.fault((*place, "use"), f"{use} needs a library that is not installed: {line}")
        for field_name, value in entry.set.items():
            try:
                Event({}, self.context["ontology"], id="")[field_name] = value
            except InvalidValue as error:
                self.fault((*place, "set", field_name), error.reason)
        if params := self._model(stage.Params, given, (*place, "with")):
            self.specs[name] = StageSpec(
                name=name,
                use=use,
                stage=stage,
                params=params,
                to=entry.to,
                labels=entry.labels,
                set=entry.set,
                every=entry.every,
                fuse=entry.fuse,
                isolate=entry.isolate,
            )

    def _model(self, model: type[M], given: object, place: Place) -> M | None:
        try:
            return model.model_validate(given, context=self.context)
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                text = worded(fault["msg"])
                if fault["type"] == "extra_forbidden":
                    names = (info.alias or name for name, info in model.model_fields.items())
                    text = _near("unknown name", str(fault["loc"][-1]), names)
                self.fault((*place, *fault["loc"]), text)
            return None

    def _graph(self) -> None:
        for name, (place, ways) in self.ways.items():
            if spec := self.specs.get(name):
                self._ends(spec, ways, place)
            for target in (target for targets in ways.values() for target in targets):
                if target not in self.ways:
                    self.fault((*place, "to"), _near(f"no stage {target!r}", target, self.ways))
                elif (far := self.specs.get(target)) and issubclass(far.stage, Collector):
                    self.fault((*place, "to"), f"{target!r} is a collector: nothing goes in")
        if around := plan.cycle(self.specs):
            self.fault(self.ways[around[0]][0], "a cycle: " + " -> ".join(around))

    def _ends(self, spec: StageSpec, ways: Ways, place: Place) -> None:
        """Compare the ways out that a stage declares with those that the file connects."""
        declared = spec.stage.paths
        for path in ways.keys() - {"default", ERROR, *declared}:
            self.fault((*place, "to", path), _near("no such path", path, declared))
        for path in [path for path in declared if path not in ways]:
            self.fault(place, f"path {path!r} is not connected: what takes it is dropped", level="warning")
        if issubclass(spec.stage, Output) and ways.keys() - {ERROR}:
            self.fault((*place, "to"), "an output leads nowhere")
        elif not issubclass(spec.stage, Output) and not ways:
            self.fault(place, "expected `to`")

    def _unknown(self, given: Iterable[str], known: Collection[str], place: Place) -> None:
        for name in given:
            if name not in known:
                self.fault((*place, name), _near("unknown name", name, known))


def _near(text: str, name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f"{text}; did you mean {near[0]!r}?" if near else text


def _at(node: Node) -> Mark:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _scalar(node: ScalarNode) -> Any:
    text = str(node.value)
    match str(node.tag).rpartition(":")[2]:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text.replace("_", ""), 0 if text[:2] in ("0x", "0o") else 10)
        case "float":
            return float(text)
        case _:
            return text
