"""What is reserved, private or for documentation, and so says nothing of anybody: addresses, names, AS numbers."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from intelstream.formats.networks import Networks
from intelstream.formats.url import split

# The special-purpose address registries of IANA, without the ranges in them that are reached from everywhere.
NETWORKS: Final = Networks(
    (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("::/128", "::1/128", "100::/64", "2001:db8::/32", "3fff::/20", "fc00::/7", "fe80::/10", "ff00::/8"),
    )
)
# RFC 6761, RFC 6762 (local), and what ICANN reserved in 2024 (internal); RFC 8375 (home.arpa).
TOP_LEVEL: Final = frozenset({"example", "internal", "invalid", "local", "localhost", "test"})
DOMAINS: Final = frozenset({"example.com", "example.net", "example.org", "home.arpa"})
# RFC 7607 and 6793; RFC 5398, 6996, 7300 and what IANA reserves between them; RFC 6996 and 7300.
NUMBERS: Final = ((0, 0), (23_456, 23_456), (64_496, 131_071), (4_200_000_000, 4_294_967_295))


def is_special_name(value: str) -> bool:
    """Tell whether a name is one that nobody can register."""
    labels = value.rsplit(".", 2)
    return labels[-1] in TOP_LEVEL or ".".join(labels[-2:]) in DOMAINS


def is_special_url(value: str) -> bool:
    """Tell whether the host of a URL is special."""
    parts = split(value)
    return parts is not None and (NETWORKS.holds(parts.host) if parts.is_address else is_special_name(parts.host))


def is_special_asn(value: int) -> bool:
    """Tell whether an AS number is reserved."""
    return any(first <= value <= last for first, last in NUMBERS)


SPECIAL: Final[Mapping[str, Callable[[Any], bool]]] = {
    "ip": NETWORKS.holds,
    "network": NETWORKS.covers,  # all of it
    "fqdn": is_special_name,
    "reverse_dns": is_special_name,
    "url": is_special_url,
    "asn": is_special_asn,
}
"""The test for a field, by the last part of its name."""
