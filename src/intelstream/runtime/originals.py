"""Reports of which rows became dead letters, kept on disk: the rows can be parsed again when the parser is mended.

A letter has the text of its row, but a row is not always to be read without its report: it may need the header, or have
been cut because it was too long. A report stays for as long as letters are rows of it. The oldest go first where there
are too many; their letters still have the text.
"""

import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

import zstandard

from intelstream.ontology import Report
from intelstream.transport.segments import save

YOUNG: Final = 600.0  # seconds in which the commit that refers to a report may still be under way
BLOCK: Final = 1024 * 1024
PACKED: Final = ".zst"
INLINE: Final = 8 * 1024 * 1024  # bytes of a report that is held in memory


class Originals:
    """The kept reports below a directory, of each stage at most `limit` bytes. It blocks, so it runs in threads."""

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory = directory
        self._limit = limit

    def keep(self, stage: str, report: Report) -> None:
        """Keep a report, unless it is kept already."""
        directory = self._directory / stage / "reports"
        whole, packed = directory / report.id, directory / (report.id + PACKED)
        for path in (whole, packed):
            if path.exists():
                os.utime(path)
                return
        if report.path:  # another name for the spooled file costs nothing
            directory.mkdir(parents=True, exist_ok=True)
            os.link(report.path, whole)
        else:
            save(packed, [zstandard.ZstdCompressor(level=3).compress(report.raw)])
        size = 0
        for _, length, path in sorted(_files(directory), reverse=True):
            size += length
            if size > self._limit:
                path.unlink(missing_ok=True)

    def find(self, stage: str, report: str) -> Path | bytes | None:
        """Return the bytes of a report, or the file that has them if they are many; None if it is not kept.

        It stays for a while now: if its rows fail again, it is wanted again.
        """
        directory = self._directory / stage / "reports"
        whole, packed = directory / report, directory / (report + PACKED)
        if whole.is_file():
            os.utime(whole)
            return whole if whole.stat().st_size > INLINE else whole.read_bytes()
        if packed.is_file():
            os.utime(packed)
            return zstandard.ZstdDecompressor().decompress(packed.read_bytes())
        return None

    def clean(self, stage: str, wanted: Collection[str]) -> None:
        """Delete what no letter of a stage refers to."""
        for changed, _, path in _files(self._directory / stage / "reports"):
            if path.name.removesuffix(PACKED) not in wanted and changed < time.time() - YOUNG:
                path.unlink(missing_ok=True)


def _files(directory: Path) -> list[tuple[float, int, Path]]:
    """Return the files of a directory with the time they were last wanted, and their sizes."""
    paths = list(directory.iterdir()) if directory.is_dir() else []
    return [(found.st_mtime, found.st_size, path) for path in paths if (found := path.stat())]
