"""Follows files that grow line by line, as `tail -F` does, from positions that outlive a restart."""

import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any, Final, NamedTuple

from intelstream.errors import Unavailable
from intelstream.sdk.context import StageContext
from intelstream.sdk.items import Changes
from intelstream.sdk.listing import HEAD, Found, digest, find, reading

FOLLOWED: Final = "followed:"  # in front of a path, in the cursor
PIECE: Final = 2**20  # bytes at a time; a line that is longer is cut


class Mark(NamedTuple):
    """How far a file has been read; `head` is a digest of its first bytes as far as they were read.

    One that was `rotated` has another name than the one it was followed by: its last line needs no end.
    """

    inode: int
    offset: int
    head: str
    rotated: bool = False


class Added(NamedTuple):
    """Lines that were added to a file, and the cursor behind them."""

    found: Found
    lines: bytes
    cursor: Changes


async def added(
    ctx: StageContext,
    files: Sequence[Found],
    cursor: Mapping[str, Any],
    unreadable: Callable[[Found, OSError], None],
    settle: float,
) -> AsyncIterator[Added]:
    """Yield what has been added to files since; one that cannot be read is told to `unreadable`.

    The last line of a file counts when it has ended, or when the file has been renamed and left alone for `settle`.
    """
    known = {key.removeprefix(FOLLOWED): Mark(*mark) for key, mark in cursor.items() if key.startswith(FOLLOWED)}
    going = await ctx.in_thread(resumed, files, known)
    marks = {str(found.path): mark for found, mark in going}
    changed = {path: marks.get(path) for path in {**known, **marks} if known.get(path) != marks.get(path)}
    now = ctx.now().timestamp()
    for found, mark in going:
        ended = mark.rotated and not 0 <= now - found.status.st_mtime < settle
        steps = pieces(found, mark, ended=ended)
        try:
            while step := await ctx.in_thread(next, steps, None):
                lines, changed[str(found.path)] = step
                yield Added(found, lines, _cursor(changed))
                changed.clear()
        except FileNotFoundError:
            continue
        except OSError as error:
            unreadable(found, error)


def _cursor(changed: Mapping[str, Mark | None]) -> Changes:
    return Changes((FOLLOWED + path, mark and [*mark]) for path, mark in changed.items())


def resumed(files: Sequence[Found], marks: Mapping[str, Mark]) -> list[tuple[Found, Mark]]:
    """Return where to read on: in the files found, and in those read before that have been renamed since.

    A file that was emptied begins anew; if it was copied before, which is how some rotate, the copy is read to its
    end first. What has vanished is forgotten.
    """
    known = {found.status.st_ino: found for found in files}
    taken: dict[int, tuple[Found, Mark]] = {}
    for path, mark in marks.items():
        found = known.get(mark.inode)
        if not (found and _continues(found, mark)):
            near = sorted(_siblings(Path(path)), key=lambda one: one.status.st_ino != mark.inode)
            found = next((one for one in near if mark.offset and _continues(one, mark)), None)
        if found and found.status.st_ino not in taken:
            rotated = mark.rotated or str(found.path) != path
            taken[found.status.st_ino] = found, mark._replace(inode=found.status.st_ino, rotated=rotated)
    for inode, found in known.items():
        taken.setdefault(inode, (found, Mark(inode, 0, "")))
    return sorted(taken.values(), key=lambda pair: (pair[0].status.st_mtime_ns, pair[0].path))


def pieces(found: Found, mark: Mark, *, ended: bool = False) -> Iterator[tuple[bytes, Mark]]:
    """Yield whole lines that have been added, about a MiB at a time, and the mark behind them.

    The rest of a line that has not ended yet waits, unless the file has `ended`.

    Raises:
        OSError: the file cannot be read.
    """
    with reading(found, shares=False) as file:
        if os.fstat(file.fileno()).st_ino != mark.inode:
            return  # replaced since it was listed: the next listing knows
        offset = mark.offset
        file.seek(offset)
        while data := file.read(PIECE):
            end = data.rfind(b"\n") + 1
            if not end and len(data) < PIECE and not ended:
                return
            data = data[:end] if end else data
            offset += len(data)
            head = mark.head if mark.offset >= HEAD else digest(file, offset)
            mark = mark._replace(offset=offset, head=head)
            yield data, mark
            file.seek(offset)


def _continues(found: Found, mark: Mark) -> bool:
    """Tell whether a file is the one that a mark was made in, or a copy of it. One that cannot be read may be."""
    if found.status.st_size < mark.offset:
        return False
    try:
        with reading(found, shares=False) as file:
            return digest(file, mark.offset) == mark.head
    except OSError:
        return found.status.st_ino == mark.inode


def _siblings(path: Path) -> Sequence[Found]:
    """Return what a rotation may have made of a file: `app.log.1`, `app.log-20240306`."""
    name = re.sub(r"([.-]\d+)+$", "", path.name)
    try:
        return find(path.parent / f"{escape(name)}*").files
    except Unavailable:
        return ()
