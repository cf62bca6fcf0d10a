"""Room on the disk: the ballast that is given up when it is full, and the bound on the server's log."""

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Mapping
from typing import Final

from intelstream.runtime.server.call import Call, ask, info
from intelstream.runtime.server.config import Layout

BALLAST: Final = 32 * 2**20  # bytes
NEEDED: Final = 2**20  # bytes of room that a start takes
TRY_AGAIN: Final = 10.0  # seconds between two rewrites that are to make room
LOW: Final = 0.05  # share of the disk below which less should be taken in
LONGEST_LOG: Final = 8 * 2**20  # bytes; two files of it


class Disk:
    """Keeps the server writing: a full disk would refuse every write, and the rewrite that frees it.

    A drained pipeline fills the disk with its AOF while there is nothing in it; the rewrite that would free it
    fails for want of some megabytes. The ballast is these megabytes.
    """

    def __init__(self, call: Call, layout: Layout, on_trouble: Callable[[str], None]) -> None:
        self.low = False
        self._call = call
        self._layout = layout
        self._on_trouble = on_trouble
        self._full = False
        self._helpless = False
        self._owed = False  # a rewrite after the disk was full
        self._tried = float("-inf")

    async def tend(self) -> None:
        """Look after the disk once.

        Raises:
            Unavailable: the server does not answer.
        """
        free = await asyncio.to_thread(self._look)
        facts = await info(self._call, "persistence")
        rewriting = "1" in {facts["aof_rewrite_in_progress"], facts["aof_rewrite_scheduled"]}
        stuck = facts["aof_last_write_status"] != "ok"
        if stuck:
            self._make_room(rewriting=rewriting)
        elif self._full:
            self._full = self._helpless = False
            self._owed = True
            self._on_trouble(f"writing to {self._layout.directory}: it works again; {free // 2**20} MiB are free")
        if not stuck and not rewriting:
            await asyncio.to_thread(keep_ballast, self._layout)
        if not rewriting and (stuck or self._is_worth_rewriting(facts)) and self._may_try():
            self._owed = stuck
            await ask(self._call, "BGREWRITEAOF")

    def _make_room(self, *, rewriting: bool) -> None:
        """Give up the ballast; call for help where that and a rewrite were not enough."""
        if not self._full:
            self._full = True
            self._tried = float("-inf")
            self._on_trouble(f"writing to {self._layout.directory}: the disk is full; giving up the ballast")
        elif not self._helpless and not rewriting and not self._layout.ballast.exists():
            self._helpless = True
            self._on_trouble(
                f"writing to {self._layout.directory}: the disk is full and rewriting the AOF does not help; "
                "nothing is lost, everything waits until something else there is deleted"
            )
        self._layout.ballast.unlink(missing_ok=True)

    def _is_worth_rewriting(self, facts: Mapping[str, str]) -> bool:
        """Whether room for the ballast may come of it: after failures the server itself waits for up to an hour."""
        if self._layout.ballast.exists():
            return False
        base, size = int(facts["aof_base_size"]), int(facts["aof_current_size"])
        return self._owed or size - base > max(base, BALLAST // 4)

    def _may_try(self) -> bool:
        due = time.monotonic() - self._tried >= TRY_AGAIN
        if due:
            self._tried = time.monotonic()
        return due

    def _look(self) -> int:
        """Bound the log and measure the disk; return the free bytes."""
        bound_log(self._layout)
        usage = shutil.disk_usage(self._layout.directory)
        self.low = usage.free < LOW * usage.total
        return usage.free


def keep_ballast(layout: Layout) -> None:
    """Make the ballast where it leaves as much room again; give it up where there is none to start with."""
    free = shutil.disk_usage(layout.directory).free
    if free < NEEDED:
        layout.ballast.unlink(missing_ok=True)
    if free < 2 * BALLAST or layout.ballast.exists():
        return
    fresh = layout.ballast.with_name("ballast.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, BALLAST)
    except OSError:  # somebody else took the room: another time
        fresh.unlink()
        return
    finally:
        os.close(descriptor)
    fresh.rename(layout.ballast)


def bound_log(layout: Layout) -> None:
    """Keep the last two pieces of the log. The server opens the file anew for each line."""
    try:
        if layout.log.stat().st_size > LONGEST_LOG:
            layout.log.rename(layout.log.with_name("server.log.1"))
    except FileNotFoundError:
        return
