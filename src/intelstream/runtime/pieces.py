"""Cuts large reports where their parser allows it, so that none stands in memory whole."""

from collections.abc import Iterator
from typing import BinaryIO, Final

from intelstream.sdk import Lines

LARGEST: Final = 1024 * 1024  # bytes of a report that travels in one stream entry
LONGEST_LINE: Final = 16 * LARGEST


class NoLineEnds(ValueError):
    """There is no place to cut within 16 MiB."""


def pieces(file: BinaryIO, lines: Lines) -> Iterator[bytes]:
    """Yield parts of at most 1 MiB that end with a line, each with the header on top; at least one.

    Where a line break may stand between quotes, a part ends only where all quotes are closed (RFC 4180). A record
    longer than a part stays whole.

    Raises:
        NoLineEnds: a record is longer than 16 MiB, or a quote was left open.
    """
    header = b"".join(file.readline(LONGEST_LINE) for _ in range(lines.header))
    quote = lines.quote.encode() if lines.quoted else b""
    rest = b""
    first = True
    while block := file.read(max(LARGEST - len(header) - len(rest), LARGEST // 4)):
        buffer = rest + block
        end = _end(buffer, quote) if len(header) + len(buffer) >= LARGEST else 0
        if end:
            yield header + buffer[:end]
            first = False
        elif len(buffer) > LONGEST_LINE:
            raise NoLineEnds(
                f"cutting a report: no record ends within {LONGEST_LINE} bytes; is a quote left open?"
            )
        rest = buffer[end:]
    if rest or first:
        yield header + rest


def _end(buffer: bytes, quote: bytes) -> int:
    """Return the place behind the last line break that is not between quotes, 0 if there is none."""
    place = buffer.rfind(b"\n") + 1
    if not quote:
        return place
    between = buffer.count(quote, 0, place) % 2
    while place and between:
        before = buffer.rfind(b"\n", 0, place - 1) + 1
        between ^= buffer.count(quote, before, place) % 2
        place = before
    return place
