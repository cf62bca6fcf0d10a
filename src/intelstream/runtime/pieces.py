"""Cuts large reports where their parser allows it, so that none stands in memory whole."""

from collections.abc import Iterator
from typing import BinaryIO, Final

from intelstream.sdk import Lines
from intelstream.sdk.cutting import header_end, last_end

LARGEST: Final = 1024 * 1024  # bytes of a report that travels in one stream entry


class NoLineEnds(ValueError):
    """There is no place to cut."""


def pieces(file: BinaryIO, lines: Lines) -> Iterator[bytes]:
    """Yield parts of at most 1 MiB that end with a record, each with the header on top; at least one.

    A record longer than a part stays whole. The file is one that can be sought in.

    Of a line that is longer than any row may be, no more is kept than it takes to see that.

    Raises:
        NoLineEnds: the header is longer than 1 MiB; nothing was yielded.
    """
    beginning = file.read(LARGEST)
    if len(beginning) < LARGEST:
        yield beginning
        return
    top = header_end(beginning, lines)
    if top is None:
        raise NoLineEnds(f"cutting a report: its header does not end within {LARGEST} bytes")
    file.seek(0)
    header = file.read(top)
    rest = b""
    first = True
    while block := file.read(max(LARGEST - len(header) - len(rest), LARGEST // 4)):
        buffer = rest + block
        end = last_end(buffer, lines) if len(header) + len(buffer) >= LARGEST else 0
        if end:
            yield header + buffer[:end]
            first = False
        elif len(buffer) > lines.longest + LARGEST:
            place = buffer.rfind(b"\n") + 1
            if len(buffer) - place > lines.longest:
                buffer = buffer[: place + lines.longest + 1] + _behind_line(file)
        rest = buffer[end:]
    if rest or first:
        yield header + rest


def _behind_line(file: BinaryIO) -> bytes:
    """Read on to the end of the line, and return what was read behind it, line break included."""
    while block := file.read(LARGEST // 4):
        if (place := block.find(b"\n")) >= 0:
            return block[place:]
    return b""
