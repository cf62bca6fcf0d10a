"""What a stage notes on its own disk before it adds to a file that the committed state does not know yet."""

import os
from pathlib import Path

import orjson


class Journal:
    """Inode and length of files, by path; `name` says whose they are, and another one's are forgotten."""

    def __init__(self, name: str, directory: Path) -> None:
        self.files: dict[str, list[int]] = {}
        self._name = name
        self._path = directory / "journal"
        self._written: dict[str, list[int]] = {}

    def read(self) -> None:
        try:
            found = orjson.loads(self._path.read_bytes())
        except FileNotFoundError:
            found = {"name": self._name, "files": {}}
        self.files = found["files"] if found["name"] == self._name else {}
        self._written = dict(self.files)

    def write(self) -> None:
        """Bring to the disk what has changed; it is there when this returns."""
        if self.files == self._written:
            return
        new = self._path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(orjson.dumps({"name": self._name, "files": self.files}))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        sync(self._path.parent)
        self._written = dict(self.files)


def sync(directory: Path) -> None:
    """Make the names in a directory outlive a loss of power."""
    number = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
