"""Reads the recorded cases of the peer, from the directory that INTELSTREAM_VECTORS names."""

import base64
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson
import pytest
from ruamel.yaml import YAML

C = TypeVar("C")
DEVIATIONS: Final = Path(__file__).with_name("deviations.yaml")
STRANGE: Final[dict[str, Callable[[Any], Any]]] = {
    "__bytes_b64__": base64.b64decode,
    "__datetime__": datetime.fromisoformat,
    "__ip__": lambda given: ip_network(given) if "/" in given else ip_address(given),
    "__float__": float,
    "__set__": lambda given: {value(one) for one in given},
}


def directory() -> Path:
    """Return the directory of the cases; without a name the test is skipped, where it names none it fails."""
    named = os.environ.get("INTELSTREAM_VECTORS")
    if not named:
        pytest.skip("INTELSTREAM_VECTORS names no directory of recorded cases")
    if not Path(named).is_dir():
        pytest.fail(f"INTELSTREAM_VECTORS names {named}, which is no directory")
    return Path(named)


def entries(name: str) -> list[dict[str, Any]]:
    """Return the entries of one file; a directory may hold none of a kind."""
    file = directory() / name
    return orjson.loads(file.read_bytes()) if file.is_file() else []


def value(given: Any) -> Any:
    """Return a value that JSON has no form for, wherever it is within another."""
    if isinstance(given, dict):
        for sign, read in STRANGE.items():
            if sign in given:
                return read(given[sign])
        return {key: value(one) for key, one in given.items()}
    return [value(one) for one in given] if isinstance(given, list) else given


def same(ours: object, theirs: object) -> bool:
    """Compare as JSON does: 100 is 100.0, but no number is a truth value."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(one, theirs[key]) for key, one in ours.items())
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return ours == theirs and isinstance(ours, bool) is isinstance(theirs, bool)


def reasons(area: str) -> dict[str, str]:
    """Return why we differ on purpose, by class of cases."""
    found: dict[str, dict[str, str]] = YAML(typ="safe", pure=True).load(DEVIATIONS)
    return found[area]


def unexplained(cases: Iterable[C], agrees: Callable[[C], bool], classes: Mapping[str, Callable[[C], bool]]) -> list[C]:
    """Return the cases that differ and are of no class of those that differ on purpose."""
    return [case for case in cases if not agrees(case) and not any(applies(case) for applies in classes.values())]


def stale(known: Mapping[str, C], agrees: Callable[[C], bool], classes: Mapping[str, Callable[[C], bool]]) -> list[str]:
    """Return the classes whose own case differs no more, or is not of the class."""
    return [name for name, case in known.items() if agrees(case) or not classes[name](case)]
