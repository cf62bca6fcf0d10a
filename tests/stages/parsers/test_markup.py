"""parsers.html_table and parsers.xml."""

from typing import Any

import pytest

from intelstream import testing
from intelstream.runtime.drain import parse
from intelstream.sdk import Parser

Cases = dict[str, tuple[dict[str, Any], bytes, list[Any], list[str]]]
IPS: dict[str, Any] = {"columns": ["source.ip", "comment"]}
ONE, TWO = {"source.ip": "192.0.2.1", "comment": "a"}, {"source.ip": "192.0.2.2"}
HEAD = "<tr><th>IP</th><th>Text</th></tr>"
ROWS = "<tr><td> 192.0.2.1\n</td><td><b>a</b></td></tr><tr><td>192.0.2.2</td></tr>"
OTHER = "<table class='menu main' id=m><tr><td>192.0.2.9</table>"


def page(rows: str, before: str = "") -> bytes:
    return f"<html><body>{before}<table id=ips class='wide ips'>{rows}</table></body></html>".encode()


HTML: Cases = {
    "the first table, below its header": (IPS, page(HEAD + ROWS), [ONE, TWO], []),
    "no header": (IPS | {"header": "none"}, page(ROWS), [ONE, TWO], []),
    "columns by name": (
        {"columns": {"Text": "comment", "IP": "source.ip"}, "header": "names"},
        page(HEAD + ROWS),
        [ONE, TWO],
        [],
    ),
    "a table by number": (IPS | {"table": 1}, page(HEAD + ROWS, OTHER), [ONE, TWO], []),
    "a table by an attribute": (IPS | {"attribute": "id", "value": "ips"}, page(HEAD + ROWS, OTHER), [ONE, TWO], []),
    "by a word of an attribute": (
        IPS | {"attribute": "class", "value": "ips"},
        page(HEAD + ROWS, OTHER),
        [ONE, TWO],
        [],
    ),
    "by an attribute, whatever its value": (
        IPS | {"attribute": "class", "table": 1},
        page(HEAD + ROWS, OTHER),
        [ONE, TWO],
        [],
    ),
    "no such table": (IPS | {"table": 2}, page(HEAD + ROWS), [], ["report: expected table number 2, got 1"]),
    "a table in a cell": (
        IPS,
        page(HEAD + "<tr><td>192.0.2.2<td><table><tr><td>192.0.2.9</table>", ""),
        [TWO | {"comment": "192.0.2.9"}],
        [],
    ),
    "rows without cells": (IPS, page(HEAD + "<tr></tr>" + ROWS), [ONE, TWO], []),
    "a wrong value": (IPS, page(HEAD + "<tr><td>x</td></tr>" + ROWS), [ONE, TWO], ["source.ip: "]),
    "entities": (IPS, page(HEAD + "<tr><td>192&#46;0.2.1<td>&#97;"), [ONE], []),
    "scripts are no text": (IPS, page(HEAD + "<tr><td>192.0.2.1<td><!-- x -->a"), [ONE], []),
    "no page": (IPS, b"\x00\x01\xff<<<", [], ["report: expected table number 0, got 0"]),
    "another encoding": (
        IPS | {"encoding": "latin-1"},
        page(HEAD + "<tr><td>192.0.2.1<td>\xe0").decode().encode("latin-1"),
        [ONE | {"comment": "à"}],
        [],
    ),
    "no text, rejected": (IPS | {"undecodable": "reject"}, page(HEAD) + b"\xff", [], ["report: expected utf-8"]),
    "a page that is too large": (
        IPS | {"max_bytes": "1KiB"},
        page(HEAD + ROWS * 100),
        [],
        ["report: expected at most 1KiB (`max_bytes`)"],
    ),
    "nothing": (IPS, b"\n", [], []),
    "a table without rows": (IPS | {"on_empty": "alarm"}, page(HEAD), [], ["report: expected rows"]),
}


@pytest.mark.parametrize(("params", "raw", "fields", "dead"), HTML.values(), ids=HTML)
async def test_html_table(params: dict[str, Any], raw: bytes, fields: list[Any], dead: list[str]) -> None:
    await check("parsers.html_table", params, raw, fields, dead)


async def check(use: str, params: dict[str, Any], raw: bytes, fields: list[Any], dead: list[str]) -> None:
    result = await testing.run_stage(use, params, [testing.report(raw)])

    assert [event.fields for event in result.messages.get("default", [])] == fields
    assert [letter.text[: len(text)] for letter, text in zip(result.dead, dead, strict=True)] == dead
    assert {letter.error for letter in result.dead} <= {"InvalidValue"}


async def test_a_row_is_shown_as_html() -> None:
    result = await testing.run_stage("parsers.html_table", IPS, [testing.report(page(HEAD + ROWS))])

    assert result.messages["default"][1].raw == "<tr><td>192.0.2.2</td></tr>"


async def test_a_deep_page_does_no_harm() -> None:
    deep = page(HEAD + "<tr><td>192.0.2.1<td>" + "<div>" * 50_000 + "a")

    await check("parsers.html_table", IPS, deep, [ONE], [])


XPS: dict[str, Any] = {"rows": "ips/entry", "columns": {"@ip": "source.ip", "note/text": "comment"}}
ENTRIES = '<entry ip="192.0.2.1"><note><text> a </text></note></entry><entry ip="192.0.2.2"/>'
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

LATIN = '<ips><entry ip="192.0.2.1"><note><text>à</text></note></entry></ips>'

XML: Cases = {
    "elements": (XPS, f"<r><ips>{ENTRIES}</ips></r>".encode(), [ONE, TWO], []),
    "elsewhere they are none": (XPS, f"<r><x>{ENTRIES}</x><ips/></r>".encode(), [], []),
    "from the top": (
        XPS | {"rows": "/r/ips/entry"},
        f"<r><ips>{ENTRIES}</ips><x><r><ips>{ENTRIES}</ips></r></x></r>".encode(),
        [ONE, TWO],
        [],
    ),
    "namespaces": (
        XPS,
        f'<r xmlns="urn:x"><ips xmlns:y="urn:y">{ENTRIES.replace("note", "y:note")}</ips></r>'.encode(),
        [ONE, TWO],
        [],
    ),
    "an element in its like": (
        XPS | {"rows": "entry"},
        b'<r><entry ip="192.0.2.2"><x><entry ip="192.0.2.9"/></x></entry></r>',
        [TWO],
        [],
    ),
    "text of the element itself": (
        {"rows": "ip", "columns": {".": "source.ip", "./@n": "comment"}},
        b"<r><ip>192.0.2.2</ip></r>",
        [TWO],
        [],
    ),
    "attributes further down": (
        {"rows": "e", "columns": {"a/b/@ip": "source.ip"}},
        b'<r><e><a><b ip="192.0.2.2"/></a></e></r>',
        [TWO],
        [],
    ),
    "a wrong value": (XPS, f'<r><ips><entry ip="x"/>{ENTRIES}</ips></r>'.encode(), [ONE, TWO], ["source.ip: "]),
    "a break": (
        XPS,
        f"<r><ips>{ENTRIES}</r>".encode(),
        [ONE, TWO],
        ["report: expected XML without a document type: mismatched tag"],
    ),
    "no XML": (XPS, b"ip,text\n", [], ["report: expected XML without a document type: syntax error"]),
    "declared encoding": (
        XPS,
        f'<?xml version="1.0" encoding="iso-8859-1"?>{LATIN}'.encode("latin-1"),
        [ONE | {"comment": "à"}],
        [],
    ),
    "the encoding is not as declared": (
        XPS | {"encoding": "latin-1"},
        f'<?xml version="1.0" encoding="utf-8"?>{LATIN}'.encode("latin-1"),
        [ONE | {"comment": "à"}],
        [],
    ),
    "an encoding that nobody knows": (
        XPS,
        b'<?xml version="1.0" encoding="klingon"?><ips/>',
        [],
        ["report: expected XML without a document type: unknown encoding"],
    ),
    "no text": (XPS, b"<ips>\xff</ips>", [], ["report: expected XML without a document type: not well-formed"]),
    "no text, replaced": (XPS | {"encoding": "utf-8"}, b'<ips>\xff<entry ip="192.0.2.2"/></ips>', [TWO], []),
    "a document type": (
        XPS,
        b'<!DOCTYPE r SYSTEM "file:///etc/passwd"><ips/>',
        [],
        ["report: expected XML without a document type: DTDForbidden"],
    ),
    "entities in entities": (
        XPS,
        f"{BOMB}]><ips>&i;</ips>".encode(),
        [],
        ["report: expected XML without a document type: DTDForbidden"],
    ),
    "levels without end": (
        XPS,
        b"<a>" * 100_000,
        [],
        ["report: expected XML without a document type: it has more than 128 levels"],
    ),
    "nothing": (XPS, b"", [], []),
    "no rows": (XPS | {"on_empty": "alarm"}, b"<r/>", [], ["report: expected rows"]),
}


@pytest.mark.parametrize(("params", "raw", "fields", "dead"), XML.values(), ids=XML)
async def test_xml(params: dict[str, Any], raw: bytes, fields: list[Any], dead: list[str]) -> None:
    await check("parsers.xml", params, raw, fields, dead)


HUGE: dict[str, bytes] = {
    "an element": b'<ips><entry ip="192.0.2.2"/><entry ip="' + b"1" * 4_000_000,
    "a text beside": b'<ips><entry ip="192.0.2.2"/>' + b"x" * 4_000_000,
    "many parts of one": b'<ips><entry ip="192.0.2.2"/><entry>' + b"<x/>" * 1_000_000,
}


@pytest.mark.parametrize("raw", HUGE.values(), ids=HUGE)
async def test_an_element_without_end_ends_the_reading_before_the_memory_is_full(raw: bytes) -> None:
    await check("parsers.xml", XPS, raw, [TWO], ["report: expected records of at most 1MiB"])


async def test_elements_are_given_one_by_one() -> None:
    raw = b"<r><ips>" + b'<x>y</x><entry ip="192.0.2.2"/>' * 10_000 + b"<broken></ips></r>"
    async with testing.open_stage("parsers.xml", XPS) as run:
        assert isinstance(run.stage, Parser)
        found = list(parse(run.stage, testing.report(raw)))

    assert len(found) == 10_001
    assert [one.row.text for one in found[:2]] == ['<entry ip="192.0.2.2" />'] * 2
    assert found[-1].error
