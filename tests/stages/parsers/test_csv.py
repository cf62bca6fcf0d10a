import base64
import io
from typing import Any

import pytest

from intelstream import catalog, testing
from intelstream.ontology import Event
from intelstream.runtime.drain import parse
from intelstream.runtime.pieces import pieces
from intelstream.sdk import Parser

Cases = dict[str, tuple[dict[str, Any], bytes, list[Any], list[str]]]
IPS = {"columns": ["source.ip", "comment"]}

# Parameters, report, comments of the events, and what the dead letters say.
CASES: Cases = {
    "records over lines, comments, blank lines": (
        IPS,
        b'# x\r\n192.0.2.1,"a\r\nb"\r\n\r\n192.0.2.2,c\r\n',
        ["a\r\nb", "c"],
        [],
    ),
    "a header to skip": (IPS | {"header": "skip"}, b"# x\n\nip,text\n192.0.2.1,a\n", ["a"], []),
    "lines to skip": (IPS | {"skip_lines": 2, "header": "skip"}, b'one "x\ntwo\nip,text\n192.0.2.1,a\n', ["a"], []),
    "columns by name": (
        {"columns": {"text": "comment", "ip": "source.ip", "gone": "status"}, "header": "names"},
        b'"ip", "more",text\n192.0.2.1,x,a\n192.0.2.2\n',
        ["a", None],
        [],
    ),
    "a header without any of the names": (
        {"columns": {"ip": "source.ip"}, "header": "names"},
        b"address,text\n192.0.2.1,a\n",
        [],
        ["report: expected a header with ip, got 'address,text'"],
    ),
    "a broken header": (
        {"columns": {"ip": "source.ip"}, "header": "names"},
        b'"ip"x,text\n192.0.2.1,a\n',
        [],
        ["row: expected a record: ',' expected after '\"', got '\"ip\"x,text'"],
    ),
    "another delimiter": (IPS | {"delimiter": "\t"}, b"192.0.2.1\ta\n\t\t\n", ["a"], []),
    "several characters between columns": (
        IPS | {"delimiter": "  |  ", "quote": ""},
        b"192.0.2.1    |  a | b\n",
        ["a | b"],
        [],
    ),
    "other quotes and comments": (IPS | {"quote": "'", "comment": ";"}, b";x\n192.0.2.1,'a,b'\n", ["a,b"], []),
    "an open quote": (
        IPS,
        b'192.0.2.1,"a\n192.0.2.2,b\n',
        ["b"],
        ["row: expected a record: unexpected end of data, got '192.0.2.1,\"a'"],
    ),
    "too few columns": (IPS, b"192.0.2.1\n192.0.2.2,b\n", [None, "b"], []),
    "NUL": (IPS, b"\x00192.0.2.1,\0a\0\n", ["a"], []),
    "a row that is too long": (
        IPS | {"max_row_bytes": 20},
        b"192.0.2.1," + b"a" * 500_000 + b"\n192.0.2.2,b\n",
        ["b"],
        ["row: expected at most 20B (`max_row_bytes`), got '192.0.2.1,aaa"],
    ),
    "bytes that are no text": (IPS, b"192.0.2.1,\xffa\n", ["\ufffda"], []),
    "bytes that are no text, rejected": (
        IPS | {"undecodable": "reject"},
        b"192.0.2.1,\xffa\n192.0.2.2,b\n",
        ["b"],
        ["row: expected text in the encoding of the feed, got '192.0.2.1,?a'"],
    ),
    "another encoding": (IPS | {"encoding": "latin-1"}, b"192.0.2.1,\xe0\n", ["à"], []),
    "two bytes each": (IPS | {"encoding": "utf-16"}, "192.0.2.1,à\n".encode("utf-16"), ["à"], []),
    "a byte order mark": (IPS, b"\xef\xbb\xbf192.0.2.1,a\n", ["a"], []),
    "a field of more than 128 KiB": (IPS, b'192.0.2.1,"' + b"a" * 200_000 + b'"\n', ["a" * 200_000], []),
    "nothing": (IPS, b"", [], []),
    "nothing but a comment": (
        IPS | {"on_empty": "alarm"},
        b"# end\n",
        [],
        ["report: expected rows (`on_empty: alarm`), got ''"],
    ),
    "nothing but a header": (
        IPS | {"on_empty": "alarm", "header": "skip"},
        b"ip,text\n",
        [],
        ["report: expected rows (`on_empty: alarm`), got ''"],
    ),
}


@pytest.mark.parametrize(("params", "raw", "comments", "dead"), CASES.values(), ids=CASES)
async def test_csv(params: dict[str, Any], raw: bytes, comments: list[Any], dead: list[str]) -> None:
    result = await testing.run_stage("parsers.csv", params, [testing.report(raw)])

    assert [event.get("comment") for event in events_of(result)] == comments
    assert [letter.text[: len(text)] for letter, text in zip(result.dead, dead, strict=True)] == dead
    assert {letter.error for letter in result.dead} <= {"InvalidValue"}


def events_of(result: testing.Result) -> list[Event]:
    return [event for event in result.messages.get("default", []) if isinstance(event, Event)]


async def test_an_event_and_a_dead_letter_hold_the_text_of_their_row_and_no_more() -> None:
    raw = b'ip,text\r\n192.0.2.1,"a\r\n""b"\r\nnever,x\r\n'
    result = await testing.run_stage("parsers.csv", IPS | {"header": "skip"}, [testing.report(raw)])

    assert [event.raw for event in result.messages["default"]] == ['192.0.2.1,"a\r\n""b"']
    assert [base64.b64decode(letter.message["raw"]) for letter in result.dead] == [b"never,x"]


async def test_what_a_comment_says_holds_for_all_rows() -> None:
    params = IPS | {"from_comments": {"time.source": r"updated: (.+)", "extra.by": r"by (\w+)"}}
    raw = (
        b"# updated: 2 March 2024 10:00 UTC\n192.0.2.1,a\n# by example\n192.0.2.2,b\n# updated: 1999-01-01\n192.0.2.3,c"
    )
    result = await testing.run_stage("parsers.csv", params, [testing.report(raw)])

    events = events_of(result)
    assert {event["time.source"] for event in events} == {"2024-03-02T10:00:00+00:00"}
    assert [event.get("extra.by") for event in events] == [None, "example", "example"]


async def test_a_comment_that_is_not_understood_costs_no_row() -> None:
    params = IPS | {"from_comments": {"time.source": "updated: (.+)"}}
    report = testing.report(b"# updated: soon\n192.0.2.1,a\n")
    result = await testing.run_stage("parsers.csv", params, [report])

    assert [event.fields for event in result.messages["default"]] == [{"source.ip": "192.0.2.1", "comment": "a"}]
    assert [(entry["event"], entry["field"]) for entry in result.log] == [("comment_not_understood", "time.source")]


async def test_a_report_goes_on_behind_the_rows_that_are_out() -> None:
    raw = b'ip,text\n192.0.2.1,"a\nb"\nnever,x\n192.0.2.2,"\n192.0.2.3,c\n'
    async with testing.open_stage("parsers.csv", IPS | {"header": "skip"}) as run:
        assert isinstance(run.stage, Parser)
        whole = list(parse(run.stage, testing.report(raw)))
        for start in range(1, len(whole) + 1):
            rest = list(parse(run.stage, testing.report(raw), start=start))

            assert [one.number for one in rest] == [one.number for one in whole[start:]]
            assert [[event.id for event in one.events] for one in rest] == [
                [event.id for event in one.events] for one in whole[start:]
            ]


SHAPES: dict[str, dict[str, Any]] = {
    "as it is": IPS,
    "with a title": IPS | {"header": "skip", "skip_lines": 1},
    "by name": {"columns": {"ip": "source.ip", "text": "comment"}, "header": "names", "skip_lines": 1},
    "no quotes": IPS | {"quote": ""},
}


@pytest.mark.parametrize("params", SHAPES.values(), ids=SHAPES)
async def test_the_pieces_of_a_large_report_have_the_rows_of_the_whole(params: dict[str, Any]) -> None:
    head = b'a "list\n# by name\nip,text\n' if "skip_lines" in params else b""
    text = b"x" * 400
    rows = (b'192.0.2.%d,"%s\n%d ""b"\n192.0.2.1,5" disk\n# "remark\n' % (n % 250, text, n) for n in range(6000))
    raw = head + b"".join(rows)
    async with testing.open_stage("parsers.csv", params) as run:
        assert isinstance(run.stage, Parser)
        assert run.stage.split
        cut = list(pieces(io.BytesIO(raw), run.stage.split))
        whole = _told(run.stage, raw)
        parts = [row for piece in cut for row in _told(run.stage, piece)]

    assert len(cut) > 2
    assert all(piece.startswith(head) for piece in cut)
    assert parts == whole


LONG: dict[str, bytes] = {
    "a line": b"x" * 5_000_000,
    "a quoted column": b'192.0.2.9,"' + b"y" * 5_000_000 + b'"',
    "a line in a quoted column": b'192.0.2.9,"a\n' + b"z" * 5_000_000,
    "lines in a quoted column": b'192.0.2.9,"' + b"192.0.2.8,b\n" * 400_000,
}


@pytest.mark.parametrize("long", LONG.values(), ids=LONG)
async def test_what_is_longer_than_any_row_neither_stops_the_cutting_nor_changes_the_rows(long: bytes) -> None:
    rows = b"192.0.2.1,a\n" * 100_000
    raw = rows + long + b"\n" + rows
    async with testing.open_stage("parsers.csv", IPS) as run:
        assert isinstance(run.stage, Parser)
        assert run.stage.split
        cut = list(pieces(io.BytesIO(raw), run.stage.split))
        whole = [row.text for row in run.stage.rows(testing.report(raw))]
        parts = [row.text for piece in cut for row in run.stage.rows(testing.report(piece))]

    assert max(map(len, cut)) < 4_000_000
    assert parts == whole


def _told(parser: Parser[Any], raw: bytes) -> list[Any]:
    return [(one.row.text, [event.fields for event in one.events]) for one in parse(parser, testing.report(raw))]


UNCUT: dict[str, dict[str, Any]] = {
    "what a comment says is for all": IPS | {"from_comments": {"time.source": "x"}},
    "line breaks may be parts of characters": IPS | {"encoding": "utf-16"},
    "what is no text may hide a quote": IPS | {"undecodable": "reject"},
    "a delimiter of several bytes": IPS | {"delimiter": "§"},
}


@pytest.mark.parametrize("params", UNCUT.values(), ids=UNCUT)
async def test_a_report_that_cannot_be_cut_is_not(params: dict[str, Any]) -> None:
    async with testing.open_stage("parsers.csv", params) as run:
        assert isinstance(run.stage, Parser)
        assert run.stage.split is None


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "names without a header": ({"columns": {"ip": "source.ip"}}, "columns with names and `header: names` go together"),
    "a header without names": (IPS | {"header": "names"}, "columns with names and `header: names` go together"),
    "a long delimiter and quotes": (IPS | {"delimiter": "||"}, 'needs `quote: ""`'),
}


@pytest.mark.parametrize(("params", "text"), REFUSED.values(), ids=REFUSED)
def test_parameters_that_do_not_fit_are_explained(params: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=r"go together|needs") as caught:
        catalog.load("parsers.csv").Params.model_validate(params)

    assert text in str(caught.value)
