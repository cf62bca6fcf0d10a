"""Processes beside the daemon: what brings one down ends as a dead letter, and the others go on."""

import importlib
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import pipelines
import programs
from intelstream.app.control import ask
from intelstream.runtime.spec import HostSpec, Retry, StageSpec
from pipelines import lines, pipeline, stage, until
from programs import asked, finished, running

pytestmark = [pytest.mark.xdist_group("daemon"), pytest.mark.timeout(240)]
PLUGINS = Path(__file__).parent.parent / "plugins"
ROWS = {"columns": ["comment", "source.port"]}
MEMORY = 64 * 1024 * 1024


@pytest.fixture
def poisonous(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the stage importable here and in the processes."""
    monkeypatch.syspath_prepend(PLUGINS)
    monkeypatch.setenv("PYTHONPATH", f"{PLUGINS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return importlib.import_module("poisonous").Poisonous


def write(path: Path, comments: list[str]) -> None:
    path.write_text("".join(f"{comment},{number}\n" for number, comment in enumerate(comments, 1)), encoding="utf-8")


def through(directory: Path, *middle: StageSpec, first: str) -> Any:
    return pipeline(
        stage("inbox", "collectors.file", "rows", {"path": str(directory / "in.csv")}, every=3600.0),
        stage("rows", "parsers.csv", first, ROWS),
        *middle,
        stage("files", "outputs.file", None, {"path": str(directory / "out.jsonl")}),
    )


@pytest.mark.parametrize("how", ["compute", "memory", "crash"])
async def test_what_brings_an_isolated_stage_down_ends_as_a_dead_letter(
    how: str, poisonous: Any, tmp_path: Path
) -> None:
    write(tmp_path / "in.csv", ["fine"] * 20 + [how] + ["fine"] * 20)
    retry = Retry(attempts=1, delay=0.1)
    spec = through(
        tmp_path,
        stage("poison", poisonous, "files", isolate="process", timeout=1.5, retry=retry),
        first="poison",
    )
    async with pipelines.run(spec, tmp_path) as daemon:
        await until(lambda: daemon.statuses["poison"].dead == 1, within=60)
        await until(lambda: len(lines(tmp_path / "out.jsonl")) == 40)
        [letter] = await ask(tmp_path / "var", "/dead?stage=poison")

    assert letter["message"]["source.port"] == 21
    assert letter["error"] == ("MemoryError" if how == "memory" else "Crashed")
    assert sorted(event["source.port"] for event in lines(tmp_path / "out.jsonl")) == [
        number for number in range(1, 42) if number != 21
    ]


async def test_workers_share_the_stages_and_one_that_dies_loses_nothing(tmp_path: Path) -> None:
    write(tmp_path / "in.csv", [f"c{number}" for number in range(30_000)])
    spec = through(
        tmp_path,
        stage("dedup", "experts.deduplicate", "taxonomy"),
        stage("taxonomy", "experts.taxonomy", "files"),
        first="dedup",
    )
    host = HostSpec(state_dir=tmp_path / "var", memory=MEMORY, workers=3)
    async with pipelines.run_on(spec, host) as daemon:
        await until(lambda: daemon.statuses["dedup"].taken > 2000)
        workers = (await ask(tmp_path / "var", "/status"))["workers"]
        assert [one["name"] for one in workers] == ["main", "share:2", "share:3"]
        os.kill(workers[1]["pid"], signal.SIGKILL)
        await until(lambda: daemon.statuses["files"].sent >= 30_000, within=60)
        await until(lambda: len(lines(tmp_path / "out.jsonl")) >= 30_000)

    assert Counter(event["comment"] for event in lines(tmp_path / "out.jsonl")) == Counter(
        f"c{number}" for number in range(30_000)
    )


SHARED = """\
name: crashing
stages:
  inbox:  {use: collectors.file, with: {path: in.csv}, every: 1d, to: rows}
  rows:   {use: parsers.csv, with: {columns: [comment, source.port]}, to: poison}
  poison: {use: "poisonous:Poisonous", to: files}
  files:  {use: outputs.file, with: {path: out.jsonl}}
"""


@pytest.mark.usefixtures("poisonous")
async def test_what_brings_the_daemon_down_is_tried_elsewhere_when_it_is_started_again(tmp_path: Path) -> None:
    write(tmp_path / "in.csv", ["fine"] * 5 + ["crash"] + ["fine"] * 5)
    (tmp_path / "pipeline.yaml").write_text(SHARED)
    (tmp_path / "intelstream.yaml").write_text("plugins: [poisonous]\n")
    for _ in range(2):
        async with running(tmp_path) as process:
            assert await process.wait() == -signal.SIGABRT
    async with running(tmp_path) as process:
        await finished(tmp_path)
        [letter] = await asked(tmp_path, "/dead?stage=poison")
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0

    assert (letter["message"]["source.port"], letter["error"]) == (6, "Crashed")
    assert programs.told(tmp_path, "entry_in_quarantine")
    assert sorted(event["source.port"] for event in lines(tmp_path / "out.jsonl")) == [
        *range(1, 6),
        *range(7, 12),
    ]


@pytest.mark.usefixtures("poisonous")
async def test_a_stage_that_blocks_the_loop_is_named(tmp_path: Path) -> None:
    write(tmp_path / "in.csv", ["compute"])
    (tmp_path / "pipeline.yaml").write_text(SHARED)
    (tmp_path / "intelstream.yaml").write_text("plugins: [poisonous]\n")
    async with running(tmp_path) as process:
        await programs.until(lambda: programs.told(tmp_path, "loop_blocked"))
        process.kill()
        await process.wait()
    [block] = programs.told(tmp_path, "loop_blocked")

    assert block["stage"] == "poison"
    assert "poisonous.py" in block["place"]
    assert block["seconds"] < 2
