"""Converters of `as:` and `times`: from the value of a cell to one that a field takes."""

import base64
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import partial, reduce
from typing import Any, Final
from urllib.parse import unquote

import orjson

Converter = Callable[[Any], Any]  # raises nothing but ValueError, TypeError and OverflowError

WINDOWS: Final = datetime(1601, 1, 1, tzinfo=UTC)  # [MS-DTYP] 2.3.3, FILETIME
SAMPLE: Final = datetime(2024, 3, 2, 10, 11, 12, 345678, tzinfo=UTC)
CALL: Final = re.compile(r"(\w+)(?:\((.*)\))?", re.DOTALL)
TRUE: Final = frozenset({"true", "yes", "y", "on", "1"})
FALSE: Final = frozenset({"false", "no", "n", "off", "0"})
NUMBERS: Final = frozenset({"int", "float", "bool", "asn"})
DEFANGED: Final = (
    (re.compile(r"\bh(?:xx|\*\*|__)p(s?)(?=\[?:)", re.IGNORECASE), r"http\1"),
    (re.compile(r"\[\s*(\.|:|@|/|://)\s*\]|\(\s*(\.|@)\s*\)|\{\s*(\.|@)\s*\}"), r"\1\2\3"),
    (re.compile(r"\s*[\[({]\s*dot\s*[\])}]\s*", re.IGNORECASE), "."),
    (re.compile(r"\s*[\[({]\s*at\s*[\])}]\s*", re.IGNORECASE), "@"),
)


def converter(notation: object) -> Converter:
    """Compile what stands behind `as:`: `name`, `name(argument)`, a mapping of values, or a list of them, in turn.

    Raises:
        ValueError: there is no such converter, or its argument is wrong.
    """
    if isinstance(notation, Mapping):
        return partial(_mapped, {spelt(key): value for key, value in notation.items()})
    if isinstance(notation, list | tuple):
        return partial(_in_turn, tuple(converter(one) for one in notation))
    found = CALL.fullmatch(str(notation).strip())
    name, argument = (found[1], found[2]) if found else (str(notation), None)
    if name == "map" and argument is not None:
        return converter(_mapping(argument))
    if name == "time" and argument is not None:
        return time_reader(argument)
    if name in PLAIN and argument is None:
        return PLAIN[name]
    known = (*PLAIN, "time(…)", "map({…})")
    near = get_close_matches(str(notation), known, n=1)
    raise ValueError(f"no converter {notation!r}; " + (f"did you mean {near[0]!r}?" if near else ", ".join(known)))


def makes_value(notation: object) -> bool:
    """Tell whether what stands behind `as:` gives a value whenever it does not fail."""
    return makes_time(notation) or (isinstance(notation, str) and notation in NUMBERS)


def makes_time(notation: object) -> bool:
    """Tell whether what stands behind `as:` reads a time."""
    last = notation[-1] if isinstance(notation, list | tuple) and notation else notation
    return isinstance(last, str) and last.strip().startswith("time(")


def time_reader(notation: str) -> Converter:
    """Compile a form of time: `fuzzy`, `epoch`, `epoch_ms`, `windows`, or a text for strptime; gives ISO text."""
    notation = notation.strip().strip("\"'")
    if notation in TIMES:
        return TIMES[notation]
    try:
        if "%" in notation:
            datetime.strptime(SAMPLE.strftime(notation), notation)  # noqa: DTZ007 - only to see that it can
            return partial(_strptime, notation)
    except ValueError as error:
        raise ValueError(f"expected a form of time: {error}") from error
    raise ValueError(f"expected {', '.join(TIMES)} or a form such as %Y-%m-%d %H:%M:%S")


def spelt(value: object) -> str:
    """Return a value as text: text itself, anything else as JSON has it."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _mapped(known: Mapping[str, Any], value: object) -> object:
    """Translate a value; one that is not in the mapping stays."""
    return known.get(spelt(value), value)


def _mapping(argument: str) -> Mapping[str, object]:
    try:
        found = orjson.loads(argument)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"expected map({{…}}) with a JSON object: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("expected map({…}) with a JSON object")  # noqa: TRY004 - pydantic takes no TypeError
    return found


def _in_turn(steps: tuple[Converter, ...], value: object) -> object:
    return reduce(lambda so_far, step: step(so_far), steps, value)


def _int(value: object) -> int:
    if isinstance(value, float):
        if not value.is_integer():
            raise ValueError("expected a whole number")
        return int(value)
    return int(spelt(value))


def _float(value: object) -> float:
    number = float(spelt(value))
    if not math.isfinite(number):
        raise ValueError("expected a finite number")
    return number


def _bool(value: object) -> bool:
    word = spelt(value).strip().lower()
    if word not in TRUE | FALSE:
        raise ValueError("expected true or false, yes or no, 1 or 0")
    return word in TRUE


def _base64(value: object) -> str:
    text = spelt(value).strip()
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode()


def _hex(value: object) -> str:
    return bytes.fromhex(spelt(value).strip().removeprefix("0x")).decode()


def _refang(value: object) -> str:
    return reduce(lambda text, pair: pair[0].sub(pair[1], text), DEFANGED, spelt(value))


def _asn(value: object) -> int:
    text = spelt(value).strip()
    return int(text[2:] if text[:2].upper() == "AS" else text)


def _iso(seconds: float, unit: float = 1) -> str:
    return (datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds / unit)).isoformat()


def _epoch(value: object) -> str:
    return _iso(_float(value))


def _epoch_ms(value: object) -> str:
    return _iso(_float(value), 1000)


def _windows(value: object) -> str:
    return (WINDOWS + timedelta(microseconds=_int(value) // 10)).isoformat()


def _strptime(form: str, value: object) -> str:
    found = datetime.strptime(spelt(value).strip(), form)  # noqa: DTZ007 - the next line gives it a zone
    return (found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)).isoformat()


def _fuzzy(value: object) -> object:
    """Leave a time to its field, which reads all the usual forms, but for those that are only digits.

    Nine or ten count seconds since 1970, from 1973 to 2286, thirteen milliseconds.
    """
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, int | float) or (isinstance(text, str) and text.isascii() and text.isdigit()):
        match len(spelt(text).partition(".")[0]):
            case 9 | 10:
                return _epoch(text)
            case 13:
                return _epoch_ms(text)
    return text


TIMES: Final[dict[str, Converter]] = {
    "fuzzy": _fuzzy,
    "epoch": _epoch,
    "epoch_ms": _epoch_ms,
    "windows": _windows,
}
PLAIN: Final[dict[str, Converter]] = {
    "lower": lambda value: spelt(value).lower(),
    "upper": lambda value: spelt(value).upper(),
    "strip": lambda value: spelt(value).strip(),
    "int": _int,
    "float": _float,
    "bool": _bool,
    "base64": _base64,
    "hex": _hex,
    "url_decode": lambda value: unquote(spelt(value), errors="strict"),
    "refang": _refang,
    "asn": _asn,
    "json": orjson.loads,
}
