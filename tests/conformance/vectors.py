"""Reads recorded cases of the predecessor, and what differs from them on purpose."""

import base64
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import orjson
import pytest
from ruamel.yaml import YAML

from conformance import kinds

Case = Mapping[str, Any]
DEVIATIONS = Path(__file__).with_name("deviations.yaml")


def directory() -> Path:
    """Return where the cases are; without any the test is skipped, where they should be and are not it fails."""
    named = os.environ.get("INTELSTREAM_VECTORS")
    if not named:
        pytest.skip("INTELSTREAM_VECTORS names no directory of recorded cases")
    found = Path(named)
    assert found.is_dir(), f"INTELSTREAM_VECTORS={named}: no such directory"
    return found


def cases(*names: str) -> list[Case]:
    """Return the cases of some files; of a directory that holds none of them the test fails."""
    files = [path for name in names if (path := directory() / name).exists()]
    assert files, f"{directory()} holds none of {', '.join(names)}"
    return [revived(case) for path in files for case in orjson.loads(path.read_bytes())]


def revived(given: Any) -> Any:  # noqa: PLR0911 - one for each kind of value
    """Return a value with what JSON has no form for as it was."""
    match given:
        case {"__bytes_b64__": str(text)}:
            return base64.b64decode(text)
        case {"__datetime__": str(text)}:
            return datetime.fromisoformat(text)
        case {"__ip__": str(text)}:
            return ip_network(text) if "/" in text else ip_address(text)
        case {"__float__": str(text)}:
            return float(text)
        case {"__set__": [*values]}:
            return set(values)
        case dict():
            return {key: revived(value) for key, value in given.items()}
        case list():
            return [revived(value) for value in given]
        case _:
            return given


def same(one: object, other: object) -> bool:
    """Compare values: 100 equals 100.0, but neither of 1 and `true` the other."""
    return one == other and isinstance(one, bool) is isinstance(other, bool)


Answer = Callable[[Case], object]


@dataclass(frozen=True)
class Deviation:
    """A class of cases that differ on purpose: equal in `match`, and of the kind that `when` names in code.

    `example` is one of them, with what the predecessor makes of it.
    """

    reason: str
    match: Mapping[str, Sequence[Any]]
    when: str | None
    example: Case | None

    def meets(self, case: Case) -> bool:
        return all(case.get(key) in known for key, known in self.match.items()) and (
            self.when is None or getattr(kinds, self.when)(case)
        )


def deviations(section: str) -> list[Deviation]:
    """Return the entries of one section of `deviations.yaml`; what an example leaves out its entry says."""
    found = []
    for entry in YAML(typ="safe").load(DEVIATIONS.read_text(encoding="utf-8"))[section]:
        reason, when, example = entry.pop("reason"), entry.pop("when", None), entry.pop("example", None)
        match = {key: value if isinstance(value, list) else [value] for key, value in entry.items()}
        first = {key: known[0] for key, known in match.items()}
        found.append(Deviation(reason, match, when, revived(first | example) if example else None))
    return found


def unexplained(section: str, given: Iterable[Case], ours: Answer, theirs: Answer) -> list[str]:
    """Replay cases; return what differs without a reason."""
    known = deviations(section)
    return [
        f"{orjson.dumps(case, default=repr).decode()[:400]}: {ours(case)!r} instead of {theirs(case)!r}"
        for case in given
        if not same(ours(case), theirs(case)) and not any(entry.meets(case) for entry in known)
    ]


def stale(section: str, ours: Answer, theirs: Answer) -> list[str]:
    """Return the reasons whose example is none of its own kind, or does not differ any more."""
    return [
        f"{entry.reason} {entry.example}: {ours(entry.example)!r}, meant {entry.meets(entry.example)}"
        for entry in deviations(section)
        if entry.example and (not entry.meets(entry.example) or same(ours(entry.example), theirs(entry.example)))
    ]
