"""Any bytes, through every parser of tables: rows, or an error that says what is wrong; never anything else."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intelstream import catalog, testing
from intelstream.runtime.drain import Parsed, parse
from intelstream.sdk import Parser

FIELDS = [
    "time.source",
    ["source.ip", "source.fqdn", None],
    {"to": "source.port", "split": " "},
    "source.url",
    "extra.x",
]
NAMED = dict(zip(("a", "b", "c", "d", "e"), FIELDS, strict=True))
SMALL = {"max_row_bytes": 64, "on_empty": "alarm"}
PARSERS: dict[str, tuple[str, dict[str, Any]]] = {
    "csv": ("parsers.csv", SMALL | {"columns": FIELDS}),
    "csv by name": (
        "parsers.csv",
        SMALL | {"columns": NAMED, "header": "names", "undecodable": "reject", "skip_lines": 1},
    ),
    "csv in utf-16": ("parsers.csv", {"columns": FIELDS, "encoding": "utf-16", "undecodable": "reject"}),
    "csv with comments": (
        "parsers.csv",
        {"columns": FIELDS, "from_comments": {"time.source": "at (.*)"}, "compose": {"comment": "{0}-{1}"}},
    ),
    "json": ("parsers.json", SMALL | {"columns": NAMED}),
    "json by name": ("parsers.json", {"columns": NAMED, "rows": "a.*", "encoding": "shift_jis"}),
    "json events": ("parsers.json", {}),
    "json lines": ("parsers.json_lines", SMALL | {"columns": NAMED, "undecodable": "reject"}),
    "json line events": ("parsers.json_lines", {}),
    "regex": (
        "parsers.regex",
        SMALL | {"columns": {"a": "source.ip", "b": "comment"}, "pattern": r"(?P<a>\S+)\s*(?P<b>.*)"},
    ),
    "key_value": ("parsers.key_value", SMALL | {"columns": NAMED}),
    "html_table": ("parsers.html_table", SMALL | {"columns": FIELDS}),
    "html_table by name": ("parsers.html_table", {"columns": NAMED, "header": "names", "attribute": "a"}),
    "xml": ("parsers.xml", SMALL | {"columns": NAMED | {"@a": "comment"}, "rows": "a"}),
    "xml in utf-8": ("parsers.xml", {"columns": {".": "comment"}, "rows": "/a/b", "encoding": "utf-8"}),
}

VALUES = st.sampled_from(
    [
        "192.0.2.1",
        "2024-03-02",
        "80",
        "a",
        "b=c",
        "example.com",
        "",
        "-",
        "http://example.com/",
        "é",
        "\ud83d\ude00",
        "\x00",
    ]
)
MARKS = st.sampled_from(
    [
        *(b'"', b",", b"\n", b"\r\n", b"#", b"# at 2024-03-02\n", b"\xff", b"\x00", b"\xef\xbb\xbf", b"a,b,c,d,e\n"),
        *(b"{", b"}", b"[", b"]", b":", b'"a":', b'{"a":{"b":1}}', b"1e999", b"-", b"\\ud800", b'"__type": "Event"'),
        *(b"a=", b" ", b"\\", b"<a>", b"</a>", b"<a a='", b"<table a=1>", b"<tr>", b"<td>", b"</table>", b"<!--"),
        *(b"&#0;", b"&amp;", b"<!DOCTYPE a [", b"<?xml version='1.0' encoding='x'?>"),
    ]
)
TEXTS = VALUES.map(lambda text: text.encode("utf-8", "surrogatepass"))


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # numbers of more than 64 bits
        return repr(value).replace("'", '"').encode(errors="replace")


BYTES = st.one_of(
    st.binary(max_size=300),
    st.lists(st.one_of(MARKS, TEXTS, st.binary(max_size=4)), max_size=40).map(b"".join),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), VALUES),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcde"), inner, max_size=4),
        max_leaves=20,
    ).map(_json),
)


@contextmanager
def opened(use: str, params: dict[str, Any]) -> Iterator[Parser[Any]]:
    with asyncio.Runner() as runner:
        run = testing.open_stage(use, params)
        stage = runner.run(run.__aenter__()).stage
        assert isinstance(stage, Parser)
        yield stage
        runner.run(run.__aexit__(None, None, None))


@pytest.mark.parametrize(("use", "params"), PARSERS.values(), ids=PARSERS)
def test_any_bytes_give_rows_or_say_what_is_wrong(use: str, params: dict[str, Any]) -> None:
    with opened(use, params) as parser:

        @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(raw=BYTES)
        def check(raw: bytes) -> None:
            rows = list(parse(parser, testing.report(raw, {"feed.name": "x"})))

            assert len(rows) <= len(raw) + 1
            for row in rows:
                _check(row)
            again = parse(parser, testing.report(raw, {"feed.name": "x"}))
            assert [_told(one) for one in again] == [_told(row) for row in rows]

        check()


def _check(row: Parsed) -> None:
    assert type(row.error).__name__ in ("NoneType", "InvalidValue"), repr(row.error)
    row.row.text.encode()  # what is no text could not be kept
    for event in row.events:
        event.dump()


def _told(row: Parsed) -> Any:
    return row.number, row.row.text, str(row.error), [event.dump() for event in row.events]


def test_every_parser_of_tables_is_here() -> None:
    there = {
        name
        for name in catalog.names()
        if name.startswith("parsers.") and "columns" in catalog.load(name).Params.model_fields
    }

    assert there == {use for use, _ in PARSERS.values()}
