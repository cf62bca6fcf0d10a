"""Reads events that others send as JSON: an object, an array, or one object per line."""

from collections.abc import Iterable
from typing import NamedTuple

import orjson

from intelstream.errors import InvalidValue
from intelstream.ontology import Event, Ontology
from intelstream.sdk.files import Content


class Wrong(NamedTuple):
    """What is wrong with an event: where, as a JSON pointer (RFC 6901) into the array or the lines, and why."""

    pointer: str
    code: str
    msg: str


def read_events(content: Content, ontology: Ontology) -> tuple[list[Event], list[Wrong]]:
    """Return the events, as IntelMQ and our own outputs write them, and what is wrong with any."""
    rows, wrong = _rows(content if isinstance(content, bytes) else content.read_bytes())
    events: list[Event] = []
    for place, row in rows:
        if not isinstance(row, dict):
            wrong.append(Wrong(f"/{place}", "invalid_value", "expected an object of fields"))
            continue
        try:
            events.append(Event.from_dict(row, ontology))
        except InvalidValue as error:
            field = error.field.replace("~", "~0").replace("/", "~1")
            wrong.append(Wrong(f"/{place}/{field}", error.code, error.reason))
    return events, wrong


def _rows(body: bytes) -> tuple[Iterable[tuple[int, object]], list[Wrong]]:
    """Return each value with its place; a body of several lines need not be one value."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        lines = [(place, line) for place, line in enumerate(body.splitlines()) if line.strip()]
        return _lines(lines) if len(lines) > 1 else ((), [Wrong("", "invalid_json", str(error))])
    return enumerate(found if isinstance(found, list) else [found]), []


def _lines(lines: Iterable[tuple[int, bytes]]) -> tuple[list[tuple[int, object]], list[Wrong]]:
    rows: list[tuple[int, object]] = []
    wrong: list[Wrong] = []
    for place, line in lines:
        try:
            rows.append((place, orjson.loads(line)))
        except orjson.JSONDecodeError as error:
            wrong.append(Wrong(f"/{place}", "invalid_json", str(error)))
    return rows, wrong
