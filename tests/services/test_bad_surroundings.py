"""A port in use, a full disk: told with the cure, waited out, and then everything arrives, once."""

import os
import resource
import socket
from contextlib import suppress
from pathlib import Path

import aiohttp
import orjson
import pytest

from pipelines import lines
from programs import asked, command, entered, finished, running, told, until
from services import servers

pytestmark = [pytest.mark.xdist_group("daemon"), pytest.mark.timeout(180)]
ROWS = 3000
PUSHED = """\
name: port
stages:
  push:  {{use: collectors.api, with: {{listen: "127.0.0.1:{port}"}}, to: rows}}
  rows:  {{use: parsers.csv, with: {{columns: [source.ip, source.port]}}, to: files}}
  files: {{use: outputs.file, with: {{path: out.jsonl}}}}
"""
COLLECTED = """\
name: disk
stages:
  inbox: {use: collectors.file, with: {path: "in/*", settle: 1ms}, every: 1s, to: rows}
  rows:  {use: parsers.csv, with: {columns: [source.ip, source.port, comment]}, to: dedup}
  dedup: {use: experts.deduplicate, to: files}
  lists: {use: collectors.file, with: {path: "lists/*", settle: 1ms}, every: 1s, to: parsed}
  parsed: {use: parsers.json, with: {columns: {port: source.port, comment: comment}}, to: dedup}
  files: {use: outputs.file, with: {path: disk/out.jsonl}}
"""


async def test_a_port_in_use_is_told_with_its_cure_and_taken_when_it_is_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (tmp_path / "pipeline.yaml").write_text(PUSHED.format(port=port))
        async with running(tmp_path):
            await until(lambda: told(tmp_path, "paused"))
            [push] = [one for one in (await asked(tmp_path))["stages"] if one["stage"] == "push"]
            _, shown = await command(tmp_path, "status")
            other.close()
            async with aiohttp.ClientSession() as http:
                await until(lambda: _listens(port))
                async with http.post(f"http://127.0.0.1:{port}/", data=b"192.0.2.1,80\n") as answer:
                    assert answer.status == 202
            await until(lambda: lines(tmp_path / "out.jsonl"))

    cause = f"listening on 127.0.0.1:{port}: Address already in use; stop what listens there, or give another `listen`"
    assert (push["state"], push["reason"]) == ("paused", cause)
    assert told(tmp_path, "paused")[0]["error"] == cause
    assert f"push: {cause}" in shown.splitlines()
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert [event["source.ip"] for event in lines(tmp_path / "out.jsonl")] == ["192.0.2.1"]


def _listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def bring(place: Path, name: str = "in/rows.csv") -> None:
    text = "".join(f"10.0.{n >> 8}.{n & 255},{n},row {n} {'x' * 60}\n" for n in range(ROWS))
    (place / name).write_text(text)


def ports(place: Path) -> list[int]:
    return [event["source.port"] for event in lines(place / "disk/out.jsonl")]


def prepare(place: Path) -> None:
    for name in ("in", "disk", "lists"):
        (place / name).mkdir(exist_ok=True)
    (place / "pipeline.yaml").write_text(COLLECTED)


def fill(file: Path, left: int = 0) -> None:
    """Fill a file system until only so much is left."""
    block = bytes(64 * 1024)
    with file.open("wb", buffering=0) as other, suppress(OSError):
        while os.statvfs(file.parent).f_bavail * os.statvfs(file.parent).f_frsize > left:
            other.write(block)


async def test_an_output_that_has_no_room_waits_and_then_writes_all_once(tmp_path: Path) -> None:
    prepare(tmp_path)
    async with running(tmp_path) as process:
        await finished(tmp_path)  # its server has started, without a limit
        soft, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (16 * 1024, hard))
        bring(tmp_path)
        await until(lambda: told(tmp_path, "paused"))
        [files] = [one for one in (await asked(tmp_path))["stages"] if one["stage"] == "files"]
        written = ports(tmp_path)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))
        await until(lambda: len(ports(tmp_path)) >= ROWS)
        await finished(tmp_path)

    cause = f"writing {tmp_path}/disk/out.jsonl: File too large"
    assert (files["state"], files["reason"]) == ("paused", cause)
    assert len(written) < ROWS
    assert ports(tmp_path) == list(range(ROWS))


async def test_a_large_report_without_room_is_collected_again_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    prepare(tmp_path)
    spooled = tmp_path / "var/spool/parsed"
    async with running(tmp_path) as process:
        await finished(tmp_path)
        soft, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1024 * 1024, hard))
        rows = [{"port": n, "comment": "x" * 1000} for n in range(ROWS)]
        (tmp_path / "lists/large.json").write_bytes(orjson.dumps(rows))
        await until(lambda: told(tmp_path, "collecting_failed"))
        half = [*spooled.iterdir()]
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))
        await until(lambda: len(ports(tmp_path)) >= ROWS)
        await finished(tmp_path)

    assert told(tmp_path, "collecting_failed")[0]["error"] == f"spooling to {spooled}: File too large; make room there"
    assert half == []
    assert ports(tmp_path) == list(range(ROWS))
    assert [*spooled.iterdir()] == []


async def test_an_output_on_a_full_disk_waits_and_then_writes_all_once_also_if_it_was_killed(tmp_path: Path) -> None:
    with servers.disk(tmp_path / "disk", 4 * 2**20):
        prepare(tmp_path)
        fill(tmp_path / "disk/other", 64 * 1024)
        bring(tmp_path)
        async with running(tmp_path) as process:
            await until(lambda: told(tmp_path, "paused"))
            process.kill()
            await process.wait()
        (tmp_path / "disk/other").unlink()
        async with running(tmp_path):
            await until(lambda: len(ports(tmp_path)) >= ROWS)
            await finished(tmp_path)
        found = sorted(ports(tmp_path))  # what a killed daemon had in hand comes behind what it had not

    assert told(tmp_path, "paused")[0]["error"] == f"writing {tmp_path}/disk/out.jsonl: No space left on device"
    assert found == list(range(ROWS))


async def test_a_log_that_nobody_takes_stops_nothing(tmp_path: Path) -> None:
    prepare(tmp_path)
    bring(tmp_path)
    async with running(tmp_path, log_to=Path("/dev/full")) as process:
        await until(lambda: len(ports(tmp_path)) >= ROWS)
        process.terminate()
        code = await process.wait()

    assert code == 0
    assert ports(tmp_path) == list(range(ROWS))


async def test_a_disk_that_is_full_for_all_that_the_daemon_writes_loses_and_doubles_nothing(tmp_path: Path) -> None:
    place = tmp_path / "all"
    with servers.disk(place, 160 * 2**20):
        prepare(place)
        async with running(place) as process:
            await finished(place)
            bring(place, "rows.csv")
            fill(place / "other")
            await entered(place, "inbox", "throttled")
            (place / "rows.csv").rename(place / "in/rows.csv")
            [inbox] = [one for one in (await asked(place))["stages"] if one["stage"] == "inbox"]
            while_full = ports(place)
            (place / "other").unlink()
            await until(lambda: len(ports(place)) >= ROWS)
            await finished(place)
            assert process.returncode is None
        found = ports(place)

    assert "the disk is nearly full" in inbox["reason"]
    assert while_full == []
    assert found == list(range(ROWS))


async def test_as_many_files_may_be_open_as_the_host_allows(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(COLLECTED)
    async with running(tmp_path, "prlimit", "--nofile=256:4096") as process:
        await asked(tmp_path)
        limits = Path(f"/proc/{process.pid}/limits").read_text()

    [line] = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert line.split()[3:5] == ["4096", "4096"]
