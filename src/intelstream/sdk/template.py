"""Paths made from events: `{feed.name}` and `{time.source:%Y-%m-%d}`, and nothing that could lead elsewhere."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, ValidationInfo

from intelstream.sdk.types import WritablePath, ontology_of

PLACE: Final = re.compile(r"\{([a-z][a-z0-9_.]*)(?::([^{}]*))?\}")
DIRECTIVES: Final = {"Y": (0, 4), "m": (5, 7), "d": (8, 10), "H": (11, 13), "M": (14, 16), "S": (17, 19)}  # of ISO 8601
ISO: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
LONGEST: Final = 64  # characters of a value
LONGEST_NAME: Final = 240  # bytes of a file's name, which file systems end at 255; a rotation adds some
UNKNOWN: Final = "unknown"
LOOKED_AT: Final = 1024  # characters of a value that count
PATHS: Final = 4096  # that are remembered

Render = Callable[[Mapping[str, Any]], str]


def _checked(path: Path, info: ValidationInfo) -> Path:
    text = str(path)
    if re.search(r"[{}]", PLACE.sub("", text)):
        raise ValueError("expected fields such as {feed.name} or {time.source:%Y-%m-%d} between braces")
    for name, form in PLACE.findall(text):
        if name not in ontology_of(info):
            raise ValueError(f"{{{name}}}: no such field")
        unknown = re.sub(f"%[{''.join(DIRECTIVES)}]", "", form)
        if form and (not name.startswith("time.") or "%" in unknown or "%" not in form):
            raise ValueError(f"{{{name}:{form}}}: only times have a form, made of %Y, %m, %d, %H, %M and %S")
    for part in PLACE.sub("x" * LONGEST, text).split("/"):
        if len(part.encode()) > LONGEST_NAME:
            raise ValueError("a name could become too long")
    return path


PathTemplate = Annotated[WritablePath, AfterValidator(_checked), "path"]


class Template:
    """A checked path, and what makes the path of an event from it."""

    def __init__(self, path: Path) -> None:
        self.text = str(path)
        self.constant = not PLACE.search(self.text)
        literals = PLACE.split(self.text)
        self._steps: list[str | Render] = []
        self._keys: list[tuple[str, int]] = []  # field, and how much of its value is looked at
        for literal, name, form in zip(literals[::3], (*literals[1::3], ""), (*literals[2::3], ""), strict=True):
            self._steps.append(literal)
            if name:
                self._steps.append(partial(_time, name, _parts(form)) if form else partial(_value, name))
                self._keys.append((name, _end(form) if form else LOOKED_AT))
        self._known: dict[tuple[str, ...], str] = {}

    def render(self, fields: Mapping[str, Any]) -> str:
        """Return the path for an event with these fields."""
        try:
            key = tuple([fields.get(name, "")[:stop] for name, stop in self._keys])
            known = self._known.get(key)
        except (TypeError, KeyError):  # a value that is no text; an object takes slices for keys since Python 3.12
            return self._rendered(fields)
        if known is None:
            if len(self._known) >= PATHS:
                self._known.clear()
            known = self._known[key] = self._rendered(fields)
        return known

    def _rendered(self, fields: Mapping[str, Any]) -> str:
        return "".join([step if isinstance(step, str) else step(fields) for step in self._steps])


def _value(name: str, fields: Mapping[str, Any]) -> str:
    return slug(str(fields.get(name, ""))[:LOOKED_AT])


def slug(value: str) -> str:
    """Return a value as part of a file's name: no separator, no dot in front, and not long."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", value)[:LONGEST].lstrip(".") or UNKNOWN


def _time(name: str, parts: Sequence[str | slice], fields: Mapping[str, Any]) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not ISO.match(value):
        return UNKNOWN
    return "".join([part if isinstance(part, str) else value[part] for part in parts])


def _parts(form: str) -> list[str | slice]:
    """Return the texts of a form, and the places of an ISO 8601 time that it names."""
    texts = re.split("%(.)", form)
    return [slice(*DIRECTIVES[text]) if place % 2 else text for place, text in enumerate(texts)]


def _end(form: str) -> int:
    """Return how much of a time a form looks at."""
    return max(DIRECTIVES[letter][1] for letter in re.findall("%(.)", form))
