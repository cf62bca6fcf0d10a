"""Files that grow by exactly what is committed, whenever the writer is killed; they rotate, and have one writer."""

import errno
import fcntl
import os
import re
import stat
import threading
from collections import OrderedDict
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from intelstream.errors import Unavailable
from intelstream.sdk.context import Log
from intelstream.sdk.journal import Journal, sync

OPEN: Final = 64  # files that stay open, and known to the state
SURE: Final = 10.0  # seconds after which a commit cannot be undone by what a server forgets in a crash
KEPT: Final = 10  # tails cut off that are kept


Buffer = bytes | bytearray


@dataclass(slots=True)
class Grown:
    """One file: `length` is what of it is committed, `since` when this generation of it began."""

    path: str
    number: int
    inode: int
    length: int
    generation: int
    since: float
    doubt: int | None = None  # where a write may begin that was not committed

    def saved(self) -> list[Any]:
        return [self.generation, self.inode, self.length, self.since]


class Appender:
    """The files of one stage. All methods block: call them in a thread.

    `name` is where the files lie, a path or a template: state saved under another name is not of these files. A file
    that the committed state does not know yet stands in a journal in `directory` before anything is added to it, with
    the length that it had. If what comes first after a crash is what stands behind that length, it is the same write
    once more, and takes the place of the first.
    """

    def __init__(self, name: str, directory: Path, log: Log, *, every: float = 0, size: int = 0) -> None:
        self._name = name
        self._directory = directory
        self._log = log
        self._every, self._size = every, size
        self._open: OrderedDict[str, Grown] = OrderedDict()
        self._journal = Journal(name, directory)
        self._since: dict[str, float] = {}  # path -> when it was first added to, if the journal has it
        self._changed: set[Path] = set()  # directories with names that are not on the disk yet
        self._lock = threading.Lock()

    def resume(self, saved: Any) -> None:
        """Cut each file to what was committed of it.

        Raises:
            Unavailable: another process has a file, or it cannot be written.
        """
        with self._lock:
            self._close()
            self._since.clear()
            self._journal.read()
            files = saved["files"] if saved and saved["name"] == self._name else {}
            for path, entry in files.items():
                with _told(path):
                    self._resume(path, *entry)

    def _resume(self, path: str, generation: int, inode: int, length: int, since: float) -> None:
        rotated = f"{path}.{generation:06d}"
        if inode == _inode(path):
            self._take(path, generation, length, since)
        elif inode == _inode(rotated):  # a rotation that was not committed, nor then what followed it
            self._cut(rotated, length)
            known, base = self._journal.files.get(path, (0, 0))
            if known == _inode(path):
                self._cut(path, base)
            while Path(further := f"{path}.{generation + 1:06d}").exists():
                self._cut(further, 0)
                Path(further).unlink()
                generation += 1
        else:
            self._log.info("file_moved", path=path, inode=inode)

    def append(self, parts: Mapping[str, Buffer], now: float, header: bytes = b"") -> dict[str, Any]:
        """Add to each file what belongs there, on the disk when this returns, and return the state to commit with it.

        `header` begins every new file. What was added before is taken as committed, else `resume` comes first.

        Raises:
            Unavailable: nothing was added to any file.
        """
        with self._lock:
            written: dict[str, Buffer] = {}
            self._retire(parts, now)
            try:
                for path, part in parts.items():
                    with _told(path):
                        written[path] = self._begun(self._current(path, now), part, header)
                with _told(str(self._directory)):
                    self._journal.write()
                for path, part in written.items():
                    self._since.setdefault(path, now)
                    with _told(path):
                        _write(self._open[path], part)
                for path in written:
                    with _told(path):
                        os.fdatasync(self._open[path].number)
                for directory in self._changed:
                    with _told(str(directory)):
                        sync(directory)
                self._changed.clear()
            except Unavailable:
                for path in written:
                    with suppress(OSError):  # else the next write does it
                        os.ftruncate(self._open[path].number, self._open[path].length)
                raise
            for path, part in written.items():
                self._open[path].length += len(part)
            return {"name": self._name, "files": {path: file.saved() for path, file in self._open.items()}}

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        for file in self._open.values():
            os.close(file.number)
        self._open.clear()

    def _retire(self, keep: Container[str], now: float) -> None:
        """Close what was used least lately, and forget what the journal need not hold: all of that is committed."""
        for path in [path for path in self._open if path not in keep][: max(0, len(self._open) - OPEN)]:
            os.close(self._open.pop(path).number)
            self._journal.files.pop(path, None)
        for path in [path for path in self._journal.files if now - self._since.get(path, now) >= SURE]:
            del self._journal.files[path]
        self._since = {path: when for path, when in self._since.items() if path in self._journal.files}

    def _current(self, path: str, now: float) -> Grown:
        """Return a file ready to be added to: the one that was open, if it is still the one of that name."""
        file = self._open.get(path)
        if file is None:
            return self._take(path, 0, None, now)
        self._open.move_to_end(path)
        if file.inode != _inode(path):
            self._log.info("file_moved", path=path, inode=file.inode)
        elif self._is_due(file, now):
            while os.path.exists(f"{path}.{file.generation:06d}"):  # noqa: PTH110 - of text
                file.generation += 1
            os.rename(path, f"{path}.{file.generation:06d}")  # noqa: PTH104 - of text
        else:
            self._fit(file)
            return file
        os.close(self._open.pop(path).number)
        self._since.pop(path, None)
        return self._take(path, file.generation + 1, None, now)

    def _is_due(self, file: Grown, now: float) -> bool:
        if not file.length:
            return False
        if self._every and now // self._every != file.since // self._every:
            return True
        return bool(self._size) and file.length >= self._size

    def _take(self, path: str, generation: int, length: int | None, since: float) -> Grown:
        """Open and lock a file, and cut it to its length; None means that it is new to us: what it has stays."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
        try:
            status = _locked(path, number)
            size = status.st_size
            file = Grown(path, number, status.st_ino, size, generation or self._next(path), since or status.st_mtime)
            if length is None:
                self._changed.add(Path(path).parent)
                known, base = self._journal.files.get(path, (0, 0))
                if known == file.inode and base < size:
                    file.doubt = base
                else:
                    self._journal.files[path] = [file.inode, size]
                if size:
                    file.since = status.st_mtime
            else:
                file.length = length
                self._fit(file, aside=True)
        except BaseException:
            os.close(number)
            raise
        self._open[path] = file
        return file

    def _next(self, path: str) -> int:
        """Return the number of a file's generation, as those tell that were rotated."""
        if not (self._every or self._size):
            return 1
        name = re.compile(re.escape(Path(path).name) + r"\.(\d{6,})")
        found = (name.fullmatch(other.name) for other in Path(path).parent.iterdir())
        return 1 + max((int(match[1]) for match in found if match), default=0)

    def _begun(self, file: Grown, part: Buffer, header: bytes) -> Buffer:
        """Return what to add to a file, with a header if it begins one; what is there of it already is cut off."""
        if file.doubt is not None:
            again = _first(file.number, file.doubt, header) + part
            if again.startswith(os.pread(file.number, min(len(again), file.length - file.doubt), file.doubt)):
                file.length = file.doubt
                self._fit(file, aside=True)
            else:
                self._journal.files[file.path] = [file.inode, file.length]
            file.doubt = None
        first = _first(file.number, file.length, header)
        return first + part if first else part

    def _fit(self, file: Grown, *, aside: bool = False) -> None:
        """Bring a file to the length that is committed; what has gone meanwhile cannot be brought back."""
        size = os.fstat(file.number).st_size
        if size < file.length:
            self._log.warning("lost_after_commit", path=file.path, missing=file.length - size)
            file.length = size
        elif size > file.length:
            kept = self._set_aside(file, size) if aside else None
            self._log.warning("uncommitted_tail_cut", path=file.path, size=size - file.length, kept=kept)
            os.ftruncate(file.number, file.length)
            os.fdatasync(file.number)

    def _cut(self, path: str, length: int) -> None:
        number = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._fit(Grown(path, number, _locked(path, number).st_ino, length, 0, 0), aside=True)
        finally:
            os.close(number)

    def _set_aside(self, file: Grown, size: int) -> str:
        """Keep what is cut off: should the state be the one that is wrong, nothing is gone."""
        directory = self._directory / "cut"
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


@contextmanager
def _told(path: str) -> Iterator[None]:
    try:
        yield
    except BlockingIOError as error:
        text = f"writing {path}: another process has the file; stop it, or give another `path`"
        raise Unavailable(text) from error
    except OSError as error:
        raise Unavailable(f"writing {path}: {error.strerror}") from error


def _locked(path: str, number: int) -> os.stat_result:
    """Lock a file and return its status.

    Raises:
        BlockingIOError: another process has it.
        OSError: it is none, or another one by now.
    """
    fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    status = os.fstat(number)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    if status.st_ino != _inode(path):
        raise OSError(errno.ESTALE, "it was replaced meanwhile")
    return status


def _first(number: int, length: int, header: bytes) -> bytes:
    """Return what must stand between what a file has and what is added: a header, or the end of a torn line."""
    return (b"" if os.pread(number, 1, length - 1) == b"\n" else b"\n") if length else header


def _write(file: Grown, data: Buffer) -> None:
    view, place = memoryview(data), file.length
    while view:
        count = os.pwrite(file.number, view, place)
        view, place = view[count:], place + count


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - of text
    except FileNotFoundError:
        return None
