"""A file for parsers of nested formats: it ends the reading before one record can fill the memory."""

import codecs
from typing import BinaryIO

from intelstream.errors import InvalidValue
from intelstream.sdk.lines import BLOCK, decoded, decoder_of
from intelstream.sdk.types import Size


class Metered:
    """The bytes of a report, as UTF-8 without NUL; without an encoding, as they are.

    At most `longest` bytes, and what a reader takes in one go, come between two calls of `reset`; `cure` says what
    to do about it.
    """

    def __init__(
        self,
        file: BinaryIO,
        longest: int,
        encoding: str = "",
        *,
        reject: bool = False,
        cure: str = " (`max_row_bytes`)",
    ) -> None:
        self._file, self._longest, self._encoding = file, longest, encoding
        self._cure = cure
        self._decoder: codecs.IncrementalDecoder | None = None
        if encoding:
            self._decoder = decoder_of(encoding, "strict" if reject else "replace")
        self._taken = 0

    def reset(self) -> None:
        """Say that what came so far is done with."""
        self._taken = 0

    def read(self, size: int = BLOCK) -> bytes:
        """Return some bytes; none at the end.

        Raises:
            InvalidValue: too much has come since the last reset, or it is no text.
        """
        if size == 0:
            return b""
        while True:
            data = self._file.read(size)
            self._taken += len(data)
            if self._taken > self._longest + size:
                raise InvalidValue("report", "", f"expected records of at most {Size(self._longest)}{self._cure}")
            if self._decoder is None:
                return data
            text = decoded(self._decoder, data, self._encoding)
            if text or not data:
                return text.encode(errors="replace")
