"""Parse an XML document, one event per element."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from intelstream import sdk
from intelstream.ontology import Report
from intelstream.sdk.columns import Column, ColumnMap
from intelstream.sdk.lines import known_encoding
from intelstream.sdk.metered import Metered
from intelstream.sdk.table import TableParams, TableParser
from intelstream.sdk.xmlstream import elements, getter, text_of

AUTO: Final = "auto"


def _encoding(name: str) -> str:
    return name if name == AUTO else known_encoding(name)


class Params(TableParams):
    encoding: Annotated[str, AfterValidator(_encoding), "encoding"] = Field(
        AUTO, description="How the bytes are to be read; `auto`: as the document says."
    )
    rows: str = Field(
        min_length=1, description="Path of the elements, such as `entries/entry`; from the top with `/` in front."
    )
    columns: ColumnMap = Field(
        description="Path in an element (`ip`, `source/ip`, `@id`, `source/@type`, `.`): a field, `~`, a list or "
        "a mapping."
    )


class Xml(TableParser[Params]):
    """Parse an XML document, one event per element.

    Names are taken without their namespace. Document types and entities are refused.
    """

    def __init__(self, params: Params, ctx: sdk.StageContext) -> None:
        super().__init__(params, ctx)
        self._gets = [getter(source) for source in self.sources]

    def columns(self) -> Iterable[tuple[str, Column | None]]:
        return self.params.columns.items()

    def records(self, report: Report) -> Iterator[sdk.Row]:
        if not report.size:
            return
        params = self.params
        encoding = "" if params.encoding == AUTO else params.encoding
        with report.open() as file:
            metered = Metered(file, params.max_row_bytes, encoding, reject=params.undecodable == "reject")
            for element in elements(metered, params.rows, encoding="utf-8" if encoding else None):
                yield sdk.Row(text_of(element), [get(element) for get in self._gets])
