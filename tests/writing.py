"""`outputs.file` as a worker has it, and the place where it writes."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from intelstream import sdk, testing

NOW = datetime(2024, 3, 6, 23, 59, tzinfo=UTC)


class Writing:
    """The stage as a worker has it: `state` is what has been committed, and outlives the worker."""

    def __init__(self, run: testing.StageRun, state: dict[str, Any]) -> None:
        assert isinstance(run.stage, sdk.Output)
        self.run, self.stage, self.state = run, run.stage, state

    async def load(self, keys: Any) -> list[Any]:
        return [self.state.get(key) for key in keys]

    async def resume(self) -> None:
        await self.stage.resume(sdk.State(self.load))

    async def write(self, *comments: object, fields: Mapping[str, Any] | None = None, committed: bool = True) -> None:
        events = [testing.event(dict(fields or {}) | {"comment": str(comment)}) for comment in comments]
        batch = sdk.Batch(events, sdk.State(self.load))
        await self.stage.write(batch)
        if committed:
            self.state |= orjson.loads(orjson.dumps(batch.state.written))

    def log(self) -> list[tuple[str, str]]:
        entries: Any = self.run.stage.ctx.log
        return [(entry["event"], Path(entry["path"]).name) for entry in entries.entries]


class Place:
    """Where a stage writes, through as many lives as a test gives it."""

    def __init__(self, directory: Path) -> None:
        self.out = directory / "out"
        self.own = directory / "own"
        self.own.mkdir()
        self.state: dict[str, Any] = {}
        self.now = NOW

    @asynccontextmanager
    async def life(self, name: str = "events.jsonl", **params: Any) -> AsyncGenerator[Writing]:
        world = testing.World(directory=self.own, now=self.now)
        async with testing.open_stage("outputs.file", {"path": str(self.out / name)} | params, world=world) as run:
            writing = Writing(run, self.state)
            await writing.resume()
            yield writing

    def comments(self) -> list[str]:
        """Return what is in all files, which must all be whole lines."""
        found: list[str] = []
        for path in sorted(self.out.rglob("*"), key=lambda path: (path.suffix == ".jsonl", path)):
            if path.is_file():
                text = path.read_bytes()
                assert text.endswith(b"\n") or not text
                found += [orjson.loads(line)["comment"] for line in text.splitlines()]
        return found

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.out)) for path in self.out.rglob("*") if path.is_file())
