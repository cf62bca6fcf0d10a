"""The form that events have at every edge: what other systems give and are given, as IntelMQ has it."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from pydantic import Field

from intelstream.errors import InvalidValue
from intelstream.ontology import STANDARD, Event, Ontology
from intelstream.sdk.stage import Params
from intelstream.sdk.types import FieldList


class Form(Params):
    """What of an event leaves, and in which shape."""

    fields: FieldList = Field((), description="The fields to write, in this order; all if none are named.")
    raw: bool = Field(False, description="Whether to write `raw`, as base64.")
    hierarchical: bool = Field(False, description="Whether `source.ip` becomes `ip` in an object `source`.")

    def shape(self, event: Event) -> dict[str, Any]:
        """Return what leaves of an event. It may be the event's own mapping: do not change it."""
        fields = event.to_dict(raw=True) if self.raw or "raw" in self.fields else event.fields
        if self.fields:
            fields = {name: fields[name] for name in self.fields if name in fields}
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


def nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return objects within objects instead of dotted names; what is below a field that has a value stays dotted.

    `source.ip` becomes `{"source": {"ip": …}}`, but `extra.a` and `extra.a.b` are `{"extra": {"a": …, "a.b": …}}`.
    """
    top: dict[str, Any] = {}
    for name, value in fields.items():
        here, start = top, 0
        while (dot := name.find(".", start)) > 0 and name[:dot] not in fields:
            here, start = here.setdefault(name[start:dot], {}), dot + 1
        here[name[start:]] = value
    return top


def taken(fields: Mapping[str, Any], ontology: Ontology = STANDARD) -> Event:
    """Return an event that another system gave; the `__` keys of IntelMQ are left out.

    Raises:
        InvalidValue: a value that the ontology refuses, or a field that it has not.
    """
    event = Event({}, ontology, id="")
    for name, value in fields.items():
        if name == "raw":
            try:
                event.raw = base64.b64decode(value, validate=True).decode(errors="replace")
            except (binascii.Error, TypeError, ValueError) as error:
                raise InvalidValue(name, value, "expected base64") from error
        elif not name.startswith("__"):
            event[name] = value
    return event
