"""Delivers the events of a batch one by one, where the other side takes no more than one at a time."""

from collections.abc import Awaitable, Callable
from typing import Final

from intelstream.errors import PartialWrite, Rejected, StageError, Unavailable
from intelstream.ontology import Event
from intelstream.sdk.context import StageContext
from intelstream.sdk.stage import Batch

ABREAST: Final = 10  # deliveries at a time


async def each(
    ctx: StageContext, batch: Batch, deliver: Callable[[Event], Awaitable[None]], limit: int = ABREAST
) -> None:
    """Deliver every event, so many side by side, and tell the engine which of them failed.

    Raises:
        PartialWrite: some did; one of which nobody knows whether it was taken is not to be tried again.
        StageError: the only one did, or all did since the other side is away.
    """
    if len(batch) == 1:
        await deliver(batch.events[0])
        return
    failures: dict[int, StageError] = {}

    async def attempt(item: tuple[int, Event]) -> None:
        place, event = item
        try:
            await deliver(event)
        except (Unavailable, Rejected) as error:
            failures[place] = error
        except StageError as error:
            failures[place] = Rejected(str(error))

    await ctx.concurrently(attempt, enumerate(batch), limit)
    if len(failures) == len(batch) and all(isinstance(error, Unavailable) for error in failures.values()):
        raise failures[0]  # the stage waits, as it would with one
    if failures:
        raise PartialWrite(failures)
