"""Faults of a pipeline file: `check` and `run` name file, place and cure, end with 2, and write nothing."""

from pathlib import Path

import pytest

from cli.conftest import Run

GOOD = """\
stages:
  inbox: {use: collectors.file, with: {path: in.csv}, every: 1h, to: rows}
  rows: {use: parsers.csv, with: {columns: [source.ip, source.port]}, to: mine}
  mine: {use: experts.filter, with: {keep: "source.port:80"}, to: files}
  files: {use: outputs.file, with: {path: out.jsonl}}
"""
POSTED = 'files: {use: outputs.http, with: {url: "https://sink.example", token: "${env:SINK_TOKEN}"}}'
FAULTS = {
    "broken YAML": ("1h, to: rows}", "1h, to: rows", "3:7: expected ',' or '}', but got ':'"),
    "a tab": ("  rows:", "\trows:", "3:1: found a tab; YAML is indented with spaces"),
    "an unknown stage": (
        "parsers.csv",
        "parsers.cvs",
        "3:10: stages.rows.use: parsers.cvs: no such stage; did you mean 'parsers.csv'?",
    ),
    "an unknown parameter": (
        "{columns:",
        "{colums:",
        "3:35: stages.rows.with.colums: unknown name; did you mean 'columns'?",
    ),
    "an unknown field": (
        "source.port]",
        "source.prt]",
        "3:56: stages.rows.with.columns.1: no such field; did you mean 'source.port'?",
    ),
    "an unknown field in an expression": (
        "source.port:80",
        "source.prt:80",
        "4:38: stages.mine.with.keep: line 1, column 1: source.prt: no such field; did you mean 'source.port'?",
    ),
    "an unknown path": (
        "to: files",
        "to: {default: files, othr: files}",
        "4:84: stages.mine.to.othr: no such path; did you mean 'other'?",
    ),
    "an unknown destination": ("to: mine", "to: mien", "3:71: stages.rows.to: no stage 'mien'; did you mean 'mine'?"),
    "a cycle": (
        "to: files",
        "to: {default: files, other: mine}",
        "4:84: stages.mine.to.other: a cycle: mine -> mine; take one of these ways out",
    ),
    "a missing secret": (
        "files: {use: outputs.file, with: {path: out.jsonl}}",
        POSTED,
        "5:66: stages.files.with.token: SINK_TOKEN is not set in the environment",
    ),
    "two stages of one name": (
        "  files:",
        "  rows: {use: outputs.stdout}\n  files:",
        "5:3: stages.rows: there are two of this name, the first in line 3",
    ),
    "a package that is not allowed": (
        "experts.filter",
        "acme.stages:Filter",
        "4:10: stages.mine.use: acme.stages:Filter: package 'acme' is not allowed by the host file's `plugins`",
    ),
    "a path that must not be written": (
        "out.jsonl",
        "/etc/out.jsonl",
        "5:37: stages.files.with.path: outside the directories that the host file allows (files.write)",
    ),
    "a path that must not be read": (
        "in.csv",
        "../in.csv",
        "2:40: stages.inbox.with.path: outside the directories that the host file allows (files.read)",
    ),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("before", "after", "said"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_with_file_place_and_cure(before: str, after: str, said: str, run: Run, place: Path) -> None:
    (place / "pipeline.yaml").write_text(GOOD.replace(before, after, 1))
    code, _, told = run("check", "pipeline.yaml")

    assert code == 2
    assert f"pipeline.yaml:{said}" in told.splitlines()
    assert run("run", "pipeline.yaml") == (2, "", told)
    assert [path.name for path in place.iterdir()] == ["pipeline.yaml"]


def test_all_faults_of_a_file_come_at_once(run: Run, place: Path) -> None:
    text = GOOD.replace("parsers.csv", "parsers.cvs").replace("keep:", "kep:").replace("out.jsonl", "/etc/out.jsonl")
    (place / "pipeline.yaml").write_text(text)
    code, _, told = run("check", "pipeline.yaml")

    assert code == 2
    assert [line.split(":")[1] for line in told.splitlines() if "warning" not in line] == ["3", "4", "5"]


def test_without_the_fault_the_file_is_ready_to_run(run: Run, place: Path) -> None:
    (place / "pipeline.yaml").write_text(GOOD)

    assert run("check", "pipeline.yaml") == (0, "pipeline.yaml: 4 stages, ready to run\n", "")
