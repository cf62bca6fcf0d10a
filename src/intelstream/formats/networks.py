"""Sets of networks that answer whether an address lies in one of them, with one lookup per prefix length."""

from collections import defaultdict
from collections.abc import Iterable
from ipaddress import ip_network
from socket import AF_INET, AF_INET6, inet_pton
from struct import Struct
from typing import Final

V4: Final = Struct("!I")
MAPPED: Final = 0xFFFF  # upper 96 bits of an IPv4 address inside an IPv6 one (RFC 4291, 2.5.5.2)
Level = tuple[int, frozenset[int]]  # bits to drop, what may remain


class Networks:
    """Networks of both versions, written as text; host bits are ignored, a bare address is a network of one.

    Raises:
        ValueError: a text is no network.
    """

    __slots__ = ("_v4", "_v6")

    def __init__(self, networks: Iterable[str]) -> None:
        found: dict[int, dict[int, set[int]]] = {4: defaultdict(set), 6: defaultdict(set)}
        for text in networks:
            network = ip_network(text, strict=False)
            dropped = network.max_prefixlen - network.prefixlen
            found[network.version][dropped].add(int(network.network_address) >> dropped)
        self._v4 = _levels(found[4])
        self._v6 = _levels(found[6])

    def __contains__(self, address: object) -> bool:
        """Tell whether an address is in one of the networks; what is no address is in none."""
        return isinstance(address, str) and self.holds(address)

    def holds(self, address: str) -> bool:
        """Answer as `in`. An IPv4 address that is mapped into IPv6 counts as the former."""
        try:
            if ":" not in address:
                return _found(V4.unpack(inet_pton(AF_INET, address))[0], self._v4)
            number = int.from_bytes(inet_pton(AF_INET6, address))
        except (OSError, ValueError):  # not an address; a null byte or a lone surrogate in it
            return False
        if number >> 32 == MAPPED:
            return _found(number & 0xFFFF_FFFF, self._v4)
        return _found(number, self._v6)

    def covers(self, network: str) -> bool:
        """Tell whether a network lies within one of these; what is no network does not."""
        try:
            given = ip_network(network, strict=False)
        except ValueError:
            return False
        number, free = int(given.network_address), given.max_prefixlen - given.prefixlen
        levels = self._v4 if given.version == 4 else self._v6  # noqa: PLR2004
        return any(dropped >= free and number >> dropped in kept for dropped, kept in levels)


def _levels(found: dict[int, set[int]]) -> tuple[Level, ...]:
    return tuple((dropped, frozenset(kept)) for dropped, kept in sorted(found.items()))


def _found(number: int, levels: tuple[Level, ...]) -> bool:
    for dropped, kept in levels:  # noqa: SIM110 - half the time of `any` over a generator
        if number >> dropped in kept:
            return True
    return False
