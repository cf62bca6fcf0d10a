"""Reads YAML as plain values, each with its place in the file; bounded in size, depth and expansion."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from intelstream.errors import Fault

Place = tuple[str | int, ...]
LARGEST: Final = 1_048_576  # bytes of text
MOST: Final = 100_000  # values, with aliases expanded
DEEPEST: Final = 32
PLAIN: Final = frozenset({None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
INTEGER: Final = re.compile(r"[-+]?[0-9]{1,30}|0o[0-7]{1,30}|0x[0-9a-fA-F]{1,30}")  # YAML 1.2, chapter 10.3
FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a value stands: the file, its line and column from 1, and the keys that lead to it there."""

    file: str
    line: int
    column: int
    place: Place = ()


@dataclass(slots=True)
class Document:
    """What a text says, as far as it could be read. `marks` has where each value, or its key, stands."""

    value: Any
    marks: dict[Place, Mark]
    faults: list[Fault]


def read(data: bytes | str, file: str) -> Document:
    """Read one document, YAML 1.2 without tags. What is wrong is listed, and the rest is read.

    A text that is no YAML, or too large, too deep or too much once its aliases are expanded, gives None.
    """
    reader = _Reader(file)
    try:
        reader.value(reader.root(_decoded(data)), ())
    except _Unreadable as error:
        reader.fault(error.line, error.column, (), error.text)
        reader.document.value = None
    return reader.document


class _Unreadable(Exception):
    def __init__(self, text: str, line: int, column: int) -> None:
        super().__init__(text)
        self.text, self.line, self.column = text, line, column


@dataclass(slots=True)
class _Node:
    line: int
    column: int
    scalar: Any = None
    text: str = ""
    items: "list[_Node] | None" = None
    pairs: "list[tuple[_Node, _Node]] | None" = None
    is_open: bool = False


@dataclass(slots=True)
class _Reader:
    """One reading: events become nodes, nodes become values and marks."""

    file: str
    document: Document = field(default_factory=lambda: Document(None, {}, []))
    anchors: dict[str, _Node] = field(default_factory=dict[str, _Node])

    def fault(self, line: int, column: int, place: Place, text: str) -> None:
        self.document.faults.append(Fault(self.file, line, column, ".".join(map(str, place)), text))

    def root(self, text: str) -> _Node:
        events = _events(text)
        found = _Node(1, 1)
        documents = 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _unreadable("expected one document: a second one begins here", event)
                found = self.node(next(events), events, 0)
        return found

    def node(self, event: Event, events: Iterator[Event], depth: int) -> _Node:
        if depth > DEEPEST:
            raise _unreadable(f"nested deeper than {DEEPEST} levels", event)
        if isinstance(event, AliasEvent):
            return self.alias(event)
        if (tag := getattr(event, "tag", None)) is not None and str(tag) not in PLAIN:
            raise _unreadable(f"tags such as {str(tag).removeprefix('tag:yaml.org,2002:')!r} are not read", event)
        node = _Node(event.start_mark.line + 1, event.start_mark.column + 1, is_open=True)
        if (anchor := getattr(event, "anchor", None)) is not None:
            self.anchors[anchor] = node
        if isinstance(event, SequenceStartEvent):
            node.items = []
            while not isinstance(event := next(events), SequenceEndEvent):
                node.items.append(self.node(event, events, depth + 1))
        elif isinstance(event, MappingStartEvent):
            node.pairs = []
            while not isinstance(event := next(events), MappingEndEvent):
                key = self.node(event, events, depth + 1)
                node.pairs.append((key, self.node(next(events), events, depth + 1)))
        elif isinstance(event, ScalarEvent):
            node.text = event.value
            node.scalar = _scalar(event.value) if tag is None and event.implicit[0] else event.value
        node.is_open = False
        return node

    def alias(self, event: AliasEvent) -> _Node:
        if (known := self.anchors.get(event.anchor)) is None:
            raise _unreadable(f"no anchor '&{event.anchor}' before this alias", event)
        if known.is_open:
            raise _unreadable(f"'*{event.anchor}' stands for something that it is a part of", event)
        return known

    def value(self, node: _Node, place: Place) -> Any:
        """Return the value of a node and note the places within; an alias is walked at each of its uses."""
        if len(place) > DEEPEST or len(self.document.marks) > MOST:
            raise _Unreadable("too much once its aliases are expanded", node.line, node.column)
        self.document.marks.setdefault(place, Mark(self.file, node.line, node.column, place))
        found: Any = node.scalar
        if node.items is not None:
            found = [self.value(child, (*place, n)) for n, child in enumerate(node.items)]
        elif node.pairs is not None:
            found = self.mapping(node.pairs, place)
        if not place:
            self.document.value = found
        return found

    def mapping(self, pairs: list[tuple[_Node, _Node]], place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, child in pairs:
            name = key.text  # a key is text, whatever it looks like
            here = (*place, name)
            if key.items is not None or key.pairs is not None:
                self.fault(key.line, key.column, place, "expected a name")
            elif name == "<<":
                self.fault(key.line, key.column, here, "merging is not supported; `templates` do it for stages")
            elif name in found:
                first = self.document.marks[here].line
                self.fault(key.line, key.column, here, f"there are two of this name, the first in line {first}")
            else:
                self.document.marks[here] = Mark(self.file, key.line, key.column, here)
                found[name] = self.value(child, here)
        return found


def _decoded(data: bytes | str) -> str:
    if len(data) > LARGEST:
        raise _Unreadable(f"larger than {LARGEST // 1024} KiB", 1, 1)
    if isinstance(data, str):
        return data
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        line, column = _position(before, len(before))
        raise _Unreadable(f"byte 0x{data[error.start]:02x} is not UTF-8", line, column) from error


def _events(text: str) -> Iterator[Event]:
    """Yield what the YAML library finds, with its errors as ours."""
    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = str(error.problem or error.context)
        if "'\\t'" in problem:
            problem = "found a tab; YAML is indented with spaces"
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise _Unreadable(problem, line, column) from error
    except YAMLError as error:  # a character that YAML does not have: this one error comes without a mark
        place = getattr(error, "position", 0)
        raise _Unreadable(f"character {text[place]!r} is not allowed", *_position(text, place)) from error
    except (ValueError, OverflowError) as error:  # escapes and directives out of range
        raise _Unreadable(f"not understood: {error}", 1, 1) from error


def _position(text: str, place: int) -> tuple[int, int]:
    return text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place)


def _unreadable(text: str, event: Event) -> _Unreadable:
    return _Unreadable(text, event.start_mark.line + 1, event.start_mark.column + 1)


def _scalar(text: str) -> Any:
    """Give a plain scalar its type by the core schema of YAML 1.2, without the numbers that are none."""
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text):
        return int(text, 0) if text[1:2] in ("o", "x") else int(text)
    if FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text


def under(marks: Mapping[Place, Mark], place: Place) -> Mark | None:
    """Return the mark of the deepest part of `place` that the file has."""
    return next((marks[place[:n]] for n in range(len(place), -1, -1) if place[:n] in marks), None)
