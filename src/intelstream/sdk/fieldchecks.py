"""What a field does with a cell's value: its own check, after what the parser's parameters say of such fields."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from intelstream.ontology import Ontology
from intelstream.ontology.fields import Check
from intelstream.ontology.plain import plain
from intelstream.ontology.text import json_object
from intelstream.sdk.convert import Converter, spelt, time_reader

SCHEMED: Final = ("http://", "https://")
SCHEME: Final = re.compile(r"[A-Za-z*][A-Za-z0-9+.*-]*:(?=//|\[?/)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a parser's parameters say of all columns."""

    empty: frozenset[str] = frozenset()
    types: Mapping[str, str] = field(default_factory=dict[str, str])
    times: str = "fuzzy"
    default_scheme: str = "http"


def check_of(ontology: Ontology, reading: Reading, name: str, *, timed: bool = False) -> Check:
    """Return what checks a value for a field; `timed` ones have been read as a time already."""
    if name == "extra" or name.startswith("extra."):
        return json_object if name == "extra" else _extra
    check = ontology.checks[name]
    if name == "classification.type" and reading.types:
        return partial(_typed, reading.types, check)
    if is_time(name) and not timed:
        read = time_reader(reading.times)
        return partial(_fuzzy, read, check) if reading.times == "fuzzy" else converted(read, check)
    if name.endswith((".url", "_url")):
        return partial(_with_scheme, f"{reading.default_scheme.removesuffix('://')}:", check)
    return check


def is_time(name: str) -> bool:
    return name.startswith("time.") or name.endswith((".allocated", ".expires"))


def converted(convert: Converter, check: Check) -> Check:
    """Put a converter before a check."""
    return partial(_in_turn, convert, check)


def _in_turn(first: Check, second: Check, value: Any) -> Any:
    return second(first(value))


def _extra(value: Any) -> Any:
    if type(value) is str and not (value := value.strip()):
        raise ValueError("expected a value")
    return plain(value)


def _typed(types: Mapping[str, str], check: Check, value: Any) -> Any:
    return check(types.get(value if type(value) is str else spelt(value), value))


def _fuzzy(read: Converter, check: Check, value: Any) -> Any:
    if type(value) is str and not value.isdigit():
        return check(value)
    return check(read(value))


def _with_scheme(scheme: str, check: Check, value: Any) -> Any:
    if type(value) is str and not value.startswith(SCHEMED):
        text = value.strip()
        if text.startswith("//"):
            return check(scheme + text)
        if text and not SCHEME.match(text):
            return check(f"{scheme}//{text}")
    return check(value)
