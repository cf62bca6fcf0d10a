"""Loads a pipeline file: every fault in it and in what it includes, in one list, or a checked pipeline."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from intelstream.config import graph, templates
from intelstream.config.building import Builder
from intelstream.config.entries import NAME, TopKeys
from intelstream.config.parts import Reading
from intelstream.config.secrets import Secrets
from intelstream.config.sources import Stages, document, grouped, top
from intelstream.errors import ConfigError, Fault
from intelstream.formats.faults import Faults
from intelstream.formats.yaml import Place
from intelstream.ontology import STANDARD, Ontology
from intelstream.runtime.plan import least_memory
from intelstream.runtime.server import unusable
from intelstream.runtime.spec import HostSpec, PipelineSpec, StageSpec
from intelstream.sdk import Params, Size
from intelstream.sdk.types import below


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A pipeline that can run, what may be better in it, and the values that no log may show."""

    pipeline: PipelineSpec
    warnings: tuple[Fault, ...] = ()
    secrets: frozenset[str] = field(default=frozenset(), repr=False)


def load(path: Path, host: HostSpec, *, env: Mapping[str, str], text: str | bytes | None = None) -> Loaded:
    """Read a pipeline file. Only the stages that it uses are imported, and nothing is written.

    A `text` is read instead of what the file holds: a draft is checked before it is written there.

    Raises:
        ConfigError: with all faults, those of the file first, then of what it includes, each in its order.
    """
    faults = Faults()
    main = document(path, faults, text)
    keys = top(main, faults)
    if keys is None:
        raise ConfigError(faults.listed())
    stages = Stages(faults)
    inner = grouped(main.marks)
    for name, entry in keys.stages.items():
        stages.add(name, entry, inner[name], main.marks["stages", name])
    templates.expand(keys.templates, stages)
    stages.include(keys.include, path, lambda n: _nth(faults, "include", n))

    directory = path.parent.absolute()
    secrets = Secrets(faults, env, directory, host.secrets)
    reading = Reading(
        faults=faults,
        secrets=secrets,
        host=host,
        directory=directory,
        ontology=_ontology(keys, faults),
        folders=_folders(keys, directory, host, faults),
    )
    builder = Builder(reading)
    for name, entry in stages.entries.items():
        if not NAME.fullmatch(name):
            faults.add(("stages", name), "expected a name of small letters, digits and dashes, such as partner-list")
        builder.build(name, entry)
    graph.check(builder.nodes, stages.entries, faults)
    if why := unusable(host.state_dir):
        faults.add((), f"the state directory {host.state_dir}: {why}", level="warning")
    _moved(builder, faults)
    specs = {name: node.spec for name, node in builder.nodes.items() if node.spec}
    if not any(fault.level == "error" for fault in faults.found):
        _enough(specs, host, faults)

    found = faults.listed()
    if any(fault.level == "error" for fault in found):
        raise ConfigError(found)
    return Loaded(
        pipeline=PipelineSpec(
            name=keys.name, description=keys.description, stages=specs, ontology=reading.ontology, raw=keys.raw
        ),
        warnings=found,
        secrets=frozenset(secrets.values) | _written_out(specs.values()) | _password(host),
    )


def _nth(faults: Faults, key: str, number: int) -> Place:
    """Return the place of one of several texts, or of the only one."""
    return (key, number) if (key, number) in faults.marks else (key,)


def _ontology(keys: TopKeys, faults: Faults) -> Ontology:
    """Return the fields there are, with the pipeline's own; each that cannot be is a fault."""
    try:
        return STANDARD.with_own(keys.ontology) if keys.ontology else STANDARD
    except ValueError:
        ontology = STANDARD
    for name, notation in keys.ontology.items():
        try:
            ontology = ontology.with_own({name: notation})
        except ValueError as error:
            faults.add(("ontology", name), str(error).removeprefix(f"{name}: "))
    return ontology


def _folders(keys: TopKeys, directory: Path, host: HostSpec, faults: Faults) -> list[Path]:
    folders: list[Path] = []
    for number, name in enumerate(keys.feeds):
        folder = directory / name
        if not folder.is_dir():
            faults.add(_nth(faults, "feeds", number), f"no such directory: {folder}")
        elif not below(folder, host.readable):
            text = f"{folder} is outside the directories that the host file allows (files.read)"
            faults.add(_nth(faults, "feeds", number), text)
        else:
            folders.append(folder)
    return folders


def _moved(builder: Builder, faults: Faults) -> None:
    """Check the former names: one that is still in use, or that two stages claim, cannot be moved from."""
    claimed: set[str] = set()
    for node in builder.nodes.values():
        if node.spec is None or node.spec.was is None:
            continue
        was, place = node.spec.was, (*node.place, "was")
        if was in builder.nodes:
            faults.add(place, f"{was!r} is still the name of a stage")
        elif was in claimed:
            faults.add(place, f"another stage was {was!r}, too")
        claimed.add(was)


def _enough(specs: Mapping[str, StageSpec], host: HostSpec, faults: Faults) -> None:
    """Check that the host gives memory enough for a pipeline that is full to drain."""
    if host.memory < (least := least_memory(specs)):
        text = f"{Size(host.memory)} for backlogs is too little for stages so deep: `memory` in the host file must be"
        faults.add(("stages",), f"{text} {ceil(least / 2**20)}MiB at least")


def _written_out(specs: Iterable[StageSpec]) -> frozenset[str]:
    """Return the secrets that stand in the file as they are."""
    return frozenset(
        value.get_secret_value() for spec in specs for value in _values(spec.params) if isinstance(value, SecretStr)
    ) - {""}


def _values(params: Params) -> Iterable[object]:
    return (getattr(params, name) for name in type(params).model_fields)


def _password(host: HostSpec) -> frozenset[str]:
    password = urlsplit(host.redis or "").password or ""
    return frozenset({password, unquote(password)}) - {""}
