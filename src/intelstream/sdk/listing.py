"""Finds files by a path, a directory or a pattern, and tells whether one is still the one that was read."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple
from urllib.parse import quote

from intelstream.errors import Unavailable
from intelstream.sdk.files import LARGE, Content
from intelstream.sdk.types import PATTERN

HEAD: Final = 1024  # bytes by which a file is known again


class Identity(NamedTuple):
    """What a file was when it was read; `head` is a digest of its first bytes.

    One that was `refused`, as too large or damaged, is not in.
    """

    inode: int
    size: int
    modified: int
    head: str
    refused: bool = False


Read = dict[str, Identity]


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file, and what was known of it when it was found; `real` is where links lead."""

    path: Path
    real: Path
    status: os.stat_result

    @property
    def url(self) -> str:
        return f"file://localhost{quote(str(self.path.absolute()))}"

    def is_as(self, status: os.stat_result) -> bool:
        """Tell whether the file has not been touched since."""
        mine = self.status
        return (mine.st_ino, mine.st_size, mine.st_mtime_ns) == (status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Listing:
    """The files, those left alone the longest first.

    `strays` are links out of the directory, which are not followed; `unnamed` have a name that is no UTF-8.
    """

    files: list[Found]
    strays: list[Path]
    unnamed: list[Path]


def find(path: Path) -> Listing:
    """List the regular files that a path, a directory (itself alone) or a pattern such as `inbox/*.csv` means.

    Names that begin with a dot are left out unless the pattern does: many programs write to such a name first.

    Raises:
        Unavailable: the directory is not there, or cannot be read.
    """
    top, pattern = _split(path)
    files: list[Found] = []
    strays: list[Path] = []
    unnamed: list[Path] = []
    try:
        os.scandir(top).close()  # `glob` is silent about what it must not read
        inside = top.resolve()
        matches = list(top.glob(pattern)) if PATTERN.search(pattern) else [top / pattern]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Unavailable(f"listing {top}: no such directory; create it, or correct `path`") from error
    except OSError as error:
        raise Unavailable(f"listing {top}: {error.strerror}; let the user of the daemon read it") from error
    for match in matches:
        if match.name.startswith(".") and not Path(pattern).name.startswith("."):
            continue
        if not _is_text(match):
            unnamed.append(match)
            continue
        with suppress(OSError, RuntimeError):  # vanished meanwhile, or a link in a circle
            real = match.resolve(strict=True)
            status = real.stat()
            if not real.is_relative_to(inside):
                strays.append(match)
            elif stat.S_ISREG(status.st_mode):
                files.append(Found(match, real, status))
    return Listing(sorted(files, key=lambda found: (found.status.st_mtime_ns, found.path)), strays, unnamed)


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _split(path: Path) -> tuple[Path, str]:
    for place, part in enumerate(path.parts):
        if PATTERN.search(part):
            return Path(*path.parts[:place]), str(Path(*path.parts[place:]))
    return (path, "*") if os.path.isdir(path) else (path.parent, path.name)  # noqa: PTH112 - says no where Path raises


@contextmanager
def reading(found: Found, *, shares: bool = True) -> Iterator[BinaryIO]:
    """Open a file for reading, if it is still a regular one where it was found.

    With `shares` it is left alone while a writer has locked it.

    Raises:
        BlockingIOError: another process has locked it.
        FileNotFoundError: something else is there by now, such as a link on the way to it.
        OSError: it cannot be read.
    """
    number = os.open(found.real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(number, "rb") as file:  # noqa: PTH123 - a descriptor
        if Path(_own(number)).readlink() != found.real:
            raise FileNotFoundError(errno.ENOENT, "it is no longer where it was found")
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "no regular file")
        if shares:
            _share(number)
        yield file


def _share(number: int) -> None:
    try:
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        return


def digest(file: BinaryIO, length: int = HEAD) -> str:
    """Return a digest of the first bytes."""
    file.seek(0)
    return blake2b(file.read(min(length, HEAD)), digest_size=8).hexdigest()


def identify(file: BinaryIO) -> Identity:
    """Return what an open file is now."""
    status = os.fstat(file.fileno())
    return Identity(status.st_ino, status.st_size, status.st_mtime_ns, digest(file))


def sorted_out(files: Iterable[Found], known: Read) -> tuple[Read, list[Found]]:
    """Part files into those that were read, by this name or another, and those that are to be."""
    by_inode = {identity[:3]: identity for identity in known.values()}
    seen: Read = {}
    fresh: list[Found] = []
    for found in files:
        status = found.status
        before = by_inode.get((status.st_ino, status.st_size, status.st_mtime_ns))
        if before := before or _same(found, known.get(str(found.path))):
            seen[str(found.path)] = before
        else:
            fresh.append(found)
    return seen, fresh


def _same(found: Found, before: Identity | None) -> Identity | None:
    """Tell a file by time and content where inodes change by themselves, as on some network file systems."""
    if not before or before[1:3] != (found.status.st_size, found.status.st_mtime_ns):
        return None
    try:
        with reading(found) as file:
            now = identify(file)
    except OSError:
        return None
    return before._replace(inode=now.inode) if now[1:4] == before[1:4] else None


@dataclass(frozen=True, slots=True)
class Held:
    """A file as it was taken: its bytes, or a path that leads to this very file as long as it is held."""

    identity: Identity
    content: Content | None
    number: int | None = None

    def release(self) -> None:
        if self.number is not None:
            os.close(self.number)


def take(found: Found, limit: int) -> Held:
    """Return what a file is, and its bytes, the open file if it is large, None if it is too large.

    Raises:
        BlockingIOError: it is being written, or locked.
        OSError: it cannot be read.
    """
    with reading(found) as file:
        identity = identify(file)
        data: Content | None = None
        if identity.size <= min(limit, LARGE):
            file.seek(0)
            data = file.read(LARGE + 1)
        if not found.is_as(os.fstat(file.fileno())):
            raise BlockingIOError(errno.EAGAIN, "it is being written")
        if LARGE < identity.size <= limit:
            number = os.dup(file.fileno())  # with its lock
            return Held(identity, Path(_own(number)), number)
    return Held(identity, data)


def _own(number: int) -> str:
    """Return a path to what a descriptor of this process leads to, whatever has its name by now."""
    return f"/proc/self/fd/{number}"


def remove(found: Found) -> None:
    """Remove a file, unless it has changed since it was read."""
    with suppress(FileNotFoundError):
        if found.is_as(found.path.stat()):
            found.path.unlink()
