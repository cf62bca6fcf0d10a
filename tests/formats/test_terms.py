from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intelstream import testing
from intelstream.formats.expression import compiled
from intelstream.formats.literals import glob
from intelstream.ontology import STANDARD, Event, Report

NOW = datetime(2024, 3, 6, 12, tzinfo=UTC)
ONTOLOGY = STANDARD.with_own({"org.tags": ["Text"], "org.nets": ["Network"], "org.kinds": ["ClassificationType"]})
FIELDS: dict[str, Any] = {
    "source.ip": "2001:db8::1",
    "source.network": "192.0.2.0/25",
    "source.asn": 64496,
    "source.tor_node": True,
    "source.geolocation.cc": "AT",
    "source.fqdn": "www.example.com",
    "source.url": "http://www.example.com/a?b=*",
    "feed.accuracy": 80.0,
    "malware.name": "mirai",
    "time.source": "2024-03-06T01:00:00.500000+00:00",
    "comment": 'He said "no" (twice)',
    "extra.hits": 7,
    "extra.found": True,
    "extra.name": "7",
    "extra.ip": "10.1.1.1",
    "extra.ports": [80, 443],
    "extra.seen": "2024-03-01",
    "extra.deep": {"a": 1},
    "org.tags": ["vip", "bank"],
    "org.nets": ["10.0.0.0/8"],
    "org.kinds": ["scanner", "ddos"],
}
EVENT = Event(FIELDS, ONTOLOGY, id="018e", tags=frozenset({"tweet", "abuse-event"}), raw="a;b;c")
HOLDS = [
    "source.asn:AS64496",
    "source.ip:2001:DB8:0::1",
    "source.ip:2001:db8::/32",
    "source.ip:(10.0.0.0/8 OR 2001:db8::1)",
    "source.network:192.0.2.0/24",
    "source.tor_node:true",
    "source.geolocation.cc:at",
    "source.geolocation.cc:a*",
    "source.fqdn:WWW.EXAMPLE.COM",
    "source.fqdn:(*.org OR *.EXAMPLE.*)",
    "feed.accuracy:80",
    "feed.accuracy>79.5",
    "malware.name:MIRAI",
    'source.url:"http://www.example.com/a?b=*"',
    r'comment:"He said \"no\" (twice)"',
    'comment~/"no" \\(/',
    "source.url~/example\\.com\\//",
    "source.asn~/^644/",
    "source.tor_node~/true/",
    "time.source:2024-03-06*",
    "time.source>2024-03-06T01:00:00",
    "time.source<2024-03-06T03:00:00+01:00",
    "time.source<now-10h59m",
    "time.source>now-1d2h",
    "time.source<now+1w",
    "time.source:2024-03-06T01:00:00.5Z",
    "extra.hits:7",
    "extra.hits<=7",
    "extra.name:7",
    'extra.name:"7"',
    "extra.found:true",
    "extra.ip:10.0.0.0/8",
    "extra.ports:443",
    "extra.ports>400",
    "extra.seen<2024-03-02",
    "extra.name:*",
    "extra:*",
    "org.tags:bank",
    "org.tags:(b* OR x)",
    "org.tags~/^vi/",
    "org.nets:10.0.0.0/7",
    "org.kinds:ddos",
    "tag:(tweet OR x)",
    "tag:abuse-*",
    "tag:*",
    "id:018e",
    "id:018*",
    "raw~/;b;/",
    "raw:*",
    "source.asn = 64496",
    "not tag:report and (tag:x or NOT tag:y)",
]
FAILS = [
    "source.asn:64497",
    "source.ip:10.0.0.0/8",
    "source.network:192.0.2.0/26",
    "source.tor_node:false",
    "feed.accuracy<80",
    'source.url:"http://www.example.com/*"',
    "time.source<now-11h",
    "destination.port<80",
    "destination.ip~/./",
    "destination.fqdn:*.com",
    'extra.hits:"7"',
    "extra.found:1",
    "extra.found<5",
    "extra.hits:true",
    "extra.deep:1",
    "extra.deep~/a/",
    "extra.name<9",
    "extra.ports:81",
    "org.tags:ba",
    "org.nets:10.0.0.0/9",
    "org.kinds:spam",
    "tag:twee",
    "id:018",
    "raw:a",
]
REFUSED = {
    "a value of no number": ("source.asn:x", "line 1, column 1: source.asn:"),
    "in a later line": ("tag:a\nAND source.asn:x", "line 2, column 5: source.asn:"),
    "no vocabulary": ("classification.type:scaner", "scaner"),
    "a network that is none": ("source.ip:10.0.0.0/33", "expected an address or a network"),
    "a star in a number": ("source.port:8*", "expected a number"),
    "a comparison of text": ("comment<5", "only numbers and times"),
    "a time that is none": ("time.source<yesterday", "expected a time such as"),
    "a time too far away": ("time.source<now-99999999w", "a hundred years"),
    "all extras at once": ("extra:5", "extra:\\*"),
    "a flag that there is not": ("comment~/a/g", "no flag but i, got 'g'"),
    "look-around": ("comment~/(?=a)/", "RE2"),
    "a quote left open": ('comment:"a', "line 1, column 9: expected a second quote"),
    "nothing between": ("tag:a tag:b", "column 7: expected AND or OR or the end, got 'tag'"),
    "the end too early": ("tag:a AND ", "column 11: expected a field .*, got the end"),
    "NOT upon NOT": ("NOT " * 60 + "tag:a", "at most 50"),
    "an object": ("error:5", "no such field"),
}


@pytest.mark.parametrize("text", HOLDS)
def test_it_holds(text: str) -> None:
    assert compiled(text, ONTOLOGY, now=lambda: NOW)(EVENT) is True


@pytest.mark.parametrize("text", FAILS)
def test_it_does_not_hold(text: str) -> None:
    assert compiled(text, ONTOLOGY, now=lambda: NOW)(EVENT) is False


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_a_fault_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compiled(text, ONTOLOGY)


def test_without_an_ontology_values_are_compared_by_what_they_look_like() -> None:
    for text in ("source.asn:64496", "source.ip:2001:db8::/32", "time.source>2024-03-01", "org.tags:vip"):
        assert compiled(text)(EVENT)
    assert not compiled("any.thing:1")(EVENT)


def test_reports_are_found_by_fields_labels_and_id() -> None:
    report = Report(b"abc").stamp(id="7", fields={"feed.name": "Feodo"}, tags=frozenset({"report"}))

    assert compiled("feed.name:Feodo AND tag:report AND id:7 AND raw:*", STANDARD)(report)
    assert not compiled("raw~/a/", STANDARD)(report)


def test_the_clock_is_asked_at_each_test_and_not_before() -> None:
    times = [NOW, NOW + timedelta(hours=2)]
    match = compiled("time.source<now-12h", STANDARD, now=lambda: times.pop(0))

    assert len(times) == 2
    assert [match(EVENT), match(EVENT)] == [False, True]


def test_long_lists_and_deep_brackets_within_the_limits_are_compiled() -> None:
    many = " OR ".join(str(number) for number in range(61_000, 64_500))
    deep = "(" * 50 + "tag:tweet" + ")" * 50

    assert compiled(f"source.asn:({many})", STANDARD)(EVENT)
    assert compiled(deep, STANDARD)(EVENT)


@given(st.text(st.sampled_from("ab*"), max_size=6), st.text(st.sampled_from("ab"), max_size=8))
def test_stars_stand_for_anything(rest: str, text: str) -> None:
    for pattern in (f"*{rest}", f"{rest}*", f"a*{rest}"):
        assert glob(pattern)(text) is fnmatchcase(text, pattern)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_no_value_makes_a_term_fail(value: Any) -> None:
    event = testing.event({})
    event.fields["extra.a"] = value
    for text in ("extra.a:5", "extra.a:x*", "extra.a<5", "extra.a>2024-01-01", "extra.a~/x/", "extra.a:10.0.0.0/8"):
        assert compiled(text, STANDARD)(event) in (True, False)
