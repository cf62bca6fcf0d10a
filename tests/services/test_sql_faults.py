"""A whole pipeline into databases: killed at any moment, with a full disk, a file that may not be written."""

import asyncio
import random
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from intelstream import sdk, testing
from intelstream.errors import StageError, Unavailable
from programs import asked, command, finished, running
from services import postgres, servers
from services.postgres import PASSWORD, USER, RunningPostgres

pytestmark = [pytest.mark.xdist_group("postgresql"), pytest.mark.timeout(240)]
ROWS = 20_000
PIPELINE = """\
name: kills
stages:
  inbox: {{use: collectors.file, with: {{path: in.csv}}, every: 1d, to: rows}}
  rows:  {{use: parsers.csv, with: {{columns: [source.ip, source.port, comment]}}, to: [file, server]}}
  file:  {{use: outputs.sql, with: {{path: events.db, batch: 300}}}}
  server:
    use: outputs.sql
    with:
      {{url: "{url}", username: {user}, password: {password}, batch: 300, fields: "source.ip, source.port, comment"}}
"""
COUNTED = "SELECT count(*), count(DISTINCT comment) FROM events"
EACH_ONCE = (ROWS, ROWS)


@pytest.fixture
def server() -> Iterator[RunningPostgres]:
    with postgres.running() as started:
        yield started


@pytest.fixture
def directory(tmp_path: Path, server: RunningPostgres) -> Path:
    rows = (f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255},{n % 65536},row {n} {'x' * 80}\n" for n in range(ROWS))
    (tmp_path / "in.csv").write_text("".join(rows))
    (tmp_path / "pipeline.yaml").write_text(PIPELINE.format(url=server.url(), user=USER, password=PASSWORD))
    return tmp_path


def in_file(path: Path) -> tuple[int, int]:
    if not path.exists():
        return (0, 0)
    with closing(sqlite3.connect(path)) as connection:
        [made] = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'events'").fetchone()
        found: tuple[int, int] = connection.execute(COUNTED).fetchone() if made else (0, 0)
        return found


async def test_each_event_is_in_both_databases_once_whoever_is_killed(directory: Path, server: RunningPostgres) -> None:
    chance = random.Random(5)
    for turn in range(6):
        async with running(directory) as process:
            await asked(directory)
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            if turn % 3 == 2:
                server.stop(signal.SIGQUIT)
                await asyncio.sleep(chance.uniform(0.0, 0.3))
            process.send_signal(signal.SIGKILL)
            await process.wait()
        if turn % 3 == 2:
            server.start()
    async with running(directory) as process:
        await finished(directory)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0

    assert in_file(directory / "events.db") == EACH_ONCE
    assert server.run("postgres", COUNTED) == [EACH_ONCE]


async def test_a_server_that_crashes_makes_its_stage_wait_alone(directory: Path, server: RunningPostgres) -> None:
    server.stop(signal.SIGQUIT)
    async with running(directory) as process:
        await servers.until(lambda: in_file(directory / "events.db") == EACH_ONCE, "the other output", 60)
        waiting = {one["stage"]: one for one in (await asked(directory))["stages"]}["server"]
        server.start()
        await finished(directory)
        assert process.returncode is None

    assert waiting["state"] == "paused"
    assert f"connecting to {server.url()}" in waiting["reason"] or f"of {server.url()}" in waiting["reason"]
    assert server.run("postgres", COUNTED) == [EACH_ONCE]


async def test_bad_rows_are_dead_letters_of_their_own(directory: Path, server: RunningPostgres) -> None:
    server.run(
        "postgres",
        'CREATE TABLE events (event_id uuid UNIQUE, "source.ip" inet, "source.port" bigint, '
        """comment text CHECK (comment NOT LIKE 'row 1234_ %'))""",
    )
    async with running(directory):
        await finished(directory)
        code, told = await command(directory, "dead", "ls", "server", "--json")

    assert (code, told.count("violates check constraint")) == (0, 10)
    assert server.run("postgres", COUNTED) == [(ROWS - 10, ROWS - 10)]
    assert in_file(directory / "events.db") == EACH_ONCE


# -- a file on a disk of its own ----------------------------------------------------------------------------


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**12))


async def raised(run: testing.StageRun, *events: dict[str, Any]) -> StageError:
    assert isinstance(run.stage, sdk.Output)
    made = [testing.event(one, id=testing.PARENT) for one in events]
    with pytest.raises(StageError) as caught:
        await run.stage.write(sdk.Batch(made, sdk.State(run.load)))
    return caught.value


async def test_a_full_disk_makes_the_stage_wait_and_loses_nothing(small_disk: Path) -> None:
    path, filler = small_disk / "events.db", small_disk / "filler"
    async with testing.open_stage("outputs.sql", {"path": str(path)}) as run:
        await run.send({"comment": "before"})
        with pytest.raises(OSError, match="No space left"):
            fill(filler)
        events = [{"comment": f"{n} {'x' * 1000}"} for n in range(500)]
        full = await run.send(*events)
        error = await raised(run, {"comment": "x" * 2**20})
        filler.unlink()
        room = await run.send(*events)

    assert (len(full.pending), full.dead) == (500, [])
    assert type(error) is Unavailable
    assert "database or disk is full; make room on its disk" in str(error)
    assert (room.pending, room.dead) == ([], [])
    assert in_file(path) == (501, 501)


async def test_a_file_that_may_not_be_written_makes_the_stage_wait(small_disk: Path) -> None:
    path = small_disk / "events.db"
    async with testing.open_stage("outputs.sql", {"path": str(path)}) as run:
        await run.send({"comment": "before"})
    with servers.read_only(small_disk):
        async with testing.open_stage("outputs.sql", {"path": str(path)}) as run:
            error = await raised(run, {"comment": "after"})
            result = await run.send({"comment": "after"})

    assert type(error) is Unavailable
    assert "let the user of the daemon write to the file and to its directory" in str(error)
    assert (len(result.pending), result.dead) == (1, [])
    assert in_file(path) == (1, 1)
