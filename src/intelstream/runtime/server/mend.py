"""Cut the half-written end off an append-only file before a server that would misread it starts."""

import asyncio
import os
import re
from pathlib import Path
from typing import BinaryIO, Final

from intelstream.runtime.server.config import Layout
from intelstream.runtime.server.process import Process
from intelstream.runtime.server.program import Program

ANALYSED: Final = re.compile(r"AOF analyzed: filename=(.+), size=(\d+), ok_up_to=(\d+),")
COUNT: Final = re.compile(rb"[*$](\d{1,18})\r\n")
CUT_COUNT: Final = re.compile(rb"[*$]\d{0,18}\r?")
LONGEST_COUNT: Final = 32  # bytes of a line that says how many follow


async def mend(program: Program, layout: Layout, lock: int) -> int:
    """Cut what a crash has left of its last write, and return how many bytes that was.

    A crash ends a write(2) in the middle of a transaction. Redis starts with that, appends behind the open MULTI, and
    runs half of the transaction at the start after that. Damage that no crash makes is left alone: the server says so
    and does not start. The tool's own `--fix` is not used, since it drops all that follows any damage. The tool
    inherits `lock`, so that no server is started while it reads, even if the daemon is killed.
    """
    if not program.version.replays_torn_tail or not layout.manifest.exists():
        return 0
    name, tool = program.checker
    cut = 0
    while True:
        said = await Process.output(tool, str(layout.manifest), called=name, keep=[lock])
        if not (found := ANALYSED.findall(said)):
            return cut
        file, size, sound = layout.appended / found[-1][0], int(found[-1][1]), int(found[-1][2])
        if sound >= size or not await asyncio.to_thread(_cut, file, sound):
            return cut
        cut += size - sound


def _cut(path: Path, sound: int) -> bool:
    """Cut a file there if what follows is commands of which the last is not complete; say whether it was."""
    with path.open("r+b") as file:
        file.seek(sound)
        torn = _is_cut_short(file)
        if torn:
            file.truncate(sound)
            os.fsync(file.fileno())
    return torn


def _is_cut_short(file: BinaryIO) -> bool:
    """Whether commands follow that are as they should be, except that they end too early."""
    while header := file.readline(LONGEST_COUNT):
        if not (found := COUNT.fullmatch(header)) or header[:1] != b"*":
            return _is_start_of(header, b"*")
        for _ in range(int(found[1])):
            header = file.readline(LONGEST_COUNT)
            if not (found := COUNT.fullmatch(header)) or header[:1] != b"$":
                return _is_start_of(header, b"$")
            wanted = int(found[1]) + 2
            value = file.read(wanted)
            if len(value) < wanted:
                return True
            if not value.endswith(b"\r\n"):
                return False
    return True  # whole commands, but behind a MULTI without its EXEC


def _is_start_of(header: bytes, sign: bytes) -> bool:
    """Whether a line that the file ends with could have become a count."""
    return not header or (header[:1] == sign and CUT_COUNT.fullmatch(header) is not None)
