from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intelstream import testing
from intelstream.stages.experts.url import parts

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
        HTTP | {"source.fqdn": "host.example.com"},
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


@given(st.from_regex(r"https?://[a-z0-9.-]{1,20}(:[0-9]{1,4})?(/[a-z0-9/%.]{0,10})?(\?[a-z=]{0,5})?", fullmatch=True))
def test_the_short_way_says_what_the_library_says(url: str) -> None:
    split = urlsplit(url)

    assert parts(url) == (split.scheme, split.hostname, split.port, split.path or None, split.username)
