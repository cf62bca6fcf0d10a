"""Converters of `as:`, forms of time, and expressions whose searches end."""

import re
from pathlib import Path
from typing import Any

import pytest

from intelstream.sdk.convert import PLAIN, TIMES, converter, makes_time

WRONG = object()
CASES: dict[str, tuple[Any, Any, Any]] = {
    "lower": ("lower", "ÀB", "àb"),
    "upper": ("upper", "ab", "AB"),
    "strip": ("strip", " a ", "a"),
    "int": ("int", " 42", 42),
    "int of a number": ("int", 42.0, 42),
    "int of a fraction": ("int", 42.5, WRONG),
    "int of words": ("int", "many", WRONG),
    "int of too many digits": ("int", "9" * 10_000, WRONG),
    "float": ("float", "1.5", 1.5),
    "float of none": ("float", "nan", WRONG),
    "bool": ("bool", "Yes", True),
    "bool of a truth value": ("bool", False, False),
    "bool of a number": ("bool", 1, True),
    "bool of anything else": ("bool", "maybe", WRONG),
    "base64": ("base64", "w6BiYw==", "àbc"),
    "base64 without its end": ("base64", "w6BiYw", "àbc"),
    "base64 of no text": ("base64", "////", WRONG),
    "base64 of something else": ("base64", "<>", WRONG),
    "hex": ("hex", "0x6162", "ab"),
    "hex of something else": ("hex", "xy", WRONG),
    "url_decode": ("url_decode", "a%20%C3%A0", "a à"),
    "url_decode of no text": ("url_decode", "%ff", WRONG),
    "refang a URL": ("refang", "hxxps[:]//www[.]example(dot)com/a[.]b", "https://www.example.com/a.b"),
    "refang other spellings": ("refang", "h**p://example{.}com", "http://example.com"),
    "refang a mail address": ("refang", "abuse[at]example[.]com", "abuse@example.com"),
    "refang leaves what is live": ("refang", "http://example.com/(a)", "http://example.com/(a)"),
    "asn": ("asn", "AS64496", 64496),
    "asn as a number": ("asn", 64496, 64496),
    "asn without a number": ("asn", "AS", WRONG),
    "json": ("json", '["a", {"b": 1}]', ["a", {"b": 1}]),
    "json that is none": ("json", "[", WRONG),
    "map": ('map({"smtp": 25, "ftp": 21})', "smtp", 25),
    "map as a mapping": ({"smtp": 25}, "smtp", 25),
    "map of what is no text": ({"true": "a", "5": "b"}, True, "a"),
    "map of something else": ({"smtp": 25}, "http", "http"),
    "one after the other": (["refang", "lower"], "WWW[.]example[.]com", "www.example.com"),
    "epoch": ("time(epoch)", "1709374272", "2024-03-02T10:11:12+00:00"),
    "epoch with a fraction": ("time(epoch)", 1709374272.5, "2024-03-02T10:11:12.500000+00:00"),
    "epoch in words": ("time(epoch)", "now", WRONG),
    "epoch beyond time": ("time(epoch)", "1e300", WRONG),
    "epoch_ms": ("time(epoch_ms)", 1709374272345, "2024-03-02T10:11:12.345000+00:00"),
    "windows": ("time(windows)", "131349599830000000", "2017-03-25T23:59:43+00:00"),
    "windows beyond time": ("time(windows)", "9" * 30, WRONG),
    "a form": ("time(%d.%m.%Y %H:%M)", "02.03.2024 10:11", "2024-03-02T10:11:00+00:00"),
    "a form with a zone": ("time(%Y-%m-%d %z)", "2024-03-02 +0100", "2024-03-01T23:00:00+00:00"),
    "a form that does not fit": ("time(%d.%m.%Y)", "2024-03-02", WRONG),
    "fuzzy seconds": ("time(fuzzy)", "1709374272", "2024-03-02T10:11:12+00:00"),
    "fuzzy milliseconds": ("time(fuzzy)", 1709374272345, "2024-03-02T10:11:12.345000+00:00"),
    "fuzzy text is for the field": ("time(fuzzy)", "2 March 2024", "2 March 2024"),
}


@pytest.mark.parametrize(("notation", "value", "expected"), CASES.values(), ids=CASES)
def test_converter(notation: Any, value: Any, expected: Any) -> None:
    convert = converter(notation)
    if expected is WRONG:
        with pytest.raises((ValueError, TypeError, OverflowError)):
            convert(value)
        return

    assert (convert(value), type(convert(value))) == (expected, type(expected))


REFUSED: dict[str, tuple[Any, str]] = {
    "unknown": ("lowr", "no converter 'lowr'; did you mean 'lower'?"),
    "nothing like it": ("frobnicate", "no converter 'frobnicate'; lower, upper"),
    "an argument too many": ("lower(x)", "did you mean 'lower'?"),
    "no argument": ("map", "no converter 'map'"),
    "a map that is none": ("map([1])", "expected map({…}) with a JSON object"),
    "a map that is no JSON": ("map({a})", "expected map({…}) with a JSON object"),
    "no form of time": ("time(soon)", "expected fuzzy, epoch, epoch_ms, windows or a form such as"),
    "a broken form of time": ("time(%Q)", "expected a form of time"),
    "inside a list": (["lower", "uper"], "did you mean 'upper'?"),
}


@pytest.mark.parametrize(("notation", "text"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_converter_is_explained(notation: Any, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        converter(notation)


def test_which_converters_read_times() -> None:
    assert makes_time("time(epoch)")
    assert makes_time(["strip", "time(epoch)"])
    assert not makes_time({"time(epoch)": "x"})
    assert not makes_time(None)


def test_every_converter_is_on_the_page_about_columns() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "columns.md").read_text(encoding="utf-8")

    assert [name for name in (*PLAIN, *TIMES) if f"`{name}`" not in page] == []
