"""Finds the places where a report may be cut, so that its pieces give the same rows as the whole."""

from typing import Final

from intelstream.sdk.delimited import Delimited, Open
from intelstream.sdk.items import Lines

ASCII: Final = bytes(range(128)) + b"?" * 128  # one character for each byte, so that lengths are those of bytes


def header_end(beginning: bytes, lines: Lines) -> int | None:
    """Return the length of what each piece begins with; None if it is not to be found in these first bytes."""
    text = _lines(beginning)
    if len(text) < lines.header:
        return None
    count = lines.header
    if lines.titled:
        finder = _finder(lines)
        while count < len(text) and finder.is_left_out(text[count]):
            count += 1
        taken = _span(finder, text, count) if count < len(text) else None
        if taken is None:
            return None
        count += taken
    return _length(beginning, count)


def last_end(buffer: bytes, lines: Lines) -> int:
    """Return the place behind the last record that ends in a buffer that begins with one; 0 if none does."""
    place = buffer.rfind(b"\n") + 1
    if not lines.quoted or buffer.find(lines.quote.encode(), 0, place) < 0:
        return place
    finder, text = _finder(lines), _lines(buffer)
    count = 0
    while count < len(text) and (taken := _span(finder, text, count)):
        count += taken
    return _length(buffer, count)


def _finder(lines: Lines) -> Delimited:
    return Delimited(lines.delimiter, lines.quote if lines.quoted else "", lines.comment, lines.longest)


def _lines(buffer: bytes) -> list[str]:
    """Return the lines that have an end, as the parser sees them as far as quotes and delimiters go."""
    text = buffer.replace(b"\0", b"").replace(b"\xef\xbb\xbf", b"").translate(ASCII)
    return text.decode("ascii").split("\n")[:-1]


def _length(buffer: bytes, count: int) -> int:
    end = 0
    for _ in range(count):
        end = buffer.index(b"\n", end) + 1
    return end


def _span(finder: Delimited, text: list[str], first: int) -> int | None:
    """Return the number of lines that a record has, None if it does not end in these."""
    line = text[first]
    if not finder.quote or finder.quote not in line or finder.is_left_out(line) or len(line) > finder.longest:
        return 1
    try:
        return finder.take(text, first, final=False)[1]
    except Open:
        return None
