"""Gives the members of a list in a JSON document: of a small one at once, of a large one in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import ijson
import orjson
from ijson.common import JSONError, ObjectBuilder

from intelstream.errors import InvalidValue
from intelstream.sdk.metered import Metered

DEEPEST: Final = 128  # levels of one member
STARTS: Final = frozenset({"start_map", "start_array"})
ENDS: Final = frozenset({"end_map", "end_array"})
SHOWN: Final = 80
NEW_BUILDER: Final[Callable[[], Any]] = ObjectBuilder
Event = tuple[str, Any]
Member = tuple[str | None, Any]


def members(text: str, path: Sequence[str], *, by_name: bool) -> Iterator[Member]:
    """Yield what the list at a path holds, each without a name.

    An object there is the one member; with `by_name` what it holds is, and a list in it holds members of one name.

    Raises:
        InvalidValue: it is no JSON, or there is no such list.
    """
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidValue("report", text[:SHOWN], f"expected JSON: {error}") from error
    for step in path:
        if not isinstance(found, dict) or step not in found:
            raise _no_list(path)
        found = found[step]
    if isinstance(found, list):
        yield from ((None, member) for member in found)
    elif isinstance(found, dict) and by_name:
        for name, value in found.items():
            yield from _named(name, value)
    elif isinstance(found, dict):
        yield None, found
    elif found is not None:
        raise _no_list(path)


def stream(file: Metered, path: Sequence[str], *, by_name: bool) -> Iterator[Member]:
    """Yield the same without the whole document in memory.

    Raises:
        InvalidValue: as above, or one member is too large or too deep.
    """
    events: Iterator[Event] = iter(ijson.basic_parse(file, use_float=True))
    try:
        first = _descend(events, file, path)
        if first[0] == "start_array":
            while (event := next(events))[0] != "end_array":
                yield None, _built(events, event)
                file.reset()
        elif first[0] == "start_map" and by_name:
            while (event := next(events))[0] != "end_map":
                yield from _named(event[1], _built(events, next(events)))
                file.reset()
        elif first[0] == "start_map":
            yield None, _built(events, first)
        elif first[0] != "null":
            raise _no_list(path)
        for _ in events:  # the rest has to be JSON too
            file.reset()
    except JSONError as error:
        raise InvalidValue("report", "", f"expected JSON: {error}") from error


def _named(name: str, value: Any) -> Iterator[Member]:
    yield from ((name, one) for one in value) if isinstance(value, list) else ((name, value),)


def _descend(events: Iterator[Event], file: Metered, path: Sequence[str]) -> Event:
    """Go to the value at a path and return its first event."""
    event = next(events)
    for step in path:
        if event[0] != "start_map":
            raise _no_list(path)
        while True:
            event = next(events)
            if event[0] != "map_key":
                raise _no_list(path)
            found, event = event[1] == step, next(events)
            if found:
                break
            _pass_over(events, file, event)
    file.reset()
    return event


def _pass_over(events: Iterator[Event], file: Metered, event: Event) -> None:
    depth = 0
    while True:
        depth += (event[0] in STARTS) - (event[0] in ENDS)
        file.reset()
        if not depth:
            return
        event = next(events)


def _built(events: Iterator[Event], event: Event) -> Any:
    builder = NEW_BUILDER()
    depth = 0
    while True:
        builder.event(*event)
        depth += (event[0] in STARTS) - (event[0] in ENDS)
        if depth > DEEPEST:
            raise InvalidValue("report", "", f"expected at most {DEEPEST} levels")
        if not depth:
            return builder.value
        event = next(events)


def _no_list(path: Sequence[str]) -> InvalidValue:
    return InvalidValue("report", ".".join(path), "expected a list of rows at the path `rows`")
