"""What a value looks like once it is written, and what is refused."""

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from ipaddress import ip_address, ip_network
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intelstream.errors import InvalidValue
from intelstream.ontology import STANDARD, Event, Ontology, types
from intelstream.ontology.plain import DEEPEST, LONGEST


class Colour(str, Enum):  # noqa: UP042 - unlike a StrEnum it has another text than itself
    """What a library may give for text."""

    RED = "red"


ONTOLOGY = STANDARD.with_own(
    {"org.upper": "Upper", "org.numbers": ["Integer"], "org.names": ["Text"], "org.file": "Base64"}
)
KEPT = {
    "text, trimmed": ("comment", "  a b \n", "a b"),
    "text of a number": ("comment", 5, "5"),
    "text of bytes": ("comment", b"a\xff b", "a b"),
    "text of a list": ("comment", ["a", 1], '["a",1]'),
    "text of a time": ("comment", datetime(2024, 3, 2, tzinfo=UTC), "2024-03-02T00:00:00+00:00"),
    "text of an exact number": ("comment", Decimal("1.10"), "1.10"),
    "text of an address": ("comment", ip_address("192.0.2.1"), "192.0.2.1"),
    "text of a truth value": ("comment", False, "False"),
    "text with half a character": ("comment", "a\ud800b", "a�b"),
    "lower": ("malware.name", "Dridex", "dridex"),
    "upper": ("org.upper", "straße", "STRASSE"),
    "a digest with its method": ("malware.hash.md5", "$md5,rounds=500$mSwg", "$md5,rounds=500$mSwg"),
    "a fingerprint": ("event_hash", "ab12", "AB12"),
    "an id of MISP": (
        "misp.event_uuid",
        "018E0A5C-8000-7000-8000-000000000000",
        "018e0a5c-8000-7000-8000-000000000000",
    ),
    "a country as it should be": ("source.geolocation.cc", "AT", "AT"),
    "a country": ("source.geolocation.cc", " at ", "AT"),
    "a protocol": ("protocol.transport", "TCP", "tcp"),
    "a severity": ("severity", "HIGH", "high"),
    "IPv4": ("source.ip", "192.0.2.1", "192.0.2.1"),
    "IPv4 as a number": ("source.ip", 3221225985, "192.0.2.1"),
    "IPv4 as the text of a number": ("source.ip", "3221225985", "192.0.2.1"),
    "IPv4 as a network of one": ("source.ip", "192.0.2.1/32", "192.0.2.1"),
    "IPv4, defanged": ("source.ip", "192.0.2[.]1", "192.0.2.1"),
    "IPv4 mapped into IPv6": ("source.ip", "::ffff:192.0.2.1", "192.0.2.1"),
    "IPv4 as an object": ("source.ip", ip_address("192.0.2.1"), "192.0.2.1"),
    "IPv6": ("source.ip", "2001:DB8:0::1", "2001:db8::1"),
    "IPv6 with a scope": ("source.ip", "fe80::1%eth0", "fe80::1"),
    "IPv6 in brackets": ("source.ip", "[2001:db8::1]", "2001:db8::1"),
    "a network with host bits": ("source.network", "192.0.2.77/24", "192.0.2.0/24"),
    "a network with a mask": ("source.network", "192.0.2.0/255.255.255.0", "192.0.2.0/24"),
    "a network of one": ("source.network", "2001:db8::1", "2001:db8::1/128"),
    "a network as an object": ("source.network", ip_network("192.0.2.0/24"), "192.0.2.0/24"),
    "everything": ("source.network", "0.0.0.0/0", "0.0.0.0/0"),
    "a host name": ("source.fqdn", "WWW.Example.COM.", "www.example.com"),
    "a host name, defanged": ("source.fqdn", "example[.]com", "example.com"),
    "a host name with an umlaut": ("source.fqdn", "Bücher.example", "xn--bcher-kva.example"),
    "a host name with a sharp s": ("source.fqdn", "straße.example", "xn--strae-oqa.example"),
    "a host name with a full stop of Japan": ("source.fqdn", "bücher。example。", "xn--bcher-kva.example"),
    "a host name with a symbol": ("source.fqdn", "i❤.ws", "xn--i-7iq.ws"),
    "a host name of one label": ("source.fqdn", "localhost", "localhost"),
    "a service": ("source.fqdn", "_dmarc.example.com", "_dmarc.example.com"),
    "a URL": ("source.url", " https://example.com/a?b=c#d ", "https://example.com/a?b=c#d"),
    "a URL, defanged": ("source.url", "hXXps://example[.]com/a", "https://example.com/a"),
    "a URL that names one defanged": ("source.url", "http://a.example/?u=hxxp://b", "http://a.example/?u=http://b"),
    "a URL without a scheme": ("source.url", "//example.com/a", "//example.com/a"),
    "a file": ("source.url", "file:///etc/passwd", "file://localhost/etc/passwd"),
    "a time in UTC": ("time.source", "2024-03-02T10:11:12+00:00", "2024-03-02T10:11:12+00:00"),
    "a time without a zone": ("time.source", "2024-03-02 10:11:12", "2024-03-02T10:11:12+00:00"),
    "a time with Z": ("time.source", "2024-03-02T10:11:12.5Z", "2024-03-02T10:11:12.500000+00:00"),
    "a time elsewhere": ("time.source", "2024-03-02T10:11:12+02:00", "2024-03-02T08:11:12+00:00"),
    "a time of a mail": ("time.source", "Sat, 2 Mar 2024 10:11:12 -0500", "2024-03-02T15:11:12+00:00"),
    "a time in words": ("time.source", "31st December 2020 12:00", "2020-12-31T12:00:00+00:00"),
    "a time in a zone by name": ("time.source", "2 Mar 2024 10:11:12 PST", "2024-03-02T18:11:12+00:00"),
    "a time in a zone that nobody knows": ("time.source", "2 Mar 2024 10:11:12 XYZ", "2024-03-02T10:11:12+00:00"),
    "a time with a zone and an offset": ("time.source", "2016-07-19 06:40:01+02:00 UTC", "2016-07-19T04:40:01+00:00"),
    "a time in digits": ("time.source", "20240302101112", "2024-03-02T10:11:12+00:00"),
    "a time in bytes": ("time.source", b"2024-03-02", "2024-03-02T00:00:00+00:00"),
    "a day": ("time.source", "2024-03-02", "2024-03-02T00:00:00+00:00"),
    "a day as an object": ("time.source", date(2024, 3, 2), "2024-03-02T00:00:00+00:00"),
    "a time as an object": (
        "time.source",
        datetime(2024, 3, 2, 10, tzinfo=timezone(timedelta(hours=1))),
        "2024-03-02T09:00:00+00:00",
    ),
    "an integer as text": ("rtir_id", " 5 ", 5),
    "a port as text": ("source.port", "443", 443),
    "an autonomous system as a number": ("source.asn", 64496, 64496),
    "a country in bytes": ("source.geolocation.cc", b"at", "AT"),
    "an autonomous system": ("source.asn", "AS64496", 64496),
    "an autonomous system in small letters, with blanks": ("source.asn", " as64496 ", 64496),
    "a latitude as text": ("source.geolocation.latitude", " 48.2 ", 48.2),
    "an accuracy": ("feed.accuracy", "80", 80.0),
    "trust": ("feed.accuracy", True, 100.0),
    "a truth value as text": ("source.tor_node", " TRUE ", True),
    "a truth value as a number": ("source.tor_node", 0, False),
    "a type": ("classification.type", " Scanner", "scanner"),
    "a type by its old name": ("classification.type", "botnet drone", "infected-system"),
    "a type with a blank": ("classification.type", "ids alert", "ids-alert"),
    "a class with a blank": ("classification.taxonomy", "Malicious Code", "malicious-code"),
    "a registry by its old name": ("source.registry", "ripencc", "RIPE"),
    "TLP 1": ("tlp", "tlp:white", "CLEAR"),
    "TLP 2": ("tlp", "TLP:AMBER+STRICT", "AMBER+STRICT"),
    "TLP by its old name": ("tlp", "yellow", "AMBER"),
    "JSON of text": ("output", "{ malformed", '"{ malformed"'),
    "JSON": ("output", '{"b": 1}', '{"b": 1}'),
    "JSON of an object": ("output", {"b": 1, "a": 2}, '{"a": 2, "b": 1}'),
    "base64 with a line break": ("org.file", "cm9\n3", "cm93"),
    "bytes for base64": ("org.file", b"row", "cm93"),
    "a list": ("org.numbers", ["1", 2], [1, 2]),
    "a list of one": ("org.names", "a", ["a"]),
    "anything below extra": ("extra.a.b", {"c": [1, None]}, {"c": [1, None]}),
    "a set below extra": ("extra.a", {"c", "a", "b"}, ["a", "b", "c"]),
    "a tuple below extra": ("extra.a", ("a", True, 1.5), ["a", True, 1.5]),
    "any mapping below extra": ("extra.a", MappingProxyType({"a": "ä\udc00"}), {"a": "ä\ufffd"}),
    "a time below extra": ("extra.a", [date(2024, 3, 2)], ["2024-03-02"]),
    "an exact number below extra": ("extra.a", [Decimal("1.10"), ip_address("::1")], ["1.10", "::1"]),
    "names that are no text below extra": ("extra.a", {1: 2, None: 3}, {"1": 2, "None": 3}),
    "a member of an enumeration below extra": ("extra.a", [Colour.RED], ["red"]),
    "NaN below extra": ("extra.a", [float("nan")], [None]),
    "a number of 65 bits below extra": ("extra.a", 2**64, str(2**64)),
    "bytes below extra": ("extra.a", {b"k": b"v"}, {"k": "v"}),
}
REFUSED: dict[str, tuple[str, Any]] = {
    "empty": ("comment", ""),
    "an object for text": ("comment", object()),
    "a number of thousands of digits": ("comment", 10**5000),
    "nothing for JSON": ("output", None),
    "blanks": ("comment", " \r\n"),
    "nothing": ("source.ip", None),
    "too long": ("comment", "a" * (LONGEST + 1)),
    "a code too long": ("feed.code", "a" * 101),
    "a digest too long": ("malware.hash.md5", "a" * 201),
    "no visible ASCII": ("malware.name", "naïve"),
    "a control character": ("protocol.application", "a\nb"),
    "no protocol": ("protocol.transport", "unknown"),
    "no severity": ("severity", "worst"),
    "no fingerprint": ("event_hash", "xyz"),
    "no id of MISP": ("misp.event_uuid", "1"),
    "no country": ("source.geolocation.cc", "AUT"),
    "no address": ("source.ip", "192.0.2.256"),
    "an address with a zero in front": ("source.ip", "192.0.2.01"),
    "an address with a port": ("source.ip", "192.0.2.1:80"),
    "nobody's address": ("source.ip", "0.0.0.0"),  # noqa: S104
    "a network for an address": ("source.ip", "192.0.2.0/24"),
    "a negative address": ("source.ip", -1),
    "an address that is a truth value": ("source.ip", True),
    "a network of no address": ("source.network", "192.0.2.01/24"),
    "a range": ("source.network", "192.0.2.0 - 192.0.2.255"),
    "a blank in a name": ("source.fqdn", "not a name"),
    "a mail address": ("source.fqdn", "john@example.com"),
    "an address for a name": ("source.fqdn", "192.0.2.1"),
    "no name of any language": ("source.fqdn", "ä\u200b\u2028.example"),
    "a label too long once it is encoded": ("source.fqdn", "ä" * 60 + ".example"),
    "a name of a million letters": ("source.fqdn", "ä" * 1_000_000),
    "an empty label": ("source.fqdn", "a..b"),
    "a label too long": ("source.fqdn", "a" * 64 + ".example"),
    "a name too long": ("source.fqdn", ".".join(["a" * 60] * 5)),
    "a URL without a host": ("source.url", "http:///a"),
    "no URL": ("source.url", "example.com/a"),
    "a script": ("source.url", "javascript:alert(1)"),
    "a broken IPv6 host": ("source.url", "http://[::1"),
    "a blank in a host": ("source.url", "http://not a host/"),
    "no time": ("time.source", "yesterday"),
    "no day": ("time.source", "2024-02-30T10:11:12+00:00"),
    "a time without a day": ("time.source", "12:00"),
    "seconds since 1970, as text": ("time.source", "1512010328"),
    "a page for a time": ("time.source", "2024-03-02 " * 100),
    "seconds since 1970": ("time.source", 1441008970),
    "a fraction of an integer": ("rtir_id", 1.9),
    "a port beyond 65535": ("source.port", 65536),
    "an autonomous system 0": ("source.asn", "AS0"),
    "NaN": ("source.geolocation.latitude", "nan"),
    "an accuracy beyond 100": ("feed.accuracy", 101),
    "no truth value": ("source.tor_node", "perhaps"),
    "no type": ("classification.type", "c3-server"),
    "an unhashable type": ("classification.type", ["scanner"]),
    "no label": ("tlp", "PURPLE"),
    "no JSON for an object": ("extra", "{"),
    "no object": ("extra", "[1]"),
    "an empty object": ("extra", {}),
    "no base64": ("org.file", "{row}"),
    "no bytes for base64": ("org.file", b""),
    "an empty list": ("org.numbers", []),
    "a bad value in a list": ("org.numbers", [1, "x"]),
    "nothing below extra": ("extra.a", None),
    "empty text below extra": ("extra.a", ""),
    "a number of thousands of digits below extra": ("extra.a", 10**5000),
    "a name of a thousand letters below extra": ("extra." + "a" * 1000, 1),
    "an object below extra": ("extra.a", object()),
    "half a name below extra": ("extra.a..b", 1),
    "no field": ("source.prot", 1),
}


@pytest.mark.parametrize(("key", "value", "kept"), KEPT.values(), ids=KEPT)
def test_a_write_harmonises(key: str, value: object, kept: object) -> None:
    event = Event({}, ONTOLOGY, id="")
    event[key] = value

    assert event[key] == kept
    assert type(event[key]) is type(kept)


@pytest.mark.parametrize(("key", "value"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_names_the_field_and_changes_nothing(key: str, value: object) -> None:
    event = Event({"status": "online"}, ONTOLOGY, id="")

    with pytest.raises(InvalidValue, match=f"^{key}: "):
        event[key] = value

    assert event.to_dict() == {"status": "online"}


def test_deep_and_endless_values_are_refused() -> None:
    deep: list[Any] = []
    endless: list[Any] = []
    endless.append(endless)
    wide: Any = "a" * 1000
    for _ in range(DEEPEST + 1):
        deep = [deep]
    for _ in range(20):
        wide = [wide, wide]

    for value in (deep, endless, wide):
        with pytest.raises(InvalidValue, match="expected at most"):
            Event({}, ONTOLOGY, id="")["extra.a"] = value


def test_a_refused_value_is_shown_in_bounded_length() -> None:
    with pytest.raises(InvalidValue) as refused:
        Event({}, ONTOLOGY, id="")["source.ip"] = "a" * 100_000

    assert len(str(refused.value)) < 500


def test_a_label_of_tlp_2_has_one_of_tlp_1() -> None:
    assert [types.tlp1(label) for label in ("CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED")] == [
        "WHITE",
        "GREEN",
        "AMBER",
        "RED",
        "RED",
    ]


def test_what_would_break_a_name_below_extra_is_replaced() -> None:
    event = Event({}, id="")
    event["extra"] = {"Foo Bar-2": 1, "a..b": 2, "a\nb\ud800": 3, "": 4, "n" * 1000: 5}

    assert [*event] == ["extra.Foo Bar-2", "extra.a._.b", "extra.a_b\ufffd", "extra._", "extra." + "n" * 250]


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([1, -1]).map(lambda sign: sign * 10**5000)
    | st.floats()
    | st.text(st.characters(), max_size=30)
    | st.text("0123456789.:/-T+Z @[]%xAS", max_size=30)
    | st.text(st.characters(categories=["Cs", "Cc", "Nd"]), max_size=4)
    | st.binary(max_size=20)
    | st.datetimes(timezones=st.none() | st.just(UTC))
    | st.ip_addresses()
    | st.sampled_from([value for _, value, _ in KEPT.values()])
    | st.builds(object)
)
HOSTILE = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))


@given(st.sampled_from([*sorted(ONTOLOGY.checks), "extra", "extra.a", "raw", "no.field"]), HOSTILE)
def test_a_check_stores_what_it_would_keep_and_json_can_hold_or_refuses(key: str, value: object) -> None:
    event = Event({}, ONTOLOGY, id="")
    with suppress(InvalidValue):
        event[key] = value
        kept = event[key]
        event[key] = kept

        assert event[key] == kept
        assert Event.load(event.dump()).to_dict(raw=True) == event.to_dict(raw=True)
        assert Event.from_dict(orjson.loads(orjson.dumps(event.to_dict(raw=True))), ONTOLOGY)[key] == kept


@given(st.dictionaries(st.text(max_size=10), HOSTILE, max_size=4))
def test_no_name_below_extra_breaks_anything(found: dict[str, Any]) -> None:
    event = Event({}, Ontology(), id="")
    with suppress(InvalidValue):
        event["extra"] = found

        assert all(name in event.ontology for name in event)
        assert Event.from_dict(event.to_dict()).to_dict() == event.to_dict()
        assert orjson.dumps(event.to_dict(hierarchical=True))
        assert orjson.dumps(event.to_dict(extra_as_text=True))
