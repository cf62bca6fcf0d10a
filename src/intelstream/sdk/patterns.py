"""Expressions that an operator writes and a stranger's text is searched with: the time of a search is limited."""

from typing import Annotated, Final

import regex
from pydantic import AfterValidator, WithJsonSchema

LONGEST: Final = 0.1  # seconds; what searches so long for one row has met a text made for it


def _checked(text: str) -> str:
    try:
        regex.compile(text)
    except regex.error as error:
        raise ValueError(f"expected a regular expression: {error}") from error
    return text


Expression = Annotated[
    str, AfterValidator(_checked), WithJsonSchema({"type": "string", "format": "regex"}), "regular expression"
]


class Pattern:
    """A compiled expression, in the syntax of Python's `re`, whose searches end.

    Both methods raise `ValueError` where an answer takes longer than a tenth of a second.
    """

    __slots__ = ("_compiled", "groups")

    def __init__(self, expression: str) -> None:
        self._compiled = regex.compile(expression)
        self.groups: dict[str, int] = dict(self._compiled.groupindex)

    def find(self, text: str) -> str | None:
        """Return what is found, or its last group if the expression has one; None if nothing is."""
        try:
            found = self._compiled.search(text, timeout=LONGEST)
        except TimeoutError as error:
            raise self._slow() from error
        return found[found.lastindex or 0] if found else None

    def match(self, text: str) -> "regex.Match[str] | None":
        """Match from the start of the text."""
        try:
            return self._compiled.match(text, timeout=LONGEST)
        except TimeoutError as error:
            raise self._slow() from error

    def _slow(self) -> ValueError:
        return ValueError(f"searching for {self._compiled.pattern!r} took more than {LONGEST} seconds")
