from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import Field, TypeAdapter, ValidationError

from intelstream import sdk
from intelstream.ontology import STANDARD
from intelstream.sdk.types import (
    Duration,
    FieldList,
    FieldMap,
    FieldName,
    PartError,
    PathUnder,
    Rotation,
    Size,
    WritablePath,
)

DURATIONS = {"250ms": 0.25, "15s": 15.0, "10m": 600.0, "1.5h": 5400.0, "1d": 86_400.0, "2w": 1_209_600.0, "90": 90.0}
SIZES = {"1B": 1, "64KiB": 65_536, "1.5MiB": 1_572_864, "1GiB": 2**30, "1TiB": 2**40, "512": 512}
NO_DURATIONS: tuple[Any, ...] = (
    "",
    "0s",
    "-1s",
    "1 minute",
    "1M",
    "1D",
    "inf",
    "nan",
    "1e3s",
    "11w1d",
    "600w",
    "9" * 30,
    True,
    None,
    [],
)
NO_SIZES = ("", "0", "-1B", "1MB", "1kB", "256mib", "2000TiB", True, None)
HINTS = {"duration": Duration, "size": Size}


@pytest.mark.parametrize(("text", "seconds"), DURATIONS.items())
def test_a_duration_carries_its_unit(text: str, seconds: float) -> None:
    assert Duration(text) == seconds
    assert Duration(str(Duration(text))) == seconds


@pytest.mark.parametrize(("text", "size"), SIZES.items())
def test_a_size_carries_its_unit(text: str, size: int) -> None:
    assert Size(text) == size
    assert Size(str(Size(text))) == size


def test_quantities_are_shown_in_their_largest_whole_unit() -> None:
    assert [str(Duration(text)) for text in ("60s", "90s", "24h", "7d", "0.5s")] == ["1m", "90s", "1d", "1w", "500ms"]
    assert [str(Size(number)) for number in (1024, 1536, 2**20)] == ["1KiB", "1536B", "1MiB"]


@pytest.mark.parametrize("value", NO_DURATIONS, ids=repr)
def test_what_is_no_duration_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Duration).validate_python(value)


@pytest.mark.parametrize("value", NO_SIZES, ids=repr)
def test_what_is_no_size_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Size).validate_python(value)


@pytest.mark.parametrize("hint", HINTS.values(), ids=HINTS)
def test_an_editor_is_told_the_form_of_a_quantity(hint: Any) -> None:
    schema = TypeAdapter(hint).json_schema()

    assert schema["examples"]
    assert all(Draft202012Validator(schema).is_valid(example) for example in (*schema["examples"], 15))
    assert not any(Draft202012Validator(schema).is_valid(wrong) for wrong in ("soon", 0, -1, None))


def check(hint: Any, value: Any, **context: Any) -> Any:
    return TypeAdapter(hint).validate_python(value, context=context)


def test_fields_are_those_of_the_ontology_of_the_pipeline() -> None:
    own = STANDARD.with_own({"org.case": "Text"})

    assert check(FieldName, "extra.anything") == "extra.anything"
    assert check(FieldName, "org.case", ontology=own) == "org.case"
    with pytest.raises(ValidationError, match=r"no such field"):
        check(FieldName, "org.case")
    with pytest.raises(ValidationError, match=r"no such field; did you mean 'source\.ip'\?"):
        check(FieldName, "source.ipp")


def test_a_list_of_fields_may_be_one_text() -> None:
    assert check(FieldList, "source.ip, source.port") == check(FieldList, ["source.ip", "source.port"])


def test_values_of_fields_are_kept_as_the_ontology_keeps_them() -> None:
    assert check(FieldMap, {"source.ip": " 192.0.2.1 ", "source.port": "80", "extra.a": [1]}) == {
        "source.ip": "192.0.2.1",
        "source.port": 80,
        "extra.a": [1],
    }


def test_each_wrong_value_of_a_field_has_its_place() -> None:
    with pytest.raises(ValidationError) as caught:
        check(FieldMap, {"source.ip": "x", "source.prt": 1, "source.port": 80})

    [details] = caught.value.errors()
    error = details.get("ctx", {}).get("error")
    assert isinstance(error, PartError)
    assert set(error.parts) == {("source.ip",), ("source.prt",)}
    assert error.parts["source.prt",] == "no such field; did you mean 'source.port'?"


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Any]:
    """Return a context that opens `in` for reading and `out` for writing; a link leads out of each."""
    for name in ("in", "out", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/circle").symlink_to(tmp_path / "in/circle")
    return {"directory": tmp_path, "readable": [tmp_path / "in"], "writable": [tmp_path / "out"]}


def test_a_path_begins_at_the_directory_of_the_pipeline(tree: dict[str, Any]) -> None:
    assert check(PathUnder, "in/list.csv", **tree) == tree["directory"] / "in/list.csv"
    assert check(PathUnder, str(tree["directory"] / "in"), **tree) == tree["directory"] / "in"
    assert check(WritablePath, "out/new/events.jsonl", **tree) == tree["directory"] / "out/new/events.jsonl"


OUTSIDE = {
    "up": "in/../elsewhere/x",
    "absolute": "/etc/passwd",
    "a link": "in/link/x",
    "a circle of links": "in/circle",
    "a name that only begins so": "in-other/x",
    "a pattern that goes up": "in/*/../../x",
    "nothing": "",
    "a null byte": "in/\0",
}


@pytest.mark.parametrize("path", OUTSIDE.values(), ids=OUTSIDE)
def test_a_path_outside_is_refused(path: str, tree: dict[str, Any]) -> None:
    for hint in (PathUnder, WritablePath):
        with pytest.raises(ValidationError):
            check(hint, path, **tree)


def test_reading_does_not_open_writing(tree: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"files\.write"):
        check(WritablePath, "in/x", **tree)
    with pytest.raises(ValidationError, match=r"files\.read"):
        check(PathUnder, "out/x", **tree)


class Params(sdk.Params):
    headers: dict[str, str] = Field({}, description="Shown unless hidden.")
    path: str = Field("", description="Shown.")


def test_parameters_that_hold_a_secret_are_shown_nowhere() -> None:
    params = Params.model_validate({"headers": {"k": "s3cret"}, "path": "x"}, context={"hidden": {"headers"}})

    assert params.headers == {"k": "s3cret"}
    assert "s3cret" not in repr(params) + str(params) + str(params.model_dump()) + params.model_dump_json()
    assert "'x'" in repr(params)


ROTATIONS: dict[str, Rotation | None] = {
    "never": Rotation(),
    "1d": Rotation(every=86_400.0),
    "100MiB": Rotation(size=100 * 2**20),
    "100": None,
    "": None,
    "1x": None,
}


@pytest.mark.parametrize(("text", "rotation"), ROTATIONS.items())
def test_a_rotation_is_by_time_or_by_size(text: str, rotation: Rotation | None) -> None:
    if rotation is not None:
        assert Rotation.read(text) == rotation
        return
    with pytest.raises(ValueError, match="expected"):
        Rotation.read(text)
