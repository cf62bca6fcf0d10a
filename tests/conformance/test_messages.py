"""Events against what the peer's messages did: calls of its methods, with the state before and after."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from conformance import vectors
from intelstream.errors import InvalidValue
from intelstream.ontology import Event
from intelstream.ontology.event import EMPTY

# What has no counterpart, listed once: the peer's hash is one of Python's `repr`, what absent keys look up as is for
# its CSV output alone, names are found by a comprehension, and events are copied by the engine.
OUT: Final = frozenset({"hash", "set_default_value", "finditems", "deep_copy"})
OUT_ARGUMENTS: Final = frozenset({"sanitize", "ignore"})  # a value is checked in one way, always
UNUSED_ARGUMENTS: Final = frozenset({"raise_failure"})  # `add` raises where a value is refused


@dataclass(frozen=True, slots=True)
class Case:
    """One call of a method of the peer's message."""

    kind: str
    op: str
    before: dict[str, Any]
    args: list[Any]
    kwargs: dict[str, Any]
    result: Any
    after: dict[str, Any]
    raises: str | None


def _empty(value: object) -> bool:
    return isinstance(value, str | None) and value in EMPTY


def _add(event: Event, key: str, value: Any, *, overwrite: bool | None = None) -> object:
    stored = event.add(key, value, overwrite=bool(overwrite))
    return True if stored else None if _empty(value) else False


def _change(event: Event, key: str, value: Any) -> object:
    if _empty(value):  # that is how the peer says `del`
        del event[key]
        return None
    event[key] = value
    return True


def _update(event: Event, fields: dict[str, Any]) -> None:
    for key, value in fields.items():
        event[key] = value


def _is_valid(event: Event, key: str, value: Any) -> bool:
    if key not in event.ontology:
        raise InvalidValue(key, value, "no such field")
    try:
        event[key] = value
    except InvalidValue:
        return False
    del event[key]
    return True


def _to_dict(
    event: Event, *, hierarchical: bool = False, with_type: bool = False, jsondict_as_string: bool = False
) -> dict[str, Any]:
    return event.to_dict(raw=True, hierarchical=hierarchical, with_type=with_type, extra_as_text=jsondict_as_string)


def _get(event: Event, key: str, default: Any = None) -> Any:
    return event.to_dict(raw=True).get(key, default) if key == "raw" else event.get(key, default)


def _getitem(event: Event, key: str) -> Any:
    return event.to_dict(raw=True)[key] if key == "raw" else event[key]


OPS: Final[dict[str, Callable[..., Any]]] = {
    "add": _add,
    "change": _change,
    "update": _update,
    "is_valid": _is_valid,
    "get": _get,
    "__getitem__": _getitem,
    "__setitem__": Event.__setitem__,
    "__delitem__": Event.__delitem__,
    "to_dict": _to_dict,
    "to_json": _to_dict,
}


def cases() -> Iterator[Case]:
    for entry in map(vectors.value, vectors.entries("message.json")):
        args, kwargs = entry["args"], entry["kwargs"]
        named = [*entry["before"], *(args[:1] if args and isinstance(args[0], str) else [])]
        if entry["op"] in OUT or OUT_ARGUMENTS & kwargs.keys() or entry.get("default_value_set") or "__type" in named:
            continue
        kwargs = {name: given for name, given in kwargs.items() if name not in UNUSED_ARGUMENTS}
        after = entry.get("after", entry["before"])
        yield Case(
            entry["class"], entry["op"], entry["before"], args, kwargs, entry.get("result"), after, entry.get("raises")
        )


def agrees(case: Case) -> bool:
    """Say whether we do what the peer did, and leave behind what it left."""
    event = Event.from_dict(case.before)
    try:
        result = OPS[case.op](event, *case.args, **case.kwargs)
    except InvalidValue:
        return case.raises in ("InvalidValue", "InvalidKey") or case.result is False
    except KeyError:
        return case.raises == "KeyError"
    if not vectors.same(event.to_dict(raw=True), case.after):
        return False
    if case.raises == "KeyExists":  # raised where we say that nothing was stored
        return result is False
    return case.raises is None and vectors.same(_read(result), _read(case.result))


def _read(result: Any) -> Any:
    """Read JSON text, which the peer gives for all of `extra` and for whole messages."""
    if isinstance(result, dict):
        return {key: _read(value) for key, value in result.items()}
    return orjson.loads(result) if isinstance(result, str) and result.startswith("{") else result


def _keeps_odd_names(case: Case) -> bool:
    return case.raises == "InvalidKey" and str(case.args[0]).startswith("extra.")


def _replaces(case: Case) -> bool:
    return case.op == "__setitem__" and case.raises == "KeyExists"


def _leaves(case: Case) -> bool:
    return (
        case.op == "add"
        and case.kwargs.get("overwrite") is True
        and _empty(case.args[1])
        and case.args[0] in case.before
    )


def _merges(case: Case) -> bool:
    known = any(key.startswith("extra.") for key in case.before)
    return case.op == "add" and case.args[0] == "extra" and not case.kwargs.get("overwrite") and known


def _knows_all(case: Case) -> bool:
    return case.kind == "Report" and case.raises == "InvalidKey" and case.args[0] in Event({}, id="").ontology


CLASSES: Final[dict[str, Callable[[Case], bool]]] = {
    "extra_keeps_names": _keeps_odd_names,
    "assignment_replaces": _replaces,
    "empty_never_removes": _leaves,
    "extra_is_merged": _merges,
    "reports_have_all_fields": _knows_all,
}
# A case of each class, so that none is without: directories differ in what they hold.
KNOWN: Final = {
    "extra_keeps_names": Case("Event", "add", {}, ["extra.foo-", 1], {}, None, {}, "InvalidKey"),
    "assignment_replaces": Case("Event", "__setitem__", {"comment": "a"}, ["comment", "b"], {}, None, {}, "KeyExists"),
    "empty_never_removes": Case(
        "Event", "add", {"comment": "a"}, ["comment", "-"], {"overwrite": True}, None, {}, None
    ),
    "extra_is_merged": Case("Event", "add", {"extra.a": 1}, ["extra", {"b": 2}], {}, None, {"extra.a": 1}, "KeyExists"),
    "reports_have_all_fields": Case("Report", "add", {}, ["source.ip", "192.0.2.1"], {}, None, {}, "InvalidKey"),
}


def test_events_do_what_messages_of_the_peer_did() -> None:
    assert vectors.unexplained(cases(), agrees, CLASSES) == []


def test_what_differs_has_a_reason_and_still_differs() -> None:
    assert vectors.reasons("messages").keys() == CLASSES.keys() == KNOWN.keys()
    assert vectors.stale(KNOWN, agrees, CLASSES) == []
