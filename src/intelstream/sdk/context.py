"""The seam between a stage and the world: the runtime builds one, `intelstream.testing` another."""

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

import aiohttp

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


class Log(Protocol):
    """A fixed past-tense event, and the facts beside it."""

    def debug(self, event: str, **facts: Any) -> None: ...
    def info(self, event: str, **facts: Any) -> None: ...
    def warning(self, event: str, **facts: Any) -> None: ...


class Resolver(Protocol):
    """Asks the domain name system."""

    async def query(self, name: str, kind: str = "A") -> list[str]:
        """Return the records as text.

        Raises:
            NotFound: there is no such name or no such record.
            Unavailable: no server answered.
        """
        ...


class Cache(Protocol):
    """Shared and lossy: what may be asked for again."""

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]: ...
    async def set_many(self, values: Mapping[str, bytes], ttl: float) -> None: ...


class Claims(Protocol):
    """Marks that belong to whoever set them first."""

    async def claim_many(self, claims: Sequence[tuple[str, str]], ttl: float, most: int = ...) -> list[str]:
        """For each (key, owner) return the owner that the key has now. `Event.owner` is the owner to give.

        A mark lives for `ttl` seconds, or shorter where there are more than `most` of them.
        """
        ...


class InThread(Protocol):
    """Runs what blocks beside the loop."""

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


class Concurrently(Protocol):
    """Runs a coroutine function over many items, so many at a time, and keeps their order."""

    async def __call__(self, function: Callable[[T], Awaitable[R]], items: Iterable[T], limit: int = 20) -> list[R]:
        """Return the results; an exception is raised when all that were under way have ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """All that a stage may touch besides its arguments.

    `now` is UTC; `address` maps a host and port to where they really are; `directory` is the stage's own. `held` says
    why nothing more is to be taken in at the moment, such as a full disk, and is empty while there is room.
    """

    name: str
    log: Log
    now: Callable[[], datetime]
    sleep: Callable[[float], Awaitable[None]]
    random: random.Random
    http: aiohttp.ClientSession
    dns: Resolver
    address: Callable[[str, int], tuple[str, int]]
    directory: Path
    cache: Cache
    claims: Claims
    concurrently: Concurrently
    in_thread: InThread
    held: Callable[[], str] = lambda: ""
