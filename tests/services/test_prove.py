"""`intelstream prove`: processes are killed for real, and what a stage does wrong is found out."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from intelstream.app import control
from intelstream.app.daemon import running
from intelstream.app.pipeline import Pipeline
from pipelines import lines, until

pytestmark = [pytest.mark.xdist_group("daemon"), pytest.mark.timeout(300)]
SYNCED = 3.0  # seconds after which the server has synced what it acknowledged
COMMAND = "from intelstream.cli import main; main()"
MINE = """\
name: mine
stages:
  list:   {use: collectors.http, with: {url: "http://127.0.0.1:1/"}, to: rows}
  rows:   {use: parsers.csv, with: {columns: [source.ip]}, set: {classification.type: scanner}, to: dedup}
  dedup:  {use: experts.deduplicate, with: {only: [source.port]}, to: [even, far]}
  even:   {use: experts.filter, with: {keep: "source.port:2"}, to: near}
  near:   {use: outputs.file, with: {path: near.jsonl}}
  far:    {use: outputs.http, with: {url: "http://127.0.0.1:1/"}}
"""
CARELESS = '''\
"""A stage that does everything wrong, but only where it has a directory of its name."""

from intelstream import sdk


class Careless(sdk.Expert[sdk.Params]):
    """Lose, double and alter."""

    async def process(self, batch):
        for event in batch:
            number = int(event["extra.proof"]) if self.ctx.directory.name == "careless" else 0
            if number == 5:
                batch.drop(event, "lost")
                continue
            if number == 6:
                event["comment"] = "altered"
            if number == 7:
                yield event.derive(0)
            yield event
'''


def prove(*arguments: str, **environment: str) -> tuple[int, dict[str, Any]]:
    """Run the command as a user does; return its exit code and its result."""
    command = [sys.executable, "-c", COMMAND, "prove", "--json", *arguments]
    done = subprocess.run(  # noqa: S603 - our own command
        command, capture_output=True, text=True, check=False, env=os.environ | environment
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_the_default_pipeline_loses_doubles_and_alters_nothing(tmp_path: Path) -> None:
    code, found = prove("--events", "2000", "--kills", "6", "--seed", "1", "--state-dir", str(tmp_path / "proof"))

    assert (code, found["good"], found["troubles"]) == (0, True, [])
    assert (found["in"], found["acknowledged"]) == (2000, 2000)
    assert (found["lost"], found["doubled"], found["altered"]) == (0, 0, 0)
    assert found["faults"]["kill -9 of the daemon"] == 6
    assert found["faults"]["kill -9 of the server"] == 2
    assert {one["sink"] for one in found["sinks"] if one["found"] > 1000} == {"files", "table", "sums"}
    assert {one["sink"]: one["found"] > 0 for one in found["dead_letters"]} == {"rows": True, "failing": True}
    assert {(one["stage"], one["reason"]) for one in found["dropped"]} >= {("dedup", "duplicate"), ("filter", "filter")}


async def test_a_server_killed_while_its_disk_is_slow_has_nothing_lost_or_doubled(
    slow_fsync: Path, tmp_path: Path
) -> None:
    gate, chance = tmp_path / "gate", Random(3)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COMMAND, "prove", "--json", "--events", "6000", "--kills", "8"),
        *("--fault", "server", "--seed", "3", "--state-dir", str(tmp_path / "proof")),
        env=os.environ | {"LD_PRELOAD": str(slow_fsync), "SLOW_FSYNC_GATE": str(gate), "SLOW_FSYNC_ONLY": ".aof"},
        stdout=asyncio.subprocess.PIPE,
    )
    done = asyncio.create_task(process.communicate())
    await until(lambda: lines(tmp_path / "proof" / "out" / "sums.jsonl"), within=60)
    await asyncio.sleep(SYNCED)  # of a new file's first write no commit may be forgotten: `docs/guarantees.md`
    while not done.done():
        gate.touch()
        await asyncio.sleep(chance.uniform(1.0, 2.5))
        gate.unlink()
        await asyncio.wait((done,), timeout=chance.uniform(0.1, 0.5))
    found = json.loads((await done)[0])

    assert (found["good"], found["troubles"]) == (True, [])
    assert found["faults"]["kill -9 of the server"] > 2


def test_of_a_users_file_nothing_leaves_the_machine_and_of_twins_one_comes_out(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(MINE)
    (tmp_path / "events.jsonl").write_text(
        "".join(f'{{"source.ip": "192.0.2.1", "source.port": {port}}}\n' for port in range(1, 4))
    )
    code, found = prove(
        str(tmp_path / "mine.yaml"),
        *("--events-file", str(tmp_path / "events.jsonl"), "--events", "600", "--kills", "2"),
        *("--state-dir", str(tmp_path / "proof")),
    )
    out = {name: lines(tmp_path / "proof" / "out" / f"{name}.jsonl") for name in ("near", "far")}

    assert (code, found["good"]) == (0, True)
    assert [event["source.port"] for event in out["near"]] == [2]
    assert sorted(event["source.port"] for event in out["far"]) == [1, 2, 3]
    assert {event["classification.type"] for event in out["far"]} == {"scanner"}
    assert not (tmp_path / "near.jsonl").exists()


def test_what_a_stage_does_wrong_is_found_and_named(tmp_path: Path) -> None:
    (tmp_path / "careless_package.py").write_text(CARELESS)
    (tmp_path / "intelstream.yaml").write_text("plugins: [careless_package]\n")
    (tmp_path / "mine.yaml").write_text(
        MINE.replace("use: experts.deduplicate, with: {only: [source.port]}", "use: experts.deduplicate").replace(
            "to: [even, far]", "to: careless"
        )
        + '  careless: {use: "careless_package:Careless", to: [even, far]}\n'
    )
    code, found = prove(
        str(tmp_path / "mine.yaml"),
        *("--events", "100", "--kills", "0", "--state-dir", str(tmp_path / "proof")),
        PYTHONPATH=os.pathsep.join((str(tmp_path), *sys.path)),
    )
    [far] = [one for one in found["sinks"] if one["sink"] == "far"]

    assert (code, found["good"]) == (1, False)
    assert (far["lost"], far["doubled"], far["altered"]) == (1, 1, 1)
    assert sorted(far["named"]) == ["5: 1 lost", "6: 1 altered", "7: 1 doubled"]
    assert found["kept"] == str(tmp_path / "proof")


def test_a_file_that_cannot_run_is_refused_with_its_faults(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(MINE.replace("experts.filter", "experts.filtr"))
    command = [sys.executable, "-c", COMMAND, "prove", str(tmp_path / "mine.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command

    assert done.returncode == 2
    assert "did you mean 'experts.filter'?" in done.stderr


async def test_dry_outputs_record_instead_of_delivering_in_queues_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("192.0.2.1\n192.0.2.2\n")
    (tmp_path / "mine.yaml").write_text(
        MINE.replace('collectors.http, with: {url: "http://127.0.0.1:1/"}', "collectors.file, with: {path: in.csv}")
        .replace("source.port", "source.ip")
        .replace("source.ip:2", "source.ip:192.0.2.2")
    )
    dry = Pipeline.load(tmp_path / "mine.yaml", state_dir=tmp_path / "var", env={}).dry()
    async with running(dry.spec, dry.host):
        await until(lambda: len(lines(tmp_path / "var" / "dry" / "far.jsonl")) == 2)
        await until(lambda: len(lines(tmp_path / "var" / "dry" / "near.jsonl")) == 1)
        status = await control.ask(tmp_path / "var", "/status")

    assert status["pipeline"] == "mine-dry"
    assert not (tmp_path / "near.jsonl").exists()
