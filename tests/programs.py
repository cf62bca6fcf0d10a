"""`intelstream run` as a process of its own: for tests that stop it, kill it, and read what an operator would."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from intelstream.app.control import NotRunning, ask

PROGRAM: Final = (sys.executable, "-c", "from intelstream.cli import main; main()")
PATIENCE: Final = 90.0


@asynccontextmanager
async def running(
    directory: Path, *before: str, log_to: Path | None = None
) -> AsyncGenerator["asyncio.subprocess.Process"]:
    """Run `pipeline.yaml` of a directory with its state in `var`, behind other words of a command if there are any."""
    arguments = ("run", str(directory / "pipeline.yaml"), "--state-dir", str(directory / "var"))
    with (log_to or directory / "log").open("ab", buffering=0) as log:
        process = await asyncio.create_subprocess_exec(*before, *PROGRAM, *arguments, stderr=log, stdout=log)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()  # its server ends with it
        await process.wait()


def told(directory: Path, event: str) -> list[dict[str, Any]]:
    """Return the facts of all log lines of an event."""
    log = directory / "log"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [one for one in found if one["event"] == event]


async def until(holds: Callable[[], Any], within: float = PATIENCE) -> None:
    """Wait for a condition that nobody announces."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - it is in files of another process
            await asyncio.sleep(0.02)


async def asked(directory: Path, path: str = "/status") -> Any:
    """Ask the daemon until it answers."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await ask(directory / "var", path)
            except NotRunning:
                await asyncio.sleep(0.05)


async def entered(directory: Path, stage: str, state: str) -> None:
    """Wait until a stage is in this state."""
    async with asyncio.timeout(60):
        while True:
            stages = (await asked(directory))["stages"]
            if any((one["stage"], one["state"]) == (stage, state) for one in stages):
                return
            await asyncio.sleep(0.05)


async def finished(directory: Path) -> None:
    """Wait until all collectors wait for their next run and nothing is on its way."""
    async with asyncio.timeout(PATIENCE):
        while True:
            stages = (await asked(directory))["stages"]
            queues = await asked(directory, "/queues")
            through = all(one["state"] == "waiting" for one in stages if one["use"].startswith("collectors."))
            if through and not any(one["messages"] or one["retrying"] for one in queues):
                return
            await asyncio.sleep(0.1)


async def command(directory: Path, *words: str) -> tuple[int, str]:
    """Run another command on the daemon of a directory; return its exit code and what it printed."""
    words = (*words, "--state-dir", str(directory / "var"))
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


def without_privileges() -> Sequence[str]:
    """Return what to put before a command so that modes of files hold for it: root is above them otherwise."""
    dropped = "-dac_override,-dac_read_search"
    return ("setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}") if os.geteuid() == 0 else ()
