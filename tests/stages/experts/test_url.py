from typing import Any
from urllib.parse import SplitResult, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intelstream import testing
from intelstream.formats.url import PORTS, split

HTTP = {"protocol.application": "http", "protocol.transport": "tcp"}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "a name, a port, a path": (
        {"source.url": "http://host.example.com:8080/a/b?c=d#e"},
        {},
        HTTP | {"source.fqdn": "host.example.com", "source.port": 8080, "source.urlpath": "/a/b"},
    ),
    "an address and the port of its scheme": (
        {"source.url": "https://192.0.2.1/"},
        {},
        HTTP | {"source.ip": "192.0.2.1", "source.port": 443, "source.urlpath": "/"},
    ),
    "an IPv6 address and an account": (
        {"destination.url": "ftp://me:secret@[2001:db8::1]/pub"},
        {},
        {
            "destination.ip": "2001:db8::1",
            "destination.port": 21,
            "destination.urlpath": "/pub",
            "destination.account": "me",
            "protocol.application": "ftp",
            "protocol.transport": "tcp",
        },
    ),
    "what is there is kept": (
        {"source.url": "http://host.example.com/", "source.fqdn": "other.example.com", "source.port": 1},
        {},
        HTTP | {"source.urlpath": "/"},
    ),
    "what is there is replaced on demand": (
        {"source.url": "http://host.example.com/", "source.fqdn": "other.example.com"},
        {"overwrite": "always"},
        HTTP | {"source.fqdn": "host.example.com", "source.port": 80, "source.urlpath": "/"},
    ),
    "only what is wanted": (
        {"source.url": "http://host.example.com/a"},
        {"into": ["fqdn"]},
        {"source.fqdn": "host.example.com"},
    ),
    "a port out of range": (
        {"source.url": "http://host.example.com:99999/"},
        {},
        HTTP | {"source.fqdn": "host.example.com", "source.urlpath": "/"},
    ),
    "no URL at all": ({"comment": "a"}, {}, {}),
}


@pytest.mark.parametrize(("given_", "params", "more"), CASES.values(), ids=CASES)
async def test_url(given_: dict[str, Any], params: dict[str, Any], more: dict[str, Any]) -> None:
    result = await testing.run_stage("experts.url", params, [given_])

    assert result.outputs == {"default": [given_ | more | {"__type": "Event"}]}


NOTHING_WRITTEN: dict[str, Any] = {"into": []}
SIDES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "the protocol is the source's": (
        {"source.url": "http://9.9.9.9/", "destination.url": "tftp://me@host.example.com/a"},
        {"into": "protocol, account"},
        HTTP | {"destination.account": "me"},
    ),
    "also where all is replaced": (
        {"source.url": "http://9.9.9.9/", "destination.url": "tftp://9.9.9.9/"},
        {"into": ["protocol"], "overwrite": "always"},
        HTTP,
    ),
    "a single field": (
        {"source.url": "http://9.9.9.9/", "destination.url": "http://9.9.9.9:81/"},
        {"into": ["destination.port"]},
        {"destination.port": 81},
    ),
    "nothing at all": ({"source.url": "http://9.9.9.9/"}, NOTHING_WRITTEN, {}),
    "a host written as a number": ({"source.url": "http://0x7f.1/"}, {"into": ["ip"]}, {"source.ip": "127.0.0.1"}),
    "a port out of range, by the long way": (
        {"source.url": "http://me@host.example.com:99999/"},
        {"into": ["account", "port"]},
        {"source.account": "me"},
    ),
    "a scheme that nobody knows": (
        {"source.url": "gopher://host.example.com/a"},
        {"into": ["port", "protocol"]},
        {"protocol.application": "gopher"},
    ),
}


@pytest.mark.parametrize(("given_", "params", "more"), SIDES.values(), ids=SIDES)
async def test_what_is_written_can_be_chosen(given_: dict[str, Any], params: dict[str, Any], more: Any) -> None:
    result = await testing.run_stage("experts.url", params, [given_])

    assert result.outputs == {"default": [given_ | more | {"__type": "Event"}]}


async def test_a_part_that_there_is_not_is_refused() -> None:
    assert "did you mean 'fqdn'" in str((await testing.run_stage("experts.url", {"into": ["fqd"]})).refused)


@given(
    st.from_regex(
        r"(https?|HTTP|ftp|x)://([a-z]{1,3}(:[a-z]{1,2})?@)?([A-Za-z0-9._-]{1,20}|\[::1\])(:[0-9]{0,6})?"
        r"(/[^\s?#]{0,10})?(\?[a-z=\t\n]{0,5})?(#.{0,5})?",
        fullmatch=True,
    )
)
def test_the_short_way_says_what_the_library_says(url: str) -> None:
    wanted = urlsplit(url)
    found = split(url)

    assert (found is None) == (not wanted.hostname)
    if found:
        assert (found.scheme, found.path, found.user) == (wanted.scheme, wanted.path or None, wanted.username or None)
        assert found.is_address or found.host == (wanted.hostname or "").rstrip(".")
        assert found.port == port_of(wanted)


def port_of(parts: SplitResult) -> int | None:
    try:
        return PORTS.get(parts.scheme) if parts.port is None else parts.port
    except ValueError:
        return None
