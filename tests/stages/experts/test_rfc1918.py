from typing import Any

import pytest

from intelstream import testing

SPECIAL = {
    "private": ("source.ip", "192.168.1.1"),
    "loopback of IPv6": ("source.ip", "::1"),
    "unique local": ("source.ip", "fd00::1"),
    "documentation": ("source.ip", "198.51.100.7"),
    "an IPv4 address inside IPv6": ("source.ip", "::ffff:10.0.0.1"),
    "a URL with a port": ("source.url", "http://10.0.0.1:8080/a"),
    "a URL with a name": ("source.url", "http://www.example.com/"),
    "a name": ("source.fqdn", "host.test"),
    "a private AS number": ("source.asn", 64_513),
    "a documentation AS number": ("source.asn", 65_550),
}
ORDINARY = {
    "an address": ("source.ip", "9.9.9.9"),
    "an address of IPv6": ("source.ip", "2606:4700::1"),
    "a URL": ("source.url", "http://cert.at/"),
    "a name": ("source.fqdn", "notexample.com"),
    "an AS number": ("source.asn", 1853),
}
FIELDS = {"fields": "source.ip, source.url, source.fqdn, source.asn"}


@pytest.mark.parametrize(("name", "value"), SPECIAL.values(), ids=SPECIAL)
async def test_what_is_special_goes(name: str, value: Any) -> None:
    event = {name: value, "comment": "a"}
    dropped = await testing.run_stage("experts.rfc1918", FIELDS, [event])
    removed = await testing.run_stage("experts.rfc1918", FIELDS | {"action": "remove_field"}, [event])

    assert [drop.reason for drop in dropped.dropped] == ["special"]
    assert removed.outputs["default"] == [{"comment": "a", "__type": "Event"}]


@pytest.mark.parametrize(("name", "value"), ORDINARY.values(), ids=ORDINARY)
async def test_what_is_ordinary_passes(name: str, value: Any) -> None:
    result = await testing.run_stage("experts.rfc1918", FIELDS, [{name: value}])

    assert len(result.outputs["default"]) == 1


async def test_all_fields_are_looked_at() -> None:
    event = {"destination.ip": "10.0.0.1", "source.ip": "10.0.0.2", "comment": "a"}
    result = await testing.run_stage("experts.rfc1918", {"action": "remove_field"}, [event])

    assert result.outputs["default"] == [{"comment": "a", "__type": "Event"}]
