"""What the server has acknowledged: on the disk when the barrier says so, whole or not at all after a crash."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from intelstream.errors import IntelstreamError, Unavailable, UnusableServer
from intelstream.runtime.server import BundledServer
from intelstream.transport.link import connect
from services.daemons import ask, daemon, keeping, kill, restarted
from services.servers import until
from services.slow_disk import SlowDisk

MOVE: Final = """
local found = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
if #found == 0 then return 0 end
redis.call('XADD', KEYS[2], '*', 'n', found[1][2][2], 'd', found[1][2][4])
redis.call('XDEL', KEYS[1], found[1][1])
return 1
"""


async def test_the_barrier_waits_for_the_disk(slow_disk: SlowDisk, tmp_path: Path, program: str) -> None:
    with daemon(tmp_path / "var", program, **slow_disk.environment) as (process, found):
        slow_disk.gate.touch()
        await ask(found["address"], "SET", "a", "1")
        assert process.stdin
        process.stdin.write(b"barrier 1\n")
        process.stdin.flush()
        await until(lambda: "begin" in slow_disk.lines(process.pid), "the daemon's own fdatasync")

        assert "synced" not in slow_disk.lines()
        slow_disk.gate.unlink()
        await until(lambda: "synced" in slow_disk.lines(), "the barrier")
        before = slow_disk.lines()[: slow_disk.lines().index("synced")]
        assert any(line.startswith(f"end {process.pid} ") and line.endswith(".incr.aof") for line in before)


async def test_one_sync_serves_all_that_wait(slow_disk: SlowDisk, tmp_path: Path, program: str) -> None:
    with daemon(tmp_path / "var", program, **slow_disk.environment) as (process, _):
        slow_disk.gate.touch()
        assert process.stdin
        process.stdin.write(b"barrier 50\n")
        process.stdin.flush()
        await until(lambda: "begin" in slow_disk.lines(process.pid), "the first sync")
        slow_disk.gate.unlink()
        await until(lambda: "synced" in slow_disk.lines(), "all fifty")

        # those that came while the first was under way cannot know whether it began early enough
        assert slow_disk.lines(process.pid) == ["begin", "end", "begin", "end"]


async def test_the_barrier_passes_under_load_and_while_the_file_is_rewritten(tmp_path: Path, program: str) -> None:
    async with keeping(tmp_path, [], server=program) as server:

        async def load(key: str) -> None:
            async with connect(server.address) as call:
                while True:
                    await call("SET", key, "x" * 10_000)

        async with asyncio.TaskGroup() as group:
            loads = [group.create_task(load(str(number))) for number in range(4)]
            for turn in range(20):
                if turn % 5 == 0:
                    with suppress(IntelstreamError):  # one is under way already
                        await ask(server.address, "BGREWRITEAOF")
                await server.barrier()
            for task in loads:
                task.cancel()


async def test_the_barrier_fails_where_the_write_may_be_lost(tmp_path: Path, program: str) -> None:
    async with keeping(tmp_path, [], server=program) as server:
        before = await run_id(server)
        await server.barrier(before)
        kill(server)
        await restarted(server)

        with pytest.raises(Unavailable, match="started again since the write"):
            await server.barrier(before)
        await server.barrier(await run_id(server))


async def test_the_barrier_fails_for_all_that_wait_where_nobody_answers(tmp_path: Path, program: str) -> None:
    async with keeping(tmp_path, [], server=program, supervised=False) as server:
        await server.barrier()
        kill(server)

        failures = await asyncio.gather(*(server.barrier() for _ in range(5)), return_exceptions=True)
        assert [type(failure) for failure in failures] == [Unavailable] * 5


async def run_id(server: BundledServer) -> str:
    lines = str(await ask(server.address, "INFO", "server"), "ascii").splitlines()
    return next(line for line in lines if line.startswith("run_id:")).removeprefix("run_id:")


async def moved(path: Path, program: str) -> Path:
    """Have a script move an entry from `from` to `to`, and return the file that ends with this transaction."""
    async with keeping(path, [], server=program) as server:
        await ask(server.address, "XADD", "from", "*", "n", "1", "d", "x" * 20_000)
        await ask(server.address, "EVAL", MOVE, "2", "from", "to")
    [file] = (path / "server").rglob("*.incr.aof")
    return file


async def streams(path: Path, program: str, troubles: list[str] | None = None) -> dict[str, int]:
    """Start the server, write something, kill it, and tell what is there after the next start."""
    async with keeping(path, [] if troubles is None else troubles, server=program) as server:
        await ask(server.address, "SET", "after", "1")
        await server.barrier()
        kill(server)
        await restarted(server)
        assert await ask(server.address, "GET", "after") == b"1"
        return {name: await ask(server.address, "XLEN", name) for name in ("from", "to")}


# Where a write(2) may have ended: after so many bytes of the last of these.
CUTS: Final = {
    "in MULTI": (b"MULTI", 3),
    "before XADD": (b"MULTI\r\n", 7),
    "in a length": (b"$20000", 3),
    "in XADD": (b"x" * 20_000, 5_000),
    "in a line's end": (b"XDEL\r\n", 5),
    "before EXEC": (b"*1\r\n$4\r\nEXEC", 0),
    "in EXEC": (b"EXEC\r\n", 4),
}


@pytest.mark.parametrize(("mark", "offset"), CUTS.values(), ids=CUTS)
async def test_half_a_transaction_is_never_run(tmp_path: Path, program: str, mark: bytes, offset: int) -> None:
    file = await moved(tmp_path, program)
    os.truncate(file, file.read_bytes().rindex(mark) + offset)
    troubles: list[str] = []

    assert await streams(tmp_path, program, troubles) == {"from": 1, "to": 0}
    mended = [text for text in troubles if text.startswith(f"mending {tmp_path}/server/appendonlydir: cut ")]
    assert len(mended) == (0 if program == "bundled" else 1)  # Valkey does it itself


async def test_damage_that_no_crash_makes_is_not_cut_off(tmp_path: Path, program: str) -> None:
    file = await moved(tmp_path, program)
    damaged = file.read_bytes().replace(b"MULTI", b"MUL\0I")
    damaged = damaged[:30] + b"\0" * 30 + damaged[60:]
    file.write_bytes(damaged)

    with pytest.raises(UnusableServer):
        async with keeping(tmp_path, [], server=program):
            pytest.fail("a server that reads this has dropped data")
    assert file.read_bytes() == damaged


async def test_a_whole_transaction_is_not_touched(tmp_path: Path, program: str) -> None:
    await moved(tmp_path, program)

    assert await streams(tmp_path, program) == {"from": 0, "to": 1}


async def test_nothing_is_lost_or_doubled_when_the_server_is_killed_under_load(tmp_path: Path, program: str) -> None:
    async with keeping(tmp_path, [], server=program) as server:
        for number in range(40):
            await ask(server.address, "XADD", "from", "*", "n", str(number), "d", "x" * 250_000)
        await server.barrier()
        for turn in range(1, 4):  # what one crash tears, the start after the next one misreads
            async with asyncio.TaskGroup() as group:
                movers = [group.create_task(move(server)) for _ in range(4)]
                await asyncio.wait(movers, return_when=asyncio.FIRST_COMPLETED)
                kill(server)
            await restarted(server, turn)

        found = await numbers(server, "from") + await numbers(server, "to")
        assert sorted(found) == list(range(40))


async def move(server: BundledServer) -> None:
    """Move some entries, until the server is gone."""
    with suppress(IntelstreamError):
        async with connect(server.address) as call:
            for _ in range(4):
                await call("EVAL", MOVE, "2", "from", "to")


async def numbers(server: BundledServer, stream: str) -> list[int]:
    entries: list[Any] = await ask(server.address, "XRANGE", stream, "-", "+")
    return [int(fields[1]) for _, fields in entries]
