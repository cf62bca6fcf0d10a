"""The worker processes beside the daemon: started, watched, ended when they hang, started again when they die."""

import asyncio
import pickle
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from intelstream.app import logs
from intelstream.app.channel import Channel
from intelstream.app.child import Assignment
from intelstream.runtime.roles import Role
from intelstream.runtime.spec import HostSpec, PipelineSpec
from intelstream.runtime.status import COUNTS, StageStatus
from intelstream.runtime.worker import GRACE
from intelstream.transport.commit import Entry
from intelstream.transport.transport import QUARANTINE, Transport

START: Final = 60.0  # seconds until the first sign of life
BLOCKED: Final = 60.0  # seconds without one after which an isolated stage is ended, unless its `timeout` says otherwise
MEMORY: Final = 2**30  # bytes of data that an isolated stage may have
SHORTEST, LONGEST, HEALTHY = 0.1, 30.0, 60.0


@dataclass(slots=True)
class Member:
    """One process, as it is now."""

    role: Role
    pid: int | None = None
    consumer: str = ""
    since: float = 0.0
    restarts: int = 0

    def shown(self) -> dict[str, Any]:
        """Return it as commands show it."""
        return {"name": self.role.name, "pid": self.pid, "restarts": self.restarts}


class Crew:
    """Keeps the processes that a pipeline and the host ask for. `on_death` runs when one has died."""

    def __init__(
        self,
        host: HostSpec,
        transport: Transport,
        statuses: Mapping[str, StageStatus],
        consumer: Callable[[], str],
        on_death: Callable[[], Awaitable[None]],
        log_level: str = "info",
    ) -> None:
        self._host = host
        self._transport = transport
        self._statuses = statuses
        self._consumer = consumer
        self._on_death = on_death
        self._log_level = log_level
        self._log = structlog.get_logger()
        self._pipeline: PipelineSpec | None = None
        self._members: dict[str, tuple[Member, asyncio.Task[None]]] = {}
        self._stopping = asyncio.Event()

    def shown(self) -> list[dict[str, Any]]:
        """Return the processes as commands show them."""
        return [member.shown() for member, _ in self._members.values()]

    async def start(self, pipeline: PipelineSpec) -> None:
        """Start the processes of a pipeline, and those for entries that an earlier daemon left in quarantine."""
        self._pipeline = pipeline
        self._stopping = asyncio.Event()
        for number in range(1, self._host.workers):
            self._add(Role("share", number=number + 1))
        for spec in pipeline.stages.values():
            if spec.isolate == "process" and spec.enabled:
                self._add(Role("stage", spec.name))
            elif QUARANTINE + spec.name in await self._transport.consumers(spec.name):
                self._add(Role("quarantine", spec.name))

    async def stop(self) -> None:
        """Have all of them finish what they have in hand, and end."""
        self._stopping.set()
        tasks = [task for _, task in self._members.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE + 1)
        for task in tasks:
            task.cancel()  # which kills its process, if that hangs
        await asyncio.gather(*tasks, return_exceptions=True)
        self._members.clear()

    async def quarantine(self, entry: Entry) -> None:
        """Take over an entry under which workers have died."""
        if await self._transport.hand_on(entry, QUARANTINE + entry.stage):
            self._log.warning("entry_in_quarantine", stage=entry.stage, entry=entry.id, workers_gone=entry.tries)
            self._add(Role("quarantine", entry.stage))

    def _add(self, role: Role) -> None:
        if role.name not in self._members and not self._stopping.is_set():
            member = Member(role)
            self._members[role.name] = member, asyncio.create_task(self._keep(member), name=role.name)

    async def _keep(self, member: Member) -> None:
        """Start a process, and again when it has died: later each time, while it dies young."""
        gone = self._transport.buried
        if member.role.kind == "quarantine":
            gone |= {QUARANTINE + member.role.stage}
        wait = SHORTEST
        while not self._stopping.is_set():
            began = time.monotonic()
            why = await self._live(member, gone)
            gone |= {member.consumer}
            await self._transport.bury({member.consumer})
            if why is None:
                break
            await self._on_death()
            wait = SHORTEST if time.monotonic() - began > HEALTHY else min(LONGEST, wait * 2)
            self._show(member.role, "backoff", why)
            self._log.error("worker_died", worker=member.role.name, reason=why, next_try=wait)
            member.restarts += 1
            try:
                async with asyncio.timeout(wait):
                    await self._stopping.wait()
            except TimeoutError:
                continue
        if not self._stopping.is_set():
            del self._members[member.role.name]

    async def _live(self, member: Member, gone: frozenset[str]) -> str | None:
        """Run one process to its end; return why it died, None if it was to end."""
        mine, its = socket.socketpair()
        with its:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "intelstream.app.child", str(its.fileno())),
                pass_fds=(its.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the daemon alone
            )
        member.pid, member.consumer = process.pid, self._consumer()
        channel = await Channel.open(mine)
        try:
            channel.give(pickle.dumps(self._assignment(member, gone)))
            why = await self._follow(member, channel)
            if why:
                process.kill()
            code = await process.wait()
            if why is None and code:
                why = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            return why
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            channel.close()
            member.pid = None

    def _assignment(self, member: Member, gone: frozenset[str]) -> Assignment:
        if self._pipeline is None:
            raise RuntimeError("a crew starts with a pipeline")
        return Assignment(
            pipeline=self._pipeline,
            role=member.role,
            address=self._transport.client.address,
            consumer=member.consumer,
            gone=gone,
            state_dir=self._host.state_dir,
            memory=self._host.memory,
            space=self._host.dead_letters,
            most=MEMORY if member.role.alone else None,
            log_level=self._log_level,
        )

    async def _follow(self, member: Member, channel: Channel) -> str | None:
        """Listen to a process until it ends; return why it has to be killed, None if it has not."""
        limit = self._limit(member.role)
        counted: dict[str, dict[str, Any]] = {}
        stop = asyncio.create_task(self._tell_stop(channel))
        patience: float | None = START
        try:
            while True:
                async with asyncio.timeout(patience):
                    said = await channel.hear()
                if said is None:
                    return None
                patience = limit
                if said["is"] == "log":
                    logs.again(said["event"], worker=member.role.name)
                else:
                    self._count(member.role, said["stages"], counted)
        except TimeoutError:
            return f"no sign of life for {patience:g} s (`timeout`)"
        finally:
            stop.cancel()
            await asyncio.gather(stop, return_exceptions=True)

    async def _tell_stop(self, channel: Channel) -> None:
        await self._stopping.wait()
        channel.tell({"is": "stop"})

    def _limit(self, role: Role) -> float | None:
        """Return the seconds that a process may give no sign of life; None for those that share the stages."""
        if not role.alone or self._pipeline is None:
            return None
        return self._pipeline.stages[role.stage].timeout or BLOCKED

    def _count(self, role: Role, stages: Mapping[str, dict[str, Any]], counted: dict[str, dict[str, Any]]) -> None:
        """Add what a process has done, and show the state of what it has for itself."""
        for name, now in stages.items():
            status, before = self._statuses.get(name), counted.get(name, {})
            if status is None:
                continue
            for count in COUNTS:
                setattr(status, count, getattr(status, count) + now[count] - before.get(count, 0))
            if role.kind == "stage":
                status.enter(now["state"], now["reason"])
            if now["last_error"]:
                status.last_error = now["last_error"]
        counted |= stages

    def _show(self, role: Role, state: str, reason: str) -> None:
        if role.kind == "stage" and (status := self._statuses.get(role.stage)):
            status.last_error = reason
            status.enter("backoff" if state == "backoff" else "running", reason)
