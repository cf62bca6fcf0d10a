"""Session fixtures that start real servers at first use; all tests of one kind of server run on one worker."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from services import postgres, servers
from services.daemons import servers_of
from services.postgres import RunningPostgres
from services.servers import KINDS, RunningServer
from services.slow_disk import SlowDisk


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function):
            used: list[str] = [name for name in KINDS if name in item.fixturenames]
            if "any_redis" in item.fixturenames:
                used = [str(item.callspec.params["any_redis"])]
            if used:
                item.add_marker(pytest.mark.xdist_group("+".join(used)))


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path: Path) -> Iterator[None]:
    """End the servers of daemons that a test has killed."""
    yield
    for lock in tmp_path.rglob("server.lock"):
        for pid in servers_of(lock.parent):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def _valkey() -> Iterator[RunningServer]:
    with servers.running("valkey") as server:
        yield server


@pytest.fixture(scope="session")
def _redis7() -> Iterator[RunningServer]:
    with servers.running("redis7") as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[RunningPostgres]:
    """Debian's PostgreSQL, with whatever tests have left in it."""
    with postgres.running() as server:
        yield server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MiB."""
    with servers.disk(tmp_path / "disk", 96 * 2**20) as place:
        yield place


@pytest.fixture
def valkey(_valkey: RunningServer) -> RunningServer:
    """The bundled Valkey, running and empty."""
    return _emptied(_valkey)


@pytest.fixture
def redis7(_redis7: RunningServer) -> RunningServer:
    """Debian's Redis 7.0, running and empty."""
    return _emptied(_redis7)


@pytest.fixture(params=KINDS)
def any_redis(request: pytest.FixtureRequest) -> RunningServer:
    """Each of the two servers, running and empty."""
    server: RunningServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="session")
def slow_fsync(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that holds fsync back, for LD_PRELOAD."""
    compiler = servers.program("cc", "gcc libc6-dev")
    made = tmp_path_factory.mktemp("slow_fsync") / "slow_fsync.so"
    source = Path(__file__).with_name("slow_fsync.c")
    subprocess.run(  # noqa: S603 - our own command
        [compiler, "-Wall", "-Werror", "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True
    )
    return made


@pytest.fixture
def slow_disk(slow_fsync: Path, tmp_path: Path) -> Iterator[SlowDisk]:
    disk = SlowDisk(slow_fsync, tmp_path)
    yield disk
    disk.gate.unlink(missing_ok=True)  # or nothing of this test ends


@pytest.fixture(params=KINDS)
def program(request: pytest.FixtureRequest) -> str:
    """Each of the two programs, for tests that have their server started by the daemon."""
    return "bundled" if request.param == "valkey" else os.fspath(servers.redis_program(request.param))


def _emptied(server: RunningServer) -> RunningServer:
    with server.client() as client:
        client.flushall()
    return server
