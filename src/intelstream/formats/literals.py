"""Values as an expression writes them: numbers, times, moments relative to now, patterns with stars."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

Clock = Callable[[], datetime]
Test = Callable[[Any], bool]  # of one value

NOW: Final = re.compile(r"now(?:([+-])((?:\d{1,9}[wdhms])+))?")
PART: Final = re.compile(r"(\d+)([wdhms])")
UNITS: Final = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
FARTHEST: Final = timedelta(days=36_525)  # a hundred years: what `now` is moved by stays a date


@dataclass(frozen=True, slots=True)
class Literal:
    """A value as an expression has it; in quotes it is text, and no star in it stands for anything."""

    text: str
    quoted: bool = False

    @property
    def is_glob(self) -> bool:
        return "*" in self.text and not self.quoted


def glob(pattern: str) -> Test:
    """Return the test of a text against a pattern in which stars stand for anything."""
    first, *middle, last = re.split(r"\*+", pattern)
    if not middle:
        shortest = len(first) + len(last)
        return lambda text: (
            isinstance(text, str) and len(text) >= shortest and text.startswith(first) and text.endswith(last)
        )

    def match(text: Any) -> bool:
        if not isinstance(text, str):
            return False
        place, end = len(first), len(text) - len(last)
        if not (text.startswith(first) and text.endswith(last)):
            return False
        for part in middle:
            if (found := text.find(part, place, end)) < 0:
                return False
            place = found + len(part)
        return place <= end

    return match


def moment(text: str, now: Clock) -> Callable[[], str]:
    """Return what gives a time as text: `now`, `now-1d12h`, or always the same one."""
    if found := NOW.fullmatch(text):
        sign, parts = found.groups(default="")
        try:
            delta = sum((timedelta(**{UNITS[u]: int(n)}) for n, u in PART.findall(parts)), timedelta())
        except OverflowError:
            delta = FARTHEST + FARTHEST
        if delta > FARTHEST:
            raise ValueError("expected at most a hundred years from now")
        delta = -delta if sign == "-" else delta
        spelt = lru_cache(maxsize=1)(lambda when: (when + delta).isoformat())
        return lambda: spelt(now())
    if (fixed := iso(text)) is None:
        raise ValueError(f"expected a time such as 2024-03-06T10:00:00 or now-10h, got {text!r}")
    return lambda: fixed


def iso(value: object) -> str | None:
    """Return a time as events have it, None for what is none."""
    if not isinstance(value, str):
        return None
    try:
        when = datetime.fromisoformat(value)
        return (when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)).isoformat()
    except (ValueError, OverflowError):
        return None


def number(text: str) -> float | None:
    """Return a number, whole where it is written so; None for what is none."""
    if re.fullmatch(r"[-+]?\d{1,30}", text, re.ASCII):
        return int(text)
    return float(text) if re.fullmatch(r"[-+]?\d{1,30}\.\d{1,30}", text, re.ASCII) else None


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def spelt(value: object) -> str | None:
    """Return the text that a pattern is searched in, None for what has no plain one."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else None
