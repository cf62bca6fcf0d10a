"""Splits URLs: the ordinary ones by one expression, all others as the standard library does, six times slower."""

import re
from collections.abc import Mapping
from socket import AF_INET, inet_aton, inet_ntoa, inet_pton
from typing import Final, NamedTuple
from urllib.parse import urlsplit

HIGHEST_PORT: Final = 65_535
PORTS: Final[Mapping[str, int]] = {
    "ftp": 21,
    "http": 80,
    "https": 443,
    "sftp": 22,
    "ssh": 22,
    "tftp": 69,
    "ws": 80,
    "wss": 443,
}
# Nothing that the standard library treats in a way of its own: user, capitals, IPv6, line breaks, a dot at the end.
ORDINARY: Final = re.compile(
    r"(https?|ftp)://([a-z0-9._-]*[a-z0-9])(?::([0-9]{1,5}))?(/[^?#\t\r\n]*)?(?:[?#][^\t\r\n]*)?"
).fullmatch
# What browsers take for IPv4: hexadecimal, octal, fewer than four parts (WHATWG URL, "ends in a number").
NUMERIC: Final = re.compile(r"(?:(?:0x[0-9a-f]+|[0-9]+)\.){0,3}(?:0x[0-9a-f]+|[0-9]+)").fullmatch


class Parts(NamedTuple):
    """A URL in pieces, None where it has none. `port` is the one given, else that of the scheme, from 0 to 65535."""

    scheme: str
    user: str | None
    host: str
    is_address: bool
    port: int | None
    path: str | None


def split(url: str) -> Parts | None:
    """Return the parts of a URL: scheme and host in small letters, user and path as written; None without a host."""
    if not (found := ORDINARY(url)):
        return _split(url)
    scheme, host, port, path = found.groups()
    number = int(port) if port else PORTS[scheme]
    is_address = False
    if host[-1] <= "9" or "0x" in host:
        host, is_address = _host(host)
    return Parts(scheme, None, host, is_address, number if number <= HIGHEST_PORT else None, path)


def _split(url: str) -> Parts | None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:  # brackets that do not match, characters that become a slash
        return None
    if not host:
        return None
    try:
        port = PORTS.get(parts.scheme) if parts.port is None else parts.port
    except ValueError:
        port = None
    return Parts(parts.scheme, parts.username or None, *_host(host), port, parts.path or None)


def _host(host: str) -> tuple[str, bool]:
    """Return the host as names and addresses are written, and whether it is an address."""
    if ":" in host:
        return host, True
    try:
        inet_pton(AF_INET, host)  # canonical, as nearly all are
    except (OSError, ValueError):  # not, or with a character that no host has
        host = host.rstrip(".").lower()
        if not NUMERIC(host):
            return host, False
        try:
            return inet_ntoa(inet_aton(host)), True
        except OSError:
            return host, False
    return host, True
