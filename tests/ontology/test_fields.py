"""Which fields there are, those of a deployment included."""

import json
from typing import Any

import pytest

from intelstream.errors import InvalidValue
from intelstream.ontology import STANDARD, Event, Ontology
from intelstream.ontology.fields import event_schema
from intelstream.ontology.schema import EventFields, ReportFields

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a type misspelt": ({"org.case": "Txet"}, "org.case: no such type 'Txet'; did you mean 'Text'"),
    "a type in small letters": ({"org.case": "integer"}, "did you mean 'Integer'"),
    "a type that nobody knows": ({"org.case": "Zebra"}, "org.case: no such type 'Zebra'"),
    "a list of two types": ({"org.case": ["Text", "Integer"]}, "org.case: expected the name of a type"),
    "a number for a type": ({"org.case": 1}, "org.case: expected the name of a type"),
    "a name with capitals": ({"Org": "Text"}, "Org: expected small letters"),
    "a name that there is": ({"source.ip": "Text"}, "source.ip: there is such a field already"),
    "a name of the engine": ({"error.mine": "Text"}, "error.mine: .* kept for the engine"),
    "a name below extra": ({"extra.mine": "Text"}, "extra.mine: there is such a field already"),
}


@pytest.mark.parametrize(("fields", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_field_is_explained(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        STANDARD.with_own(fields)


def test_a_deployment_has_fields_of_its_own() -> None:
    own = STANDARD.with_own({"org.case": "Integer"}).with_own({"org.tags": ["Lower"]})
    event = Event({}, own, id="")
    event["org.case"] = "7"
    event["org.tags"] = ["A", "b"]

    assert event.to_dict() == {"org.case": 7, "org.tags": ["a", "b"]}
    assert "org.case" not in STANDARD
    with pytest.raises(InvalidValue, match=r"^org\.case: no such field"):
        Event({}, id="")["org.case"] = 1


def test_a_type_may_be_one_of_pydantic_as_it_is() -> None:
    event = Event({}, Ontology({"org.flag": bool}), id="")
    event["org.flag"] = "yes"

    assert event["org.flag"] is True


def test_only_fields_of_brackets_hold_lists() -> None:
    own = STANDARD.with_own({"org.case": "Text", "org.tags": ["Text"]})

    assert [own.is_list(name) for name in ("org.tags", "org.case", "source.ip")] == [True, False, False]


def test_the_fields_of_the_engine_are_known_but_none_of_the_vocabulary() -> None:
    engine = {"error.stage", "error.class", "error.field", "error.text"}

    assert engine <= STANDARD.checks.keys()
    assert engine.isdisjoint(info.alias for info in EventFields.model_fields.values())


def test_a_report_has_no_field_that_events_have_not() -> None:
    def names(model: type[ReportFields]) -> set[Any]:
        return {info.alias for info in model.model_fields.values()}

    assert names(ReportFields) < names(EventFields)
    assert all(info.description for info in EventFields.model_fields.values())


def test_the_json_schema_tells_names_types_and_limits() -> None:
    schema = STANDARD.with_own({"org.tags": ["Text"]}).json_schema()
    found = schema["properties"]

    assert json.loads(json.dumps(schema)) == schema
    assert event_schema()["properties"].keys() == found.keys() - {"org.tags"}
    assert found["source.port"].items() >= {"type": "integer", "minimum": 0}.items()
    assert "scanner" in found["classification.type"]["enum"]
    assert found["org.tags"]["type"] == "array"
    assert not schema["additionalProperties"]
