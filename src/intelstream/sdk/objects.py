"""Tables whose rows are JSON objects: columns by dotted path, or whole events as IntelMQ writes them."""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import orjson
from pydantic import Field

from intelstream.errors import InvalidValue
from intelstream.ontology import Event, Report
from intelstream.sdk.columns import Column, ColumnMap
from intelstream.sdk.items import Row
from intelstream.sdk.table import SHOWN, TableParams, TableParser, bounded, raise_if_bad

Get = Callable[[Mapping[str, Any]], Any]
KEY: Final = "@key"
OWN: Final = frozenset({KEY, "__id", "__parents"})  # an event that was parsed has an id of its own


class ObjectParams(TableParams):
    """Parameters of every parser of JSON objects."""

    columns: ColumnMap | None = Field(
        None,
        description="Dotted path in an object: a field, `~`, a list or a mapping. "
        "Without columns, the names in an object are those of fields.",
    )


O = TypeVar("O", bound=ObjectParams)  # noqa: E741 - as the others are named


class ObjectTable(TableParser[O]):
    """A parser whose rows are JSON objects. `@key` is the name under which an object stands in one around it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._gets: list[Get] = [_getter(source) for source in self.sources]

    def columns(self) -> Iterable[tuple[str, Column | None]]:
        return (self.params.columns or {}).items()

    def row(self, value: object, text: str | None = None, key: str | None = None) -> Row:
        """Make a row of an object, or of the error that it is."""
        try:
            text = orjson.dumps(value).decode() if text is None else text
        except (TypeError, RecursionError) as error:
            return Row("", InvalidValue("row", "", f"expected JSON that can be written again: {error}"))
        if not isinstance(value, dict):
            return Row(text, InvalidValue("row", text[:SHOWN], "expected a JSON object"))
        if key is not None:
            value = {**value, KEY: key}
        longest = self.params.max_row_bytes
        if self.params.columns is None:
            return bounded(_raw(value, text), value, longest)
        return bounded(text, [get(value) for get in self._gets], longest)

    def events(self, row: Row, report: Report) -> Event | list[Event] | None:
        if self.params.columns is not None:
            return super().events(row, report)
        raise_if_bad(row.value)
        if not self.wants(row.text):
            return None
        known = Event.from_dict({k: v for k, v in row.value.items() if k not in OWN}, report.ontology)
        event = report.event()
        event.fields |= known.fields
        event.tags |= known.tags
        return event


def _getter(path: str) -> Get:
    return partial(_walk, path, path.split(".")) if "." in path else partial(_get, path)


def _get(name: str, value: Mapping[str, Any]) -> Any:
    return value.get(name)


def _walk(path: str, steps: Sequence[str], value: Any) -> Any:
    """Follow a dotted path; a name that has the dots itself comes first, a number counts in a list."""
    if path in value:
        return value[path]
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _raw(value: Mapping[str, Any], text: str) -> str:
    """Return the text of the row that an event in IntelMQ's form was made of, if it brings it along."""
    raw = value.get("raw")
    try:
        return base64.b64decode(raw, validate=True).decode(errors="replace") if isinstance(raw, str) else text
    except binascii.Error:
        return text
