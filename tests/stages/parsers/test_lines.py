"""parsers.regex and parsers.key_value."""

from typing import Any

import pytest

from intelstream import catalog, testing

Cases = dict[str, tuple[dict[str, Any], bytes, list[Any], list[str]]]
WORDS = {"pattern": r"(?P<ip>\S+)(?: (?P<text>.+))?$", "columns": {"text": "comment", "ip": "source.ip"}}
FOUND = [{"source.ip": "192.0.2.1", "comment": "a b"}, {"source.ip": "192.0.2.2"}]

REGEX: Cases = {
    "groups": (WORDS, b"# x\n192.0.2.1 a b\r\n\n192.0.2.2\n", FOUND, []),
    "a line that looks otherwise": (
        WORDS | {"pattern": r"(?P<ip>[\d.]+)(?: (?P<text>.+))?$"},
        b"never\n192.0.2.2",
        FOUND[1:],
        ["row: expected what `pattern` describes, got 'never'"],
    ),
    "which may be no row": (WORDS | {"only_rows": r"^\d"}, b"never mind\n192.0.2.2", FOUND[1:], []),
    "a line made to keep the search busy": (
        {"pattern": r"(?:(a|aa)+$|(x+x+)+y)(?P<ip>)", "columns": {"ip": "source.ip"}},
        b"a" * 40 + b"!\n",
        [],
        ["row: searching for '(?:(a|aa)+$|(x+x+)+y)(?P<ip>)' took more than 0.1 seconds"],
    ),
    "lines to skip, other comments": (WORDS | {"skip_lines": 1, "comment": ";"}, b"x\n;y\n192.0.2.2", FOUND[1:], []),
    "what a comment says": (
        WORDS | {"from_comments": {"time.source": r"at (\d+)"}},
        b"# at 1709374272\n192.0.2.2",
        [{"time.source": "2024-03-02T10:11:12+00:00", "source.ip": "192.0.2.2"}],
        [],
    ),
    "no text": (WORDS | {"undecodable": "reject"}, b"192.0.2.1 \xff\n192.0.2.2", FOUND[1:], ["row: expected text"]),
    "no text, replaced": (WORDS, b"192.0.2.2 \xff\n", [{"source.ip": "192.0.2.2", "comment": "\ufffd"}], []),
    "too long": (WORDS | {"max_row_bytes": 20}, b"1" * 30 + b"\n192.0.2.2", FOUND[1:], ["row: expected at most 20B"]),
    "nothing": (WORDS | {"on_empty": "alarm"}, b"# x\n", [], ["report: expected rows"]),
}


@pytest.mark.parametrize(("params", "raw", "fields", "dead"), REGEX.values(), ids=REGEX)
async def test_regex(params: dict[str, Any], raw: bytes, fields: list[Any], dead: list[str]) -> None:
    await check("parsers.regex", params, raw, fields, dead)


async def check(use: str, params: dict[str, Any], raw: bytes, fields: list[Any], dead: list[str]) -> None:
    result = await testing.run_stage(use, params, [testing.report(raw)])

    assert [event.fields for event in result.messages.get("default", [])] == fields
    assert [letter.text[: len(text)] for letter, text in zip(result.dead, dead, strict=True)] == dead
    assert {letter.error for letter in result.dead} <= {"InvalidValue"}


def test_a_column_without_a_group_is_explained() -> None:
    with pytest.raises(ValueError, match="`pattern` has no group 'host'; it has ip, text"):
        catalog.load("parsers.regex").Params.model_validate(WORDS | {"columns": {"host": "source.fqdn"}})


PAIRS: dict[str, Any] = {"columns": {"src": "source.ip", "msg": "comment", "at": "time.source"}}
ONE, TWO = {"source.ip": "192.0.2.1"}, {"source.ip": "192.0.2.2"}

KEY_VALUE: Cases = {
    "pairs": (PAIRS, b"src=192.0.2.1 msg=x\nmsg=y src=192.0.2.2", [ONE | {"comment": "x"}, TWO | {"comment": "y"}], []),
    "what is no pair": (PAIRS, b"<34>Oct 11 host: src=192.0.2.1  end", [ONE], []),
    "quotes": (PAIRS, b'msg="a b=c" src="192.0.2.1"', [ONE | {"comment": "a b=c"}], []),
    "quotes in quotes": (PAIRS, rb'msg="a \"b\" c:\d" src=192.0.2.1', [ONE | {"comment": r'a "b" c:\d'}], []),
    "an open quote": (PAIRS, b'msg="a src=192.0.2.1', [ONE | {"comment": '"a'}], []),
    "a quote within": (PAIRS, b'msg=5"x src="192.0.2.1"', [ONE | {"comment": '5"x'}], []),
    "other quotes": (PAIRS | {"quote": "'"}, b"msg='a b' src=192.0.2.1", [ONE | {"comment": "a b"}], []),
    "quotes are text": (PAIRS | {"quote": ""}, b'msg="a" src=192.0.2.1', [ONE | {"comment": '"a"'}], []),
    "other separators": (
        PAIRS | {"pair_separator": "||", "separator": ": "},
        b"src: 192.0.2.1||msg: a b",
        [ONE | {"comment": "a b"}],
        [],
    ),
    "a separator in a value": (PAIRS, b"msg=a=b src=192.0.2.1", [ONE | {"comment": "a=b"}], []),
    "a key twice": (PAIRS, b"src=192.0.2.1 src=192.0.2.2", [ONE], []),
    "no key, no value": (PAIRS, b"=x msg= src=192.0.2.1 =", [ONE], []),
    "seconds": (PAIRS, b"at=1709374272 src=192.0.2.1", [ONE | {"time.source": "2024-03-02T10:11:12+00:00"}], []),
    "nothing of what is asked for": (PAIRS, b"a=b c\nx\nsrc=192.0.2.1", [ONE], []),
    "a wrong value": (PAIRS, b"src=x\nsrc=192.0.2.1", [ONE], ["source.ip: "]),
    "no text": (PAIRS | {"undecodable": "reject"}, b"src=\xff\nsrc=192.0.2.1", [ONE], ["row: expected text"]),
    "nothing": (PAIRS | {"on_empty": "alarm"}, b"", [], ["report: expected rows"]),
}


@pytest.mark.parametrize(("params", "raw", "fields", "dead"), KEY_VALUE.values(), ids=KEY_VALUE)
async def test_key_value(params: dict[str, Any], raw: bytes, fields: list[Any], dead: list[str]) -> None:
    await check("parsers.key_value", params, raw, fields, dead)


async def test_quotes_without_end_do_not_take_long() -> None:
    line = b'a="b ' * 100_000 + b"src=192.0.2.1\n"

    await check("parsers.key_value", PAIRS, line, [ONE], [])
