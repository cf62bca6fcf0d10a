"""Makes text of what feeds give: trimmed, never empty, valid Unicode, of bounded length."""

import base64
import binascii
import json
import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Final
from uuid import UUID

import orjson

from intelstream.ontology.plain import LONGEST, plain, scrubbed

Check = Callable[[Any], Any]
ALPHA_2: Final = 2  # letters of a country's code (ISO 3166-1)


def text(value: object) -> str:
    """Trim text; write out numbers, truth values, times and the like; lists and mappings become JSON."""
    if type(value) is str and value.isascii() and len(value) <= LONGEST and (found := value.strip()):
        return found
    found = spelt(value).strip()
    if not found:
        raise ValueError("expected text")
    if len(found) > LONGEST:
        raise ValueError(f"expected text of at most {LONGEST} characters")
    return found


def spelt(value: object) -> str:
    """Write a value out as it is, blanks and all."""
    match value:
        case str():
            return scrubbed(value)
        case bytes():
            return value.decode("utf-8", "ignore")
        case int() if abs(value) >> 256:  # Python refuses to write out a number of thousands of digits
            raise ValueError("expected text, not so long a number")
        case int() | float() | Decimal() | UUID():
            return str(value)
        case IPv4Address() | IPv6Address() | IPv4Network() | IPv6Network():
            return str(value)
        case date():
            return value.isoformat()
        case list() | tuple() | dict():
            return orjson.dumps(plain(value)).decode()
        case _:
            raise ValueError("expected text")


def lower(value: object) -> str:
    if type(value) is str and value.isascii() and len(value) <= LONGEST and (found := value.strip()):
        return found.lower()
    return text(value).lower()


def upper(value: object) -> str:
    return text(value).upper()


def visible(check: Check, longest: int | None = None) -> Check:
    """Return a check that, after another one, asks for ASCII from blank to tilde, and no more of it than so much."""

    def checked(value: Any) -> Any:
        found = check(value)
        if not (found.isascii() and found.isprintable()) or (longest and len(found) > longest):
            raise ValueError("expected visible ASCII" + (f", at most {longest} characters" if longest else ""))
        return found

    return checked


def country(value: object) -> str:
    """Take two letters or digits, in upper case."""
    if type(value) is not str or len(value) != ALPHA_2:
        value = text(value)
    if len(value) != ALPHA_2 or not (value.isascii() and value.isalnum()):
        raise ValueError("expected a country code of two letters")
    return value.upper()


def matching(check: Check, pattern: str, expected: str) -> Check:
    """Return a check that, after another one, asks for a pattern to match the whole."""
    fits = re.compile(pattern).fullmatch

    def matched(value: Any) -> Any:
        found = check(value)
        if not fits(found):
            raise ValueError(f"expected {expected}")
        return found

    return matched


def json_text(value: object) -> str:
    """Keep text that is JSON; write anything else as such, in the order of its keys."""
    if isinstance(value, str | bytes):
        value = text(value)
        try:
            orjson.loads(value)
        except orjson.JSONDecodeError:
            pass
        else:
            return value
    if value is None:
        raise ValueError("expected a value")
    return text(json.dumps(plain(value), sort_keys=True, ensure_ascii=False))


def json_object(value: object) -> dict[str, Any]:
    """Take a mapping, or the JSON text of one; an empty one is no value."""
    if isinstance(value, str | bytes):
        try:
            value = orjson.loads(text(value))
        except orjson.JSONDecodeError as error:
            raise ValueError("expected a JSON object") from error
    found = plain(value)
    if not isinstance(found, dict) or not found:
        raise ValueError("expected a JSON object")
    return found


def encoded(value: object) -> str:
    """Keep base64 text, in its one form; encode bytes."""
    if isinstance(value, bytes) and value:
        return base64.b64encode(value).decode()
    return base64.b64encode(decoded(value)).decode()


def decoded(value: object) -> bytes:
    """Return what base64 text stands for; line breaks in it do not count."""
    try:
        return base64.b64decode("".join(text(value).split()), validate=True)
    except binascii.Error as error:
        raise ValueError("expected base64") from error
