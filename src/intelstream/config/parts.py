"""What stands between an entry of a file and its stages: an entry with `use` is one part, one with `feed` is two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intelstream.config.entries import Entry
from intelstream.config.secrets import Secrets
from intelstream.formats.faults import Faults
from intelstream.formats.yaml import Place
from intelstream.ontology import Ontology
from intelstream.runtime.spec import HostSpec

Ways = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What every check of one pipeline needs. `directory` is the pipeline file's, `folders` are the user's of feeds."""

    faults: Faults
    secrets: Secrets
    host: HostSpec
    directory: Path
    ontology: Ontology
    folders: Sequence[Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One stage to be. `keys` are those of the entry that speak of it, `ways` is None where `to` is wrong.

    The places say where its name, its `use` and its parameters stand.
    """

    name: str
    use: str
    entry: Entry
    keys: frozenset[str]
    given: Mapping[str, Any]
    place: Place
    use_place: Place
    with_place: Place
    ways: Ways | None
    set: Mapping[str, Any] = field(default_factory=dict[str, Any])
    labels: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tags: frozenset[str] = frozenset()
    every: float | None = None  # if the entry says nothing
    was: str | None = None
    readable: tuple[Path, ...] = ()  # beside what the host file allows
