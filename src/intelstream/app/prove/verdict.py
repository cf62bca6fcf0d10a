"""Compares what came out with what had to: lost, doubled, altered, per sink, and which events they are."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

from intelstream.app.prove.expected import NO_RIVALS, Contents, Rivalry

NAMED: Final = 20  # events that are named per sink
Found = Mapping[str, Sequence[bytes]]  # of one sink: event -> digests of what is there


@dataclass(slots=True)
class Verdict:
    """One sink, or the dead letters of one stage."""

    sink: str
    expected: int
    found: int
    lost: int = 0
    doubled: int = 0
    altered: int = 0
    named: list[str] = field(default_factory=list[str])

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.altered)

    def add(self, who: str, lost: int = 0, doubled: int = 0, altered: int = 0) -> None:
        """Count what is wrong with an event, and name it if not too many are named."""
        self.lost, self.doubled, self.altered = self.lost + lost, self.doubled + doubled, self.altered + altered
        if (lost or doubled or altered) and len(self.named) < NAMED:
            wrong = {"lost": lost, "doubled": doubled, "altered": altered}
            self.named.append(f"{who or '(no number)'}: " + ", ".join(f"{n} {what}" for what, n in wrong.items() if n))


def judged(sink: str, expected: Contents, found: Found, rivalry: Rivalry = NO_RIVALS) -> Verdict:
    """Compare one sink."""
    whole = Verdict(sink, sum(map(len, expected.values())), sum(map(len, found.values())))
    rivals = rivalry.marks
    for who in {*expected, *found}.difference(*rivals, rivalry.unsure):
        _compare(whole, who, expected.get(who, ()), found.get(who, ()))
    for group in _groups(rivals):
        _compare_rivals(whole, group, rivals, expected, found)
    return whole


def judged_sums(sink: str, expected: Counter[str], found: Counter[str]) -> Verdict:
    """Compare counts by group: each event has to be in one."""
    whole = Verdict(sink, expected.total(), found.total())
    for group in sorted({*expected, *found}):
        missing = expected[group] - found[group]
        whole.add(f"count of {group}", lost=max(0, missing), doubled=max(0, -missing))
    return whole


def _compare(whole: Verdict, who: str, wanted: Sequence[bytes], there: Sequence[bytes]) -> None:
    if tuple(wanted) == tuple(there):
        return
    missing, more = Counter(wanted), Counter(there)
    missing, more = missing - more, more - missing
    again = sum(number for what, number in more.items() if what in wanted)
    strange = more.total() - again
    altered = min(strange, missing.total())
    whole.add(who, lost=missing.total() - altered, doubled=again + strange - altered, altered=altered)


def _compare_rivals(
    whole: Verdict, group: frozenset[str], marks: Sequence[frozenset[str]], expected: Contents, found: Found
) -> None:
    there = sorted(who for who in group if found.get(who))
    whole.expected -= sum(len(expected.get(who, ())) for who in group)
    whole.expected += sum(len(expected.get(who, ())) for who in there)
    for who in there:
        _compare(whole, who, expected.get(who, ()), found[who])
    for one, other in combinations(there, 2):
        if any(one in mark and other in mark for mark in marks):
            whole.add(f"{other}, beside {one}", doubled=len(found[other]))
    if not there and all(expected.get(who) for who in group):
        lost = min(len(expected[who]) for who in group)
        whole.expected += lost
        whole.add(" or ".join(sorted(group)[:3]), lost=lost)


def _groups(marks: Sequence[frozenset[str]]) -> Iterator[frozenset[str]]:
    """Join the marks that have an event in common."""
    joined: dict[str, set[str]] = {}
    for mark in marks:
        whole = set(mark)
        for who in mark:
            whole |= joined.get(who, set())
        for who in whole:
            joined[who] = whole
    seen: set[int] = set()
    for whole in joined.values():
        if id(whole) not in seen:
            seen.add(id(whole))
            yield frozenset(whole)
