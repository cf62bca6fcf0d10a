"""Kinds of recorded values that are treated otherwise on purpose; `deviations.yaml` has the reasons."""

import base64
import re
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Any

Case = Mapping[str, Any]


def _text(case: Case) -> str:
    value = case.get("value")
    return value.decode("utf-8", "ignore") if isinstance(value, bytes) else str(value)


def _address(text: str) -> Any:
    with suppress(ValueError):
        return ip_address(text.strip().strip("."))
    return None


def an_address(case: Case) -> bool:
    return _address(_text(case)) is not None


def an_address_in_another_spelling(case: Case) -> bool:
    found = _address(_text(case))
    return found is not None and (str(found) != _text(case) or getattr(found, "ipv4_mapped", None) is not None)


def nowhere(case: Case) -> bool:
    return _text(case).strip().removesuffix("/32") in ("0.0.0.0", "0")  # noqa: S104


def a_network_in_another_spelling(case: Case) -> bool:
    with suppress(ValueError):
        return str(ip_network(_text(case).strip())) != _text(case)
    return False


def no_text(case: Case) -> bool:
    return not isinstance(case.get("value"), str | bytes | None)


def with_outer_blanks(case: Case) -> bool:
    return _text(case) != _text(case).strip()


def a_label_of_version_1(case: Case) -> bool:
    return re.search("white", _text(case), re.IGNORECASE) is not None


def a_label_of_version_2(case: Case) -> bool:
    return re.search(r"clear|strict", _text(case), re.IGNORECASE) is not None


def defanged(case: Case) -> bool:
    return re.search(r"hxxp|\[|\(", _text(case), re.IGNORECASE) is not None


def a_broken_host(case: Case) -> bool:
    return (
        re.match(r"(?:[a-z0-9+.-]+:)?//(?:[^/?#]*\s|[^/?#]*@?:\d*(?:[/?#]|$))", _text(case), re.IGNORECASE) is not None
    )


def no_host_name(case: Case) -> bool:
    return re.search(r"[^\w.*-]|\.\d+\.?$|^\d+$", _text(case).strip()) is not None


def a_name_of_idna_2008(case: Case) -> bool:
    return not _text(case).isascii()


def a_time_in_another_spelling(case: Case) -> bool:
    exact = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?\+00:00"
    return re.fullmatch(exact, _text(case)) is None or ".000000" in _text(case)


def a_time_without_its_date(case: Case) -> bool:
    return re.search(r"\d{4}", _text(case)) is None or re.search(r"[a-z]{3}|\D\d", _text(case), re.IGNORECASE) is None


def a_time_in_a_named_zone(case: Case) -> bool:
    return re.search(r"\b(?:[ECMP][SD]T|(?:WE|CE|EE)S?T)\b", _text(case)) is not None


def a_truth_value(case: Case) -> bool:
    return isinstance(case.get("value"), bool)


def a_word_for_truth(case: Case) -> bool:
    return _text(case).strip().lower() in {"0", "1", "1.0", "0.0", "yes", "no", "y", "n", "on", "off", "t", "f"}


def a_fraction(case: Case) -> bool:
    return re.fullmatch(r"\s*[+-]?\d*\.\d*\s*", _text(case)) is not None


def a_number_python_alone_reads(case: Case) -> bool:
    return "_" in _text(case) or not _text(case).isascii()


def beyond_64_bits(case: Case) -> bool:
    return re.fullmatch(r"[+-]?\d{19,}", _text(case).strip()) is not None


def not_finite(case: Case) -> bool:
    return re.search("nan|inf", _text(case), re.IGNORECASE) is not None


def with_a_fraction_of_a_second(case: Case) -> bool:
    return re.search(r"\.\d+\+", str(case.get("expected"))) is not None


def other_than_base64_of_text(case: Case) -> bool:
    try:
        row = base64.b64decode(_text(case), validate=True).decode()
    except ValueError:
        return True
    return base64.b64encode(row.encode()).decode() != _text(case)


def _name(case: Case) -> str:
    return str(next(iter(case["args"]), ""))


def about_the_type_of_the_message(case: Case) -> bool:
    return _name(case) == "__type" or "__type" in case["before"]


def by_keyword(case: Case) -> bool:
    return not case["kwargs"].keys().isdisjoint({"sanitize", "ignore"})


def with_a_default_set(case: Case) -> bool:
    return bool(case.get("default_value_set"))


def present(case: Case) -> bool:
    return _name(case) in case["before"]


def absent(case: Case) -> bool:
    return not present(case)


def below_extra(case: Case) -> bool:
    return _name(case).startswith("extra.")
