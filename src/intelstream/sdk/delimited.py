"""Records of delimited text (RFC 4180): where one ends, for reading and for cutting alike."""

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from operator import length_hint
from typing import Final

from intelstream.errors import InvalidValue
from intelstream.sdk.items import Row
from intelstream.sdk.lines import Broken, size_of
from intelstream.sdk.types import Size

BLANKS: Final = " \t\r"
SHOWN: Final = 80  # characters of a record in an error
LONGEST: Final = 1024 * 1024
Cells = list[str] | InvalidValue


class Open(Exception):
    """The lines at hand end between two quotes."""


class Delimited:
    """Finds records. `quote` and `comment` may be empty, for none; `longest` is in bytes.

    A quote counts where a column begins, and only there: `5" disk` is no quoted column. One that is never closed,
    or closed in the middle of a column, costs its own line: the next line is read as a record of its own.
    """

    def __init__(self, delimiter: str = ",", quote: str = '"', comment: str = "#", longest: int = LONGEST) -> None:
        self.delimiter, self.quote, self.comment, self.longest = delimiter, quote, comment, longest
        self._queue: deque[str] = deque()
        # An open record asks for more than there is in the queue: an IndexError.
        self._reader = self._csv(iter(self._queue.popleft, None)) if quote else iter(())

    def records(self, blocks: Iterable[list[str]], said: Callable[[str], object] | None = None) -> Iterator[Row]:
        """Yield each record: its own text, and its trimmed columns or the `InvalidValue` that it is.

        Blank lines are left out, and comments, which `said` hears.
        """
        delimiter, quote = self.delimiter, self.quote
        before, behind = f" {delimiter}", f"{delimiter} "
        odd = {"", *BLANKS, self.comment[:1]}
        take = self.take
        new = tuple.__new__  # what `Row(…)` does, less a call of Python
        left: list[str] = []
        for block in chain(blocks, (None,)):
            lines = left + (block or [])
            left = []
            rest = iter(lines)
            for line in rest:
                if line[:1] in odd and self.is_left_out(line):
                    if said and line.strip(BLANKS):
                        said(line)
                    continue
                if type(line) is Broken:
                    yield Row(str(line), line.error)
                    continue
                if quote and quote in line:
                    first = len(lines) - length_hint(rest) - 1
                    try:
                        cells, count = take(lines, first, final=block is None)
                    except Open:
                        left = lines[first:]
                        break
                    if count > 1:
                        line = "\n".join(lines[first : first + count])  # noqa: PLW2901 - the whole of it
                        deque(islice(rest, count - 1), maxlen=0)
                    text = line.removesuffix("\r")
                else:
                    text = line.removesuffix("\r")
                    cells = text.split(delimiter)
                if (before in text or behind in text) and type(cells) is list:
                    cells = [cell.strip() for cell in cells]
                yield new(Row, (text, cells))

    def is_left_out(self, line: str) -> bool:
        """Say whether a line is blank or a comment."""
        text = line.strip(BLANKS)
        return not text or (bool(self.comment) and text.startswith(self.comment))

    def take(self, lines: list[str], first: int, *, final: bool) -> tuple[Cells, int]:
        """Read the record that begins in a line with a quote, and count its lines.

        Raises:
            Open: it does not end in these lines, and they are not the `final` ones.
        """
        used = [lines[first]]
        try:
            try:
                self._queue.extend(used)
                cells: list[str] = next(self._reader)
            except IndexError:
                used.clear()
                cells = next(self._csv(self._following(lines, first, used, final=final)))
        except csv.Error as error:
            return _bad(lines[first], str(error)), 1
        except InvalidValue as error:
            return error, 1
        finally:
            self._queue.clear()
        return cells, len(used)

    def _following(self, lines: list[str], first: int, used: list[str], *, final: bool) -> Iterator[str]:
        size = 0
        for place in range(first, len(lines)):
            line = lines[place]
            size += size_of(line) + 1
            if size > self.longest:
                raise _bad(lines[first], f"expected a closing quote within {Size(self.longest)} (`max_row_bytes`)")
            if type(line) is Broken:
                raise line.error
            used.append(line)
            yield line + "\n"
        if not final:
            raise Open

    def _csv(self, lines: Iterator[str]) -> Iterator[list[str]]:
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote,
            skipinitialspace=self.delimiter != " ",
            strict=True,
        )


def _bad(line: str, reason: str) -> InvalidValue:
    return InvalidValue("row", line[:SHOWN], f"expected a record: {reason}")
