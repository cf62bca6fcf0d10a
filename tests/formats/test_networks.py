from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intelstream.formats.networks import Networks

KNOWN = Networks(["10.0.0.0/8", "192.0.2.7", "198.51.100.77/24", "2001:db8::/32"])
INSIDE = ["10.255.0.1", "192.0.2.7", "198.51.100.0", "2001:db8::1", "2001:DB8:0::1", "::ffff:10.0.0.1"]
OUTSIDE = [
    "11.0.0.1",
    "192.0.2.8",
    "2001:db9::1",
    "::a00:1",
    "",
    "10.0.0",
    "10.0.0.1/32",
    "host",
    "10.0.0.1\0",
    "\udc80",
]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_is_inside(address: str) -> None:
    assert address in KNOWN


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_is_outside_and_so_is_what_is_none(address: str) -> None:
    assert address not in KNOWN
    assert None not in KNOWN


def test_a_network_is_covered_if_all_of_it_is() -> None:
    assert KNOWN.covers("10.1.0.0/16")
    assert KNOWN.covers("10.0.0.0/8")
    assert not KNOWN.covers("10.0.0.0/7")
    assert KNOWN.covers("2001:db8:1::/48")
    assert not KNOWN.covers("no network")


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="300"):
        Networks(["300.0.0.0/8"])


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(0, 32))
def test_it_says_what_the_library_says(address: object, other: object, length: int) -> None:
    network = ip_network(f"{other}/{length}", strict=False)

    assert (str(address) in Networks([str(network)])) == (ip_address(str(address)) in network)
