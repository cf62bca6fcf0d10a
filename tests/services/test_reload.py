"""A pipeline that changes under load: nothing lost, nothing doubled, nothing fetched again."""

import signal
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from pipelines import lines
from programs import asked, command, finished, running, until

pytestmark = [pytest.mark.xdist_group("daemon"), pytest.mark.timeout(240)]
ROWS = 800  # a round
ROUNDS = 10
CHAIN = 45
HEAD = """\
name: changing
stages:
  inbox: {use: collectors.file, with: {path: "in/*.csv"}, every: 1s, to: rows}
  rows:  {use: parsers.csv, with: {columns: [source.ip, source.port, comment]}, to: dedup}
  dedup: {use: experts.deduplicate, to: step0}
"""


def write(directory: Path, round_: int) -> None:
    """Write a pipeline of 50 stages: the name of one, and what another one sets, are those of this round."""
    text = HEAD
    names = [f"step{number}" for number in range(CHAIN)] + ["files"]
    was = f", was: step7-{round_ - 1}" if round_ else ""
    for name, to in pairwise(names):
        shown = f"step7-{round_}" if name == "step7" else name
        then = f"step7-{round_}" if to == "step7" else to
        extra = was if name == "step7" else ""
        value = round_ if name == "step3" else 0
        text += (
            f"  {shown}: {{use: experts.set_fields, with: {{fields: {{extra.{name}: {value}}}}}, "
            f"fuse: false, to: {then}{extra}}}\n"
        )
    text += "  files: {use: outputs.file, with: {path: out.jsonl}}\n"
    (directory / "pipeline.yaml").write_text(text)


def feed(directory: Path, round_: int) -> None:
    """Put another file into the inbox."""
    (directory / "in").mkdir(exist_ok=True)
    rows = [f"10.{round_}.{n >> 8}.{n & 255},{n + 1},{round_} {n}\n" for n in range(ROWS)]
    part = directory / f"{round_}.part"
    part.write_text("".join(rows))
    part.rename(directory / "in" / f"{round_}.csv")


def grown(path: Path, seen: int) -> bool:
    return len(lines(path)) > seen


async def test_50_stages_under_load_are_reloaded_again_and_again(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    write(tmp_path, 0)
    feed(tmp_path, 0)
    async with running(tmp_path) as process:
        await until(lambda: lines(out))
        for round_ in range(1, ROUNDS + 1):
            seen = len(lines(out))
            feed(tmp_path, round_)
            await until(partial(grown, out, seen))
            write(tmp_path, round_)
            code, printed = await command(tmp_path, "reload")
            assert (code, "step3" in printed, "inbox" in printed) == (0, True, False), printed
        await until(lambda: len(lines(out)) >= ROWS * (ROUNDS + 1))
        await finished(tmp_path)
        inbox = next(row for row in await asked(tmp_path, "/queues") if row["stage"] == "inbox")
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0

    found = lines(out)
    assert sorted(event["comment"] for event in found) == sorted(
        f"{round_} {n}" for round_ in range(ROUNDS + 1) for n in range(ROWS)
    )
    assert len({event["extra.step3"] for event in found}) > 2
    assert inbox["counters"]["out"] == ROUNDS + 1, "each file was read once"


async def test_a_file_with_faults_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, 0)
    async with running(tmp_path) as process:
        await asked(tmp_path)
        good = (tmp_path / "pipeline.yaml").read_text()
        (tmp_path / "pipeline.yaml").write_text(good.replace("experts.deduplicate", "experts.dedup"))
        code, printed = await command(tmp_path, "reload")
        stages = (await asked(tmp_path))["stages"]
        (tmp_path / "pipeline.yaml").write_text(good.replace("name: changing", "name: other"))
        other, told = await command(tmp_path, "reload")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0

    assert (code, other) == (2, 1)
    assert "pipeline.yaml:5:" in printed
    assert "experts.deduplicate" in printed
    assert len(stages) == CHAIN + 4
    assert "another set of queues" in told
