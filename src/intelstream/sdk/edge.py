"""What of an event an output writes, and in which shape."""

import csv
import io
from collections.abc import Iterable
from typing import Any

import orjson
from pydantic import Field

from intelstream.ontology import Event
from intelstream.ontology.extra import nested
from intelstream.sdk.stage import Params
from intelstream.sdk.types import FieldList


class Selection(Params):
    """Parameters of every output that writes fields of events."""

    fields: FieldList = Field((), description="The fields to write, in this order; all if none are named.")
    raw: bool = Field(False, description="Whether to write `raw`, as base64.")


class Form(Selection):
    """Parameters of every output that writes events as JSON, CSV or the like."""

    hierarchical: bool = Field(False, description="Whether `source.ip` becomes `ip` in an object `source`.")

    def shape(self, event: Event) -> dict[str, Any]:
        """Return what leaves of an event. It may be the event's own mapping: do not change it."""
        fields = event.to_dict(raw=True) if self.raw or "raw" in self.fields else event.fields
        if self.fields:
            found = {name: fields[name] if name in fields else event.get(name) for name in self.fields}
            fields = {name: value for name, value in found.items() if value is not None}
        return nested(fields) if self.hierarchical else fields

    def encode(self, event: Event) -> bytes:
        """Return one event as JSON."""
        return orjson.dumps(self.shape(event))

    def lines(self, events: Iterable[Event]) -> bytearray:
        """Return events as JSON, one per line.

        They go into one buffer: to keep thousands of small texts and join them takes eight times as long.
        """
        out, dumps = bytearray(), orjson.dumps
        if self.fields or self.raw or self.hierarchical:
            for event in events:
                out += dumps(self.shape(event), None, orjson.OPT_APPEND_NEWLINE)
        else:
            for event in events:
                out += dumps(event.fields, None, orjson.OPT_APPEND_NEWLINE)
        return out

    def header(self) -> bytes:
        """Return the names of `fields` as the first line of a CSV file."""
        return f"{','.join(self.fields)}\n".encode()

    def rows(self, events: Iterable[Event]) -> bytes:
        """Return events as CSV (RFC 4180, with line feeds), one per record, `fields` in their order."""
        text = io.StringIO()
        shaped = (self.shape(event) for event in events)
        csv.writer(text, lineterminator="\n").writerows(
            [_cell(row.get(name, "")) for name in self.fields] for row in shaped
        )
        return text.getvalue().encode()


def _cell(value: object) -> object:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
