"""Reads reports as lines of text, in bounded memory, whatever their bytes are."""

import codecs
from collections.abc import Iterator
from typing import Annotated, BinaryIO, Final

from pydantic import AfterValidator

from intelstream.errors import InvalidValue
from intelstream.sdk.types import Size

BLOCK: Final = 128 * 1024
KEPT: Final = 4096  # characters of a line that is too long
# They read as text what is none, or make halves of surrogate pairs, which no event can hold.
REFUSED: Final = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"})
# Here the bytes of a line break, a quote and a delimiter are never part of another character.
CUTTABLE: Final = ("ascii", "cp125", "iso8859", "koi8", "utf-8")


def known_encoding(name: str) -> str:
    """Return the name of an encoding of text.

    Raises:
        ValueError: it is none.
    """
    try:
        "\n".encode(name)
        known = codecs.lookup(name).name not in REFUSED
    except (LookupError, UnicodeError):
        known = False
    if not known:
        raise ValueError("expected an encoding of text, such as utf-8 or latin-1")
    return name


Encoding = Annotated[str, AfterValidator(known_encoding), "encoding"]


class Broken(str):
    """A line that is not to be read: what can be shown of it, and why."""

    __slots__ = ("error",)
    error: InvalidValue

    @classmethod
    def of(cls, text: str, reason: str) -> "Broken":
        line = cls(text.encode(errors="replace").decode()[:KEPT])
        line.error = InvalidValue("row", line[:80], reason)
        return line


def cuttable(encoding: str) -> bool:
    """Say whether bytes in this encoding may be cut at line breaks, without decoding them."""
    return codecs.lookup(encoding).name.startswith(CUTTABLE)


def read_text(data: bytes, encoding: str, *, reject: bool) -> str:
    """Decode at once, without NUL and byte order marks.

    Raises:
        InvalidValue: there are bytes that are no text, and `reject` is asked for.
    """
    try:
        return _clean(data.decode(encoding, "strict" if reject else "replace"))
    except UnicodeError as error:
        raise _no_text(encoding, error) from error


def read_lines(file: BinaryIO, encoding: str, *, reject: bool, longest: int) -> Iterator[list[str]]:
    """Yield lists of lines without their ends (LF; a CR before it stays), and without NUL.

    A line that is longer than `longest` bytes, or with `reject` one whose bytes are no text, comes as `Broken`.

    Raises:
        InvalidValue: the encoding is one where reading cannot go on behind such bytes.
    """
    decoder = decoder_of(encoding, "surrogateescape" if reject else "replace")
    rest = ""
    lost = False  # in the middle of a line that is too long
    while True:
        data = file.read(BLOCK)
        text = decoded(decoder, data, encoding)
        if lost:
            _, found, text = text.partition("\n")
            lost = not found
        text = rest + text
        lines = text.split("\n")
        rest = lines.pop()
        if len(text) > (longest if text.isascii() else longest // 4):
            lines = [_bounded(line, longest) for line in lines]
            if size_of(rest) > longest:
                lines.append(_bounded(rest, longest))
                rest, lost = "", True
        if not data and rest:
            lines.append(rest)
        yield [_checked(line) for line in lines] if reject and any(map(_undecoded, lines)) else lines
        if not data:
            return


def _clean(text: str) -> str:
    """Leave out NUL, and the byte order marks of files that were put together."""
    text = text.replace("\0", "")
    return text if text.isascii() else text.replace("\ufeff", "")


def _no_text(encoding: str, error: UnicodeError) -> InvalidValue:
    found = error.object[error.start : error.start + 20] if isinstance(error, UnicodeDecodeError) else b""
    return InvalidValue("report", found, f"expected {encoding}")


def decoder_of(encoding: str, errors: str) -> codecs.IncrementalDecoder:
    """Return what decodes bytes as they come."""
    return codecs.getincrementaldecoder(encoding)(errors)


def decoded(decoder: codecs.IncrementalDecoder, data: bytes, encoding: str) -> str:
    """Decode more bytes, the last ones if there are none; NUL and byte order marks are left out.

    Raises:
        InvalidValue: they are no text.
    """
    try:
        return _clean(decoder.decode(data, final=not data))
    except UnicodeError as error:
        raise _no_text(encoding, error) from error


def size_of(text: str) -> int:
    """Return the length in bytes."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogateescape"))


def _bounded(line: str, longest: int) -> str:
    fits = len(line) * 4 <= longest or size_of(line) <= longest
    return line if fits else Broken.of(line, f"expected at most {Size(longest)} (`max_row_bytes`)")


def _undecoded(line: str) -> bool:
    if line.isascii() or type(line) is Broken:
        return False
    try:
        line.encode()
    except UnicodeEncodeError:
        return True
    return False


def _checked(line: str) -> str:
    return Broken.of(line, "expected text in the encoding of the feed") if _undecoded(line) else line
