"""`collectors.file` on a directory, and what it brings."""

import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from intelstream import testing

LONG_AGO = datetime(2024, 3, 6, tzinfo=UTC)  # files of the tests are younger, as if of another clock: left alone long
MIB = 2**20


@asynccontextmanager
async def opened(path: Path, now: datetime = LONG_AGO, **params: Any) -> AsyncGenerator[testing.StageRun]:
    given = {"path": str(path)} | params
    async with testing.open_stage("collectors.file", given, world=testing.World(now=now)) as run:
        yield run


async def read(run: testing.StageRun) -> dict[str, bytes]:
    """Collect once and return what came, by name; pieces of one file are joined."""
    found: dict[str, bytes] = {}
    for report in (await run.collect()).outputs.get("default", []):
        name = report["extra.file_name"]
        found[name] = found.get(name, b"") + base64.b64decode(report["raw"])
    return found


def told(result: testing.Result) -> list[tuple[str, str]]:
    return [(entry["event"], Path(entry["path"]).name) for entry in result.log]
