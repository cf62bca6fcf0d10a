"""The types against what the peer's types did: `sanitize` and `is_valid`, as its own tests called them."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from ipaddress import ip_address, ip_network
from typing import Any, Final, get_args

import orjson
from dateutil.parser import parse

from conformance import vectors
from intelstream.errors import InvalidValue
from intelstream.ontology import Event, types
from intelstream.ontology.fields import compiled
from intelstream.ontology.plain import plain
from intelstream.sdk.convert import time_reader

TYPES: Final = {
    "ASN": types.Asn,
    "Accuracy": types.Accuracy,
    "Base64": types.Base64,
    "Boolean": types.Boolean,
    "ClassificationTaxonomy": types.ClassificationTaxonomy,
    "ClassificationType": types.ClassificationType,
    "DateTime": types.Time,
    "FQDN": types.Fqdn,
    "Float": types.Float,
    "IPAddress": types.Address,
    "IPNetwork": types.Network,
    "Integer": types.Integer,
    "JSON": types.JsonText,
    "JSONDict": types.JsonObject,
    "LowercaseString": types.Lower,
    "Registry": types.Registry,
    "String": types.Text,
    "TLP": types.Tlp,
    "URL": types.Url,
    "UppercaseString": types.Upper,
}
CHECKS: Final = {name: compiled(hint) for name, hint in TYPES.items()}
LONGEST_NAME: Final = 253
TRUTH: Final = {"yes", "y", "on", "1", "t", "no", "n", "off", "0", "f", "true", "false", "1.0", "0.0"}
OPS: Final = ("sanitize", "is_valid", "sanitize_subitem", "is_valid_subitem")
# Readers of times, which parsers have here; the midnight of a day is what a form without a clock gives anyway.
FORMS: Final = {"from_timestamp": "epoch", "from_windows_nt": "windows", "from_fuzzy": "fuzzy"}
FORMATTED: Final = ("from_format", "from_format_midnight")


@dataclass(frozen=True, slots=True)
class Case:
    """One call of a type of the peer."""

    type: str
    op: str
    value: Any
    sanitize: bool
    expected: Any
    form: str = ""

    @property
    def strict(self) -> bool:
        """Whether it asks if a value is fine as it is."""
        return self.op == "is_valid" and not self.sanitize


def _alike(ours: Any, theirs: Any) -> bool:
    """Compare; JSON texts by what they mean, not by how they are spaced and ordered."""
    if isinstance(theirs, str) and isinstance(ours, str | dict) and ours != theirs:
        try:
            return vectors.same(orjson.loads(ours) if isinstance(ours, str) else ours, orjson.loads(theirs))
        except orjson.JSONDecodeError:
            return False
    return vectors.same(ours, theirs)


def _written(value: Any) -> Any:
    """Write the row of an event, and return how it looks at the edge: there the peer's `sanitize` has its place."""
    event = Event({}, id="")
    event["raw"] = value
    return event.to_dict(raw=True)["raw"]


def _check(case: Case) -> Callable[[Any], Any]:
    if case.op.endswith("_subitem"):
        return plain
    return _written if (case.type, case.op) == ("Base64", "sanitize") else CHECKS[case.type]


def agrees(case: Case) -> bool:
    """Say whether we do what the peer did: the same value, or none; the same answer."""
    alike = _alike if case.type.startswith("JSON") else vectors.same
    try:
        found = _check(case)(time_reader(case.form)(case.value) if case.form else case.value)
    except (InvalidValue, ValueError, TypeError, OverflowError):
        return case.expected in (None, False)
    if case.op.startswith("is_valid"):
        return (not case.strict or alike(found, case.value)) is case.expected
    return alike(found, case.expected)


def cases(name: str) -> Iterator[Case]:
    for entry in map(vectors.value, vectors.entries(name)):
        op = entry["op"]
        form = str(entry["format"]) if op in FORMATTED else FORMS.get(op, "")
        if op == "convert":
            form = FORMS.get(f"from_{entry['args'][0]}", "")
        if (op in OPS or form) and entry["type"] in TYPES and not entry.get("depth"):
            # What the peer raises, it raises by mistake where it should have refused.
            yield Case(entry["type"], op, entry["value"], bool(entry.get("sanitize")), entry.get("expected"), form)


# What the peer accepts is what it stores, or the answer yes.
def _accepted(case: Case) -> bool:
    return case.expected not in (None, False)


def _stored(case: Case) -> str:
    return str(case.value if case.op == "is_valid" else case.expected)


def _in_other_form(case: Case) -> bool:
    """What the peer keeps in one of several forms."""
    if not _accepted(case) or not (case.strict or case.type == "DateTime"):
        return False
    kept = _stored(case)
    match case.type:
        case "IPAddress":
            return str(ip_address(kept)) != kept
        case "IPNetwork":
            return str(ip_network(kept)) != kept
        case "DateTime":
            return not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.(?!0{6})\d{6})?\+00:00", kept)
        case "String" | "LowercaseString" | "UppercaseString" | "URL" | "FQDN":
            return kept != kept.strip()
        case _:
            return False


def _no_host(case: Case) -> bool:
    """A name with blanks or signs, or one that ends in a number: an address, whole or broken."""
    name = _stored(case).strip(" .\r\n\t")
    broken = not re.fullmatch(r"[\w.*-]+", name) or name.rpartition(".")[2].isdigit() or len(name) > LONGEST_NAME
    return case.type == "FQDN" and _accepted(case) and broken


def _idna_2008(case: Case) -> bool:
    return case.type == "FQDN" and case.op == "sanitize" and any(sign in str(case.value) for sign in "ßς\u200c\u200d")


def _white(case: Case) -> bool:
    return case.type == "TLP" and _accepted(case) and "WHITE" in str(case.value).upper()


def _tlp_2(case: Case) -> bool:
    return (
        case.type == "TLP"
        and not _accepted(case)
        and any(new in str(case.value).upper() for new in ("CLEAR", "STRICT"))
    )


def _row_is_text(case: Case) -> bool:
    """What decodes only if signs that are none of base64 are overlooked, or to no text; numbers."""
    if case.type != "Base64":
        return False
    if case.op == "sanitize":
        return isinstance(case.value, bytes | int | float | list | dict)
    return _accepted(case) and re.fullmatch(r"(?:[\w+/]{4})*(?:[\w+/]{2}==|[\w+/]{3}=)?", case.value, re.ASCII) is None


def _object(case: Case) -> bool:
    return case.type == "JSONDict" and case.strict and isinstance(case.value, dict) and bool(case.value)


def _nobody(case: Case) -> bool:
    return case.type == "IPAddress" and _accepted(case) and (_stored(case) == "0.0.0.0" or isinstance(case.value, bool))  # noqa: S104


def _mapped(case: Case) -> bool:
    return case.type == "IPAddress" and _accepted(case) and _stored(case).startswith("::ffff:")


def _no_number(case: Case) -> bool:
    """Not finite, a fraction cut off, digits of other scripts, or more of them than 64 bits hold."""
    if case.type not in ("Integer", "ASN", "Float", "Accuracy") or not _accepted(case):
        return False
    given = case.value
    if isinstance(given, str | bytes):
        return not given.isascii() or str(_stored(case)).strip("+-").lower() in ("nan", "inf", "infinity")
    if isinstance(given, float):
        return not math.isfinite(given) or (case.type in ("Integer", "ASN") and not given.is_integer())
    return isinstance(given, int) and case.type == "Integer" and not -(2**63) <= given < 2**63


def _no_day(case: Case) -> bool:
    """Year, month or day missing, or nothing but a number."""
    if case.type != "DateTime" or case.strict or not _accepted(case) or not isinstance(case.value, str):
        return False
    days = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2001, 2, 2, tzinfo=UTC))
    with suppress(ValueError, OverflowError):
        first, other = (parse(case.value, fuzzy=True, default=day, tzinfos=lambda *_: UTC) for day in days)
        return first != other or case.value.strip().isdigit()
    return False


def _zone(case: Case) -> bool:
    zones = r"\b(?:[ECMP][SD]T|[CE]ES?T|WEST)\b"
    return (
        case.type == "DateTime"
        and not case.strict
        and _accepted(case)
        and re.search(zones, str(case.value)) is not None
    )


def _ticks(case: Case) -> bool:
    return case.form == "windows" and isinstance(case.value, int) and case.value % 10**7 != 0


def _time_value(case: Case) -> bool:
    return case.type == "DateTime" and not case.strict and isinstance(case.value, date)


def _more_text(case: Case) -> bool:
    """Numbers where text is lower or upper case, and the number 0 and the value false anywhere."""
    if _accepted(case) or case.strict:
        return False
    if case.type == "String":
        return isinstance(case.value, int | float)
    return case.type in ("LowercaseString", "UppercaseString") and isinstance(case.value, int | float | list | dict)


def _container_as_json(case: Case) -> bool:
    return case.type == "String" and isinstance(case.value, list | dict) and case.op == "sanitize" and _accepted(case)


def _more_words(case: Case) -> bool:
    """Words for true and false, old names with blanks, numbers written with a fraction of nothing."""
    if _accepted(case) or case.strict:
        return False
    word = case.value.decode() if isinstance(case.value, bytes) else str(case.value)
    match case.type:
        case "Boolean":
            return word.strip().lower() in TRUTH
        case "Registry":
            return word.strip().upper() == "RIPE NCC"
        case "ClassificationType" | "ClassificationTaxonomy":
            listed = get_args(get_args(TYPES[case.type])[0])
            return " " in word.strip() and word.strip().lower().replace(" ", "-") in listed
        case "Integer" | "ASN":
            return re.fullmatch(r"\s*(?:AS)?[+-]?\d+\.0+\s*", word, re.IGNORECASE) is not None
        case _:
            return False


def _defanged(case: Case) -> bool:
    """What was written so that nobody clicks on it; a blank, a tab or no name where the host should be."""
    if case.type not in ("URL", "FQDN", "IPAddress"):
        return False
    given = str(case.value)
    broken = (
        case.type == "URL" and re.search(r"[\t\r\n]|^[^/]*//(?:[^/?#]*@)?(?:[^/?#]*\s|:)", given.strip()) is not None
    )
    return broken or re.search(r"hxxp|\[\.\]|\[:\]|\[dot\]|\(\.\)", given, re.IGNORECASE) is not None


CLASSES: Final[dict[str, Callable[[Case], bool]]] = {
    "one_form": _in_other_form,
    "no_host": _no_host,
    "idna_2008": _idna_2008,
    "white_is_clear": _white,
    "tlp_2": _tlp_2,
    "row_is_text": _row_is_text,
    "object_is_a_value": _object,
    "address_of_nobody": _nobody,
    "mapped_address": _mapped,
    "no_number": _no_number,
    "no_day": _no_day,
    "zones": _zone,
    "time_as_value": _time_value,
    "exact_ticks": _ticks,
    "more_text": _more_text,
    "json_for_containers": _container_as_json,
    "more_words": _more_words,
    "refanged": _defanged,
}
# A case of each class, so that none is without: directories differ in what they hold.
KNOWN: Final = {
    "one_form": Case("IPAddress", "is_valid", "2001:DB8::1", sanitize=False, expected=True),
    "no_host": Case("FQDN", "sanitize", "192.0.2.256", sanitize=False, expected="192.0.2.256"),
    "idna_2008": Case("FQDN", "sanitize", "straße.example", sanitize=False, expected="strasse.example"),
    "white_is_clear": Case("TLP", "sanitize", "tlp:white", sanitize=False, expected="WHITE"),
    "tlp_2": Case("TLP", "is_valid", "TLP:AMBER+STRICT", sanitize=True, expected=False),
    "row_is_text": Case("Base64", "is_valid", "bG9y!ZW0=", sanitize=False, expected=True),
    "object_is_a_value": Case("JSONDict", "is_valid", {"a": 1}, sanitize=False, expected=False),
    "address_of_nobody": Case("IPAddress", "sanitize", True, sanitize=False, expected="0.0.0.1"),
    "mapped_address": Case("IPAddress", "sanitize", "::ffff:1.2.3.4", sanitize=False, expected="::ffff:102:304"),
    "no_number": Case("Integer", "sanitize", 1.9, sanitize=False, expected=1),
    "no_day": Case("DateTime", "sanitize", "12:00", sanitize=False, expected="2026-01-15T12:00:00+00:00"),
    "zones": Case("DateTime", "sanitize", "2024-03-02 10:00 PST", sanitize=False, expected="2024-03-02T10:00:00+00:00"),
    "time_as_value": Case("DateTime", "sanitize", datetime(2024, 3, 2, tzinfo=UTC), sanitize=False, expected=None),
    "exact_ticks": Case(
        "DateTime",
        "from_windows_nt",
        132651352622420000,
        sanitize=False,
        expected="2021-05-10T15:47:42.241999+00:00",
        form="windows",
    ),
    "more_text": Case("String", "sanitize", 0, sanitize=False, expected=None),
    "json_for_containers": Case("String", "sanitize", ["a"], sanitize=False, expected="['a']"),
    "more_words": Case("Boolean", "sanitize", "yes", sanitize=False, expected=None),
    "refanged": Case("URL", "sanitize", "HXXP://a.example", sanitize=False, expected="HXXP://a.example"),
}


def test_types_do_what_those_of_the_peer_did() -> None:
    recorded = [*cases("harmonization.json"), *cases("harmonization_bots.json")]

    assert vectors.unexplained(recorded, agrees, CLASSES) == []


def test_what_differs_has_a_reason_and_still_differs() -> None:
    assert vectors.reasons("types").keys() == CLASSES.keys() == KNOWN.keys()
    assert vectors.stale(KNOWN, agrees, CLASSES) == []
