"""Watches the event loop from a thread, and names the stage that blocks it."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Final, Self

import structlog

from intelstream.sdk import Stage

BEAT: Final = 0.25  # seconds between two signs of life of the loop
LATE: Final = 1.0  # seconds without one after which it counts as blocked
AGAIN: Final = 30.0  # seconds until a block that lasts is told again


@dataclass(frozen=True, slots=True)
class Block:
    """What holds the loop up: for how many seconds by now, the stage if it is one, and the line that runs."""

    seconds: float
    stage: str
    place: str


class LoopWatch:
    """Runs while the context lasts; `tell` is called in the watching thread."""

    def __init__(self, tell: Callable[[Block], None]) -> None:
        self._tell = tell
        self._beat = time.monotonic()
        self._stop = threading.Event()
        self._loop_thread = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="loop-watch", daemon=True)
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._live()
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        if self._timer:
            self._timer.cancel()
        await asyncio.to_thread(self._thread.join, LATE)

    def _live(self) -> None:
        self._beat = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(BEAT, self._live)

    def _watch(self) -> None:
        due = LATE
        while not self._stop.wait(BEAT):
            late = time.monotonic() - self._beat
            if late < LATE:
                due = LATE
            elif late >= due:
                due = late + AGAIN
                self._tell(self._found(late))

    def _found(self, late: float) -> Block:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - documented, and the only way to ask
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""
        return Block(late, _stage_of(frame), place)


def told(block: Block) -> None:
    """Log it."""
    structlog.get_logger().warning(
        "loop_blocked", stage=block.stage, seconds=round(block.seconds, 1), place=block.place, cure="isolate: process"
    )


def _stage_of(frame: FrameType | None) -> str:
    """Return the name of the innermost stage whose method runs."""
    while frame is not None:
        holder = frame.f_locals.get("self")
        if isinstance(holder, Stage):
            return holder.ctx.name
        frame = frame.f_back
    return ""
