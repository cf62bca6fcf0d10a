"""The way to the disk: what the server has acknowledged, synced on demand."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from intelstream.errors import Unavailable
from intelstream.runtime.server.call import Call, info
from intelstream.runtime.server.config import Layout

LOOK_AGAIN: Final = 0.002  # seconds between two looks at the server's buffer
HELD_BACK: Final = 30.0  # seconds after which a write(2) that the server holds back is a failing disk


class Barrier:
    """Waits until what the server has acknowledged is on the disk: one sync serves everybody who waits for it.

    WAITAOF does not do it: Valkey 9.1.2 answers before the fsync, and Redis 7.0 has none. The files are on this
    machine and belong to this user, so the daemon syncs them itself.
    """

    def __init__(self, call: Call, layout: Layout) -> None:
        self._call = call
        self._layout = layout
        self._turn = asyncio.Lock()
        self._begun = 0
        self._ended = 0
        self._outcome: str | Unavailable = ""

    async def __call__(self, run_id: str | None = None) -> None:
        """Return when every write that was acknowledged before the call is on the disk.

        `run_id` is that of the server which acknowledged it: one that was started since may not know the write.

        Raises:
            Unavailable: it is not, or nobody can tell.
        """
        needed = self._begun + 1  # one that is under way may have begun too early
        async with self._turn:
            if self._ended < needed:
                self._begun += 1
                number = self._begun
                try:
                    self._outcome = await self._sync()
                except Unavailable as error:
                    self._outcome = error
                self._ended = number
            outcome = self._outcome
        if isinstance(outcome, Unavailable):
            raise Unavailable(str(outcome)) from outcome
        if run_id not in {None, outcome}:
            raise Unavailable("syncing to disk: the server has been started again since the write")

    async def _sync(self) -> str:
        """Bring the AOF to the disk and return the run_id of the server that wrote it."""
        first = await self._state()
        try:
            async with asyncio.timeout(HELD_BACK):
                await self._written(first)
            await asyncio.to_thread(_sync_files, self._layout.appended)
        except TimeoutError as error:
            raise Unavailable(f"syncing {self._layout.appended}: the server holds its writes back") from error
        except OSError as error:
            raise Unavailable(f"syncing {self._layout.appended}: {error.strerror}") from error
        # The disk tells of an error once: the server may have heard of it in our place.
        last = await self._state()
        if last["run_id"] != first["run_id"]:
            raise Unavailable("syncing to disk: the server has been started again meanwhile")
        return first["run_id"]

    async def _written(self, facts: Mapping[str, str]) -> None:
        """Wait until the server has given to the kernel what it had taken when `facts` were told."""
        base = wanted = -1
        while int(facts["aof_buffer_length"]):
            size = int(facts["aof_current_size"])
            if base != int(facts["aof_base_size"]):  # the first look, or a rewrite: sizes count from another start
                base = int(facts["aof_base_size"])
                wanted = size + int(facts["aof_buffer_length"])
            elif size >= wanted:  # under load the buffer is never seen empty
                return
            await asyncio.sleep(LOOK_AGAIN)
            facts = await self._state()

    async def _state(self) -> Mapping[str, str]:
        facts = await info(self._call, "server", "persistence")
        if facts["aof_last_write_status"] != "ok":
            raise Unavailable(f"syncing {self._layout.appended}: the server cannot write; see {self._layout.log}")
        return facts


def _sync_files(directory: Path) -> None:
    """Sync every file that takes appends: two of them while a rewrite is under way."""
    for path in directory.glob("*.incr.aof"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # a rewrite ended: what it held is in the new base, which is synced
            continue
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
