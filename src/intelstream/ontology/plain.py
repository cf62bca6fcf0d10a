"""Copies a value as one that JSON can hold, whatever it is, in bounded depth and size."""

import math
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Final
from uuid import UUID

DEEPEST: Final = 32  # levels; consumers refuse more long before orjson does at 254
LONGEST: Final = 1 << 20  # characters and items together; a row of a report is no longer
SMALLEST: Final = -(1 << 63)
BIGGEST: Final = (1 << 64) - 1


def plain(value: object) -> Any:
    """Return a copy that `orjson.dumps` takes and gives back unchanged.

    Numbers beyond 64 bits become text, those that are none `None`, sets lists, keys text.

    Raises:
        ValueError: it is too deep, too large, or of a kind that JSON has no form for.
    """
    if value is None or type(value) is bool:
        return value
    if type(value) is str and value.isascii() and len(value) <= LONGEST:
        return value
    if type(value) is int and SMALLEST <= value <= BIGGEST:
        return value
    return _Copy().of(value, DEEPEST)


def scrubbed(value: str) -> str:
    """Put U+FFFD for halves of surrogate pairs: they are no characters, and UTF-8 has no form for them."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return str.__str__(value)  # a plain one, of an enumeration's member too


class _Copy:
    """One copying: an alias of an alias of an alias must not grow without end."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = LONGEST

    def of(self, value: object, depth: int) -> Any:
        self._spend(1)
        if type(value) is str:
            return self._text(value if value.isascii() else scrubbed(value))
        if isinstance(value, dict):
            return self._object(value, _below(depth))
        if isinstance(value, list | tuple):
            return self._list(value, _below(depth))
        if isinstance(value, Mapping):
            return self._object(value, _below(depth))
        if isinstance(value, set | frozenset):
            return self._list(sorted(value, key=repr), _below(depth))  # the same in every process
        return self._single(value)

    def _object(self, value: Mapping[Any, Any], below: int) -> dict[str, Any]:
        return {self._key(key): self.of(one, below) for key, one in value.items()}

    def _list(self, value: Iterable[Any], below: int) -> list[Any]:
        return [self.of(one, below) for one in value]

    def _single(self, value: object) -> Any:  # noqa: PLR0911 - one for each kind of value
        match value:
            case None | bool():
                return value
            case str():
                return self._text(scrubbed(value))
            case bytes() | bytearray():
                return self._text(value.decode("utf-8", "replace"))
            case int():
                return int(value) if SMALLEST <= value <= BIGGEST else self._text(_long(value))
            case float():
                return float(value) if math.isfinite(value) else None
            case date():
                return value.isoformat()
            case Decimal() | UUID() | IPv4Address() | IPv6Address() | IPv4Network() | IPv6Network():
                return str(value)
            case _:
                raise ValueError("expected a value that JSON has a form for")

    def _key(self, key: object) -> str:
        found = self.of(key, 0)
        return found if isinstance(found, str) else str(found)

    def _text(self, found: str) -> str:
        self._spend(len(found))
        return found

    def _spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ValueError(f"expected at most {LONGEST} characters and items")


def _below(depth: int) -> int:
    if not depth:
        raise ValueError(f"expected at most {DEEPEST} levels")
    return depth - 1


def _long(value: int) -> str:
    try:
        return str(int(value))
    except ValueError as error:  # Python refuses to write out more than some thousand digits
        raise ValueError("expected a shorter number") from error
