"""Collects what is wrong in YAML files: each fault at its place, in words, without secrets."""

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from intelstream.errors import Fault, Level
from intelstream.formats.yaml import Document, Mark, Place
from intelstream.ontology.fields import worded
from intelstream.sdk.types import PartError

MASK: Final = "***"
UNSHOWN: Final = "not accepted; its value is a secret and not shown"
OURS: Final = frozenset({"value_error", "assertion_error"})  # texts of checks, which may quote the value
TEXTS: Final[dict[str, str]] = {
    "missing": "is missing",
    "string_type": "expected text",
    "path_type": "expected text",
    "url_type": "expected text",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "frozen_set_type": "expected a list",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
}
QUOTABLE: Final = frozenset({"string_type", "path_type", "url_type"})
M = TypeVar("M", bound=BaseModel)


@dataclass(slots=True)
class Faults:
    """The faults of files read as one.

    `marks` says where each value stands, `secrets` which of them hold what, and `unread` which could not be read:
    of those nothing further is said.
    """

    marks: dict[Place, Mark] = field(default_factory=dict[Place, Mark])
    secrets: dict[Place, tuple[str, ...]] = field(default_factory=dict[Place, tuple[str, ...]])
    unread: set[Place] = field(default_factory=set[Place])
    found: dict[Fault, None] = field(default_factory=dict[Fault, None])
    files: dict[str, None] = field(default_factory=dict[str, None])

    def take(self, document: Document, file: str) -> Any:
        """Take over a document's faults; return its value. The marks are the caller's to place."""
        self.files[file] = None
        self.found |= dict.fromkeys(document.faults)
        return document.value

    def add(self, place: Place, text: str, *, level: Level = "error") -> None:
        """Note a fault, at the deepest part of `place` that a file has."""
        if any(place[:n] in self.unread for n in range(1, len(place) + 1)):
            return
        mark, rest = next(
            ((self.marks[place[:n]], place[n:]) for n in range(len(place), -1, -1) if place[:n] in self.marks),
            (Mark(next(iter(self.files), "-"), 1, 1), place),
        )
        where = ".".join(map(str, (*mark.place, *rest)))
        self.found[Fault(mark.file, mark.line, mark.column, where, self._masked(place, text), level)] = None

    def at(self, mark: Mark, text: str, *, level: Level = "error") -> None:
        """Note a fault where a mark stands: for what has no place of its own among the values."""
        where = ".".join(map(str, mark.place))
        self.found[Fault(mark.file, mark.line, mark.column, where, text, level)] = None

    def merge(self, faults: Iterable[Fault]) -> None:
        """Take over faults that were found elsewhere, behind those of the files so far."""
        for fault in faults:
            self.files.setdefault(fault.file)
            self.found[fault] = None

    def check(self, model: type[M], value: object, place: Place, context: Mapping[str, Any] | None = None) -> M | None:
        """Return the model, or None after noting each fault that it finds."""
        try:
            return model.model_validate(value, context=dict(context or {}))
        except ValidationError as error:
            for inner, text, quotes in _leaves(error, model, value):
                here = (*place, *inner)
                self.add(here, UNSHOWN if quotes and self._inside_secret(here) else text)
            return None

    def salvage(self, model: type[M], value: Mapping[str, Any], place: Place) -> tuple[M, frozenset[str]]:
        """Return the model without the keys that are wrong, and those keys: one fault hides no other.

        Every key of the model has a default, and none depends on another.
        """
        try:
            return model.model_validate(value), frozenset()
        except ValidationError as error:
            broken = frozenset(str(details["loc"][0]) for details in error.errors(include_url=False))
            self.check(model, value, place)
            return model.model_validate({k: v for k, v in value.items() if k not in broken}), broken

    def listed(self) -> tuple[Fault, ...]:
        """Return the faults in the order of the files, then of the lines."""
        order = {file: number for number, file in enumerate(self.files)}
        return tuple(sorted(self.found, key=lambda one: (order.get(one.file, len(order)), one)))

    def _inside_secret(self, place: Place) -> bool:
        return any(place[:n] in self.secrets for n in range(1, len(place) + 1))

    def _masked(self, place: Place, text: str) -> str:
        for hidden, secrets in self.secrets.items():
            if hidden[: len(place)] == place or place[: len(hidden)] == hidden:
                for secret in filter(None, secrets):
                    text = text.replace(secret, MASK).replace(repr(secret)[1:-1], MASK)
        return text


def near(text: str, name: str, known: Iterable[str]) -> str:
    """Add the nearest known name to a text, if one is near."""
    close = get_close_matches(name, list(known), n=1)
    return f"{text}; did you mean {close[0]!r}?" if close else text


def _leaves(error: ValidationError, model: type[BaseModel], value: object) -> Iterator[tuple[Place, str, bool]]:
    """Yield place, text and whether the text may quote the value; of the members of a union what got deepest."""
    found: dict[Place, dict[str, bool]] = {}
    for one in error.errors(include_url=False):
        for place, text in _parts(one, model, value):
            found.setdefault(place, {})[text] = one["type"] in OURS
    for place, texts in found.items():
        if not any(len(other) > len(place) and other[: len(place)] == place for other in found):
            yield place, " or ".join(texts), any(texts.values())


def _parts(error: ErrorDetails, model: type[BaseModel], value: object) -> Iterator[tuple[Place, str]]:
    place = _place(error, value)
    reason = error.get("ctx", {}).get("error")
    if isinstance(reason, PartError):
        yield from (((*place, *part), text) for part, text in reason.parts.items())
    else:
        yield place, _text(error, model)


def _place(error: ErrorDetails, value: object) -> Place:
    """Return where in the value the error is: without the names of types that pydantic adds on the way."""
    place: list[str | int] = []
    for step in error["loc"]:
        known: Container[object] = value if isinstance(value, Mapping) else ()
        if step in (range(len(value)) if isinstance(value, list) else known):
            place.append(step)
            value = value[step]  # type: ignore[index]  # it is there: see above
    if error["type"] == "missing":
        place.append(error["loc"][-1])
    return tuple(place)


def _inner(model: type[BaseModel], steps: Iterable[int | str]) -> type[BaseModel]:
    """Return the model that a part of another one is."""
    for step in steps:
        for name, info in model.model_fields.items():
            if (
                step in (name, info.alias)
                and isinstance(info.annotation, type)
                and issubclass(info.annotation, BaseModel)
            ):
                model = info.annotation
                break
    return model


def _text(error: ErrorDetails, model: type[BaseModel]) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        names = (info.alias or name for name, info in _inner(model, error["loc"][:-1]).model_fields.items())
        return near("unknown name", str(error["loc"][-1]), names)
    if kind == "literal_error":
        expected = str(error.get("ctx", {}).get("expected", ""))
        return near(f"expected {expected}", str(error["input"]), re.findall(r"'([^']*)'", expected))
    text = TEXTS.get(kind) or worded(error["msg"]).replace("input should be ", "expected ", 1)
    return f"{text}: put it in quotes" if kind in QUOTABLE and isinstance(error["input"], int | float) else text
