"""Reads events that others send as JSON: an object, an array, or one object per line."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import orjson

from intelstream.errors import InvalidValue
from intelstream.ontology import Event, Ontology
from intelstream.sdk.files import Content
from intelstream.sdk.jsonstream import stream
from intelstream.sdk.metered import Metered

MOST: Final = 20  # faults that are told; nothing is read behind them
KEPT: Final = 10_000  # events in memory; those of more are read a second time
LONGEST: Final = 2**20  # bytes of one event


class Wrong(NamedTuple):
    """What is wrong with an event: where, as a JSON pointer (RFC 6901) into the array or the lines, and why."""

    pointer: str
    code: str
    msg: str


Row = tuple[int, object]


def read_events(content: Content, ontology: Ontology) -> tuple[Iterable[Event], list[Wrong]]:
    """Return the events, as IntelMQ and our own outputs write them, and what is wrong with the first that are.

    Memory is bounded whatever the content is. Where there are many events, iterating reads them from it: in a thread.
    """
    events: list[Event] = []
    wrong: list[Wrong] = []
    count = 0
    for count, made in enumerate(_made(content, ontology), 1):
        if isinstance(made, Wrong):
            wrong.append(made)
            if len(wrong) == MOST:
                break
        elif count <= KEPT and not wrong:
            events.append(made)
    if wrong:
        return (), wrong
    return (events if count <= KEPT else _again(content, ontology)), []


def _again(content: Content, ontology: Ontology) -> Iterator[Event]:
    return (made for made in _made(content, ontology) if isinstance(made, Event))


def _made(content: Content, ontology: Ontology) -> Iterator[Event | Wrong]:
    for row in _rows(content):
        if isinstance(row, Wrong):
            yield row
            continue
        place, value = row
        if not isinstance(value, dict):
            yield Wrong(f"/{place}", "invalid_value", "expected an object of fields")
            continue
        try:
            yield Event.from_dict(value, ontology)
        except InvalidValue as error:
            field = error.field.replace("~", "~0").replace("/", "~1")
            yield Wrong(f"/{place}/{field}", error.code, error.reason)


def _rows(content: Content) -> Iterator[Row | Wrong]:
    """Yield each value with its place; a body of several lines need not be one value."""
    if isinstance(content, Path):
        with content.open("rb") as file:
            yield from _lines(file) if _is_lines(file) else _streamed(file)
        return
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if sum(map(bool, map(bytes.strip, content.splitlines()))) > 1:
            yield from _lines(io.BytesIO(content))
        else:
            yield Wrong("", "invalid_json", str(error))
        return
    yield from enumerate(found if isinstance(found, list) else [found])


def _is_lines(file: BinaryIO) -> bool:
    """Tell whether the first line that is not blank is a value, and no array; go back to the front."""
    line = b"\n"
    while line.isspace():
        line = file.readline(LONGEST)
    file.seek(0)
    try:
        return not isinstance(orjson.loads(line), list)
    except orjson.JSONDecodeError:
        return False


def _lines(file: BinaryIO) -> Iterator[Row | Wrong]:
    place = 0
    while line := file.readline(LONGEST + 1):
        if len(line) > LONGEST:
            yield Wrong(f"/{place}", "too_large", f"expected at most {LONGEST} bytes")
            return
        if not line.isspace():
            try:
                yield place, orjson.loads(line)
            except orjson.JSONDecodeError as error:
                yield Wrong(f"/{place}", "invalid_json", str(error))
        place += 1


def _streamed(file: BinaryIO) -> Iterator[Row | Wrong]:
    place = 0
    try:
        for place, (_, value) in enumerate(stream(Metered(file, LONGEST, cure=""), (), by_name=False), 1):
            yield place - 1, value
    except InvalidValue as error:
        yield Wrong(f"/{place}" if place else "", "invalid_json", error.reason)
