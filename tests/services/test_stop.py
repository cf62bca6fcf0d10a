"""SIGTERM and SIGINT end the daemon between two frames; a second one ends it at once. Nothing is lost or doubled."""

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from pipelines import lines
from programs import finished, running, told, until
from services.daemons import servers_of
from services.servers import free_port

pytestmark = [pytest.mark.xdist_group("daemon"), pytest.mark.timeout(180)]
ROWS = 20_000
FEW = 100
PIPELINE = """\
name: stops
stages:
  inbox: {{use: collectors.file, with: {{path: in.csv}}, every: 1d, to: rows}}
  rows:  {{use: parsers.csv, with: {{columns: [source.ip, source.port, comment]}}, to: dedup}}
  dedup: {{use: experts.deduplicate, to: {targets}}}
  files: {{use: outputs.file, with: {{path: out.jsonl}}}}
"""
FAR = """\
  far:   {{use: outputs.http, with: {{url: "http://127.0.0.1:{port}/", timeout: 1h, format: json_lines, batch: 100}}}}
"""
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def prepare(place: Path, rows: int, pipeline: str) -> None:
    (place / "in.csv").write_text("".join(f"10.0.{n >> 8 & 255}.{n & 255},{n % 65536},row {n}\n" for n in range(rows)))
    (place / "pipeline.yaml").write_text(pipeline)


def verdict(place: Path, rows: int) -> dict[str, int]:
    found = [event["comment"] for event in lines(place / "out.jsonl")]
    return {"lost": rows - len(set(found)), "doubled": len(found) - len(set(found))}


class FarSide:
    """Takes events by HTTP; while it hesitates it keeps its senders waiting."""

    def __init__(self) -> None:
        self.asked = 0
        self.taken: set[str] = set()
        self.answers = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        self.asked += 1
        events = [orjson.loads(line) for line in (await request.read()).splitlines()]
        await self.answers.wait()
        self.taken.update(event["comment"] for event in events)
        return web.Response()

    @asynccontextmanager
    async def listening(self, port: int) -> AsyncGenerator[None]:
        app = web.Application(handler_args={"handler_cancellation": True})
        app.router.add_post("/", self.take)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield
        finally:
            await runner.cleanup()


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_ends_the_daemon_between_two_frames(number: signal.Signals, tmp_path: Path) -> None:
    prepare(tmp_path, ROWS, PIPELINE.format(targets="files"))
    async with running(tmp_path) as process:
        await until(lambda: lines(tmp_path / "out.jsonl"))
        process.send_signal(number)
        code = await process.wait()
    left = servers_of(tmp_path / "var")
    async with running(tmp_path):
        await finished(tmp_path)

    assert code == 0
    assert left == []
    assert told(tmp_path, "daemon_stopped")
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert not told(tmp_path, "uncommitted_tail_cut")
    assert verdict(tmp_path, ROWS) == {"lost": 0, "doubled": 0}


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_second_signal_ends_the_daemon_at_once(number: signal.Signals, tmp_path: Path) -> None:
    port, far = free_port(), FarSide()
    prepare(tmp_path, FEW, (PIPELINE + FAR).format(targets="[files, far]", port=port))
    async with far.listening(port):
        async with running(tmp_path) as process:
            await until(lambda: far.asked)
            process.send_signal(number)
            await until(lambda: told(tmp_path, "daemon_stopping"))
            assert process.returncode is None
            process.send_signal(number)
            async with asyncio.timeout(10):  # the far side would keep it longer
                code = await process.wait()
        far.answers.set()
        left = servers_of(tmp_path / "var")
        async with running(tmp_path):
            await until(lambda: len(far.taken) == FEW)
            await finished(tmp_path)

    assert code == 128 + number
    assert left == []
    assert told(tmp_path, "stopped_at_once")
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert verdict(tmp_path, FEW) == {"lost": 0, "doubled": 0}


async def test_a_signal_ends_a_daemon_that_waits_for_its_server(tmp_path: Path) -> None:
    prepare(tmp_path, FEW, PIPELINE.format(targets="files"))
    (tmp_path / "intelstream.yaml").write_text(f"redis: redis://127.0.0.1:{free_port()}/0\n")
    async with running(tmp_path) as process:
        await until(lambda: told(tmp_path, "server_awaited"))
        process.terminate()
        async with asyncio.timeout(10):
            code = await process.wait()

    assert code == 0
    assert "Traceback" not in (tmp_path / "log").read_text()
