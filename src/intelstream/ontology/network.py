"""Harmonises what names a place on the network: addresses, networks, host names, URLs."""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface, ip_network
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Final
from urllib.parse import urlsplit

import idna

from intelstream.ontology.text import text

LONGEST_NAME: Final = 253  # RFC 1035, 2.3.4: 255 octets, less the outer length and root
NOWHERE: Final = "0.0.0.0"  # noqa: S104 - the value that no incident has
HOST_BITS: Final = {str(length): (1 << 32 - length) - 1 for length in range(33)}  # of an IPv4 network
EMBEDDED: Final = bytes(10)  # what begins with it may hold an IPv4 address

# Labels as they occur, not only as they should: `_dmarc`, `*`, a dash at either end. A last label of digits makes an
# address, a broken one perhaps (WHATWG URL, "ends in a number").
_name = re.compile(r"(?:[a-z0-9_*-]{1,63}\.)*(?![0-9]+$)[a-z0-9_*-]{1,63}").fullmatch
_usual = re.compile(r"https?://[a-zA-Z0-9_.-]*[a-zA-Z0-9](?::[0-9]{1,5})?(?:[/?#][!-~]*)?").fullmatch
_scope = re.compile(r"%[^/]*")
_dots = re.compile(r"[\[({]\s*(?:\.|dot)\s*[\])}]", re.IGNORECASE)
_dots_of_idna = re.compile("[\u3002\uff0e\uff61]")  # RFC 3490, 3.1
_schemes = re.compile(r"hxxp(s?)(?::|\[:\])//|^http(s?)\[:\]//", re.IGNORECASE)
_authority = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//[^/?#]*", re.IGNORECASE)
_ignored = re.compile(r"[\t\r\n]")  # by every browser (WHATWG URL, 4.4)


def address(value: object) -> str:
    """Take one address, also as a number or a network of one, in its canonical form.

    An IPv6 address loses its scope, which means something on one host only; one with an IPv4 address mapped into it
    (RFC 4291, 2.5.5.2) is that.
    """
    if type(value) is str:
        try:
            if ":" not in value:
                inet_pton(AF_INET, value)  # takes the canonical form only, and 15 times as fast as `ipaddress`
                if value != NOWHERE:
                    return value
            elif (packed := inet_pton(AF_INET6, value))[:10] != EMBEDDED:
                return inet_ntop(AF_INET6, packed)
        except (OSError, ValueError):  # not canonical, a null byte, a lone surrogate
            pass
    return _address(value)


def _address(value: object) -> str:
    try:
        found = value if isinstance(value, IPv4Address | IPv6Address) else _parsed(value)
        if isinstance(found, IPv6Address):
            found = found.ipv4_mapped or IPv6Address(int(found))  # which has no scope
    except ValueError as error:
        raise ValueError("expected an IP address") from error
    if str(found) == NOWHERE:
        raise ValueError("expected an address of somebody")
    return str(found)


def _parsed(value: object) -> IPv4Address | IPv6Address:
    if isinstance(value, int) and not isinstance(value, bool):
        return ip_address(int(value))
    given = _scope.sub("", _dots.sub(".", text(value)))
    if given.isascii() and given.isdecimal():
        return ip_address(int(given))
    found = ip_interface(given.removeprefix("[").removesuffix("]"))
    if found.network.prefixlen != found.max_prefixlen:
        raise ValueError("a network")
    return found.ip


def network(value: object) -> str:
    """Take a network, its host bits cleared; a bare address is a network of one."""
    if type(value) is str:
        head, _, length = value.partition("/")
        if (host := HOST_BITS.get(length)) is not None:
            try:
                if not int.from_bytes(inet_pton(AF_INET, head)) & host:
                    return value
            except (OSError, ValueError):  # not canonical
                pass
    try:
        if isinstance(value, IPv4Network | IPv6Network | IPv4Address | IPv6Address):
            value = str(value)
        return str(ip_network(_scope.sub("", text(value)), strict=False))
    except ValueError as error:
        raise ValueError("expected a network such as 192.0.2.0/24") from error


def fqdn(value: object) -> str:
    """Take a host name, lower case, in its ASCII form, without a dot at either end."""
    if type(value) is str and len(value) <= LONGEST_NAME and _name(value):
        return value
    name = _dots.sub(".", text(value)).strip(".").lower()
    if not name.isascii() and len(name) <= LONGEST_NAME:
        name = _to_ascii(name)
    if len(name) > LONGEST_NAME or not _name(name):
        raise ValueError("expected a host name")
    return name


def _to_ascii(name: str) -> str:
    """Map by UTS 46, then encode each label by IDNA 2008."""
    try:
        mapped = idna.uts46_remap(name, std3_rules=False, transitional=False)
        return ".".join(map(_label, _dots_of_idna.sub(".", mapped).strip(".").split(".")))
    except UnicodeError as error:
        raise ValueError("expected a host name") from error


def _label(label: str) -> str:
    if label.isascii():
        return label
    try:
        return idna.alabel(label).decode()
    except idna.IDNAError:  # symbols, which IDNA 2008 has not; registries sold names with them, browsers go there
        return f"xn--{label.encode('punycode').decode()}"


def url(value: object) -> str:
    """Take a URL with a host, made live again where it was defanged; else as it was written."""
    if type(value) is str and _usual(value) and "hxxp" not in value.lower():
        return value
    found = _refanged(_ignored.sub("", text(value)))
    try:
        host = urlsplit(found).hostname
    except ValueError as error:
        raise ValueError(f"expected a URL: {error}") from error
    if not host and found[:8].lower() == "file:///":
        return f"file://localhost{found[7:]}"
    if not host or any(map(str.isspace, host)) or _refanged(found) != found:
        raise ValueError("expected a URL with a host")
    return found


def _refanged(given: str) -> str:
    live = _schemes.sub(r"http\1\2://", given)
    found = _authority.match(live)
    return _dots.sub(".", found[0]) + live[found.end() :] if found else live
