"""Files that grow by exactly what is committed, whenever the writer is killed; they rotate, and have one writer."""

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from intelstream.errors import Unavailable
from intelstream.sdk.context import Log
from intelstream.sdk.growing import Buffer, Grown, beside, end_of, existing, fit, inode_of, locked, told
from intelstream.sdk.journal import Journal, sync
from intelstream.sdk.ownership import Owner

OPEN: Final = 64  # files that stay open, and known to the state
MOVED: Final = "its last lines may come again in the new file; rename files within their directory, or use `rotate`"
SURE: Final = 10.0  # seconds after which a commit cannot be undone by what a server forgets in a crash


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
        self._aside = directory / "cut"
        self._log = log
        self._every, self._size = every, size
        self._open: OrderedDict[str, Grown] = OrderedDict()
        self._journal = Journal(name, directory)
        self._owner = Owner(directory)
        self._moved: dict[str, tuple[int, int]] = {}  # what the journal has of files that have another name by now
        self._since: dict[str, float] = {}  # path -> when it was first added to, if the journal has it
        self._changed: set[Path] = set()  # directories with names that are not on the disk yet
        self._lock = threading.Lock()

    def resume(self, saved: Any) -> None:
        """Cut each file to what was committed of it.

        Raises:
            Unavailable: another process has a file, or has added to it, or it cannot be written.
        """
        with self._lock:
            self._close()
            self._since.clear()
            self._journal.read()
            files = saved["files"] if saved and saved["name"] == self._name else {}
            for path, entry in files.items():
                with told(path):
                    self._resume(path, *entry)
            self._moved = {
                path: (inode, base)
                for path, (inode, base) in self._journal.files.items()
                if inode not in (inode_of(path), *files.get(path, ())[1:2])
            }

    def _resume(self, path: str, generation: int, inode: int, length: int, since: float, end: str = "") -> None:
        rotated = f"{path}.{generation:06d}"
        if inode == inode_of(path):
            self._take(path, generation, length, since)
        elif inode == inode_of(rotated):  # a rotation that was not committed, nor then what followed it
            self._cut(rotated, length)
            known, base = self._journal.files.get(path, (0, 0))
            if known == inode_of(path):
                self._cut(path, base)
            while Path(further := f"{path}.{generation + 1:06d}").exists():
                self._cut(further, 0)
                Path(further).unlink()
                generation += 1
        elif not self._cut_beside(path, inode, length, end):
            self._log.warning("file_moved", path=path, inode=inode, cure=MOVED)

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
                    with told(path):
                        written[path] = self._begun(self._current(path, now), part, header)
                with told(str(self._directory)):
                    self._journal.write()
                for path, part in written.items():
                    self._since.setdefault(path, now)
                    with told(path):
                        self._open[path].write(part)
                for path in written:
                    with told(path):
                        os.fdatasync(self._open[path].number)
                for directory in self._changed:
                    with told(str(directory)):
                        sync(directory)
                self._changed.clear()
            except Unavailable:
                for path in written:
                    with suppress(OSError):  # else the next write does it
                        os.ftruncate(self._open[path].number, self._open[path].length)
                raise
            for path, part in written.items():
                self._open[path].count(len(part))
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
        if file.inode != inode_of(path):
            self._log.info("file_moved", path=path, inode=file.inode)
        elif self._is_due(file, now):
            while os.path.exists(f"{path}.{file.generation:06d}"):  # noqa: PTH110 - of text
                file.generation += 1
            os.rename(path, f"{path}.{file.generation:06d}")  # noqa: PTH104 - of text
        else:
            fit(file, self._log)
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
            status = locked(path, number)
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
                self._owner.check(path, number, length)
                file.length = length
                fit(file, self._log, aside=self._aside)
                file.end = end_of(number, file.length)
            self._owner.claim(number)
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
        if file.path in self._moved:
            inode, base = self._moved[file.path]
            for other in beside(file.path, inode):
                self._undo(other, base, part, header)
            del self._moved[file.path]
        if file.doubt is not None:
            if not self._undo(file, file.doubt, part, header):
                self._journal.files[file.path] = [file.inode, file.length]
            file.doubt = None
        first = file.first(file.length, header)
        return first + part if first else part

    def _undo(self, file: Grown, base: int, part: Buffer, header: bytes) -> bool:
        """Cut a file to a length if what stands behind it is what is to be written now; tell whether it was."""
        if base >= file.length or not file.holds(file.first(base, header) + part, base):
            return False
        file.length = base
        fit(file, self._log, aside=self._aside)
        return True

    def _cut(self, path: str, length: int) -> None:
        with existing(path) as file:
            self._owner.check(path, file.number, length)
            file.length = length
            fit(file, self._log, aside=self._aside)

    def _cut_beside(self, path: str, inode: int, length: int, end: str) -> bool:
        """Cut a file that another program has renamed meanwhile; tell whether it was found."""
        for file in beside(path, inode):
            if end and file.length >= length and end_of(file.number, length) == end:
                self._owner.check(file.path, file.number, length)
                file.length = length
                fit(file, self._log, aside=self._aside)
                return True
        return False
