"""Replays what the predecessor's methods of events and reports do."""

from typing import Any

import orjson

from conformance import vectors
from intelstream.errors import InvalidValue
from intelstream.ontology import Event, Report

REFUSED = ("refused",)  # whatever is raised
OUT_OF_SCOPE = ("out of scope",)


def ours(case: vectors.Case) -> Any:
    """Return what a call gives, and what the event holds then."""
    if case.get("class") == "Report" and case["op"] == "to_dict":
        return Report.from_dict(case["before"]).to_dict(raw="raw" in case["before"]), case["before"]
    event = Event.from_dict(case["before"])
    try:
        given = called(event, case)
    except (InvalidValue, KeyError):
        given = False if case["kwargs"].get("raise_failure") is False else REFUSED
    return given, event.to_dict(raw=True)


def called(event: Event, case: vectors.Case) -> Any:  # noqa: C901, PLR0911 - one for each method
    kwargs = case["kwargs"]
    match case["op"], case["args"]:
        case "add", [name, value]:
            return event.add(name, value, overwrite=bool(kwargs.get("overwrite")))
        case ("change", [name, None]) | ("__delitem__", [name]):
            del event[name]
            return False
        case "change", [name, value]:
            return event.add(name, value, overwrite=True)
        case "__setitem__", [name, value]:
            event[name] = value
            return False
        case "update", [fields]:
            for name, value in fields.items():
                event[name] = value
            return False
        case "__getitem__", [name]:
            return shown(name, event[name], event)
        case "get", [name, *default]:
            return shown(name, event.get(name, *default), event)
        case "is_valid", [name, value]:
            return valid(name, value)
        case "__contains__", [name]:
            return name in event
        case (("to_dict" | "to_json"), []):
            as_text, hierarchical = kwargs.get("jsondict_as_string", False), kwargs.get("hierarchical", False)
            found = event.to_dict(
                raw=True, with_type=kwargs.get("with_type", False), hierarchical=hierarchical, extra_as_text=as_text
            )
            return {name: shown(name, value, event) for name, value in found.items()}
        case _:
            return OUT_OF_SCOPE


def valid(name: str, value: object) -> bool:
    """Tell whether a field takes a value; a field that there is not is an error."""
    event = Event({}, id="")
    try:
        event[name] = value
    except InvalidValue:
        if name not in event.ontology:
            raise
        return False
    return True


def shown(name: str, value: Any, event: Event) -> Any:
    """Return a value as it looks at the edge."""
    if name == "raw":
        return event.to_dict(raw=True)["raw"]
    return orjson.loads(value) if name == "extra" and isinstance(value, str) else value


def theirs(case: vectors.Case) -> Any:
    """Return what is recorded: nothing and `False` are one answer, `extra` is what its text says."""
    before = case["before"]
    after = case.get("after", before)
    if "raises" in case:
        return REFUSED, after
    result = case["result"]
    named = next(iter(case["args"]), None) == "extra" and case["op"] in {"get", "__getitem__"}
    if isinstance(result, str) and (named or case["op"] == "to_json"):
        result = orjson.loads(result)
    match result:
        case {"extra": str(text)}:
            result |= {"extra": orjson.loads(text)}
    return False if result is None else result, after


def test_messages_are_changed_and_shown_as_before() -> None:
    faults = vectors.unexplained("messages", vectors.cases("message.json"), ours, theirs)

    assert not faults, "\n".join(["", *faults])


def test_each_deviation_still_differs() -> None:
    assert vectors.stale("messages", ours, theirs) == []
