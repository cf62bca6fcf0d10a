"""Harmonises times: ISO 8601 in UTC, `2024-03-02T10:11:12+00:00`, with microseconds where there are any."""

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any, Final

from dateutil.parser import parser, parserinfo

from intelstream.ontology.text import text

LONGEST_TIME: Final = 100  # characters; what reads free text takes its time
HOURS_OF: Final = {  # RFC 5322, 4.3, and the zones of Europe
    "EST": -5,
    "EDT": -4,
    "CST": -6,
    "CDT": -5,
    "MST": -7,
    "MDT": -6,
    "PST": -8,
    "PDT": -7,
    "WET": 0,
    "WEST": 1,
    "CET": 1,
    "CEST": 2,
    "EET": 2,
    "EEST": 3,
}

_canonical = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d(?:\.(?!0{6})\d{6})?\+00:00", re.ASCII).fullmatch
_utc = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ]((?:[01]\d|2[0-3]):\d\d:\d\d)(?:\.(\d{1,6})\d*)?(?: ?(?:Z|UTC|GMT|[+-]00:?00))?", re.ASCII
).fullmatch
_iso = re.compile(r"\d{4}-\d\d-\d\d(?:[T ].*)?", re.ASCII).fullmatch
_digits = frozenset({8, 12, 14})  # 20240302, with minutes, with seconds; ten of them may be anything


def time(value: object) -> str:
    """Take a time in nearly any form; without a zone it is one in UTC, a date alone is its midnight.

    What lacks year, month or day is refused: it would mean another day whenever it is read.
    """
    if type(value) is not str:
        return _of_object(value)
    if _canonical(value):
        datetime.fromisoformat(value)  # there is no 30 February
        return value
    if found := _utc(value):
        day, clock, fraction = found.groups()
        part = f".{fraction:0<6}" if fraction and fraction.strip("0") else ""
        datetime.fromisoformat(f"{day}T{clock}")
        return f"{day}T{clock}{part}+00:00"
    return _of_text(text(value))


def _of_object(value: object) -> str:
    match value:
        case datetime():
            return _in_utc(value)
        case date():
            return _in_utc(datetime(value.year, value.month, value.day, tzinfo=UTC))
        case str() | bytes():
            return time(text(value))
        case _:
            raise ValueError("expected a time")


def _of_text(given: str) -> str:
    if len(given) > LONGEST_TIME:
        raise ValueError("expected a time")
    if _iso(given):
        try:
            return _in_utc(datetime.fromisoformat(given))
        except ValueError:  # nearly ISO 8601: a zone of one digit, say
            pass
    if given.isdecimal() and len(given) not in _digits:
        raise ValueError("expected a time, not a number; which unit does it count?")
    try:
        return _in_utc(parser(_Complete()).parse(given, default=datetime(1, 1, 1), fuzzy=True, tzinfos=_zone))  # noqa: DTZ001
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError("expected a time with year, month and day") from error


def _in_utc(when: datetime) -> str:
    return (when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)).isoformat()


def _zone(name: str | None, offset: int | None) -> tzinfo:
    """Return the zone that a text names; one that nobody knows counts as UTC, as does that of the host."""
    if offset is not None:
        return timezone(timedelta(seconds=offset))
    return timezone(timedelta(hours=HOURS_OF.get(name or "", 0)))


class _Complete(parserinfo):
    """Takes no text from which a part of the date is missing: the library would ask the clock for it."""

    def validate(self, res: Any) -> bool:
        return None not in (res.year, res.month, res.day) and super().validate(res)
