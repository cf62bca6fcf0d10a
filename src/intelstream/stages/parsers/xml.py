"""Parse an XML document, one event per element."""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Final
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, tostring

from defusedxml.ElementTree import DefusedXMLParser, iterparse
from pydantic import AfterValidator, Field

from intelstream import sdk
from intelstream.errors import InvalidValue
from intelstream.ontology import Report
from intelstream.sdk.columns import Column, ColumnMap
from intelstream.sdk.lines import known_encoding
from intelstream.sdk.metered import Metered
from intelstream.sdk.table import TableParams, TableParser

AUTO: Final = "auto"
DEEPEST: Final = 128  # levels of a document
UNREADABLE: Final = (ParseError, ValueError, LookupError)  # broken; with a DTD or an entity; in no known encoding


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

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._gets = [_getter(source) for source in self.sources]

    def columns(self) -> Iterable[tuple[str, Column | None]]:
        return self.params.columns.items()

    def records(self, report: Report) -> Iterator[sdk.Row]:
        if not report.size:
            return
        params = self.params
        encoding = "" if params.encoding == AUTO else params.encoding
        parser = DefusedXMLParser(target=TreeBuilder(), encoding="utf-8" if encoding else None, forbid_dtd=True)
        with report.open() as file:
            metered = Metered(file, params.max_row_bytes, encoding, reject=params.undecodable == "reject")
            try:
                yield from self._elements(iterparse(metered, ("start", "end"), parser), metered)
            except UNREADABLE as error:
                raise InvalidValue("report", "", f"expected XML without a document type: {error}") from error

    def _elements(self, events: Iterable[tuple[str, Element]], metered: Metered) -> Iterator[sdk.Row]:
        absolute, wanted = self.params.rows.startswith("/"), self.params.rows.strip("/").split("/")
        names: list[str] = []
        above: list[Element] = []
        inside = 0  # level of the row at hand
        for event, element in events:
            if event == "start":
                names.append(_local(element))
                above.append(element)
                if len(names) > DEEPEST:
                    raise ValueError(f"it has more than {DEEPEST} levels")
                fits = names == wanted if absolute else names[-len(wanted) :] == wanted
                inside = inside or (len(names) if fits else 0)
            else:
                if inside == len(names):
                    element.tail = None
                    yield sdk.Row(tostring(element, "unicode"), [get(element) for get in self._gets])
                    inside = 0
                names.pop()
                above.pop()
                if not inside:
                    element.clear()
                    del (above or [element])[-1][:]  # or a document would pile up in memory
            if not inside:
                metered.reset()


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _getter(path: str) -> Callable[[Element], str | None]:
    *steps, last = path.split("/")
    if not last.startswith("@") and last != ".":
        steps.append(last)

    def get(element: Element) -> str | None:
        for step in steps:
            found = next((child for child in element if _local(child) == step), None)
            if found is None:
                return None
            element = found
        return element.get(last[1:]) if last.startswith("@") else element.text

    return get
