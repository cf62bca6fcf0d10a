from typing import Any

import pytest

from intelstream import testing

EVENT = {"source.ip": "192.0.2.1", "comment": "a", "extra.a": 1, "extra.b": 2}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "fields that stay": ("experts.reduce_fields", {"keep": "source.ip"}, {"source.ip": "192.0.2.1"}),
    "extra stays whole": ("experts.reduce_fields", {"keep": "extra"}, {"extra.a": 1, "extra.b": 2}),
    "fields that go": ("experts.reduce_fields", {"remove": ["comment", "extra"]}, {"source.ip": "192.0.2.1"}),
    "a field is set": ("experts.set_fields", {"fields": {"tlp": "white"}}, EVENT | {"tlp": "CLEAR"}),
    "a field that is there is kept": ("experts.set_fields", {"fields": {"comment": "b"}}, EVENT),
    "and replaced on demand": (
        "experts.set_fields",
        {"fields": {"comment": "b"}, "overwrite": "always"},
        EVENT | {"comment": "b"},
    ),
}


@pytest.mark.parametrize(("use", "params", "expected"), CASES.values(), ids=CASES)
async def test_fields(use: str, params: dict[str, Any], expected: dict[str, Any]) -> None:
    result = await testing.run_stage(use, params, [EVENT])

    assert result.outputs == {"default": [expected | {"__type": "Event"}]}


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "both lists": ("experts.reduce_fields", {"keep": "tlp", "remove": "comment"}),
    "no list": ("experts.reduce_fields", {}),
    "an unknown field": ("experts.reduce_fields", {"keep": "source.ipp"}),
    "a wrong value": ("experts.set_fields", {"fields": {"source.port": "a"}}),
}


@pytest.mark.parametrize(("use", "params"), REFUSED.values(), ids=REFUSED)
async def test_wrong_parameters_are_refused(use: str, params: dict[str, Any]) -> None:
    assert (await testing.run_stage(use, params, [EVENT])).refused
