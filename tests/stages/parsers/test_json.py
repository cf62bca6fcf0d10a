"""parsers.json and parsers.json_lines."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from intelstream import testing
from intelstream.errors import InvalidValue
from intelstream.ontology import Report
from intelstream.runtime.drain import parse
from intelstream.sdk import Parser
from intelstream.sdk.jsonstream import members, stream
from intelstream.sdk.metered import Metered

IPS: dict[str, Any] = {"columns": {"ip": "source.ip", "text": "comment"}}
ROWS = [{"ip": "192.0.2.1", "text": "a"}, {"ip": "192.0.2.2", "text": None}]
FOUND = [{"source.ip": "192.0.2.1", "comment": "a"}, {"source.ip": "192.0.2.2"}]

# Parameters, document, fields of the events, and what the dead letters say.
CASES: dict[str, tuple[dict[str, Any], Any, list[Any], list[str]]] = {
    "a list": (IPS, ROWS, FOUND, []),
    "a list somewhere": (IPS | {"rows": "data.list"}, {"x": [[1]], "data": {"y": 1, "list": ROWS}}, FOUND, []),
    "no list": (
        IPS | {"rows": "data.list"},
        {"data": None},
        [],
        ["report: expected a list of rows at the path `rows`"],
    ),
    "no list yet": (IPS | {"rows": "data"}, {"data": None}, [], []),
    "an empty list": (IPS, [], [], []),
    "something else": (IPS | {"rows": "data"}, {"data": "x"}, [], ["report: expected a list of rows at the path"]),
    "an object is one row": (IPS, ROWS[0], FOUND[:1], []),
    "an object of objects": (
        {"columns": {"@key": "source.ip", "text": "comment"}, "rows": "*"},
        {"192.0.2.1": {"text": "a"}, "192.0.2.2": {}},
        FOUND,
        [],
    ),
    "an object of lists": (
        {"columns": {"@key": "source.ip", "text": "comment"}, "rows": "ips.*"},
        {"ips": {"192.0.2.1": [{"text": "a"}, {"text": "b"}]}},
        [{"source.ip": "192.0.2.1", "comment": "a"}, {"source.ip": "192.0.2.1", "comment": "b"}],
        [],
    ),
    "columns deeper down": (
        {
            "columns": {
                "host.ip": "source.ip",
                "tags.1": "comment",
                "a.b": "status",
                "tags.9": "extra.x",
                "host.ip.x": "extra.y",
            }
        },
        [{"host": {"ip": "192.0.2.1"}, "tags": ["x", "y"], "a.b": "z", "a": {"b": "no"}}],
        [{"source.ip": "192.0.2.1", "comment": "y", "status": "z"}],
        [],
    ),
    "values of all kinds": (
        {"columns": {"a": "extra.a", "b": "extra.b", "c": "extra.c", "d": "extra.d", "port": "source.port"}},
        [{"a": [], "b": {"x": [1, None]}, "c": False, "d": 0, "port": 0}],
        [{"extra.a": [], "extra.b": {"x": [1, None]}, "extra.c": False, "extra.d": 0, "source.port": 0}],
        [],
    ),
    "members of a list, an event each": (
        {"columns": {"ips": {"to": "source.ip", "split": ","}}},
        [{"ips": "192.0.2.1,192.0.2.2"}],
        [{"source.ip": "192.0.2.1"}, {"source.ip": "192.0.2.2"}],
        [],
    ),
    "types by number": (
        {"columns": {"kind": "classification.type"}, "types": {"7": "spam"}},
        [{"kind": 7}],
        [{"classification.type": "spam"}],
        [],
    ),
    "composed of names": (
        {"columns": {"host": "source.fqdn"}, "compose": {"source.url": "http://{host}:{port}/"}},
        [{"host": "example.com", "port": 8080}],
        [{"source.fqdn": "example.com", "source.url": "http://example.com:8080/"}],
        [],
    ),
    "no object": (IPS, [*ROWS, "x", 5, None], FOUND, ["row: expected a JSON object"] * 3),
    "a row that is too long": (
        IPS | {"max_row_bytes": 1000},
        [{"text": "à" * 600}, *ROWS],
        FOUND,
        ["row: expected at most 1000B (`max"],
    ),
    "no JSON": (IPS, b'[{"ip": ', [], ["report: expected JSON: "]),
    "something behind it": (IPS, b"[]]", [], ["report: expected JSON: "]),
    "nested without end": (IPS, b"[" * 100_000, [], ["report: expected JSON: "]),
    "nothing": (IPS, b" \n", [], []),
    "nothing, and somebody is to hear of it": (
        IPS | {"on_empty": "alarm"},
        b"",
        [],
        ["report: expected rows (`on_empty: alarm`)"],
    ),
    "no rows, and somebody is to hear of it": (
        IPS | {"on_empty": "alarm"},
        [],
        [],
        ["report: expected rows (`on_empty: alarm`)"],
    ),
    "NUL and a byte order mark": (IPS, b'\xef\xbb\xbf[{"ip": "192.0.2.2\0"}]', FOUND[1:], []),
    "another encoding": (IPS | {"encoding": "utf-16"}, orjson.dumps(ROWS).decode().encode("utf-16"), FOUND, []),
    "bytes that are no text": (IPS, b'[{"text": "\xff"}]', [{"comment": "\ufffd"}], []),
    "bytes that are no text, rejected": (
        IPS | {"undecodable": "reject"},
        b'[{"text": "\xff"}]',
        [],
        ["report: expected utf-8, got b'\\xff"],
    ),
}


def raw_of(document: Any) -> bytes:
    return document if isinstance(document, bytes) else orjson.dumps(document)


@pytest.mark.parametrize(("params", "document", "fields", "dead"), CASES.values(), ids=CASES)
async def test_json(params: dict[str, Any], document: Any, fields: list[Any], dead: list[str]) -> None:
    result = await testing.run_stage("parsers.json", params, [testing.report(raw_of(document))])

    assert [event.fields for event in result.messages.get("default", [])] == fields
    assert [letter.text[: len(text)] for letter, text in zip(result.dead, dead, strict=True)] == dead
    assert {letter.error for letter in result.dead} <= {"InvalidValue"}


LARGE = 9 * 2**20
DOCUMENTS: dict[str, tuple[Any, str]] = {
    "a list": (ROWS, ""),
    "an object": (ROWS[0], ""),
    "named": ({"a": ROWS, "b": ROWS[0], "c": 5}, "*"),
    "somewhere": ({"x": [{"data": 1}], "data": {"y": {"list": 1}, "list": ROWS, "z": 1}}, "data.list"),
    "named somewhere": ({"data": {"a": [1, 2], "b": None}}, "data.*"),
    "values of all kinds": (
        [1, 1.5, -1e300, "à\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), True, None, [], {}],
        "",
    ),
    "null": ({"data": None}, "data"),
    "no list": ({"data": 5}, "data"),
    "no such path": ({"data": {"x": 1}}, "data.list"),
    "a path through a list": ({"data": [1]}, "data.list"),
    "no members": ({}, "*"),
    "a break": (b'[{"a": 1}, {"a" ', ""),
    "something behind it": (b'{"data": [1]} x', "data"),
    "nothing": (b"", ""),
}


@pytest.mark.parametrize(("document", "path"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_large_document_has_the_members_of_a_small_one(document: Any, path: str) -> None:
    raw = raw_of(document)
    steps = [step for step in path.split(".") if step not in ("", "*")]
    small = told(members(raw.decode(), steps, by_name=path.endswith("*")))
    large = told(stream(Metered(io.BytesIO(raw), 2**20, "utf-8"), steps, by_name=path.endswith("*")))

    if small and small[-1] == "InvalidValue":  # the small one is read as a whole, or not at all
        assert large[-1] == "InvalidValue"
    else:
        assert large == small


def told(found: Iterator[Any]) -> list[Any]:
    rows: list[Any] = []
    try:
        rows.extend(found)
    except InvalidValue:
        rows.append("InvalidValue")
    return rows


async def test_many_rows_come_one_by_one_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    with path.open("wb") as file:
        file.write(b'{"meta": {"pages": [1, {"rows": []}]}, "rows": [\n')
        file.write(b",\n".join(b'{"ip": "192.0.2.%d", "text": "%s"}' % (n % 250, b"x" * 900) for n in range(10_000)))
        file.write(b"]}")
    async with testing.open_stage("parsers.json", IPS | {"rows": "rows"}) as run:
        assert isinstance(run.stage, Parser)
        report = Report(path).stamp(id=testing.PARENT)
        whole = list(parse(run.stage, report))
        rest = list(parse(run.stage, report, start=9_990))

    assert [one.number for one in whole if one.error or len(one.events) != 1] == []
    assert len(whole) == 10_000
    assert [one.events[0].id for one in rest] == [one.events[0].id for one in whole[9_990:]]


HUGE: dict[str, tuple[bytes, str]] = {
    "one row": (b'[{"ip": "192.0.2.1"}, {"text": "' + b"x" * LARGE + b'"}]', "records of at most 1MiB"),
    "one row of many values": (
        b'[{"ip": "192.0.2.1"}, {"text": [' + b"0," * (LARGE // 2) + b"0]}]",
        "records of at most",
    ),
    "a text beside the rows": (b'[{"ip": "192.0.2.1"}, "' + b"x" * LARGE + b'"]', "records of at most 1MiB"),
    "levels": (b'[{"ip": "192.0.2.1"}, {"text": ' + b"[" * LARGE, "at most 128 levels"),
}


@pytest.mark.parametrize(("raw", "text"), HUGE.values(), ids=HUGE)
async def test_a_row_without_end_ends_the_reading_before_the_memory_is_full(raw: bytes, text: str) -> None:
    result = await testing.run_stage("parsers.json", IPS, [testing.report(raw)])

    assert len(result.messages["default"]) == 1
    [dead] = result.dead
    assert text in dead.text


FLAT = {
    "source.ip": "192.0.2.1",
    "extra": '{"a": 1}',
    "extra.b": [2],
    "feed.name": "theirs",
    "comment": "",
    "__type": "Event",
}
LINES: dict[str, tuple[dict[str, Any], bytes, list[Any], list[str]]] = {
    "columns": (IPS, b'{"ip": "192.0.2.1", "text": "a"}\r\n\n{"ip": "192.0.2.2"}\n', FOUND, []),
    "events as they are": (
        {},
        orjson.dumps(FLAT | {"__id": "0190163a-5f40-7000-8000-000000000001", "__tags": ["x"]}) + b"\n",
        [{"feed.name": "theirs", "source.ip": "192.0.2.1", "extra.a": 1, "extra.b": [2]}],
        [],
    ),
    "a field that nobody knows": (
        {},
        b'{"source.iq": 1}\n{"source.ip": "192.0.2.2"}',
        FOUND[1:],
        ["source.iq: no such field"],
    ),
    "a value that is none": ({}, b'{"source.port": "x"}', [], ["source.port: "]),
    "not an event": ({}, b'{"__type": "Report"}', [], ["__type: "]),
    "no JSON": (IPS, b'{"ip"\n{"ip": "192.0.2.2"}', FOUND[1:], ["row: expected JSON: "]),
    "no object": (IPS, b'[1]\n{"ip": "192.0.2.2"}', FOUND[1:], ["row: expected a JSON object"]),
    "nested without end": (IPS, b"[" * 100_000 + b'\n{"ip": "192.0.2.2"}', FOUND[1:], ["row: expected JSON: "]),
    "what is no row": (
        IPS | {"not_rows": '"type":"metadata"'},
        b'{"type":"metadata"}\n{"ip": "192.0.2.2"}',
        FOUND[1:],
        [],
    ),
    "comments on demand": (IPS | {"comment": "//"}, b'// x\n{"ip": "192.0.2.2"}', FOUND[1:], []),
    "too long": (
        IPS | {"max_row_bytes": 30},
        b'{"text": "' + b"x" * 40 + b'"}\n{"ip": "192.0.2.2"}',
        FOUND[1:],
        ["row: expected at most 30B"],
    ),
    "no text": (
        IPS | {"undecodable": "reject"},
        b'{"text": "\xff"}\n{"ip": "192.0.2.2"}',
        FOUND[1:],
        ["row: expected text"],
    ),
    "nothing": (IPS | {"on_empty": "alarm"}, b"\n \n", [], ["report: expected rows"]),
}


@pytest.mark.parametrize(("params", "raw", "fields", "dead"), LINES.values(), ids=LINES)
async def test_json_lines(params: dict[str, Any], raw: bytes, fields: list[Any], dead: list[str]) -> None:
    result = await testing.run_stage("parsers.json_lines", params, [testing.report(raw)])

    assert [event.fields for event in result.messages.get("default", [])] == fields
    assert [letter.text[: len(text)] for letter, text in zip(result.dead, dead, strict=True)] == dead


@pytest.mark.parametrize("use", ["parsers.json", "parsers.json_lines"])
async def test_an_event_brings_its_raw_and_its_tags_along(use: str) -> None:
    raw = base64.b64encode(b"the row\n").decode()
    given = orjson.dumps({"source.ip": "192.0.2.1", "raw": raw, "__tags": ["tweet"]})
    result = await testing.run_stage(use, {}, [testing.report(given)], tags=["here"])

    [event] = result.messages["default"]
    assert event.raw == "the row\n"
    assert {"tweet"} <= event.tags


async def test_a_row_is_shown_as_json() -> None:
    result = await testing.run_stage("parsers.json", IPS, [testing.report(orjson.dumps([*ROWS, {"ip": "x"}]))])

    assert [orjson.loads(event.raw or "") for event in result.messages["default"]] == ROWS
    assert base64.b64decode(result.dead[0].message["raw"]) == b'{"ip":"x"}'
