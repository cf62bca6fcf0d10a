"""Lines, records of delimited text, and the places where a report may be cut."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intelstream.errors import InvalidValue
from intelstream.sdk import Lines
from intelstream.sdk.cutting import header_end, last_end
from intelstream.sdk.delimited import Delimited
from intelstream.sdk.lines import BLOCK, Broken, cuttable, read_lines

LINES: dict[str, tuple[bytes, dict[str, Any], list[str]]] = {
    "both ends of lines": (b"a\r\nb\nc", {}, ["a\r", "b", "c"]),
    "nothing": (b"", {}, []),
    "a byte order mark is no text": (b"\xef\xbb\xbfa\n", {}, ["a"]),
    "other encodings": ("à\nb".encode("utf-16"), {"encoding": "utf-16"}, ["à", "b"]),
    "NUL is left out": (b"\0a\0b\n\0\n", {}, ["ab", ""]),
    "what is no text is replaced": (b"a\xff\n\xe2\x82", {}, ["a\ufffd", "\ufffd"]),
    "only line feeds end a line": ("a\x0bb\u2028c\x85d\n".encode(), {}, ["a\x0bb\u2028c\x85d"]),
}


def lines(data: bytes, *, encoding: str = "utf-8", reject: bool = False, longest: int = 1 << 20) -> list[str]:
    return [line for block in read_lines(io.BytesIO(data), encoding, reject=reject, longest=longest) for line in block]


@pytest.mark.parametrize(("data", "how", "expected"), LINES.values(), ids=LINES)
def test_lines(data: bytes, how: dict[str, Any], expected: list[str]) -> None:
    assert lines(data, **how) == expected


@pytest.mark.parametrize("size", [10, BLOCK - 1, BLOCK, 3 * BLOCK])
def test_a_line_that_is_too_long_costs_only_itself_and_no_memory(size: int) -> None:
    found = lines(b"before\n" + b"x" * size + b"\nbehind\n", longest=8)

    assert found[0] == "before"
    assert found[-1] == "behind"
    assert isinstance(found[1], Broken)
    assert len(found) == 3
    assert "at most 8B" in str(found[1].error)
    assert len(found[1]) < 5000


def test_length_is_counted_in_bytes() -> None:
    assert [type(line) for line in lines("ààà\nàààà\n".encode(), longest=6)] == [str, Broken]


def test_on_demand_a_line_that_is_no_text_costs_only_itself() -> None:
    found = lines("à\n".encode() + b"b\xff\nc\n", reject=True)

    assert found == ["à", "b?", "c"]
    assert [isinstance(line, Broken) for line in found] == [False, True, False]


def test_an_encoding_that_cannot_go_on_behind_an_error_ends_the_reading() -> None:
    with pytest.raises(InvalidValue, match="expected utf-16"):
        lines(b"a\0\n\0b", encoding="utf-16", reject=True)


RECORDS: dict[str, tuple[str, dict[str, Any], list[Any]]] = {
    "plain": ("a,b\nc,d\r\n", {}, [["a", "b"], ["c", "d"]]),
    "quoted": ('"a,x",b\n', {}, [["a,x", "b"]]),
    "over two lines": ('a,"b\r\nc"\r\nd,e\n', {}, [["a", "b\r\nc"], ["d", "e"]]),
    "trimmed": (' a , b\t,c \n"d", e \n', {}, [["a", "b", "c"], ["d", "e"]]),
    "blanks before a quote": ('"a", "b, c"\n', {}, [["a", "b, c"]]),
    "doubled quotes": ('"a""b",c\n', {}, [['a"b', "c"]]),
    "a quote within a column is text": ('5" disk,b\nc,d\n', {}, [['5" disk', "b"], ["c", "d"]]),
    "comments and blank lines": ("# x\n\n  # y\n \t\na,b\n", {}, [["a", "b"]]),
    "a comment between quotes is text": ('"a\n# b",c\n', {}, [["a\n# b", "c"]]),
    "a comment with a quote": ('# it is "so\na,"b"\n', {}, [["a", "b"]]),
    "an open quote costs its own line": ('a,"b\nc,d\ne,f\n', {}, [None, ["c", "d"], ["e", "f"]]),
    "a quote closed by halves": ('a,"b"c\nd,e\n', {}, [None, ["d", "e"]]),
    "closed by halves lines later": ('a,"b\nc,d\ne"f,g\nh,i\n', {}, [None, ["c", "d"], ['e"f', "g"], ["h", "i"]]),
    "a record longer than is allowed": ('"a\nb\nc"\nd\n', {"longest": 5}, [None, ["b"], ['c"'], ["d"]]),
    "no quotes": ('"a,b\n', {"quote": ""}, [['"a', "b"]]),
    "delimiter of several characters": ("a | b || c\n", {"delimiter": "||", "quote": ""}, [["a | b", "c"]]),
    "blanks as delimiters": ("a  b\n", {"delimiter": " "}, [["a", "", "b"]]),
    "other comments": ("// x\n#,b\n", {"comment": "//"}, [["#", "b"]]),
    "no comments": ("# x\n", {"comment": ""}, [["# x"]]),
}


def records(text: str, **how: Any) -> Iterator[Any]:
    blocks = ([line] for line in text.split("\n"))  # each line on its own: no record may depend on blocks
    for row in Delimited(**how).records(blocks):
        yield row.text, None if isinstance(row.value, InvalidValue) else list(row.value)


@pytest.mark.parametrize(("text", "how", "expected"), RECORDS.values(), ids=RECORDS)
def test_records(text: str, how: dict[str, Any], expected: list[Any]) -> None:
    found = list(records(text, **how))

    assert [cells for _, cells in found] == expected
    whole = Delimited(**how).records([text.split("\n")])
    assert [row.text for row in whole] == [raw for raw, _ in found]


def test_a_row_keeps_its_own_text() -> None:
    assert [text for text, _ in records('# x\r\na,"b\r\nc"\r\nd,"e\r\nf,g')] == ['a,"b\r\nc"', 'd,"e', "f,g"]


def test_comments_are_heard() -> None:
    heard: list[str] = []
    list(Delimited().records([["# one", "", "a,b", " # two\r"]], heard.append))

    assert heard == ["# one", " # two\r"]


def test_quotes_that_never_close_cost_no_more_than_twice_the_reading() -> None:
    lines = ['a,"b' if number % 1000 == 0 else "c,d" for number in range(200_000)]
    found = list(Delimited(longest=1 << 16).records([lines]))

    assert len(found) > 190_000


PIECES = st.lists(
    st.sampled_from(['"', "a", ",", "\n", "\r\n", "#", " ", "\0", 'x,"y\nz"\n', '5"', "é", "\ufeff", '""']),
    max_size=60,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(text=PIECES, longest=st.sampled_from([4, 12, 1000]), place=st.integers(0, 200))
def test_a_cut_report_has_the_rows_of_the_whole(text: str, longest: int, place: int) -> None:
    data = text.encode()
    shape = Lines(quoted=True, comment="#", longest=longest)
    end = last_end(data[:place], shape)

    assert parsed(data[:end], longest) + parsed(data[end:], longest) == parsed(data, longest)


def parsed(data: bytes, longest: int) -> list[Any]:
    found = Delimited(longest=longest)
    rows = found.records(read_lines(io.BytesIO(data), "utf-8", reject=False, longest=longest))
    return [(row.text, row.value if isinstance(row.value, list) else None) for row in rows]


HEADERS: dict[str, tuple[bytes, Lines, int | None]] = {
    "none": (b"a,b\n", Lines(), 0),
    "lines on top": (b"x\ny\na,b\n", Lines(header=2), 4),
    "fewer lines than that": (b"x\n", Lines(header=2), None),
    "a title below comments": (b"# x\n\nip,port\na,b\n", Lines(titled=True, comment="#"), 13),
    "a title over two lines": (b'"ip\naddress",port\na,b\n', Lines(titled=True, quoted=True), 18),
    "a title whose quote is open": (b'"ip,port\na,b\n', Lines(titled=True, quoted=True), None),
    "comments and no more": (b"# x\n", Lines(titled=True, comment="#"), None),
}


@pytest.mark.parametrize(("data", "shape", "expected"), HEADERS.values(), ids=HEADERS)
def test_what_each_piece_begins_with(data: bytes, shape: Lines, expected: int | None) -> None:
    assert header_end(data, shape) == expected


def test_where_bytes_may_be_cut() -> None:
    assert [cuttable(name) for name in ("utf8", "latin-1", "windows-1252", "ascii", "koi8-r")] == [True] * 5
    assert [cuttable(name) for name in ("utf-16", "shift_jis", "gb18030", "cp037")] == [False] * 4
