"""What a field does with a cell's value: its own check, after what the parser's parameters say of such fields."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from intelstream.ontology import Ontology
from intelstream.ontology.fields import Check
from intelstream.ontology.network import url
from intelstream.ontology.plain import plain
from intelstream.ontology.text import json_object
from intelstream.ontology.times import time
from intelstream.sdk.convert import Converter, spelt, time_reader

SCHEME: Final = re.compile(r"[A-Za-z*][A-Za-z0-9+.*-]*:(?=//|\[?/)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a parser's parameters say of all columns."""

    empty: frozenset[str] = frozenset()
    types: Mapping[str, str] = field(default_factory=dict[str, str])
    times: str = "fuzzy"
    default_scheme: str = "http"


@dataclass(frozen=True, slots=True)
class FieldCheck:
    """How a value is checked: at once, and with more patience if that has failed."""

    quick: Check
    patient: Check

    def after(self, convert: Converter) -> "FieldCheck":
        """Put a converter before the checks."""
        return FieldCheck(partial(_in_turn, convert, self.quick), partial(_in_turn, convert, self.patient))


def check_of(ontology: Ontology, reading: Reading, name: str, *, timed: bool = False) -> FieldCheck:
    """Return what checks a value for a field; `timed` ones have been read as a time already."""
    if name == "extra" or name.startswith("extra."):
        check: Check = json_object if name == "extra" else _extra
        return FieldCheck(check, check)
    check = ontology.checks[name]
    plain_check = FieldCheck(check, check)
    if name == "classification.type" and reading.types:
        return plain_check.after(partial(_typed, reading.types))
    if check is time and not timed:
        read = time_reader(reading.times)
        fuzzy = reading.times == "fuzzy"
        return FieldCheck(check, partial(_or_after, read, check)) if fuzzy else plain_check.after(read)
    if check is url:
        schemed = partial(_schemed, reading.default_scheme.removesuffix("://"))
        return FieldCheck(check, partial(_or_after, schemed, check))
    return plain_check


def _in_turn(first: Check, second: Check, value: Any) -> Any:
    return second(first(value))


def _or_after(convert: Converter, check: Check, value: Any) -> Any:
    """Check a value as it is, else what a converter makes of it."""
    try:
        return check(value)
    except ValueError:
        return check(convert(value))


def _extra(value: Any) -> Any:
    if type(value) is str and not (value := value.strip()):
        raise ValueError("expected a value")
    return plain(value)


def _typed(types: Mapping[str, str], value: Any) -> Any:
    return types.get(value if type(value) is str else spelt(value), value)


def _schemed(scheme: str, value: Any) -> Any:
    """Give a URL a scheme if it has none."""
    text = value.strip() if isinstance(value, str) else ""
    return value if not text or SCHEME.match(text) else f"{scheme}://{text}"
