"""`kill -9` at any moment: of the daemon, and of its server. Every event is in the file exactly once."""

import asyncio
import json
import os
import random
import signal
from pathlib import Path

import aiohttp
import pytest

import loopback
from pipelines import lines, until
from programs import asked, entered, finished, running

pytestmark = [pytest.mark.xdist_group("daemon"), pytest.mark.timeout(240)]
ROWS = 20_000
PIPELINE = """\
name: kills
stages:
  inbox:    {{use: collectors.file, with: {{path: in.csv}}, every: 1d, to: rows}}
  rows:     {{use: parsers.csv, with: {{columns: [source.ip, source.port, comment]}}, to: dedup}}
  dedup:    {{use: experts.deduplicate, to: taxonomy}}
  taxonomy: {{use: experts.taxonomy, to: mine}}
  mine:     {{use: experts.filter, with: {{drop: "source.port:7"}}, to: files}}
  files:    {{use: outputs.file, with: {{path: out.jsonl}}}}
"""
PUSHES = """\
name: pushes
stages:
  push:  {{use: collectors.api, with: {{accepts: events, listen: "127.0.0.1:{port}"}}, to: files}}
  files: {{backlog: 1000, {files}}}
"""
NOWHERE = 'use: outputs.http, with: {url: "http://127.0.0.1:1/"}'


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    rows = (f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255},{n % 65536},row {n} {'x' * 80}\n" for n in range(ROWS))
    (tmp_path / "in.csv").write_text("".join(rows))
    (tmp_path / "pipeline.yaml").write_text(PIPELINE.format())
    return tmp_path


def verdict(directory: Path) -> dict[str, int]:
    found = [event["comment"] for event in lines(directory / "out.jsonl")]
    return {"lost": ROWS - 1 - len(set(found)), "doubled": len(found) - len(set(found))}


async def test_the_daemon_killed_at_random_moments_loses_and_doubles_nothing(directory: Path) -> None:
    chance = random.Random(7)
    for _ in range(8):
        async with running(directory) as process:
            await asked(directory)
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            process.send_signal(signal.SIGKILL)
            await process.wait()
    async with running(directory) as process:
        await finished(directory)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0

    assert verdict(directory) == {"lost": 0, "doubled": 0}


async def test_the_server_killed_at_random_moments_loses_and_doubles_nothing(directory: Path) -> None:
    chance = random.Random(11)
    async with running(directory) as process:
        for _ in range(6):
            status = await asked(directory)
            if pid := status["server"]["pid"]:
                os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(chance.uniform(0.2, 0.9))
        await finished(directory)
        assert process.returncode is None
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0

    assert verdict(directory) == {"lost": 0, "doubled": 0}


async def test_a_push_that_is_half_in_when_the_daemon_is_killed_is_in_once_when_it_is_sent_again(
    tmp_path: Path,
) -> None:
    [port] = loopback.free_ports()
    file = tmp_path / "pipeline.yaml"
    events = [{"source.ip": "192.0.2.1", "source.port": number} for number in range(1, 5001)]

    async def post(http: aiohttp.ClientSession) -> int:
        url, key = f"http://127.0.0.1:{port}/", {"Idempotency-Key": "the one"}
        async with http.post(url, json=events, headers=key) as answer:
            return answer.status

    async with aiohttp.ClientSession() as http:
        file.write_text(PUSHES.format(port=port, files=NOWHERE))
        async with running(tmp_path) as process:
            await entered(tmp_path, "push", "running")
            pushed = asyncio.create_task(post(http))
            await entered(tmp_path, "push", "throttled")
            process.send_signal(signal.SIGKILL)
            with pytest.raises(aiohttp.ClientConnectionError):
                await pushed
        file.write_text(PUSHES.format(port=port, files="use: outputs.file, with: {path: out.jsonl}"))
        async with running(tmp_path):
            await entered(tmp_path, "push", "running")
            assert [await post(http) for _ in range(2)] == [202, 202]
            await until(lambda: len(lines(tmp_path / "out.jsonl")) >= len(events))

    assert sorted(event["source.port"] for event in lines(tmp_path / "out.jsonl")) == list(range(1, 5001))


async def test_a_second_daemon_on_one_state_directory_is_refused(directory: Path) -> None:
    async with running(directory):
        await asked(directory)
        async with running(directory) as second:
            code = await second.wait()

    assert code == 1
    assert "a daemon works there already" in (directory / "log").read_text()


def test_the_rows_are_as_many_as_the_verdict_counts(directory: Path) -> None:
    assert len((directory / "in.csv").read_text().splitlines()) == ROWS
    assert json.dumps(verdict(directory)) == '{"lost": 19999, "doubled": 0}'
