"""One file that grows by exactly what is committed: opened, locked, cut, and found again under another name."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from intelstream.errors import Unavailable
from intelstream.sdk.context import Log

KEPT: Final = 10  # tails cut off that are kept
END: Final = 256  # bytes by which what is committed of a file is known again

Buffer = bytes | bytearray


@dataclass(slots=True)
class Grown:
    """One file: `length` is what of it is committed, `since` when this generation of it began.

    `end` is a digest of the last bytes that are committed.
    """

    path: str
    number: int
    inode: int
    length: int
    generation: int = 0
    since: float = 0
    end: str = ""
    doubt: int | None = None  # where a write may begin that was not committed

    def saved(self) -> list[Any]:
        return [self.generation, self.inode, self.length, self.since, self.end]

    def write(self, data: Buffer) -> None:
        """Add to the file what is not counted yet."""
        view, place = memoryview(data), self.length
        while view:
            count = os.pwrite(self.number, view, place)
            view, place = view[count:], place + count

    def count(self, size: int) -> None:
        """Take so many bytes more for committed."""
        self.length += size
        self.end = end_of(self.number, self.length)

    def first(self, place: int, header: bytes) -> bytes:
        """Return what must stand between what is before a place and what is added: a header, or a torn line's end."""
        return (b"" if os.pread(self.number, 1, place - 1) == b"\n" else b"\n") if place else header

    def holds(self, data: Buffer, place: int) -> bool:
        """Tell whether what stands behind a place is how these bytes begin."""
        return data.startswith(os.pread(self.number, min(len(data), self.length - place), place))


@contextmanager
def told(path: str) -> Iterator[None]:
    try:
        yield
    except BlockingIOError as error:
        text = f"writing {path}: another process has the file; stop it, or give another `path`"
        raise Unavailable(text) from error
    except OSError as error:
        raise Unavailable(f"writing {path}: {error.strerror}") from error


def locked(path: str, number: int) -> os.stat_result:
    """Lock a file and return its status.

    Raises:
        BlockingIOError: another process has it.
        OSError: it is none, or another one by now.
    """
    fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    status = os.fstat(number)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    if status.st_ino != inode_of(path):
        raise OSError(errno.ESTALE, "it was replaced meanwhile")
    return status


def inode_of(path: str) -> int | None:
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - of text
    except FileNotFoundError:
        return None


def end_of(number: int, length: int) -> str:
    """Return a digest of what stands before a length."""
    size = min(END, length)
    return blake2b(os.pread(number, size, length - size), digest_size=8).hexdigest() if size else ""


@contextmanager
def existing(path: str) -> Iterator[Grown]:
    """Open and lock a file that is there, as long as it is.

    Raises:
        BlockingIOError: another process has it.
        OSError: it cannot be written, or is a link.
    """
    number = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = locked(path, number)
        yield Grown(path, number, status.st_ino, status.st_size)
    finally:
        os.close(number)


def beside(path: str, inode: int) -> Iterator[Grown]:
    """Yield the file with an inode, opened, under the name that it was given beside its own: `a.jsonl-20240306`.

    Names like that are what logrotate makes. An inode is used again once it is free, so what is in the file counts.

    Raises:
        OSError: it cannot be written, or another process has it.
    """
    own = Path(path)
    try:
        names = [entry.name for entry in os.scandir(own.parent) if entry.inode() == inode]
    except FileNotFoundError:
        return
    for name in names:
        if name != own.name and name.startswith(own.stem):
            with existing(str(own.parent / name)) as file:
                yield file


def fit(file: Grown, log: Log, *, aside: Path | None = None) -> None:
    """Bring a file to the length that is committed; what has gone meanwhile cannot be brought back.

    What is cut off is kept in the directory `aside`: should the state be the one that is wrong, nothing is gone.
    """
    size = os.fstat(file.number).st_size
    if size < file.length:
        log.warning("lost_after_commit", path=file.path, missing=file.length - size)
        file.length = size
    elif size > file.length:
        kept = _set_aside(file, size, aside) if aside else None
        log.warning("uncommitted_tail_cut", path=file.path, size=size - file.length, kept=kept)
        os.ftruncate(file.number, file.length)
        os.fdatasync(file.number)


def _set_aside(file: Grown, size: int, directory: Path) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    kept = directory / f"{Path(file.path).name}.{file.inode}.{file.length}"
    with kept.open("wb") as tail:
        place = file.length
        while place < size and (data := os.pread(file.number, 2**20, place)):
            tail.write(data)
            place += len(data)
    for old in sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime_ns)[:-KEPT]:
        old.unlink()
    return str(kept)
