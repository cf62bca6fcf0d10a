"""Replays what the predecessor's types make of values."""

from typing import Any

import orjson

from conformance import vectors
from intelstream.errors import InvalidValue
from intelstream.ontology import STANDARD, Event
from intelstream.sdk.convert import time_reader

FIELDS = {  # one of each type that has neither length nor pattern beside
    "ASN": "source.asn",
    "Accuracy": "feed.accuracy",
    "Base64": "raw",
    "Boolean": "source.tor_node",
    "ClassificationTaxonomy": "classification.taxonomy",
    "ClassificationType": "classification.type",
    "DateTime": "time.source",
    "FQDN": "source.fqdn",
    "Float": "source.geolocation.latitude",
    "IPAddress": "source.ip",
    "IPNetwork": "source.network",
    "Integer": "rtir_id",
    "JSON": "output",
    "JSONDict": "extra",
    "LowercaseString": "product.name",
    "Registry": "source.registry",
    "String": "comment",
    "TLP": "tlp",
    "URL": "source.url",
    "UppercaseString": "UPPER",
}
FORMS = {"from_timestamp": "epoch", "timestamp": "epoch", "from_windows_nt": "windows", "windows_nt": "windows"}
ONTOLOGY = STANDARD.with_own({"upper.case": "Upper"})


def replayed(case: vectors.Case) -> bool:
    known = case["op"] in {"sanitize", "is_valid", "from_fuzzy", *FORMS} or "subitem" in case["op"]
    known = known or case["op"] == "from_format" or (case["op"] == "convert" and case["args"][0] in FORMS)
    return not case.get("depth") and case["type"] in FIELDS and known


def written(case: vectors.Case) -> Any:
    """Return what an event holds after this value was written, as it looks at the edge; None where it is refused."""
    value, op, name = case["value"], case["op"], FIELDS[case["type"]].replace("UPPER", "upper.case")
    event = Event({}, ONTOLOGY, id="")
    try:
        if op in FORMS or op in {"convert", "from_format"}:
            form = case["args"][0] if op == "convert" else op
            value = time_reader(case["format"] if op == "from_format" else FORMS[form])(value)
        if "subitem" in op:
            name = "extra.some"
        if name == "raw" and op == "is_valid":  # what is encoded already comes by the edge only
            event = Event.from_dict({"raw": value} if isinstance(value, str) else {})
        else:
            event[name] = value
    except (InvalidValue, ValueError):
        return None
    return event["extra"] if name == "extra" else event.to_dict(raw=True).get(name)


def ours(case: vectors.Case) -> Any:
    kept = written(case)
    if case["op"] not in {"is_valid", "is_valid_subitem"}:
        return comparable(case, kept)
    if case.get("sanitize") or kept is None:
        return kept is not None
    if case["type"] == "JSONDict" and case["op"] == "is_valid":  # as text there, as what it says here
        return isinstance(case["value"], str) and vectors.same(kept, comparable(case, case["value"]))
    return vectors.same(kept, case["value"])


def theirs(case: vectors.Case) -> Any:
    """Return what is recorded; where a check broke down, it was to refuse."""
    if case["op"] in {"is_valid", "is_valid_subitem"}:
        return "raises" not in case and case["expected"]
    return comparable(case, case.get("expected"))


def comparable(case: vectors.Case, value: Any) -> Any:
    """Return JSON as what it holds, whether it came as text or not."""
    if case["type"] in {"JSON", "JSONDict"} and "subitem" not in case["op"] and isinstance(value, str):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def test_values_are_taken_refused_and_written_as_before() -> None:
    given = [case for case in vectors.cases("harmonization.json", "harmonization_bots.json") if replayed(case)]

    faults = vectors.unexplained("types", given, ours, theirs)

    assert not faults, "\n".join(["", *dict.fromkeys(faults)])


def test_each_deviation_still_differs() -> None:
    assert vectors.stale("types", ours, theirs) == []
