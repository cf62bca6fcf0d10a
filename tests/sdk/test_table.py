"""Columns: where a cell goes, and what becomes of a value on the way."""

from typing import Any

import pytest
from pydantic import ValidationError

from intelstream import catalog, testing
from intelstream.ontology import STANDARD
from intelstream.runtime.drain import parse
from intelstream.sdk import Parser

IP, URL, NAME = "192.0.2.1", "http://example.com/a", "host.example"
BAD = "dead"

# Columns of a CSV without header, one row of it, further parameters, and the fields of each event.
CASES: dict[str, tuple[list[Any], str, dict[str, Any], Any]] = {
    "a field": (["source.ip"], IP, {}, [{"source.ip": IP}]),
    "ignored": ([None, "~", "source.ip"], f"x,y,{IP}", {}, [{"source.ip": IP}]),
    "the first that accepts": ([["source.ip", "source.fqdn"]], NAME, {}, [{"source.fqdn": NAME}]),
    "no field accepts": ([["source.ip", "source.fqdn"]], "?", {}, "source.ip"),
    "better nothing than an error": ([["source.ip", None], "comment"], "?,x", {}, [{"comment": "x"}]),
    "the first of two columns wins": (["source.ip", "source.ip"], f",{IP}", {}, [{"source.ip": IP}]),
    "and the second is not asked": (["source.ip", "source.ip"], f"{IP},192.0.2.2", {}, [{"source.ip": IP}]),
    "alternatives leave alone what an earlier column gave": (
        ["source.ip", ["source.ip", "source.fqdn"]],
        f"{IP},192.0.2.2",
        {},
        [{"source.ip": IP}],
    ),
    "empty in all its forms": (
        ["source.ip", "comment", "status", "source.asn"],
        f"{IP},-,N/A, ",
        {},
        [{"source.ip": IP}],
    ),
    "empty as the feed has it": (["source.ip", "comment"], f"{IP},null", {"empty": ["null"]}, [{"source.ip": IP}]),
    "a row that says nothing": (["source.ip", "comment"], "-,", {}, []),
    "too few columns": (["source.ip", "comment", "status"], f"{IP},x", {}, [{"source.ip": IP, "comment": "x"}]),
    "too many columns": (["source.ip"], f"{IP},x,y", {}, [{"source.ip": IP}]),
    "required": ([{"to": "source.ip", "required": True}, "comment"], ",x", {}, "source.ip"),
    "required and not there at all": (["comment", {"to": "source.ip", "required": True}], "x", {}, "source.ip"),
    "required, of alternatives": (
        ["comment", {"to": ["source.ip", "source.fqdn"], "required": True}],
        "x",
        {},
        "source.ip",
    ),
    "a default": (["comment", {"to": "source.port", "default": 22}], "x,-", {}, [{"comment": "x", "source.port": 22}]),
    "a default of what is not there": (
        ["comment", {"to": "protocol.transport", "default": "TCP"}],
        "x",
        {},
        [{"comment": "x", "protocol.transport": "tcp"}],
    ),
    "a converter": ([{"to": "comment", "as": "upper"}], "x", {}, [{"comment": "X"}]),
    "converters in turn": (
        [{"to": "source.url", "as": ["base64", "refang"]}],
        "aHh4cDovL2V4YW1wbGUuY29tL2E=",
        {},
        [{"source.url": URL}],
    ),
    "a converter that fails": ([{"to": "extra.n", "as": "int"}], "x", {}, "extra.n"),
    "a converter that leaves nothing": (
        [{"to": "comment", "as": {"none": "-"}}, "status"],
        "none,x",
        {},
        [{"status": "x"}],
    ),
    "a match": ([{"to": "comment", "match": r"#\w+"}], "a #one b", {}, [{"comment": "#one"}]),
    "a match has a group": (
        [{"to": "source.asn", "match": r"AS(\d+)"}],
        "EXAMPLE AS64496",
        {},
        [{"source.asn": 64496}],
    ),
    "no match is an empty cell": ([{"to": "comment", "match": r"#\w+"}, "status"], "a,x", {}, [{"status": "x"}]),
    "so the next column may match": (
        [{"to": "comment", "match": r"#\w+"}, {"to": "comment", "match": r"@\w+"}],
        "a,@two",
        {},
        [{"comment": "@two"}],
    ),
    "values of one cell in a list": (
        ["source.ip", {"to": "extra.tags", "split": ";", "as": "lower"}],
        f"{IP},A; B;;-",
        {},
        [{"source.ip": IP, "extra.tags": ["a", "b"]}],
    ),
    "values of one cell, an event each": (
        [{"to": "source.ip", "split": " "}, "comment"],
        f"{IP} 192.0.2.2,x",
        {},
        [{"source.ip": IP, "comment": "x"}, {"source.ip": "192.0.2.2", "comment": "x"}],
    ),
    "each goes to the field that accepts it": (
        [{"to": ["source.ip", "source.fqdn"], "split": " "}],
        f"{IP} {NAME}",
        {},
        [{"source.ip": IP}, {"source.fqdn": NAME}],
    ),
    "one wrong value of several fails the row": ([{"to": "source.port", "split": " "}], "22 many", {}, "source.port"),
    "more events than a row may make": ([{"to": "source.port", "split": " "}], "1 " * 2000, {}, "source.port"),
    "extra": (["extra.first-name"], " x ", {}, [{"extra.first-name": "x"}]),
    "all of extra": ([{"to": "extra", "as": "json"}], '"{""a"": 1, ""b"": [2]}"', {}, [{"extra.a": 1, "extra.b": [2]}]),
    "types": (
        ["classification.type"],
        "mw_dl",
        {"types": {"mw_dl": "malware-distribution"}},
        [{"classification.type": "malware-distribution"}],
    ),
    "a type that needs no translation": (
        ["classification.type"],
        "phishing",
        {"types": {"a": "spam"}},
        [{"classification.type": "phishing"}],
    ),
    "a type that nobody knows": (["classification.type"], "b", {"types": {"a": "spam"}}, "classification.type"),
    "fuzzy times": (["time.source"], "2 March 2024 10:11:12 UTC", {}, [{"time.source": "2024-03-02T10:11:12+00:00"}]),
    "fuzzy times are also seconds": (["time.source"], "1709374272", {}, [{"time.source": "2024-03-02T10:11:12+00:00"}]),
    "times": (["time.source"], "02/03/2024", {"times": "%d/%m/%Y"}, [{"time.source": "2024-03-02T00:00:00+00:00"}]),
    "times do not change what a column reads itself": (
        ["time.source", {"to": "source.allocated", "as": "time(epoch)"}],
        "02/03/2024,0",
        {"times": "%d/%m/%Y"},
        [{"time.source": "2024-03-02T00:00:00+00:00", "source.allocated": "1970-01-01T00:00:00+00:00"}],
    ),
    "no time": (["time.source"], "soon", {}, "time.source"),
    "a URL without a scheme": (["source.url"], "example.com/a", {}, [{"source.url": URL}]),
    "a URL with another": (
        ["source.url"],
        "example.com:8080/a",
        {"default_scheme": "https"},
        [{"source.url": "https://example.com:8080/a"}],
    ),
    "a URL that has one": (["source.url"], "ftp://example.com/a", {}, [{"source.url": "ftp://example.com/a"}]),
    "a URL that was defanged": (["source.url"], "hxxp[:]//example[.]com/a", {}, [{"source.url": URL}]),
    "no URL": (["source.url"], "http://", {}, "source.url"),
    "composed": (
        ["source.fqdn", "source.urlpath", "source.port"],
        "example.com,/a,80",
        {"compose": {"source.url": "http://{0}:{2}{1}"}},
        [
            {
                "source.fqdn": "example.com",
                "source.urlpath": "/a",
                "source.port": 80,
                "source.url": "http://example.com:80/a",
            }
        ],
    ),
    "composed of an empty cell": (
        ["source.fqdn", None],
        "example.com,-",
        {"compose": {"source.url": "http://{0}{1}"}},
        [{"source.fqdn": "example.com"}],
    ),
    "only rows": (["source.ip"], IP, {"only_rows": "^198"}, []),
    "not rows": (["source.ip"], IP, {"not_rows": "^192"}, []),
    "neither": (["source.ip"], IP, {"only_rows": "^192", "not_rows": "x"}, [{"source.ip": IP}]),
    "a row made to keep the search busy": (["comment"], "a" * 40 + "!", {"not_rows": r"(a|aa)+$|(x+x+)+y"}, "row"),
}


@pytest.mark.parametrize(("columns", "row", "params", "expected"), CASES.values(), ids=CASES)
async def test_column(columns: list[Any], row: str, params: dict[str, Any], expected: Any) -> None:
    result = await testing.run_stage("parsers.csv", {"columns": columns, **params}, [testing.report(row.encode())])

    if isinstance(expected, str):
        assert [(dead.error, dead.field) for dead in result.dead] == [("InvalidValue", expected)]
        expected = []
    else:
        assert result.dead == []
    found = [event.fields for event in result.messages.get("default", [])]
    assert found == expected


async def test_a_wrong_value_of_a_row_is_named_and_the_other_rows_go_on() -> None:
    rows = f"{IP},80\n{IP},eighty\n{IP},{'9' * 1000}\n{IP},443\n"
    params = {"columns": ["source.ip", "source.port"]}
    result = await testing.run_stage("parsers.csv", params, [testing.report(rows.encode())])

    assert [event["source.port"] for event in result.outputs["default"]] == [80, 443]
    assert result.dead[0].text.startswith("source.port: ")
    assert "'eighty'" in result.dead[0].text
    assert len(result.dead[1].text) < 400


async def test_a_row_may_replace_a_constant_but_an_empty_cell_does_not() -> None:
    params = {"columns": ["source.ip", "classification.type"]}
    constants = {"classification.type": "scanner"}
    rows = testing.report(f"{IP},spam\n{IP},\n".encode())
    result = await testing.run_stage("parsers.csv", params, [rows], set=constants)

    assert [event["classification.type"] for event in result.outputs["default"]] == ["spam", "scanner"]


async def test_a_row_that_fails_later_leaves_nothing_of_itself_behind() -> None:
    params = {"columns": ["source.ip", "source.url", {"to": "extra.tags", "split": " "}]}
    rows = testing.report(f"{IP},example.com,a b\n{IP},http://,a\n".encode())
    result = await testing.run_stage("parsers.csv", params, [rows])

    assert [event["extra.tags"] for event in result.outputs["default"]] == [["a", "b"]]
    assert [dead.field for dead in result.dead] == ["source.url"]


async def test_fields_of_a_deployment_take_part() -> None:
    ontology = STANDARD.with_own({"org.cases": ["Text"], "org.seen": "Time", "org.page": "Url"})
    stage = catalog.load("parsers.csv")
    columns = [{"to": "org.cases", "split": " "}, "org.seen", "org.page"]
    params = stage.Params.model_validate({"columns": columns}, context={"ontology": ontology})
    report = testing.report(b"a b,1709374272,example.com/a").stamp(id=testing.PARENT, ontology=ontology)
    async with testing.open_stage("parsers.csv", {"columns": ["comment"]}) as run:
        parser = stage(params, run.stage.ctx)
        assert isinstance(parser, Parser)
        [parsed] = parse(parser, report)

    assert [event.fields for event in parsed.events] == [
        {"org.cases": ["a", "b"], "org.seen": "2024-03-02T10:11:12+00:00", "org.page": URL}
    ]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"columns": ["source.ipp"]}, "no such field; did you mean 'source.ip'?"),
    "unknown option": ({"columns": [{"to": "source.ip", "trim": True}]}, "trim: unknown name"),
    "no field": ({"columns": [{"as": "lower"}]}, "to: "),
    "no column": ({"columns": [5]}, "expected a valid string"),
    "an unknown converter": ({"columns": [{"to": "source.ip", "as": "lowr"}]}, "as: no converter 'lowr'"),
    "a broken expression": ({"columns": [{"to": "source.ip", "match": "("}]}, "match: expected a regular expression"),
    "a default that the field refuses": ({"columns": [{"to": "source.port", "default": "x"}]}, "default: "),
    "columns that go nowhere": ({"columns": [None, "~"]}, "expected a column that goes somewhere"),
    "two that make events": (
        {"columns": [{"to": "source.ip", "split": " "}, {"to": "source.port", "split": " "}]},
        "expected one column at most that is split into events",
    ),
    "neither list nor mapping": ({"columns": "source.ip"}, "expected a list or a mapping of columns"),
    "no type": ({"columns": ["comment"], "types": {"a": "spamm"}}, "a: "),
    "no form of time": ({"columns": ["comment"], "times": "soon"}, "expected fuzzy, epoch"),
    "no encoding": ({"columns": ["comment"], "encoding": "utf-9"}, "expected an encoding of text"),
    "no encoding of text": ({"columns": ["comment"], "encoding": "base64"}, "expected an encoding of text"),
    "an encoding that runs escapes": ({"columns": ["comment"], "encoding": "unicode_escape"}, "expected an encoding"),
    "composed of names where there are none": (
        {"columns": ["comment"], "compose": {"source.url": "{host}"}},
        "`compose` counts columns from {0}",
    ),
    "a composed field that is none": ({"columns": ["comment"], "compose": {"x": "{0}"}}, "no such field"),
}


@pytest.mark.parametrize(("params", "text"), REFUSED.values(), ids=REFUSED)
def test_wrong_parameters_are_explained(params: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        catalog.load("parsers.csv").Params.model_validate(params)

    assert text.lower() in str(caught.value).lower()


def test_columns_can_be_shown_as_they_were_given() -> None:
    given = {"columns": [{"to": ("source.ip",), "match": "a"}, None, {"to": ("comment",), "as": {"a": 1}}]}
    params = catalog.load("parsers.csv").Params.model_validate(given)

    assert params.model_dump()["columns"] == tuple(given["columns"])
    assert catalog.load("parsers.csv").Params.model_json_schema()["properties"]["columns"]
