"""Regular expressions over hostile text: bounded in time, whatever the pattern and whatever the text.

Python's own engine backtracks: a harmless looking pattern takes minutes over a text made for it, and holds the
loop meanwhile. Refusing nested quantifiers does not help against `.*a.*b.*c`, and searching only the start of a text
lets an attacker hide behind padding. So expressions are searched by RE2, in time linear in the text, and have its
syntax, which lacks look-around and back-references. Rule files written for Python's syntax are searched by RE2
where it means the same, many patterns in one pass, and by `regex` with a time limit where it does not.
"""

import re
from collections.abc import Callable, Collection, Sequence
from math import prod
from typing import Any, Final

import re2
import regex

LONGEST: Final = 1_000  # characters of one pattern
MOST_REPEATED: Final = 1_000  # RE2's own bound: beyond it the compiled form of `(a{999}){999}` fills the memory
TOGETHER: Final = 200  # patterns searched for in one pass: more would not fit the memory that RE2 allows itself
SECONDS: Final = 0.1  # for one pattern over one text, where no better bound holds

REPEATED: Final = re.compile(r"\{(?:\d*,)?(\d+)")
# Python reads these otherwise than RE2, whatever the text is.
PYTHON_ONLY: Final = re.compile(r"\{,|\[\[|\[:|\\Z")


def search(pattern: str, *, ignore_case: bool = False) -> Callable[[str], bool]:
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


class Patterns:
    """Patterns of Python's syntax that are searched for together.

    Raises:
        ValueError: one is no such pattern, or too long.
    """

    __slots__ = ("_exact", "_others", "_sets")

    def __init__(self, patterns: Sequence[str], *, ignore_case: bool = False) -> None:
        self._exact = [_exact(pattern, ignore_case=ignore_case) for pattern in patterns]
        shared = [n for n, one in enumerate(patterns) if _means_the_same(one, ignore_case=ignore_case)]
        self._others = sorted(set(range(len(patterns))) - set(shared))
        self._sets = [
            (places, _together([patterns[n] for n in places], ignore_case=ignore_case))
            for places in (shared[start : start + TOGETHER] for start in range(0, len(shared), TOGETHER))
        ]

    def found(self, text: str) -> Collection[int]:
        """Return the places of the patterns that are in a text.

        Raises:
            TimeoutError: a pattern took too long.
        """
        # `\w` and the like mean ASCII to RE2, and only to Python `$` also stands before a last line break.
        if not text.isascii() or text.endswith("\n"):
            return {n for n, one in enumerate(self._exact) if one.search(text, timeout=SECONDS)}
        found = {places[n] for places, match in self._sets for n in match(text) or ()}
        if self._others:
            found.update(n for n in self._others if self._exact[n].search(text, timeout=SECONDS))
        return found

    def groups(self, place: int, text: str) -> "regex.Match[str] | None":
        """Return the match of one pattern, for what its groups took.

        Raises:
            TimeoutError: it took too long.
        """
        return self._exact[place].search(text, timeout=SECONDS)

    def names(self, place: int) -> Collection[str]:
        """Return what the groups of one pattern are called: numbers from 0 on, and names."""
        pattern = self._exact[place]
        return {*map(str, range(pattern.groups + 1)), *pattern.groupindex}


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


def _exact(pattern: str, *, ignore_case: bool) -> "regex.Pattern[str]":
    if len(pattern) > LONGEST:
        raise ValueError(f"expected a pattern of at most {LONGEST} characters")
    if prod(int(count) or 1 for count in REPEATED.findall(pattern)) > MOST_REPEATED:
        raise ValueError(f"expected at most {MOST_REPEATED} repetitions")
    try:
        return regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)
    except (regex.error, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from error


def _means_the_same(pattern: str, *, ignore_case: bool) -> bool:
    if PYTHON_ONLY.search(pattern):
        return False
    try:
        re2.compile(pattern, _options(ignore_case=ignore_case))
    except re2.error:
        return False
    return True
