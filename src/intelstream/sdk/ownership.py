"""Whose a file is that several instances may add to: marked, so that none takes another's events for its own."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from intelstream.errors import Unavailable

MARK: Final = "user.intelstream.writer"  # the attribute of a file that says who added to it last; xattr(7)


class Owner:
    """Who adds to files: a stage of one instance, known by a name that it keeps in its directory.

    What stands behind the committed end of a file is a write of ours that broke off only if nobody else has added to
    it since. Where the file system has no attributes nobody can tell.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._name = b""

    def claim(self, number: int) -> None:
        """Mark an open file as ours."""
        with suppress(OSError):
            if self._marked(number).partition(b" ")[0] != self._own():
                os.setxattr(number, MARK, self._own() + b" " + os.fsencode(self._directory.absolute()))

    def check(self, path: str, number: int, length: int) -> None:
        """Make sure that what an open file has behind its committed end is ours.

        Raises:
            Unavailable: another instance has added it.
        """
        size = os.fstat(number).st_size
        name, _, where = self._marked(number).partition(b" ")
        if size > length and name not in (b"", self._own()):
            raise Unavailable(
                f"writing {path}: its last {size - length} bytes are of another instance, with its state in "
                f"{os.fsdecode(where)}; give one of the two another `path`, or move the file away"
            )

    def _marked(self, number: int) -> bytes:
        with suppress(OSError):
            return os.getxattr(number, MARK)
        return b""

    def _own(self) -> bytes:
        if not self._name:
            path = self._directory / "owner"
            if not path.exists():
                part = path.with_suffix(".part")
                part.write_text(secrets.token_hex(8), encoding="ascii")
                part.replace(path)  # or a crash would leave a name of no letters
            self._name = path.read_bytes()
        return self._name
