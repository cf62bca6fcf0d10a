"""A worker process: what the daemon starts beside itself, `python -m intelstream.app.child FD`."""

import asyncio
import pickle
import resource
import socket
import sys
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import uvloop

from intelstream.app import logs
from intelstream.app.channel import Channel
from intelstream.runtime.roles import Role
from intelstream.runtime.spec import PipelineSpec
from intelstream.runtime.station import Site
from intelstream.runtime.status import StageStatus
from intelstream.runtime.watch import LoopWatch, told
from intelstream.runtime.worker import Worker
from intelstream.transport.link import Client
from intelstream.transport.names import Lane
from intelstream.transport.transport import Transport

BEAT: Final = 0.5  # seconds between two reports to the daemon
IDLE: Final = 10.0  # seconds after which a quarantine with nothing to do ends; longer than between two sweeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a worker process is told at its start.

    `gone` are consumers whose entries it may take over at once; `most` is the largest size of its data in bytes, None
    for any.
    """

    pipeline: PipelineSpec
    role: Role
    address: str
    consumer: str
    gone: frozenset[str]
    state_dir: Path
    memory: int
    space: int
    most: int | None
    log_level: str


class Child:
    """One worker process, from its assignment to its end."""

    def __init__(self, given: Assignment, channel: Channel) -> None:
        self._given = given
        self._channel = channel
        self._stopping = asyncio.Event()
        self._statuses: dict[str, StageStatus] = {}
        self._told: dict[str, dict[str, Any]] = {}

    async def run(self) -> None:
        """Work until the daemon says stop, or is gone: then at once, for its successor takes over."""
        given = self._given
        client = Client(given.address)
        transport = Transport(client, Lane(given.pipeline.name), given.consumer)
        transport.buried = given.gone
        async with self._http() as http, LoopWatch(told):
            site = Site(
                pipeline=given.pipeline,
                transport=transport,
                http=http,
                state_dir=given.state_dir,
                memory=given.memory,
                space=given.space,
                statuses=self._statuses,
                barrier=_no_barrier,
                role=given.role,
            )
            work = asyncio.create_task(Worker(site, self._stopping, given.role.hosts).run())
            beats = asyncio.create_task(self._beat())
            orders = asyncio.create_task(self._obey())
            rest = asyncio.create_task(self._rest())
            try:
                await asyncio.wait((work, orders), return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    work.result()
            finally:
                for task in (work, beats, orders, rest):
                    task.cancel()
                await asyncio.gather(work, beats, orders, rest, return_exceptions=True)
                self._report()
                await client.close()

    @staticmethod
    @asynccontextmanager
    async def _http() -> AsyncGenerator[aiohttp.ClientSession]:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as http:
            yield http

    async def _obey(self) -> None:
        """Do as the daemon says; return when it is gone."""
        while (order := await self._channel.hear()) is not None:
            if order["is"] == "stop":
                self._stopping.set()

    async def _rest(self) -> None:
        """End a quarantine that has had nothing to do for a while."""
        if self._given.role.kind != "quarantine":
            return
        idle = 0.0
        while idle < IDLE:
            await asyncio.sleep(BEAT)
            idle = idle + BEAT if self._statuses[self._given.role.stage].state == "idle" else 0.0
        self._stopping.set()

    async def _beat(self) -> None:
        while True:
            self._report()
            await asyncio.sleep(BEAT)

    def _report(self) -> None:
        """Say that the loop runs, and what has changed."""
        changed: dict[str, dict[str, Any]] = {}
        for name, status in self._statuses.items():
            if self._given.role.hosts(self._given.pipeline.stages[name]):
                now = status.shown()
                if now != self._told.get(name):
                    changed[name] = self._told[name] = now
        self._channel.tell({"is": "beat", "stages": changed})


async def _no_barrier(_: str) -> None:
    """Nothing here brings messages in, so nobody waits for the disk."""
    raise NotImplementedError("collectors run in the daemon itself")


async def main(end: socket.socket) -> None:
    """Take the assignment and work."""
    channel = await Channel.open(end)
    body = await channel.take()
    if body is None:
        return
    given: Assignment = pickle.loads(body)  # noqa: S301 - from the daemon that has started this process
    if given.most:
        resource.setrlimit(resource.RLIMIT_DATA, (given.most, given.most))
    loop = asyncio.get_running_loop()

    def forward(event: MutableMapping[str, Any]) -> None:
        loop.call_soon_threadsafe(channel.tell, {"is": "log", "event": {k: _plain(v) for k, v in event.items()}})

    logs.forward(forward, level=given.log_level)
    try:
        await Child(given, channel).run()
    finally:
        await channel.flush()
        channel.close()


def _plain(value: object) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


if __name__ == "__main__":
    uvloop.run(main(socket.socket(fileno=int(sys.argv[1]))))
