"""Regular expressions over hostile text: bounded in time, whatever the pattern and whatever the text.

Python's own engine backtracks: a harmless looking pattern takes minutes over a text made for it, and holds the
loop meanwhile. Refusing nested quantifiers does not help against `.*a.*b.*c`, and searching only the start of a text
lets an attacker hide behind padding. So what is only asked whether it is there is searched by RE2, in time linear in
the text. What is written in Python's syntax, which RE2 lacks parts of, is searched by RE2 where it means the same,
many patterns in one pass, and by `regex` with a time limit where it does not, or where groups are asked for.
"""

import re
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any, Final

import re2
import regex
from pydantic import AfterValidator, WithJsonSchema

LONGEST: Final = 1_000  # characters of one pattern for RE2
LARGEST: Final = 20_000  # parts of one pattern, when what is repeated is written out as the engine does
TOGETHER: Final = 200  # patterns searched for in one pass: more would not fit the memory that RE2 allows itself
SECONDS: Final = 0.1  # for one pattern over one text, where no better bound holds

PARTS: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(\d*)(?:,(\d*))?\}|.", re.DOTALL)
# Python reads these otherwise than RE2, whatever the text is.
PYTHON_ONLY: Final = re.compile(r"\{,|\[\[|\[:|\\Z")


class TooSlow(ValueError):
    """A search took longer than a tenth of a second: the text is made for the pattern."""


def contains(pattern: str, *, ignore_case: bool = False) -> Callable[[str], bool]:
    """Return the test whether a pattern of RE2's syntax (https://github.com/google/re2/wiki/Syntax) is in a text.

    Raises:
        ValueError: it is no such pattern, or too long.
    """
    match = _together((pattern,), ignore_case=ignore_case)

    def found(text: str) -> bool:
        try:
            return match(text) is not None
        except UnicodeEncodeError:  # a lone surrogate, which UTF-8 cannot hold
            return match(text.encode(errors="replace")) is not None

    return found


class Pattern:
    """One pattern of Python's syntax, for what it takes of a text. `groups` are its named ones, with their numbers.

    Every search raises `TooSlow` where it does not end in time.

    Raises:
        ValueError: it is no such pattern, or too long.
    """

    __slots__ = ("_compiled", "groups")

    def __init__(self, pattern: str, *, ignore_case: bool = False) -> None:
        if len(pattern) > LARGEST or _size(pattern) > LARGEST:
            raise ValueError(f"expected a pattern of at most {LARGEST} parts, repetitions written out")
        try:
            self._compiled = regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)
        except (regex.error, RecursionError) as error:
            raise ValueError(f"expected a regular expression: {error}") from error
        self.groups: dict[str, int] = dict(self._compiled.groupindex)

    @property
    def names(self) -> Collection[str]:
        """What the groups are called: numbers from 0 on, and names."""
        return {*map(str, range(self._compiled.groups + 1)), *self.groups}

    def find(self, text: str) -> str | None:
        """Return what is found, or its last group if the pattern has one; None if nothing is."""
        found = self.search(text)
        return found[found.lastindex or 0] if found else None

    def search(self, text: str) -> "regex.Match[str] | None":
        """Look for it anywhere in the text."""
        try:
            return self._compiled.search(text, timeout=SECONDS)
        except TimeoutError as error:
            raise self._slow() from error

    def match(self, text: str) -> "regex.Match[str] | None":
        """Look for it at the start of the text."""
        try:
            return self._compiled.match(text, timeout=SECONDS)
        except TimeoutError as error:
            raise self._slow() from error

    def _slow(self) -> TooSlow:
        return TooSlow(f"searching for {self._compiled.pattern!r} took more than {SECONDS} seconds")


class Patterns:
    """Patterns of Python's syntax that are searched for together.

    Raises:
        ValueError: one is no such pattern, or too long.
    """

    __slots__ = ("_exact", "_others", "_sets")

    def __init__(self, patterns: Sequence[str], *, ignore_case: bool = False) -> None:
        self._exact = [Pattern(pattern, ignore_case=ignore_case) for pattern in patterns]
        shared = [n for n, one in enumerate(patterns) if _means_the_same(one, ignore_case=ignore_case)]
        self._others = sorted(set(range(len(patterns))) - set(shared))
        self._sets = [
            (places, _together([patterns[n] for n in places], ignore_case=ignore_case))
            for places in (shared[start : start + TOGETHER] for start in range(0, len(shared), TOGETHER))
        ]

    def __getitem__(self, place: int) -> Pattern:
        return self._exact[place]

    def found(self, text: str) -> Collection[int]:
        """Return the places of the patterns that are in a text.

        Raises:
            TooSlow: one took too long.
        """
        # `\w` and the like mean ASCII to RE2, and only to Python `$` also stands before a last line break.
        if not text.isascii() or text.endswith("\n"):
            return {n for n, one in enumerate(self._exact) if one.search(text)}
        found = {places[n] for places, match in self._sets for n in match(text) or ()}
        if self._others:
            found.update(n for n in self._others if self._exact[n].search(text))
        return found


def _together(patterns: Sequence[str], *, ignore_case: bool) -> Callable[[str | bytes], list[int] | None]:
    """Compile for RE2; a set finds which of its members match in one pass, and is quicker even for one."""
    options = _options(ignore_case=ignore_case)
    together = re2.Set.SearchSet(options)
    try:
        for pattern in patterns:
            if len(pattern) > LONGEST:
                raise ValueError(f"expected a pattern of at most {LONGEST} characters")
            re2.compile(pattern, options)  # says what is wrong with it, which the set does not
            together.Add(pattern)
        together.Compile()
    except re2.error as error:
        raise ValueError(f"not a pattern of RE2's syntax: {_worded(error)}") from error
    match: Callable[[str | bytes], list[int] | None] = together.Match
    return match


def _options(*, ignore_case: bool) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.case_sensitive = not ignore_case
    return options


def _worded(error: Exception) -> str:
    text = error.args[0]
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def _means_the_same(pattern: str, *, ignore_case: bool) -> bool:
    if len(pattern) > LONGEST or PYTHON_ONLY.search(pattern):
        return False
    try:
        re2.compile(pattern, _options(ignore_case=ignore_case))
    except re2.error:
        return False
    return True


def _size(pattern: str) -> int:
    """Return how many parts a pattern has when repetitions are written out: nested ones fill the memory."""
    sizes, last = [0], 0  # of the groups around, and of the part before
    for part in PARTS.finditer(pattern):
        if part[0] == "(":
            sizes.append(0)
            continue
        if part[0] == ")" and len(sizes) > 1:
            last = sizes.pop()
        elif part[1] or part[2]:
            added = last * (int(part[2] or part[1]) - 1)
            last += added
            sizes[-1] += added
            continue
        else:
            last = 1
        sizes[-1] += last
    return sum(sizes)


def _checked(text: str) -> str:
    Pattern(text)
    return text


Expression = Annotated[
    str, AfterValidator(_checked), WithJsonSchema({"type": "string", "format": "regex"}), "regular expression"
]
"""A parameter: a pattern of Python's syntax, for `Pattern`."""
