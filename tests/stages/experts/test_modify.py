import json
from pathlib import Path
from typing import Any

import pytest

from intelstream import testing

RULES = [
    {
        "rulename": "zeus",
        "if": {"malware.name": "^zeus(.*)$", "feed.name": "abuse"},
        "then": {"classification.identifier": "zeus{matches[malware.name][1]}"},
    },
    {"rulename": "port", "if": {"source.port": 80, "comment": ""}, "then": {"comment": "{msg[source.ip]} on 80"}},
    {"rulename": "gone", "if": {"status": "^offline$"}, "then": {"status": ""}},
    {
        "rulename": "named",
        "if": {"source.url": "//(?P<host>[a-z.]+)/"},
        "then": {"source.fqdn": "{matches[source.url][host]}"},
    },
]
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a group": (
        {"malware.name": "zeus2", "feed.name": "abuse.ch"},
        {"malware.name": "zeus2", "feed.name": "abuse.ch", "classification.identifier": "zeus2"},
    ),
    "all conditions have to hold": ({"malware.name": "zeus2"}, {"malware.name": "zeus2"}),
    "a number, an absent field, a value": (
        {"source.port": 80, "source.ip": "192.0.2.1"},
        {"source.port": 80, "source.ip": "192.0.2.1", "comment": "192.0.2.1 on 80"},
    ),
    "a field that must be absent": ({"source.port": 80, "comment": "a"}, {"source.port": 80, "comment": "a"}),
    "a field that goes": ({"status": "offline", "comment": "a"}, {"comment": "a"}),
    "a named group": (
        {"source.url": "http://host.example.com/"},
        {"source.url": "http://host.example.com/", "source.fqdn": "host.example.com"},
    ),
}
FAULTY = {
    "no list": ("a: b", "expected a list of rules"),
    "no rule": ("- 1", ":1:3: expected `rulename`"),
    "an unknown field": ("- {rulename: a, if: {source.ipp: x}, then: {}}", ":1:22: source.ipp: no such field"),
    "a broken pattern": ('- {rulename: a, if: {comment: "("}, then: {}}', "comment:"),
    "a broken template": ('- {rulename: a, if: {}, then: {comment: "{msg.__class__}"}}', "expected {msg[FIELD]}"),
    "a group that the pattern has not": (
        '- {if: {comment: "(a)"}, then: {status: "{matches[comment][2]}"}}',
        "no group '2' in a pattern for 'comment'",
    ),
    "a group of no pattern": ('- {if: {}, then: {status: "{matches[comment][1]}"}}', "no group '1'"),
    "a value that the field never takes": ("- {if: {}, then: {classification.type: scaner}}", "classification.type:"),
    "a misspelt field": ("- {if: {source.prot: 1}, then: {}}", "did you mean 'source.port'"),
    "a compiled form too large": ('- {if: {comment: "((a{999}){999}){999}"}, then: {}}', "at most 20000 parts"),
    "broken YAML": ("- {", ":1:"),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(RULES))
    return path


@pytest.mark.parametrize(("given", "expected"), CASES.values(), ids=CASES)
async def test_modify(file: Path, given: dict[str, Any], expected: dict[str, Any]) -> None:
    result = await testing.run_stage("experts.modify", {"file": str(file)}, [given])

    assert result.outputs == {"default": [expected | {"__type": "Event"}]}


async def test_no_more_rules_than_wanted_hold(file: Path) -> None:
    event = {"source.port": 80, "source.ip": "192.0.2.1", "status": "offline"}
    result = await testing.run_stage("experts.modify", {"file": str(file), "maximum_matches": 1}, [event])

    assert result.outputs["default"][0]["status"] == "offline"


@pytest.mark.parametrize(("text", "said"), FAULTY.values(), ids=FAULTY)
async def test_a_faulty_file_is_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "rules.yaml").write_text(text)
    result = await testing.run_stage("experts.modify", {"file": str(tmp_path / "rules.yaml")}, [{}])

    assert said in str(result.refused)


PYTHON = {
    "look-ahead": ("^(?!www)", "mail", True),
    "look-ahead that refuses": ("^(?!www)", "www.example.com", False),
    "a back-reference": (r"(a)\1", "aa", True),
    "letters beyond ASCII": (r"^\w+$", "straße", True),
    "case": ("MAIL", "mail", False),
}


@pytest.mark.parametrize(("pattern", "text", "holds"), PYTHON.values(), ids=PYTHON)
async def test_patterns_mean_what_python_means(tmp_path: Path, pattern: str, text: str, *, holds: bool) -> None:
    (tmp_path / "rules.json").write_text(json.dumps([{"if": {"comment": pattern}, "then": {"status": "held"}}]))
    params = {"file": str(tmp_path / "rules.json")}
    result = await testing.run_stage("experts.modify", params, [{"comment": text}])

    assert ("status" in result.outputs["default"][0]) is holds


async def test_a_pattern_that_explodes_costs_only_the_event_it_met(tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text('[{"if": {"comment": "(?!x)(a+)+$"}, "then": {"status": "held"}}]')
    events = [{"comment": "a" * 5000 + "!"}, {"comment": "aa"}]
    result = await testing.run_stage("experts.modify", {"file": str(tmp_path / "rules.json")}, events)

    assert [(dead.error, dead.field) for dead in result.dead] == [("InvalidValue", "comment")]
    assert [event["status"] for event in result.outputs["default"]] == ["held"]


async def test_what_the_event_has_not_got_leaves_it_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text('[{"if": {}, "then": {"status": "{msg[malware.name]}"}}]')
    params = {"file": str(tmp_path / "rules.json")}
    result = await testing.run_stage("experts.modify", params, [{"status": "online"}])

    assert result.outputs["default"] == [{"status": "online", "__type": "Event"}]


async def test_what_is_there_is_kept_on_demand(file: Path) -> None:
    params = {"file": str(file), "overwrite": "never"}
    result = await testing.run_stage("experts.modify", params, [{"status": "offline"}])

    assert result.outputs["default"] == [{"status": "offline", "__type": "Event"}]


async def test_a_rule_sees_what_those_before_it_have_written(tmp_path: Path) -> None:
    rules = [
        {"if": {"comment": "^a"}, "then": {"comment": "b", "status": "{matches[comment][0]}"}},
        {"if": {"comment": "^a"}, "then": {"malware.name": "never"}},
        {"if": {"comment": "^b"}, "then": {"malware.name": "always"}},
    ]
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    result = await testing.run_stage("experts.modify", {"file": str(tmp_path / "rules.json")}, [{"comment": "abc"}])

    assert result.outputs["default"] == [
        {"comment": "b", "status": "a", "malware.name": "always", "__type": "Event"},
    ]
