"""`collectors.api` as a worker has it, and a client that posts to it."""

import asyncio
import io
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import orjson

import loopback
from intelstream import sdk, testing
from intelstream.ontology import Event, Report

SCAN = {"source.ip": "192.0.2.1", "classification.type": "scanner"}
WIRE = SCAN | {"raw": "b25l", "__type": "Event"}


class Pushing:
    """The stage with a client that posts to it, and an engine that commits while it `runs`."""

    def __init__(self, run: testing.StageRun, http: aiohttp.ClientSession, url: str) -> None:
        self.run, self.http, self.url = run, http, url
        self.taken: list[Any] = []
        self.begun: list[str] = []

    @asynccontextmanager
    async def running(self, *, fails: bool = False) -> AsyncGenerator[None]:
        """Commit what comes; with `fails` every commit is lost."""
        task = asyncio.create_task(self._run(fails=fails))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self, *, fails: bool) -> None:
        assert isinstance(self.run.stage, sdk.Collector)
        while True:
            events: list[dict[str, Any]] = []
            async for item in self.run.stage.collect(self.run.state.get("cursor")):
                if fails and not isinstance(item, sdk.Begin):
                    break  # and begin again from what is committed
                if isinstance(item, sdk.Begin):
                    self.begun.append(item.key)
                    continue
                if isinstance(item, Event):
                    events.append(item.to_dict(raw=True))
                    continue
                self.taken.append(item.raw if isinstance(item, Report) else events)
                events = []
                if item.cursor is not None:
                    self.run.state["cursor"] = item.cursor
                assert item.after_commit
                await item.after_commit()

    async def post(
        self, body: bytes, headers: Mapping[str, str] | None = None, path: str = "", **more: Any
    ) -> tuple[int, Any]:
        """Post, and return status and document."""
        async with self.http.post(self.url + path, data=io.BytesIO(body), headers=headers, **more) as answer:
            said = await answer.read()
            self.headers = answer.headers
            return answer.status, orjson.loads(said) if answer.content_type.endswith("json") else said


@asynccontextmanager
async def pushing(held: str = "", **params: Any) -> AsyncGenerator[Pushing]:
    [port] = loopback.free_ports()
    world = testing.World(addresses={"127.0.0.1:8401": f"127.0.0.1:{port}"}, live=True, held=held)
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http,
        testing.open_stage("collectors.api", params, world=world) as run,
    ):
        yield Pushing(run, http, f"http://127.0.0.1:{port}{params.get('path', '/')}")
