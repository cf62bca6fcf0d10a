"""Events that others send: in any form, of any size, in bounded memory."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from intelstream.ontology import STANDARD
from intelstream.sdk.incoming import KEPT, MOST, read_events

EVENTS = [{"source.ip": "192.0.2.1", "comment": f"event {number} {'x' * 100}"} for number in range(KEPT + 500)]
FORMS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "an array": orjson.dumps,
    "an array in many lines": lambda events: orjson.dumps(events, option=orjson.OPT_INDENT_2),
    "lines": lambda events: b"\n".join(map(orjson.dumps, events)),
    "lines with blank ones": lambda events: b"\r\n" + b"\r\n\r\n".join(map(orjson.dumps, events)),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("count", [2, len(EVENTS)], ids=["few", "many"])
def test_events_come_in_any_form_and_number(form: Callable[[Any], bytes], count: int, tmp_path: Path) -> None:
    body = form(EVENTS[:count])
    (tmp_path / "body").write_bytes(body)
    for content in (body, tmp_path / "body"):
        events, wrong = read_events(content, STANDARD)

        assert wrong == []
        assert [event.to_dict() for event in events] == EVENTS[:count]


@pytest.mark.parametrize("body", [b"[" + b"[]," * 2_000_000 + b"[]]", b"[]\n" * 2_000_000], ids=["an array", "lines"])
def test_what_is_all_wrong_costs_no_more_than_its_first_faults(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(body)
    tracemalloc.start()
    try:
        _, wrong = read_events(tmp_path / "body", STANDARD)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(wrong) <= MOST
    assert wrong
    assert peak < 20 * 2**20


WRONG: dict[str, tuple[bytes, list[tuple[str, str]]]] = {
    "a value": (orjson.dumps([*EVENTS, {"source.ip": "nobody"}]), [(f"/{len(EVENTS)}/source.ip", "invalid_value")]),
    "an end that is missing": (orjson.dumps(EVENTS)[:-1], [(f"/{len(EVENTS)}", "invalid_json")]),
    "a line": (
        b"\n".join([*map(orjson.dumps, EVENTS), b"{", b"7"]),
        [(f"/{len(EVENTS)}", "invalid_json"), (f"/{len(EVENTS) + 1}", "invalid_value")],
    ),
    "a line that is too long": (b'{"comment": "a"}\n{"comment": "' + b"x" * 2**20, [("/1", "too_large")]),
    "an event that is too long": (b'[{"comment": "' + b"x" * 2 * 2**20 + b'"}]', [("", "invalid_json")]),
    "no text": (b"\xff" * 2 * 2**20, [("", "invalid_json")]),
    "depth": (b"[" * 2 * 2**20, [("", "invalid_json")]),
    "nothing": (b" " * 2 * 2**20, [("", "invalid_json")]),
}


@pytest.mark.parametrize(("body", "faults"), WRONG.values(), ids=WRONG)
def test_faults_of_what_is_large_are_named_too(body: bytes, faults: list[tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(body)
    events, wrong = read_events(tmp_path / "body", STANDARD)

    assert list(events) == []
    assert [(fault.pointer, fault.code) for fault in wrong] == faults
