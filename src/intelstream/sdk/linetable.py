"""Tables that are lines of text: comments, lines on top, headers."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, BinaryIO, Final, Literal, Self, TypeVar

from pydantic import Field, model_validator

from intelstream.errors import InvalidValue
from intelstream.ontology import Report
from intelstream.sdk.columns import Column, ColumnsEither
from intelstream.sdk.fieldchecks import check_of
from intelstream.sdk.items import Lines, Row
from intelstream.sdk.lines import Broken, cuttable, read_lines
from intelstream.sdk.patterns import Expression, Pattern
from intelstream.sdk.rowplan import PLACEHOLDER, WRONG, cell
from intelstream.sdk.table import SHOWN, TableParams, TableParser
from intelstream.sdk.types import FieldName

BLANKS: Final = " \t\r"


class LineParams(TableParams):
    """Parameters of every parser whose rows are lines of text."""

    skip_lines: int = Field(0, ge=0, description="Number of lines on top that are no rows.")
    comment: str = Field("#", description="What a line to be left out begins with.")
    from_comments: dict[FieldName, Expression] = Field(
        {}, description="Values that hold for all rows: what is found in a comment above them, or its group."
    )


class HeadedParams(TableParams):
    """Parameters of every parser whose columns stand in order, and may have a header."""

    columns: ColumnsEither = Field(
        description="What each column is, in order: a field, `~`, a list or a mapping. With `header: names`: "
        "name of a column to the same."
    )
    header: Literal["none", "skip", "names"] = Field("none", description="What the first row is.")

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        if isinstance(self.columns, dict) != (self.header == "names"):
            raise ValueError("columns with names and `header: names` go together")
        if not isinstance(self.columns, dict):
            for name in (name for text in self.compose.values() for name in PLACEHOLDER.findall(text)):
                if not (name.isascii() and name.isdecimal()):
                    raise ValueError(f"`compose` counts columns from {{0}} where they have no names, got {{{name}}}")
        return self


L = TypeVar("L", bound=LineParams)


class TextTable(TableParser[L]):
    """A parser of text in lines. What a row is, is the subclass's."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._patterns = {field: Pattern(text) for field, text in self.params.from_comments.items()}

    @property
    def split(self) -> Lines | None:
        # What a comment says holds for all rows, and what is no text may hide where a quote opens.
        params = self.params
        if params.from_comments or params.undecodable == "reject" or not cuttable(params.encoding):
            return None
        return Lines(header=params.skip_lines, longest=params.max_row_bytes)

    def blocks(self, file: BinaryIO) -> Iterator[list[str]]:
        """Yield the lines of a report, less those to skip."""
        params, left = self.params, self.params.skip_lines
        reject = params.undecodable == "reject"
        for block in read_lines(file, params.encoding, reject=reject, longest=params.max_row_bytes):
            yield block[left:] if left else block
            left = max(0, left - len(block))

    def hear(self, comment: str, report: Report) -> None:
        """Take what a comment says of all rows."""
        for field, pattern in self._patterns.items():
            try:
                if (found := pattern.find(comment)) and field not in report.start:
                    report.start[field] = check_of(report.ontology, self.reading, field).patient(found)
            except WRONG as error:
                self.ctx.log.warning("comment_not_understood", field=field, comment=comment[:SHOWN], error=str(error))


class LineTable(TextTable[L]):
    """A parser each of whose rows is a line."""

    def cells(self, text: str) -> Sequence[Any]:
        """Return the cells of one line.

        Raises:
            InvalidValue: it is no row.
        """
        return [text]

    def records(self, report: Report) -> Iterator[Row]:
        with report.open() as file:
            for line in chain.from_iterable(self.blocks(file)):
                text = line.removesuffix("\r")
                if type(line) is Broken:
                    yield Row(str(line), line.error)
                elif (start := text.strip(BLANKS)) and not self._is_comment(start):
                    yield self.line_row(text)
                elif start:
                    self.hear(start, report)

    def _is_comment(self, start: str) -> bool:
        return bool(self.params.comment) and start.startswith(self.params.comment)

    def line_row(self, text: str) -> Row:
        """Make a row of a line, or of the error that it is."""
        try:
            return Row(text, self.cells(text))
        except InvalidValue as error:
            return Row(text, error)


def pairs(
    columns: "tuple[Column | None, ...] | dict[str, Column | None]",
) -> Iterable[tuple[int | str, Column | None]]:
    """Pair the place or the name of each cell with its column."""
    return columns.items() if isinstance(columns, dict) else enumerate(columns)


def below_header(rows: Iterator[Row], header: str, sources: Sequence[str]) -> Iterator[Row]:
    """Yield the rows below the header, with the cells that are asked for, in that order.

    Raises:
        InvalidValue: the header has none of these names.
    """
    if header == "none":
        yield from rows
        return
    first = next(rows, None)
    if header == "skip" or first is None:
        yield from rows
        return
    if isinstance(first.value, Exception):
        raise first.value
    names = [str(name).strip() for name in first.value]
    places = [names.index(source) if source in names else len(names) for source in sources]
    if all(place == len(names) for place in places):
        raise InvalidValue("report", first.text[:SHOWN], f"expected a header with {', '.join(sources)}")
    for text, cells in rows:
        yield Row(text, cells if isinstance(cells, Exception) else [cell(place, cells) for place in places])
