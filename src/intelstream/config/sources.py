"""Reads the pipeline file and those that it includes into one mapping of stages, each value with its place."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from intelstream.config.entries import TopKeys
from intelstream.errors import Fault
from intelstream.formats import yaml
from intelstream.formats.faults import Faults, near
from intelstream.formats.yaml import Mark, Place
from intelstream.sdk.types import PATTERN, below

MOST_FILES: Final = 1_000


def document(path: Path, faults: Faults, text: str | bytes | None = None) -> yaml.Document:
    """Read a file, or the text that is to stand there; if it cannot be read, its value is None and there is a fault."""
    found = _file(path) if text is None else yaml.read(text, str(path))
    faults.take(found, str(path))
    return found


def _file(path: Path) -> yaml.Document:
    try:
        if path.exists() and not path.is_file():  # a pipe would never end
            return _unread(path, "it is none")
        with path.open("rb") as opened:
            return yaml.read(opened.read(yaml.LARGEST + 1), str(path))
    except OSError as error:
        return _unread(path, (error.strerror or str(error)).lower())


def _unread(path: Path, why: str) -> yaml.Document:
    return yaml.Document(None, {}, [Fault(str(path), 1, 1, "", f"reading the file: {why}")])


@dataclass(slots=True)
class Stages:
    """The stages of all files by name, and the faults, which know where every value stands."""

    faults: Faults
    entries: dict[str, Any] = field(default_factory=dict[str, Any])

    def add(self, name: str, entry: Any, marks: Iterable[tuple[Place, Mark]], mark: Mark) -> None:
        """Add a stage unless there is one of its name. `marks` are by places within the entry, `mark` is its name's."""
        place = ("stages", name)
        if name in self.entries:
            first = self.faults.marks[place]
            self.faults.at(mark, f"there are two of this name, {name!r}, the first in {first.file}, line {first.line}")
            return
        self.entries[name] = entry
        self.faults.marks.update(((*place, *inner), one) for inner, one in marks)
        self.faults.marks[place] = mark

    def include(self, patterns: Iterable[str], main: Path, place_of: Callable[[int], Place]) -> None:
        """Read the files that patterns below the directory of the pipeline file mean; there is no merging."""
        seen = {main.resolve()}
        for number, pattern in enumerate(patterns):
            try:
                found = list(_matches(pattern, main.parent))
            except ValueError as error:
                self.faults.add(place_of(number), str(error))
                continue
            if not found:
                self.faults.add(
                    place_of(number),
                    "there is no such file below the directory of this one",
                    level="warning" if PATTERN.search(pattern) else "error",
                )
            for path in found:
                if (real := path.resolve()) not in seen:
                    seen.add(real)
                    self._included(path)

    def _included(self, path: Path) -> None:
        read = document(path, self.faults)
        if read.value is None:
            return
        if not isinstance(read.value, dict) or not isinstance(read.value.get("stages"), dict):
            self.faults.at(read.marks.get(("stages",), read.marks[()]), "expected `stages`, a mapping")
            return
        for name in read.value.keys() - {"stages"}:
            text = "only `stages` may be in a file that is included"
            self.faults.at(read.marks[name,], near(text, name, ["stages"]))
        inner = grouped(read.marks)
        for name, entry in read.value["stages"].items():
            self.add(name, entry, inner[name], read.marks["stages", name])


def grouped(marks: Mapping[Place, Mark]) -> dict[str, list[tuple[Place, Mark]]]:
    """Return the marks within each of `stages`, by places within it."""
    found: dict[str, list[tuple[Place, Mark]]] = {}
    for place, mark in marks.items():
        match place:
            case ("stages", str() as name, *inner):
                found.setdefault(name, []).append((tuple(inner), mark))
            case _:
                pass
    return found


def top(main: yaml.Document, faults: Faults) -> TopKeys | None:
    """Return the keys of the pipeline file, those that are wrong at their defaults; None if it cannot be read."""
    faults.marks.update((place, mark) for place, mark in main.marks.items() if place[:1] != ("stages",))
    if ("stages",) in main.marks:  # what is in it is added stage by stage
        faults.marks["stages",] = main.marks["stages",]
    if main.value is None and main.faults:
        return None
    if not isinstance(main.value, dict):
        faults.add((), "expected a mapping with `stages`")
        return None
    found, broken = faults.salvage(TopKeys, main.value, ())
    if (
        not found.stages
        and not found.include
        and not found.templates
        and not broken & {"stages", "include", "templates"}
    ):
        faults.add(("stages",), "expected a mapping of stages")
    return found


def _matches(pattern: str, directory: Path) -> Iterator[Path]:
    parts = Path(pattern).parts
    if not parts or Path(pattern).is_absolute() or ".." in parts or re.search(r"[\x00\n]", pattern):
        raise ValueError("expected a pattern of files below the directory of this one, such as `stages.d/*.yaml`")
    found = sorted(path for path in directory.glob(pattern) if path.is_file())
    if len(found) > MOST_FILES:
        raise ValueError(f"expected {MOST_FILES} files at most, found {len(found)}")
    if outside := next((path for path in found if not below(path, (directory,))), None):
        raise ValueError(f"{outside} leads out of the directory of this file")
    yield from found
