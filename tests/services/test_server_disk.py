"""A full disk: the ballast is given up, the append-only file is rewritten, writes go on, and nothing is lost."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from intelstream.errors import IntelstreamError
from intelstream.runtime.server import BundledServer
from intelstream.transport.link import connect
from services.daemons import ask, keeping
from services.servers import until

BALLAST = 32 * 2**20


async def write_until_refused(server: BundledServer) -> None:
    """Fill the append-only file, not the memory, until the server takes no more."""
    with pytest.raises(IntelstreamError, match="MISCONF"):
        await write_without_end(server)


async def write_without_end(server: BundledServer) -> None:
    async with connect(server.address) as call:
        while True:
            await call("SET", "last", "x" * 200_000)


async def write(server: BundledServer) -> None:
    """Write as soon as the server takes it."""
    async with asyncio.timeout(30), connect(server.address) as call:
        while True:
            with suppress(IntelstreamError):
                await call("INCR", "written")
                return
            await asyncio.sleep(0.01)


async def test_a_disk_full_of_the_servers_own_files_heals(small_disk: Path, program: str) -> None:
    troubles: list[str] = []
    ballast = small_disk / "ballast"
    async with keeping(small_disk, troubles, server=program) as server:
        assert ballast.stat().st_blocks * 512 == BALLAST
        await ask(server.address, "CONFIG", "SET", "auto-aof-rewrite-percentage", "0")
        for turn in range(1, 3):
            await write_until_refused(server)
            await write(server)
            await until(ballast.exists, "the ballast")
            assert await ask(server.address, "GET", "written") == str(turn).encode()

        assert "giving up the ballast" in troubles[0]
        assert "it works again" in troubles[-1]
        await server.barrier()
        assert server.restarts == 0
    async with keeping(small_disk, [], server=program) as server:
        assert await ask(server.address, "GET", "written") == b"2"


async def test_a_disk_full_of_something_else_is_waited_out(small_disk: Path, program: str) -> None:
    troubles: list[str] = []
    ballast, foreign = small_disk / "ballast", small_disk / "somebody's"
    async with keeping(small_disk, troubles, server=program) as server:
        assert not server.low_on_disk
        await stuff(server, foreign, lambda: any("does not help" in text for text in troubles))
        assert str(small_disk) in troubles[-1]
        assert server.low_on_disk
        foreign.unlink()
        await write(server)
        await until(ballast.exists, "the ballast")
        assert await ask(server.address, "GET", "written") == b"1"
        assert server.restarts == 0


async def test_a_start_on_a_full_disk_gives_up_the_ballast_first(small_disk: Path, program: str) -> None:
    async with keeping(small_disk, [], server=program) as server:
        await write(server)
    fill(small_disk / "somebody's")

    async with keeping(small_disk, [], server=program) as server:
        await write(server)
        assert await ask(server.address, "GET", "written") == b"2"
        assert not (small_disk / "ballast").exists()


async def stuff(server: BundledServer, file: Path, over: Callable[[], bool]) -> None:
    """Let a file take whatever room there is, as often as the server makes some, until something has come of it."""
    async with asyncio.timeout(30):
        while not over():
            fill(file)
            await write_until_refused(server)
            await asyncio.sleep(0.01)


def fill(file: Path) -> None:
    """Let a file take what is left of its disk."""
    with file.open("ab") as out:
        free = os.statvfs(file).f_bavail * os.statvfs(file).f_frsize
        with suppress(OSError):  # nothing is left, or less than a moment ago
            os.posix_fallocate(out.fileno(), file.stat().st_size, free)
