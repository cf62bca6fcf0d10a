"""Where the bundled server keeps its files, and how it is set up."""

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from intelstream.errors import UnusableServer
from intelstream.runtime.server.program import Program, Version

LONGEST_SOCKET: Final = 100  # bytes; the kernel takes 107
HEADROOM: Final = 1.25  # over the sum of all limits: the allocator's waste and what a rewrite copies
REWRITE_FROM: Final = 512 * 2**20  # bytes of AOF below which a rewrite is not worth its work
REWRITE_SHARE: Final = 10  # … and at most this part of the free disk
APPENDED: Final = "appendonly.aof"


@dataclass(frozen=True, slots=True)
class Layout:
    """The server's files in a state directory."""

    directory: Path

    @property
    def data(self) -> Path:
        return self.directory / "server"

    @property
    def appended(self) -> Path:
        return self.data / "appendonlydir"

    @property
    def manifest(self) -> Path:
        return self.appended / f"{APPENDED}.manifest"

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    @property
    def config(self) -> Path:
        return self.directory / "server.conf"

    @property
    def lock(self) -> Path:
        return self.directory / "server.lock"

    @property
    def ballast(self) -> Path:
        return self.directory / "ballast"

    @property
    def record(self) -> Path:
        return self.directory / "server.json"


@dataclass(frozen=True, slots=True)
class Record:
    """What the next daemon must know: who wrote the data, and where its server listens."""

    version: Version
    program: str
    socket: Path

    @classmethod
    def read(cls, path: Path) -> "Record | None":
        """Return the record; None if there has been no server yet.

        Raises:
            UnusableServer: the file is not one of ours.
        """
        try:
            found = json.loads(path.read_bytes())
            return cls(Version.parse(found["server"]), str(found["program"]), Path(found["socket"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise UnusableServer(
                f"reading {path}: {error!r}; delete it if the server's program has not been changed"
            ) from error

    def write(self, path: Path) -> None:
        """Replace the record, if it says something else."""
        if path.exists() and Record.read(path) == self:
            return
        text = {"server": str(self.version), "program": self.program, "socket": str(self.socket)}
        write_durably(path, json.dumps(text, indent=2).encode() + b"\n")

    def check(self, program: Program, layout: Layout) -> None:
        """Refuse a program that cannot read the data that stands here.

        Raises:
            UnusableServer: with the ways out.
        """
        if program.version.reads(self.version) or not layout.manifest.exists():
            return
        cli = "redis-cli -s move.sock"
        raise UnusableServer(
            f"starting {program}: the data in {layout.data} is that of {self.version}, which it cannot read. "
            f"Go back to {self.program} (`server` in the host file). "
            f"Or move the data, in {layout.data} and with no daemon running: "
            f"(1) {self.program} ../{layout.config.name} --unixsocket move.sock --aof-use-rdb-preamble no "
            f"(2) {cli} bgrewriteaof (3) {cli} info persistence, until it shows aof_rewrite_in_progress:0 "
            f"(4) {cli} shutdown (5) delete {layout.record}. "
            f"Or, if nothing in it is needed, move {layout.data} away"
        )


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file, so that after a crash either the old or the new one is there, readable by us alone."""
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def choose_socket(layout: Layout, record: Record | None, runtime_dir: str | None) -> Path:
    """Return a path that is short enough for a socket; where the state directory's is not, make a directory.

    It has a random name and mode 0700, below `runtime_dir` (XDG_RUNTIME_DIR) or the system's temporary directory;
    the record tells the next start of it.
    """
    near = layout.directory / "server.sock"
    if _fits(near):
        return near
    if record and record.socket.parent != layout.directory and _is_private(record.socket.parent):
        return record.socket
    for parent in filter(None, (runtime_dir, tempfile.gettempdir())):
        if Path(parent).is_dir() and _fits(Path(parent) / "intelstream-xxxxxxxx" / "server.sock"):
            return Path(tempfile.mkdtemp(prefix="intelstream-", dir=parent)) / "server.sock"
    raise UnusableServer(
        f"placing the server's socket: {near}, XDG_RUNTIME_DIR and the temporary directory all have paths of "
        f"over {LONGEST_SOCKET} bytes; choose a shorter --state-dir"
    )


def remove_socket(layout: Layout, socket: Path) -> None:
    """Remove a socket that nobody listens on any more, and the directory made for it."""
    socket.unlink(missing_ok=True)
    if socket.parent != layout.directory and _is_private(socket.parent):
        socket.parent.rmdir()


def address(socket: Path) -> str:
    """Return the URL of a server that listens on a Unix socket."""
    return f"unix://{quote(str(socket))}"


def limits(layout: Layout, memory: int) -> dict[str, str]:
    """Return the settings that a running server takes too. `memory` is the sum of all limits in bytes."""
    rewrite = min(REWRITE_FROM, shutil.disk_usage(layout.data).free // REWRITE_SHARE)
    return {
        "maxmemory": str(int(memory * HEADROOM)),
        "maxmemory-policy": "noeviction",
        "save": "",
        "appendfsync": "everysec",
        "aof-use-rdb-preamble": "yes",
        "aof-load-truncated": "yes",
        "auto-aof-rewrite-percentage": "100",
        "auto-aof-rewrite-min-size": str(rewrite),
        # Deleting an entry frees its memory at once: nothing shares a node with it.
        "stream-node-max-entries": "1",
        # The buckets of deduplication marks stay in the compact form.
        "hash-max-listpack-entries": "512",
        "hash-max-listpack-value": "64",
    }


def configuration(layout: Layout, socket: Path, memory: int) -> str:
    """Return the text of `server.conf`: a private server on a Unix socket, without a port."""
    fixed = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "daemonize": "no",
        "databases": "1",
        "dir": str(layout.data),
        "logfile": str(layout.log),
        "loglevel": "notice",
        "appendonly": "yes",
        "appendfilename": APPENDED,
        "appenddirname": layout.appended.name,
    }
    settings: Mapping[str, str] = fixed | limits(layout, memory)
    return "".join(f"{name} {_quoted(value)}\n" for name, value in settings.items())


def _quoted(value: str) -> str:
    """Quote as the server's own parser reads it: in double quotes, what would break them escaped."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def _fits(socket: Path) -> bool:
    return len(os.fsencode(socket)) <= LONGEST_SOCKET


def _is_private(directory: Path) -> bool:
    """Whether a directory is ours alone; anybody may have made one of this name in a temporary directory."""
    try:
        found = directory.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
