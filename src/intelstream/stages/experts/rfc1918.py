"""Remove addresses, names, URLs and AS numbers that are private, reserved or for documentation."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from intelstream import sdk
from intelstream.formats.networks import Networks
from intelstream.formats.url import split
from intelstream.ontology import Event, keys

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


def _name(value: str) -> bool:
    labels = value.rsplit(".", 2)
    return labels[-1] in TOP_LEVEL or ".".join(labels[-2:]) in DOMAINS


def _url(value: str) -> bool:
    parts = split(value)
    return parts is not None and (NETWORKS.holds(parts.host) if parts.is_address else _name(parts.host))


def _asn(value: int) -> bool:
    return any(first <= value <= last for first, last in NUMBERS)


SPECIAL: Final[dict[str, Callable[[Any], bool]]] = {
    "ip": NETWORKS.holds,
    "network": NETWORKS.covers,
    "fqdn": _name,
    "reverse_dns": _name,
    "url": _url,
    "asn": _asn,
}


def _of_a_kind(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name.rpartition(".")[2] not in SPECIAL:
            raise ValueError(f"{name}: expected a field that ends in {', '.join(SPECIAL)}")
    return names


class Params(sdk.Params):
    fields: Annotated[sdk.FieldList, AfterValidator(_of_a_kind)] = Field(
        ("destination.ip", "source.ip", "source.url"),
        description="Fields to examine: addresses, networks, names, URLs and AS numbers.",
    )
    action: Literal["remove_field", "drop"] = Field(
        "drop", description="Whether to remove such a field, or to drop the event that has one."
    )


class Rfc1918(sdk.Expert[Params]):
    """Remove addresses, names, URLs and AS numbers that are private, reserved or for documentation.

    Every field is examined, whatever the others hold. A network counts if all of it is special. Dropped events are
    counted as `special`.
    """

    pure = True
    reads = (keys.DESTINATION_IP, keys.SOURCE_IP, keys.SOURCE_URL)
    examples = (
        sdk.Example({"source.url": "http://[fd00::1]:8080/"}),
        sdk.Example({"source.ip": "9.9.9.9"}, {}),
        sdk.Example({"source.ip": "10.0.0.1"}, {"source.ip": None}, params={"action": "remove_field"}),
    )

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        tests = [(name, SPECIAL[name.rpartition(".")[2]]) for name in self.params.fields]
        drops = self.params.action == "drop"
        for event in batch:
            fields = event.fields
            found = [name for name, special in tests if name in fields and special(fields[name])]
            if found and drops:
                batch.drop(event, "special")
                continue
            for name in found:
                del event[name]
            yield event
