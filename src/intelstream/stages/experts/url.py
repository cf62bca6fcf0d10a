"""Take URLs apart into host, port, path and account."""

import re
from collections.abc import AsyncIterator
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field

from intelstream import sdk
from intelstream.errors import InvalidValue
from intelstream.ontology import Event, keys

Target = Literal["fqdn", "ip", "port", "path", "account"]
ORDINARY: Final = re.compile(r"(https?)://([a-z0-9.-]+)(?::([0-9]{1,5}))?(/[^?#]*)?(?:[?#].*)?", re.ASCII | re.DOTALL)
SCHEMES: Final[dict[str, tuple[int, str, str]]] = {  # default port, transport, application
    "ftp": (21, "tcp", "ftp"),
    "http": (80, "tcp", "http"),
    "https": (443, "tcp", "http"),
    "sftp": (22, "tcp", "sftp"),
    "ssh": (22, "tcp", "ssh"),
    "tftp": (69, "udp", "tftp"),
    "ws": (80, "tcp", "ws"),
    "wss": (443, "tcp", "wss"),
}


class Parts(NamedTuple):
    """What a URL says; None where it does not."""

    scheme: str
    host: str | None
    port: int | None
    path: str | None
    account: str | None


def parts(url: str) -> Parts | None:
    """Take a URL apart; None for one that is none."""
    if found := ORDINARY.fullmatch(url):
        scheme, host, port, path = found.groups()
        return Parts(scheme, host, int(port) if port else None, path, None)
    try:
        split = urlsplit(url)
        return Parts(split.scheme, split.hostname, split.port, split.path or None, split.username)
    except ValueError:  # a bracket left open, a port out of range
        return None


class Params(sdk.Overwrite):
    into: tuple[Target, ...] = Field(
        ("fqdn", "ip", "port", "path", "account"), description="What to take out of a URL."
    )


class Url(sdk.Expert[Params]):
    """Take URLs apart into host, port, path and account.

    `protocol.application` and `protocol.transport` follow from the scheme of the first URL that has a known one, the
    source's before the destination's. A part that is no valid value is left out; the event goes on.
    """

    pure = True
    reads = (keys.SOURCE_URL, keys.DESTINATION_URL)
    writes = (
        *(keys.SOURCE_FQDN, keys.SOURCE_IP, keys.SOURCE_PORT, keys.SOURCE_URLPATH, keys.SOURCE_ACCOUNT),
        *(keys.DESTINATION_FQDN, keys.DESTINATION_IP, keys.DESTINATION_PORT, keys.DESTINATION_URLPATH),
        *(keys.DESTINATION_ACCOUNT, keys.PROTOCOL_APPLICATION, keys.PROTOCOL_TRANSPORT),
    )
    examples = (
        sdk.Example(
            {"source.url": "http://host.example.com/a"},
            {
                "source.fqdn": "host.example.com",
                "source.port": 80,
                "source.urlpath": "/a",
                "protocol.application": "http",
                "protocol.transport": "tcp",
            },
        ),
    )

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        for event in batch:
            for side in ("source", "destination"):
                if (url := event.fields.get(f"{side}.url")) and (found := parts(url)):
                    self._write(event, side, found)
            yield event

    def _write(self, event: Event, side: str, found: Parts) -> None:
        port, transport, application = SCHEMES.get(found.scheme, (None, None, found.scheme or None))
        into, overwrite = self.params.into, self.params.replaces
        host = found.host
        numeric = host is not None and (":" in host or host.replace(".", "").isdigit())
        if host and numeric and "ip" in into:
            _add(event, f"{side}.ip", host, overwrite)
        elif host and not numeric and "fqdn" in into:
            _add(event, f"{side}.fqdn", host, overwrite)
        if "port" in into and (number := found.port if found.port is not None else port) is not None:
            _add(event, f"{side}.port", number, overwrite)
        if "path" in into and found.path:
            _add(event, f"{side}.urlpath", found.path, overwrite)
        if "account" in into and found.account:
            _add(event, f"{side}.account", found.account, overwrite)
        _add(event, "protocol.application", application, overwrite and side == "source")
        _add(event, "protocol.transport", transport, overwrite and side == "source")


def _add(event: Event, name: str, value: object, overwrite: bool) -> None:  # noqa: FBT001 - a shorthand of `event.add`
    if value is None or (name in event.fields and not overwrite):
        return
    try:
        event[name] = value
    except InvalidValue:
        return  # hosts of URLs are often no names that the vocabulary takes
