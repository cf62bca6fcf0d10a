"""What is out of a fetch or a delivery, so that one that broke off goes on without loss or repetition."""

from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any, Final, Self

from intelstream.ontology import ids

REMEMBERED: Final = 10_000  # pieces that no cursor covers, of which a run knows that they are out
MOST_UNFINISHED: Final = 500  # deliveries that broke off; nobody has begun the oldest again


@dataclass(slots=True)
class Run:
    """A fetch of `stage` in a slot: the time it was due.

    `out` counts the messages committed, `uncovered` are the hashes of those that no cursor covers yet. When the run is
    begun again, what comes in the same order with the same content is known to be out; the first difference shows that
    the source has changed meanwhile, and makes it a new run. Ids follow from stage, slot and place: the same run gives
    the same ones.
    """

    stage: str
    slot: datetime
    out: int = 0
    uncovered: list[str] = field(default_factory=list[str])
    id: str = field(init=False)
    _met: int = 0

    def __post_init__(self) -> None:
        self.id = ids.fetched(self.slot, Random(self.stage))  # noqa: S311 - repeatable is what it is for

    @classmethod
    def load(cls, stage: str, kept: dict[str, Any]) -> Self:
        return cls(stage, datetime.fromisoformat(kept["slot"]), kept["out"], kept["uncovered"])

    def dump(self) -> dict[str, Any]:
        return {"slot": self.slot.isoformat(), "out": self.out, "uncovered": self.uncovered}

    def again(self) -> None:
        """Begin from the front: what is out is met again."""
        self._met = 0

    def meets(self, digest: str) -> bool | None:
        """Tell whether the next piece is out already; None says that it should be, and is another one now."""
        if self._met == len(self.uncovered):
            return False
        if self.uncovered[self._met] != digest:
            return None
        self._met += 1
        return True

    def piece(self, digest: str) -> str:
        """Return the id of the next piece, by its place and content."""
        return ids.derived(self.id, self.out, digest)

    def note(self, digest: str) -> None:
        """Count a piece that no cursor covers."""
        self.out += 1
        self.uncovered = [*self.uncovered, digest][-REMEMBERED:]
        self._met = len(self.uncovered)

    def cover(self) -> None:
        """Forget the pieces: the cursor stands behind them."""
        self.uncovered, self._met = [], 0


@dataclass(slots=True)
class Unfinished:
    """Deliveries that were begun and have not ended: of each, by its key, how many messages are out.

    Where one of them is begun again, so many are passed over.
    """

    out: dict[str, int]
    _key: str = ""
    _met: int = 0

    def begin(self, key: str) -> None:
        """Take what follows for this delivery; an empty key is none."""
        self._key, self._met = key, 0

    def passes(self) -> bool:
        """Tell whether the next message is out already."""
        if self._met == self.out.get(self._key, 0):
            return False
        self._met += 1
        return True

    def after(self, count: int, *, ends: bool) -> dict[str, int]:
        """Return what is to be kept when so many more messages are out, which is all if the delivery `ends`."""
        before = self.out.get(self._key, 0)
        if not self._key or (ends and not before):
            return self.out
        others = {key: out for key, out in self.out.items() if key != self._key}
        if ends:
            return others
        return dict([*others.items(), (self._key, before + count)][-MOST_UNFINISHED:])

    def keep(self, out: dict[str, int], *, ends: bool) -> None:
        """Note what a commit has written."""
        self.out = out
        if ends:
            self.begin("")
        else:
            self._met = out.get(self._key, 0)
