"""Work side by side, bounded: what `ctx.concurrently` is."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def concurrently(function: Callable[[T], Awaitable[R]], items: Iterable[T], limit: int = 20) -> list[R]:
    """Run a coroutine function over items, so many at a time; return the results in the order of the items.

    The first exception is raised when everything that was under way has ended.
    """
    slots = asyncio.Semaphore(limit)

    async def one(item: T) -> R:
        async with slots:
            return await function(item)

    outcomes = await asyncio.gather(*map(one, items), return_exceptions=True)
    results: list[R] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        results.append(outcome)
    return results
