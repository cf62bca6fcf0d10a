"""What a proof found."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from intelstream.app.prove.faults import TITLES, Kind
from intelstream.app.prove.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Count:
    """How often a stage has dropped events for a reason, and how often it had to; None where that is chance."""

    stage: str
    reason: str
    expected: int | None
    found: int

    @property
    def good(self) -> bool:
        return self.expected in (None, self.found)


@dataclass(slots=True, kw_only=True)
class Findings:
    """The whole result. `taken` events went in; `kept` says where everything is that shows it."""

    pipeline: str
    seed: int
    taken: int = 0
    acknowledged: int = 0
    verdicts: list[Verdict] = field(default_factory=list[Verdict])
    dead: list[Verdict] = field(default_factory=list[Verdict])
    dropped: list[Count] = field(default_factory=list[Count])
    unjudged: tuple[str, ...] = ()
    faults: Counter[Kind] = field(default_factory=Counter[Kind])
    troubles: list[str] = field(default_factory=list[str])
    seconds: float = 0.0
    kept: Path | None = None

    @property
    def good(self) -> bool:
        """Whether every event is accounted for, and the counters say so too."""
        judged = (*self.verdicts, *self.dead)
        return not self.troubles and all(one.good for one in judged) and all(one.good for one in self.dropped)

    def total(self, what: str) -> int:
        """Add up `lost`, `doubled`, `altered` or `found` over all sinks and dead letters."""
        return sum(int(getattr(one, what)) for one in (*self.verdicts, *self.dead))

    def shown(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "pipeline": self.pipeline,
            "seed": self.seed,
            "good": self.good,
            "in": self.taken,
            "acknowledged": self.acknowledged,
            "out": sum(one.found for one in self.verdicts),
            "dead": sum(one.found for one in self.dead),
            "lost": self.total("lost"),
            "doubled": self.total("doubled"),
            "altered": self.total("altered"),
            "sinks": [asdict(one) for one in self.verdicts],
            "dead_letters": [asdict(one) for one in self.dead],
            "dropped": [asdict(one) for one in self.dropped],
            "not_judged": list(self.unjudged),
            "faults": {TITLES[kind]: number for kind, number in sorted(self.faults.items())},
            "troubles": self.troubles,
            "seconds": round(self.seconds, 1),
            "kept": str(self.kept) if self.kept else None,
        }


def counts_of(
    expected: Mapping[tuple[str, str], int], found: Mapping[tuple[str, str], int], *, sure: bool
) -> list[Count]:
    """Compare how often events were dropped; where rivals decided by chance, only what was counted is told."""
    places = sorted({*expected, *found})
    return [Count(*place, expected.get(place, 0) if sure else None, found.get(place, 0)) for place in places]
