"""The command line as operators use it: answers, errors with their cure, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.conftest import Run

COMMANDS = (
    ("run",),
    ("check",),
    ("prove",),
    ("try",),
    ("schema",),
    ("status",),
    ("new-stage",),
    ("stages", "ls"),
    ("stages", "show"),
    ("feeds", "ls"),
    ("feeds", "show"),
    ("feeds", "test"),
    ("queue", "ls"),
    ("queue", "peek"),
    ("dead", "group"),
    ("dead", "ls"),
    ("dead", "show"),
    ("dead", "retry"),
    ("dead", "edit"),
    ("dead", "drop"),
    ("dead", "export"),
    ("dead", "import"),
)
GOOD = """\
stages:
  inbox: {use: collectors.file, with: {path: in.csv}, every: 1h, to: rows}
  rows:  {use: parsers.csv, with: {columns: [source.ip]}, to: files}
  files: {use: outputs.file, with: {path: out.jsonl}}
"""


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(run: Run, command: tuple[str, ...]) -> None:
    code, out, _ = run(*command, "--help")

    assert code == 0
    assert "Example" in out


def test_check_tells_all_faults_and_ends_with_2(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(GOOD.replace("parsers.csv", "parsers.cvs").replace("to: rows", "to: rowz"))
    code, _, err = run("check", str(file))

    assert code == 2
    assert "did you mean 'parsers.csv'?" in err
    assert "did you mean 'rows'?" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipeline.yaml"]


def test_check_of_a_good_file_ends_with_0_and_shows_the_plan(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(GOOD)
    code, out, _ = run("check", str(tmp_path / "pipeline.yaml"), "--plan")

    assert code == 0
    assert "parsers.csv" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipeline.yaml"]


def test_check_prints_json_for_programs(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text("stages: {a: {use: nothing}}")
    code, out, _ = run("check", str(tmp_path / "pipeline.yaml"), "--json")

    assert code == 2
    assert json.loads(out)["valid"] is False
    assert {"file", "line", "column", "where", "text", "level"} == set(json.loads(out)["faults"][0])


def test_a_file_that_is_not_there_is_an_error_with_its_name(run: Run, tmp_path: Path) -> None:
    code, _, err = run("check", str(tmp_path / "none.yaml"))

    assert code == 2
    assert "none.yaml" in err


def test_try_runs_a_stage_on_standard_input(run: Run) -> None:
    code, out, _ = run("try", "experts.taxonomy", given=b'{"classification.type": "ddos"}\n')

    assert code == 0
    assert json.loads(out)["classification.taxonomy"] == "availability"


def test_try_parses_raw_bytes_and_ends_with_1_where_a_row_failed(run: Run) -> None:
    code, out, err = run("try", "parsers.csv", "--with", "columns: [source.ip]", given=b"192.0.2.1\nnothing\n")

    assert code == 1
    assert json.loads(out)["source.ip"] == "192.0.2.1"
    assert "source.ip" in err


def test_try_refuses_a_wrong_parameter(run: Run) -> None:
    code, _, err = run("try", "experts.taxonomy", "--with", "overwrit=always", given=b"{}\n")

    assert code == 2
    assert "overwrit" in err


def test_stages_and_feeds_are_listed(run: Run) -> None:
    _, stages, _ = run("stages", "ls", "--json")
    _, feeds, _ = run("feeds", "ls", "--json")

    assert {"use": "experts.taxonomy", "does": "Derive the RSIT taxonomy from the classification type."} in json.loads(
        stages
    )
    assert "abuse_ch.feodotracker" in {row["feed"] for row in json.loads(feeds)}


def test_the_samples_of_all_feeds_give_what_they_should(run: Run) -> None:
    code, out, _ = run("feeds", "test")

    assert code == 0
    assert "spamhaus.drop: " in out
    assert "not as expected" not in out


def test_unknown_names_are_told_with_the_nearest(run: Run) -> None:
    code, _, err = run("stages", "show", "experts.taxonmy")

    assert code == 1
    assert "did you mean 'experts.taxonomy'?" in err


def test_without_a_daemon_the_error_says_how_to_start_one(run: Run, tmp_path: Path) -> None:
    code, _, err = run("queue", "ls", "--state-dir", str(tmp_path))

    assert code == 5
    assert "intelstream run" in err


def test_commands_look_where_the_host_file_says(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "intelstream.yaml").write_text("state_dir: elsewhere\n")
    monkeypatch.chdir(tmp_path)
    code, _, err = run("status")

    assert code == 5
    assert str(tmp_path / "elsewhere") in err


@pytest.mark.parametrize("kind", ["collectors", "parsers", "experts", "outputs"])
def test_a_new_stage_works_from_the_start(run: Run, kind: str, tmp_path: Path) -> None:
    code, out, _ = run("new-stage", f"{kind}.mine", "--package", str(tmp_path / "own"))
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\npythonpath = .\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603 - our own

    assert code == 0
    assert "use: own.mine:Mine" in out
    assert "1 passed" in done.stdout, done.stdout


def test_a_new_stage_never_writes_over_one(run: Run, tmp_path: Path) -> None:
    run("new-stage", "experts.mine", "--package", str(tmp_path / "own"))
    code, _, err = run("new-stage", "experts.mine", "--package", str(tmp_path / "own"))

    assert code == 2
    assert "nothing was written" in err


def test_schemas_are_json(run: Run) -> None:
    for which in ("pipeline", "host", "event"):
        code, out, _ = run("schema", which)
        assert code == 0
        assert json.loads(out)["$schema" if which != "event" else "title"]
