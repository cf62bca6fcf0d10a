"""What a proof does to the processes, and when: a plan that follows from the seed."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Literal

from intelstream.app.prove.daemons import ServerUnderProof, UnderProof
from intelstream.app.prove.proxy import CuttingProxy
from intelstream.transport.keeper import LIFETIME, SWEEP

Kind = Literal["daemon", "worker", "server", "cut", "fill", "stop"]
TITLES: Final[Mapping[Kind, str]] = {
    "daemon": "kill -9 of the daemon",
    "worker": "kill -9 of a worker",
    "server": "kill -9 of the server",
    "cut": "connection cut after sending",
    "fill": "server out of memory",
    "stop": "daemon stopped for longer than its claims last",
}
STOPS_FROM: Final = 20  # kills from which on a daemon is stopped too: it takes half a minute
COMMANDS: Final = ("EVALSHA", "EVALSHA", "EVALSHA", "XREADGROUP", "HMGET")
LAST: Final = 3  # which of the next ones is cut, at most
CUT_WITHIN: Final = 3.0  # seconds in which such a command has to come
EARLY: Final = 0.25  # share of the blows that fall while the daemon starts
START: Final = 1.5  # seconds from the beginning of a start in which those fall
FLOW: Final = 0.25  # seconds after the first message in which the others fall
LATE: Final = 0.5  # share of the server's kills that come later than that
DISK: Final = 2.5  # seconds: it syncs once in a second, and may hold writes back for two
ASLEEP: Final = LIFETIME + SWEEP + 3.0


@dataclass(frozen=True, slots=True)
class Blow:
    """One fault: `after` so many seconds, from the start of the daemon if it is `early`, else from the first message.

    `chance` is the seed of what else is chosen.
    """

    kind: Kind
    early: bool
    after: float
    chance: int


def planned(kills: int, seed: int, *, workers: bool, only: Collection[Kind] = ()) -> list[Blow]:
    """Return as many kills of the daemon as asked for, and a share of everything else, in an order of chance.

    With `only` each of those as often as that, and nothing else.
    """
    chance = Random(f"faults {seed}")  # noqa: S311 - repeatable is what it is for
    some: dict[Kind, int] = {
        "daemon": kills,
        "worker": kills // 2 if workers else 0,
        "server": -(-kills // 5),
        "cut": -(-kills // 5),
        "fill": -(-kills // 20),
        "stop": -(-kills // 50) if kills >= STOPS_FROM else 0,
    }
    if only:
        some = dict.fromkeys(only, kills)
    kinds: list[Kind] = [kind for kind, number in some.items() for _ in range(number)]
    chance.shuffle(kinds)
    return [_blow(kind, chance) for kind in kinds]


def beside(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the processes beside the daemon itself."""
    return [worker for worker in status["workers"] if worker["name"] != "main"]


def _blow(kind: Kind, chance: Random) -> Blow:
    early = kind == "daemon" and chance.random() < EARLY
    longest = START if early else DISK if kind == "server" and chance.random() < LATE else FLOW
    return Blow(kind, early, chance.uniform(0.0, longest), chance.getrandbits(32))


@dataclass(slots=True)
class Victims:
    """All that faults are done to."""

    daemon: UnderProof
    second: UnderProof
    server: ServerUnderProof
    proxy: CuttingProxy

    async def strike(self, blow: Blow) -> bool:
        """Do one fault and undo what would keep the pipeline from going on; say whether it could be done."""
        acts: Mapping[Kind, Callable[[Random], Awaitable[bool]]] = {
            "daemon": self._kill_daemon,
            "worker": self._kill_worker,
            "server": lambda _: self.server.kill(),
            "cut": self._cut,
            "fill": lambda chance: self.server.fill(chance.uniform(0.5, 2.0)),
            "stop": self._stop,
        }
        return await acts[blow.kind](Random(blow.chance))  # noqa: S311 - repeatable is what it is for

    async def _kill_daemon(self, _: Random) -> bool:
        await self.daemon.kill()
        await self.daemon.start()
        return True

    async def _kill_worker(self, chance: Random) -> bool:
        pids = [worker["pid"] for worker in beside(await self.daemon.ask("/status")) if worker["pid"]]
        if pids:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(pids), signal.SIGKILL)
        return bool(pids)

    async def _cut(self, chance: Random) -> bool:
        before, command = self.proxy.cuts, chance.choice(COMMANDS)
        self.proxy.cut(command, chance.randint(1, LAST))
        deadline = time.monotonic() + CUT_WITHIN
        while self.proxy.cuts == before and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.01)
        return self.proxy.cuts > before

    async def _stop(self, chance: Random) -> bool:
        """Stop the daemon until a second one has taken its work over, then let it wake up beside that one."""
        await self.second.start()
        await self.second.ask("/status")
        self.daemon.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(ASLEEP)
        finally:
            self.daemon.signal(signal.SIGCONT)
        await asyncio.sleep(chance.uniform(0.0, 2.0))
        if chance.random() < 0.5:  # noqa: PLR2004 - one way or the other
            await self.second.kill()
        else:
            self.second.signal(signal.SIGTERM)
            await self.second.ended()
        return True
