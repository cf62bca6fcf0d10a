"""Files that are deleted once they are in: not before the disk has them, and not later than the next start."""

import signal
from pathlib import Path

import pytest

from pipelines import lines, until
from programs import finished, running
from services.slow_disk import SlowDisk

pytestmark = [pytest.mark.xdist_group("daemon"), pytest.mark.timeout(120)]
PIPELINE = """\
name: inbox
stages:
  inbox: {use: collectors.file, with: {path: inbox, after: delete, settle: 1ms}, every: 200ms, to: rows}
  rows:  {use: parsers.csv, with: {columns: [source.ip, comment]}, to: files}
  files: {use: outputs.file, with: {path: out.jsonl}}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    return tmp_path


async def test_a_file_stays_until_its_commit_is_on_the_disk(directory: Path, slow_disk: SlowDisk) -> None:
    file = directory / "inbox" / "a.csv"
    words = [f"{name}={value}" for name, value in slow_disk.environment.items()]
    async with running(directory, "env", *words) as process:
        await finished(directory)
        slow_disk.gate.touch()
        file.write_text("192.0.2.1,one\n")
        await until(lambda: not file.exists() or "begin" in slow_disk.lines(process.pid), within=60)
        stays = file.exists()
        process.send_signal(signal.SIGKILL)
        slow_disk.gate.unlink()
        await process.wait()
    assert stays
    async with running(directory):
        await until(lambda: not file.exists(), within=60)
        await finished(directory)

    assert [event["comment"] for event in lines(directory / "out.jsonl")] == ["one"]
