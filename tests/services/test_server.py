"""The daemon's own server: private, alone on its directory, alive whatever is killed, gone when the daemon ends."""

import asyncio
import json
import os
import platform
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from intelstream.errors import DirectoryInUse, UnusableServer
from intelstream.runtime.server import StateDirectory
from intelstream.runtime.server.locks import holds
from intelstream.runtime.server.program import find
from services import servers
from services.daemons import MEMORY, ask, daemon, is_alive, keeping, kill, restarted, servers_of
from services.servers import until


async def run(*command: str, cwd: Path) -> str:
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd, stdout=subprocess.PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode()


async def setting(address: str, name: str) -> str:
    [_, value] = await ask(address, "CONFIG", "GET", name)
    return str(value, "ascii")


async def test_the_server_is_private(tmp_path: Path, program: str) -> None:
    path = tmp_path / "var"
    async with keeping(path, [], server=program) as server:
        await ask(server.address, "SET", "a", "1")
        modes = {name: (path / name).stat().st_mode & 0o777 for name in ("", "server", "server.sock", "server.log")}

        assert modes == {"": 0o700, "server": 0o700, "server.sock": 0o700, "server.log": 0o600}
        assert {file.stat().st_mode & 0o077 for file in path.rglob("*")} == {0}
        assert await setting(server.address, "port") == "0"
        assert server.pid
        assert os.getsid(server.pid) == server.pid  # Ctrl-C reaches the daemon's group, not the server
        assert not holds(server.pid, path / "daemon.lock")


async def test_the_server_is_set_up_for_queues(tmp_path: Path, program: str) -> None:
    async with keeping(tmp_path, [], server=program, memory=100 * 2**20) as server:
        names = (
            "appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy",
            "stream-node-max-entries", "aof-use-rdb-preamble", "hash-max-listpack-value",
        )  # fmt: skip
        found = [await setting(server.address, name) for name in names]

        assert found == ["yes", "everysec", "", str(125 * 2**20), "noeviction", "1", "yes", "64"]
        free = os.statvfs(tmp_path)
        assert int(await setting(server.address, "auto-aof-rewrite-min-size")) <= max(
            512 * 2**20, free.f_bavail * free.f_frsize // 10
        )


async def test_a_killed_server_is_started_again_with_its_data(tmp_path: Path, program: str) -> None:
    troubles: list[str] = []
    async with keeping(tmp_path, troubles, server=program) as server:
        assert server.pid
        first, address = server.pid, server.address
        for turn in range(3):
            await ask(address, "SET", "turn", str(turn))
            await server.barrier()
            kill(server)
            await restarted(server, turn + 1)
            assert await ask(address, "GET", "turn") == str(turn).encode()

        assert server.pid != first
        assert server.address == address
        assert all("it ended by SIGKILL; starting it again" in text for text in troubles)


async def test_a_server_whose_socket_is_deleted_is_started_again(tmp_path: Path, program: str) -> None:
    troubles: list[str] = []
    async with keeping(tmp_path, troubles, server=program) as server:
        await ask(server.address, "SET", "a", "1")
        (tmp_path / "server.sock").unlink()
        await restarted(server)

        assert await ask(server.address, "GET", "a") == b"1"
        assert any("somebody deleted" in text for text in troubles)


async def test_the_server_ends_with_the_daemon_and_keeps_its_data(tmp_path: Path, program: str) -> None:
    async with keeping(tmp_path, [], server=program) as server:
        await ask(server.address, "SET", "a", "1")

    assert not servers_of(tmp_path)
    assert not (tmp_path / "server.sock").exists()
    async with keeping(tmp_path, [], server=program) as server:
        assert await ask(server.address, "GET", "a") == b"1"


async def test_a_start_that_is_cancelled_half_way_leaves_no_process(tmp_path: Path) -> None:
    silent = tmp_path / "silent-server"
    silent.write_text("#!/bin/sh\n[ $1 = --version ] && echo 'Redis server v=7.0.15' || exec sleep 1000\n")
    silent.chmod(0o700)
    path = tmp_path / "var"

    async def start() -> None:
        async with keeping(path, [], server=str(silent)):
            pytest.fail("a server that does not answer is not ready")

    starting = asyncio.create_task(start())
    await until(lambda: bool(servers_of(path)), "a process that starts")
    [pid] = servers_of(path)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert not is_alive(pid)


async def test_the_next_daemon_uses_the_server_that_a_killed_one_left(tmp_path: Path, program: str) -> None:
    with daemon(tmp_path, program) as (killed, found):
        await ask(found["address"], "SET", "a", "1")
        killed.kill()
        killed.wait()

    async with keeping(tmp_path, [], server=program, memory=2 * MEMORY) as server:
        assert server.pid == found["pid"]
        assert await ask(server.address, "GET", "a") == b"1"
        assert await setting(server.address, "maxmemory") == str(int(2 * MEMORY * 1.25))
        kill(server)
        await restarted(server)
    assert not servers_of(tmp_path)


async def test_locks_and_sockets_without_a_process_are_in_nobodys_way(tmp_path: Path, program: str) -> None:
    with daemon(tmp_path, program) as (killed, found):
        await ask(found["address"], "SET", "a", "1")
        killed.kill()
        killed.wait()
        os.kill(found["pid"], signal.SIGKILL)
        await until(lambda: not servers_of(tmp_path), "the end of the server")

    assert (tmp_path / "server.sock").is_socket()
    async with keeping(tmp_path, [], server=program) as server:
        assert await ask(server.address, "GET", "a") == b"1"


async def test_a_second_daemon_is_told_who_works_in_the_directory(tmp_path: Path) -> None:
    with daemon(tmp_path, "bundled") as (first, _):
        with pytest.raises(DirectoryInUse) as refused:
            StateDirectory(tmp_path).__enter__()

        assert str(tmp_path) in str(refused.value)
        assert f"process {first.pid}" in str(refused.value)
    with StateDirectory(tmp_path) as directory:
        assert directory.path == tmp_path


async def test_a_server_that_does_not_answer_is_waited_for_and_never_doubled(tmp_path: Path) -> None:
    troubles: list[str] = []
    with daemon(tmp_path, "bundled") as (killed, found):
        killed.kill()
        killed.wait()
        os.kill(found["pid"], signal.SIGSTOP)

    async def start() -> int | None:
        async with keeping(tmp_path, troubles) as server:
            return server.pid

    starting = asyncio.create_task(start())
    await until(lambda: bool(troubles), "a word about the server that does not answer")
    living = servers_of(tmp_path)
    os.kill(found["pid"], signal.SIGCONT)

    assert await starting == found["pid"]
    assert living == [found["pid"]]
    assert f"process {found['pid']} holds" in troubles[0]


async def test_a_server_of_another_version_is_ended_before_ours_starts(tmp_path: Path) -> None:
    with daemon(tmp_path, os.fspath(servers.redis_program("redis7"))) as (killed, found):
        await ask(found["address"], "SET", "a", "1")
        killed.kill()
        killed.wait()

    async with keeping(tmp_path, []) as server:
        assert server.program.version.name == "valkey"
        assert servers_of(tmp_path) == [server.pid]
        assert await ask(server.address, "GET", "a") == b"1"


async def test_a_long_path_gets_a_short_socket(tmp_path: Path, program: str) -> None:
    path = tmp_path / ("long-" * 22)
    with daemon(path, program) as (killed, found):
        socket = Path(json.loads((path / "server.json").read_text())["socket"])
        await ask(found["address"], "SET", "a", "1")
        killed.kill()
        killed.wait()

    assert len(os.fsencode(path / "server.sock")) > 107
    assert not socket.is_relative_to(path)
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    async with keeping(path, [], server=program) as server:
        assert server.pid == found["pid"]
    assert not socket.parent.exists()


async def test_the_socket_of_a_long_path_goes_to_the_runtime_directory(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as short:
        async with keeping(tmp_path / ("long-" * 22), [], runtime_dir=short) as server:
            assert server.address.startswith(f"unix://{short}/intelstream-")
            assert await ask(server.address, "PING") == b"PONG"


async def test_a_path_may_hold_what_a_configuration_file_and_a_url_cannot(tmp_path: Path, program: str) -> None:
    async with keeping(tmp_path / 'a "quoted" 100% \\ ü', [], server=program) as server:
        assert await ask(server.address, "SET", "a", "1") == b"OK"


async def test_data_of_a_newer_server_are_refused_with_a_way_that_works(tmp_path: Path) -> None:
    redis7 = os.fspath(servers.redis_program("redis7"))
    async with keeping(tmp_path, []) as server:
        await ask(server.address, "XADD", "s", "1-1", "d", "x" * 5000)
        await ask(server.address, "XGROUP", "CREATE", "s", "g", "0")
        bundled = server.program.path

    with pytest.raises(UnusableServer) as refused:
        async with keeping(tmp_path, [], server=redis7):
            pytest.fail("Redis 7.0 cannot read this")
    text = str(refused.value)
    assert f"the data in {tmp_path}/server is that of valkey 9" in text
    assert f"Go back to {bundled}" in text

    # what the text says, word for word
    start, rewrite, look, shutdown = (step.split() for step in re.findall(r"\([1-4]\) ([^(,]+)", text))
    assert start[0] == str(bundled)
    directory = tmp_path / "server"
    mover = await asyncio.create_subprocess_exec(*start, cwd=directory)
    try:
        await until((directory / "move.sock").is_socket, "the socket of step 1")
        await run(*rewrite, cwd=directory)
        while "aof_rewrite_in_progress:0" not in await run(*look, cwd=directory):
            pass
        await run(*shutdown, cwd=directory)
        assert await mover.wait() == 0
    finally:
        if mover.returncode is None:
            mover.kill()
    (tmp_path / "server.json").unlink()
    async with keeping(tmp_path, [], server=redis7) as server:
        assert server.program.version.name == "redis"
        assert await ask(server.address, "XLEN", "s") == 1
        assert await ask(server.address, "XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")


async def test_data_of_redis_7_0_are_taken_over_by_the_bundled_server(tmp_path: Path) -> None:
    async with keeping(tmp_path, [], server=os.fspath(servers.redis_program("redis7"))) as server:
        await ask(server.address, "SET", "a", "1")
    async with keeping(tmp_path, []) as server:
        assert await ask(server.address, "GET", "a") == b"1"

    assert json.loads((tmp_path / "server.json").read_text())["server"].startswith("valkey 9")


async def test_a_server_that_ends_at_once_is_explained(tmp_path: Path, program: str) -> None:
    async with keeping(tmp_path, [], server=program) as server:
        await ask(server.address, "SET", "a", "1")
    [appended] = (tmp_path / "server").rglob("*.incr.aof")
    appended.write_bytes(b"what is this\r\n" + appended.read_bytes())

    with pytest.raises(UnusableServer) as refused:
        async with keeping(tmp_path, [], server=program):
            pytest.fail("nobody can read this")
    assert f"in {tmp_path}/server: " in str(refused.value)
    assert "Bad file format" in str(refused.value)
    assert f"see {tmp_path}/server.log" in str(refused.value)
    assert not servers_of(tmp_path)


async def test_the_log_of_the_server_is_bounded(tmp_path: Path, program: str) -> None:
    old = b"something that happened\n" * 400_000
    (tmp_path / "server.log").write_bytes(old)
    async with keeping(tmp_path, [], server=program):
        pass

    assert (tmp_path / "server.log").stat().st_size < 100_000
    assert (tmp_path / "server.log.1").read_bytes() == old


BAD_PROGRAMS = {
    "too old": ("#!/bin/sh\necho 'Redis server v=6.2.14 sha=0'\n", "it is redis 6.2.14, needed is 7.0 or newer"),
    "something else": ("#!/bin/sh\necho 'nginx version: 1.22.1'\n", "expected a Redis or Valkey server"),
    "not executable here": ("\x7fELF of another machine", "(`server` in the host file)"),
}


@pytest.mark.parametrize(("content", "text"), BAD_PROGRAMS.values(), ids=BAD_PROGRAMS)
async def test_a_program_that_cannot_be_used_is_named_with_the_cure(tmp_path: Path, content: str, text: str) -> None:
    file = tmp_path / "some-server"
    file.write_text(content)
    file.chmod(0o700)

    with pytest.raises(UnusableServer) as refused:
        await find(str(file))
    assert text in str(refused.value)
    assert str(file) in str(refused.value)


async def test_auto_looks_further_where_the_wheel_brings_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    redis7 = servers.redis_program("redis7")
    assert (await find("auto")).version.name == "valkey"

    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    monkeypatch.setenv("PATH", str(redis7.parent))
    assert (await find("auto")).path == redis7

    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UnusableServer, match="apt install redis-server"):
        await find("auto")
    with pytest.raises(UnusableServer, match="server: auto"):
        await find("bundled")
