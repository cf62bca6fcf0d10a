"""Parse a table of an HTML page, one event per row."""

import re
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from intelstream import sdk
from intelstream.errors import InvalidValue
from intelstream.ontology import Report
from intelstream.sdk.columns import Column
from intelstream.sdk.lines import read_text
from intelstream.sdk.linetable import HeadedParams, below_header, pairs
from intelstream.sdk.table import TableParser, bounded

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode


# What is no table: comments, what holds no text to read, all other tags. Each is found in one go, or not at all.
NO_TABLE: Final = re.compile(
    r"""<!--.*?(?:-->|\Z)|<(script|style|template|textarea|title)\b.*?(?:</\1\s*>|\Z)
    |</?(?!(?:table|t[rdh]|thead|tbody|tfoot)\b)(?P<tag>[a-z][^\s/<>]*)(?:[^<>"']|"[^"]*"|'[^']*')*+>""",
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)


class Params(HeadedParams):
    header: Literal["none", "skip", "names"] = Field("skip", description="What the first row is.")
    table: int = Field(0, ge=0, description="Number of the table, from 0, among those that fit `attribute`.")
    attribute: str | None = Field(None, description="Name of an attribute that the table has, such as `id`.")
    value: str | None = Field(None, description="Value of the attribute, or a word of it.")
    max_bytes: sdk.Size = Field(sdk.Size("16MiB"), description="Largest page: it is held in memory.")


class HtmlTable(TableParser[Params]):
    """Parse a table of an HTML page, one event per row.

    The text of a cell is its value.
    """

    requires = sdk.Extra("html", "selectolax")
    _parse: "type[LexborHTMLParser]"

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        from selectolax.lexbor import LexborHTMLParser  # noqa: PLC0415 - an extra

        self._parse = LexborHTMLParser
        yield

    def columns(self) -> Iterable[tuple[int | str, Column | None]]:
        return pairs(self.params.columns)

    def records(self, report: Report) -> Iterator[sdk.Row]:
        params = self.params
        if report.size > params.max_bytes:
            raise InvalidValue("report", report.size, f"expected at most {params.max_bytes} (`max_bytes`)")
        text = read_text(report.raw, params.encoding, reject=params.undecodable == "reject")
        if text.strip():
            yield from below_header(self._rows(text), params.header, self.sources)

    def _rows(self, text: str) -> Iterator[sdk.Row]:
        tables = [table for table in self._parse(_tables(text)).css("table") if self._fits(table)]
        if self.params.table >= len(tables):
            raise InvalidValue("report", len(tables), f"expected table number {self.params.table}")
        table = tables[self.params.table]
        for row in table.css("tr"):
            if _around(row) == table.mem_id:
                cells = [cell.text().strip() for cell in row.iter() if cell.tag in ("td", "th")]
                if cells:
                    yield bounded(row.html or "", cells, self.params.max_row_bytes)

    def _fits(self, table: "LexborNode") -> bool:
        if self.params.attribute is None:
            return True
        found: Any = table.attributes.get(self.params.attribute)
        value = self.params.value
        return found is not None and (value is None or value == found or value in found.split())


def _tables(text: str) -> str:
    """Leave out all that is no table: the time that any parser takes grows with the square of how deep a page is."""
    return NO_TABLE.sub(lambda found: "\n" if found["tag"] in ("br", "BR") else "", text)


def _around(row: "LexborNode") -> int | None:
    """Return which table a row belongs to: one in a cell of another has rows of its own."""
    node = row.parent
    while node is not None and node.tag != "table":
        node = node.parent
    return node.mem_id if node is not None else None
