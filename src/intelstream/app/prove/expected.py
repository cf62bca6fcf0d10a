"""What has to be in every sink and among the dead letters, per event and by content."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, Self

import orjson

from intelstream.app.prove.stages import COUNT, GROUP, NUMBER, Tally
from intelstream.errors import InvalidValue
from intelstream.runtime.spec import PipelineSpec

NEVER_COMPARED: Final = frozenset({"time.observation"})
Contents = dict[str, tuple[bytes, ...]]  # of one sink: event -> digests of what it is to be there


def identity_of(fields: Mapping[str, Any]) -> str:
    """Return which event this is, or came from; empty where a stage has taken the number away."""
    return str(fields.get(NUMBER, ""))


def content_of(fields: Mapping[str, Any]) -> bytes:
    """Return what stands for the whole content, but for the time at which it was fetched; 1 and 1.0 are the same."""
    kept = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in fields.items()
        if name not in NEVER_COMPARED and not name.startswith("__")
    }
    return blake2b(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS), digest_size=12).digest()


@dataclass(frozen=True, slots=True)
class Rivalry:
    """Which events compete at a sink: of each of `marks` exactly one comes there, of `unsure` ones nobody can tell."""

    marks: list[frozenset[str]]
    unsure: frozenset[str] = frozenset()


NO_RIVALS: Final = Rivalry([])


@dataclass(slots=True)
class Expected:
    """Everything that has to come out.

    `sums` are the counts below a tally, by group. `twins` are, by stage, events of which exactly one passes there;
    `below` are the stages that it sends to, near or far, and `behind` those that get nothing by another way.
    `unjudged` sinks stand below a stateful stage, where what comes out depends on time.
    """

    sinks: dict[str, Contents]
    sums: dict[str, Counter[str]]
    unjudged: frozenset[str]
    below: dict[str, set[str]]
    behind: dict[str, frozenset[str]]
    dead: defaultdict[str, Contents] = field(default_factory=lambda: defaultdict(dict))
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    twins: dict[str, list[frozenset[str]]] = field(default_factory=dict)
    taken: int = 0

    @classmethod
    def of(cls, spec: PipelineSpec) -> Self:
        """Begin with what the pipeline's form tells."""
        outputs = [name for name, one in spec.stages.items() if one.kind == "output"]
        tallies = [name for name, one in spec.stages.items() if one.stage is Tally]
        summed = _reached(spec, tallies) & set(outputs)
        stateful = [name for name, one in spec.stages.items() if getattr(one.stage, "stateful", False)]
        unjudged = frozenset((_reached(spec, set(stateful) - set(tallies))) & set(outputs))
        begins = [name for name, one in spec.stages.items() if one.kind == "collector"]
        open_ways = {name: _reached(spec, begins, without=name) | set(begins) for name in spec.stages}
        return cls(
            sinks={name: {} for name in outputs if name not in summed and name not in unjudged},
            sums={name: Counter() for name in sorted(summed - unjudged)},
            unjudged=unjudged,
            below={name: _reached(spec, [name]) for name in spec.stages},
            behind={name: frozenset(spec.stages) - ways for name, ways in open_ways.items()},
        )

    def put(self, sink: str, fields: Mapping[str, Any]) -> None:
        """Note an event that has to be in a sink."""
        if sink in self.sums:
            self.sums[sink][str(fields.get(GROUP, ""))] += int(fields[COUNT])
        elif sink in self.sinks:
            _add(self.sinks[sink], identity_of(fields), content_of(fields))

    def bury(self, stage: str, fields: Mapping[str, Any], error: Exception) -> None:
        """Note a dead letter that a stage has to have."""
        refused = error.field if isinstance(error, InvalidValue) else None
        letter = {"error": type(error).__name__, "field": refused, "message": fields}
        _add(self.dead[stage], *letter_of(letter))

    def rivalry(self, stage: str) -> Rivalry:
        """Return which events compete on their way to a stage."""
        met = [(name, mark) for name, marks in self.twins.items() if stage in self.below[name] for mark in marks]
        sure = [mark for name, mark in met if stage in self.behind[name]]
        return Rivalry(sure, frozenset[str]().union(*(mark for name, mark in met if stage not in self.behind[name])))

    def note_twins(self, stage: str, marks: Iterable[Mapping[str, str]]) -> None:
        """Note, by mark, the events that want it; those that are alone need no note."""
        if found := [frozenset(events) for events in marks if len(events) > 1]:
            self.twins[stage] = found


def letter_of(letter: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return event and content of a dead letter; of the row of a report its text says which."""
    message = {name: value for name, value in letter["message"].items() if not name.startswith("__")}
    who = identity_of(message) or str(message.get("raw", ""))
    return who, content_of({"error": letter["error"], "field": letter["field"]} | message)


def _add(contents: Contents, who: str, what: bytes) -> None:
    contents[who] = (*contents.get(who, ()), what)


def _reached(spec: PipelineSpec, begins: Iterable[str], without: str = "") -> set[str]:
    """Return all stages that are reached from others, on ways that do not lead through one."""
    found: set[str] = set()
    left = [name for name in begins if name != without]
    while left:
        for target in spec.stages[left.pop()].targets():
            if target not in found and target != without and target in spec.stages:
                found.add(target)
                left.append(target)
    return found
