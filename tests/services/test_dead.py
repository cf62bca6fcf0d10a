"""`intelstream dead` on a daemon that runs, and one that is killed meanwhile."""

import asyncio
import json
import random
import signal
from pathlib import Path

import pytest

import programs
from pipelines import lines
from programs import asked, finished, running, until

pytestmark = [pytest.mark.xdist_group("daemon"), pytest.mark.timeout(240)]
BAD, GOOD = 11_000, 13_000
PIPELINE = """\
name: letters
stages:
  inbox: {{use: collectors.file, with: {{path: in.csv}}, every: 1d, to: rows}}
  rows:
    use: parsers.csv
    with: {{header: names, columns: {{ip: source.ip, port: {port}, what: comment}}}}
    to: dedup
  dedup: {{use: experts.deduplicate, to: files}}
  files: {{use: outputs.file, with: {{path: out.jsonl}}}}
"""


def configure(directory: Path, port: str) -> None:
    (directory / "pipeline.yaml").write_text(PIPELINE.format(port=port))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    kinds = ["bad"] * BAD + ["good"] * GOOD
    random.Random(5).shuffle(kinds)
    rows = [
        f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255},{'port ' if kind == 'bad' else ''}{n % 60_000 + 1},row {n}"
        for n, kind in enumerate(kinds)
    ]
    (tmp_path / "in.csv").write_text("\n".join(["ip,port,what", *rows]) + "\n")
    configure(tmp_path, "source.port")
    return tmp_path


async def test_letters_that_are_sent_back_while_the_daemon_is_killed_arrive_once(place: Path) -> None:
    chance = random.Random(3)
    async with running(place):
        await until(lambda: len(lines(place / "out.jsonl")) == GOOD)
        await finished(place)
        [group] = await asked(place, "/dead-groups")
        assert group["count"] == BAD
        assert list((place / "var/dead").rglob("*.jsonl.zst")), "more than may lie on the server are in files"
    configure(place, '{to: source.port, match: "[0-9]+"}')
    for _ in range(6):
        async with running(place) as daemon:
            await asked(place)
            retrying = asyncio.create_task(programs.command(place, "dead", "retry", "--group", group["group"]))
            await asyncio.sleep(chance.uniform(0.5, 2.0))
            daemon.send_signal(signal.SIGKILL)
            await daemon.wait()
            await retrying
    async with running(place):
        await asked(place)
        code, said = await programs.command(place, "dead", "retry", "--all", "--json")
        await finished(place)
        left = await asked(place, "/dead-groups")

    assert code == 0
    assert json.loads(said)["refused"] == []
    assert left == []
    found = [event["comment"] for event in lines(place / "out.jsonl")]
    assert {"lost": BAD + GOOD - len(set(found)), "doubled": len(found) - len(set(found))} == {"lost": 0, "doubled": 0}


async def test_the_commands_tell_what_to_do_next_and_end_with_an_honest_code(place: Path) -> None:
    (place / "in.csv").write_text("ip,port,what\n10.0.0.1,port 1,a\n10.0.0.2,port 2,b\n10.0.0.3,3,c\n")

    async def dead(*words: str) -> tuple[int, str]:
        return await programs.command(place, "dead", *words)

    async with running(place):
        await until(lambda: lines(place / "out.jsonl"))
        await finished(place)
        _, grouped = await dead("group")
        _, listed = await dead("ls")
        [first, second] = json.loads((await dead("ls", "--json"))[1])
        _, shown = await dead("show", first["id"])
        refused, why = await dead("drop", "--all")
        nothing, _ = await dead("retry")
        missing, _ = await dead("show", "rows:1-1")
        wrong, reason = await dead("edit", first["id"], "--set", "source.nothing=1")
        sent, _ = await dead("edit", second["id"], "--set", "raw=10.0.0.2,2,mended", "--retry")
        exported, _ = await dead("export", str(place / "letters.jsonl"))
        dropped, number = await dead("drop", first["id"])
        brought, _ = await dead("import", str(place / "letters.jsonl"))
        await until(lambda: len(lines(place / "out.jsonl")) == 2)
        [back] = json.loads((await dead("ls", "rows", "--json"))[1])

    assert "source.port" in grouped
    assert "send them back: intelstream dead retry --group" in grouped
    assert f"the whole of one: intelstream dead show {first['id']}" in listed
    assert f"intelstream dead edit {first['id']} --set raw=… --retry" in shown
    assert "raw: 10.0.0.1,port 1,a" in shown
    assert (refused, nothing, missing) == (2, 2, 3)
    assert "this deletes 2 dead letters for good: add --yes" in why
    assert (wrong, sent, exported, dropped, brought) == (1, 0, 0, 0, 0)
    assert "source.nothing: no such field" in reason
    assert number.startswith("1 dropped")
    assert back["id"] == first["id"]
