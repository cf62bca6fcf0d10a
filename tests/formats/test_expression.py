from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intelstream import testing
from intelstream.formats.expression import compiled
from intelstream.ontology import STANDARD

NOW = datetime(2024, 3, 6, 12, tzinfo=UTC)
EVENT = {
    "source.ip": "10.1.2.3",
    "source.asn": 64496,
    "source.port": 80,
    "source.fqdn": "www.example.com",
    "classification.type": "scanner",
    "time.source": "2024-03-06T01:00:00+00:00",
    "comment": "Mirai variant",
    "extra.hits": 7,
}
HOLDS = {
    "a number": "source.asn:64496",
    "several values": "classification.type:(spam OR scanner)",
    "both": "source.asn:64496 AND source.port:80",
    "either": "source.asn:1 OR source.port:80",
    "not": "NOT source.asn:1",
    "AND binds closer than OR": "source.port:80 OR source.asn:1 AND source.asn:2",
    "brackets": "(source.port:80 OR source.asn:1) AND source.asn:64496",
    "a network": "source.ip:10.0.0.0/8",
    "a glob": "source.fqdn:*.example.com",
    "presence": "source.fqdn:*",
    "absence": "NOT destination.ip:*",
    "greater": "source.port>79 AND source.port<=80",
    "a time": "time.source<now-10h AND time.source>2024-03-05",
    "a regular expression": "comment~/mirai/i",
    "quoted": 'comment:"Mirai variant"',
    "a tag": "tag:tweet",
    "extra": "extra.hits:7",
}
FAILS = {
    "another number": "source.asn:64497",
    "another network": "source.ip:192.168.0.0/16",
    "a field that is not there": "destination.port:80",
    "another tag": "tag:pastebin",
    "another case": "comment~/mirai/",
}
REFUSED = {
    "nothing": ("", "expected"),
    "half a term": ("source.asn:", "expected"),
    "an unknown field": ("source.ipp:1", "did you mean 'source.ip'"),
    "an open bracket": ("(source.asn:1", "expected"),
    "no number": ("source.port>abc", "source.port"),
    "too long": ("comment:" + "a" * 100_000, "at most"),
    "too deep": ("(" * 500 + "source.asn:1" + ")" * 500, "at most 50"),
    "a broken pattern": ("comment~/(/", "not a pattern"),
}


def holds(expression: str, fields: dict[str, Any] = EVENT) -> bool:
    match = compiled(expression, STANDARD, now=lambda: NOW)
    return match(testing.event(fields, tags=["tweet"]))


@pytest.mark.parametrize("expression", HOLDS.values(), ids=HOLDS)
def test_it_holds(expression: str) -> None:
    assert holds(expression) is True


@pytest.mark.parametrize("expression", FAILS.values(), ids=FAILS)
def test_it_does_not_hold(expression: str) -> None:
    assert holds(expression) is False


@pytest.mark.parametrize(("expression", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_none_is_refused_with_the_reason(expression: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compiled(expression, STANDARD)


def test_a_pattern_that_explodes_elsewhere_is_answered_at_once() -> None:
    assert holds("comment~/(a+)+$/", EVENT | {"comment": "a" * 5000 + "!"}) is False


@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        match = compiled(text, STANDARD, now=lambda: NOW)
    except ValueError:
        return
    assert match(testing.event(EVENT)) in (True, False)
