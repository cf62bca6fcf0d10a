"""Cuts large reports where their parser allows it, so that none stands in memory whole."""

from collections.abc import Iterator
from typing import BinaryIO, Final

from intelstream.sdk import Lines
from intelstream.sdk.cutting import header_end, last_end

LARGEST: Final = 1024 * 1024  # bytes of a report that travels in one stream entry
LONGEST_RECORD: Final = 16 * LARGEST


class NoLineEnds(ValueError):
    """There is no place to cut within 16 MiB."""


def pieces(file: BinaryIO, lines: Lines) -> Iterator[bytes]:
    """Yield parts of at most 1 MiB that end with a record, each with the header on top; at least one.

    A record longer than a part stays whole. The file is one that can be sought in.

    Raises:
        NoLineEnds: a record or the header is longer than 16 MiB.
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
        elif len(buffer) > LONGEST_RECORD:
            raise NoLineEnds(f"cutting a report: no record ends within {LONGEST_RECORD} bytes")
        rest = buffer[end:]
    if rest or first:
        yield header + rest
