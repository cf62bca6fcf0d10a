"""Take URLs apart into host, port, path, account and protocol."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field

from intelstream import sdk
from intelstream.errors import InvalidValue
from intelstream.formats.faults import near
from intelstream.formats.url import Parts, split
from intelstream.ontology import Event, Key, keys

PARTS: Final = ("fqdn", "ip", "port", "path", "account", "protocol")
CARRIED_BY: Final = {"tftp": "udp"} | dict.fromkeys(("ftp", "http", "https", "sftp", "ssh", "ws", "wss"), "tcp")
APPLICATION: Final = {scheme: "http" if scheme == "https" else scheme for scheme in CARRIED_BY}
FIELDS: Final[dict[str, tuple[Key[Any], ...]]] = {
    "fqdn": (keys.SOURCE_FQDN, keys.DESTINATION_FQDN),
    "ip": (keys.SOURCE_IP, keys.DESTINATION_IP),
    "port": (keys.SOURCE_PORT, keys.DESTINATION_PORT),
    "path": (keys.SOURCE_URLPATH, keys.DESTINATION_URLPATH),
    "account": (keys.SOURCE_ACCOUNT, keys.DESTINATION_ACCOUNT),
    "protocol": (keys.PROTOCOL_APPLICATION, keys.PROTOCOL_TRANSPORT),
}
WRITES: Final = tuple(key for found in FIELDS.values() for key in found)
NAMES: Final = tuple(map(str, WRITES))


def _into(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in PARTS and name not in NAMES:
            raise ValueError(near(f"expected a part of a URL or a field, got {name!r}", name, (*PARTS, *NAMES)))
    return names


def _listed(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


Into = Annotated[tuple[str, ...], BeforeValidator(_listed), AfterValidator(_into), "list of parts or fields"]


class Params(sdk.Overwrite):
    into: Into = Field(PARTS, description="Which parts to write, of both URLs, or which fields, such as `source.port`.")


class Side(NamedTuple):
    """The fields of one end, None for what is not to be written."""

    url: Any
    fqdn: Any
    ip: Any
    port: Any
    path: Any
    account: Any


class Url(sdk.Expert[Params]):
    """Take URLs apart into host, port, path, account and protocol.

    The port is the one in the URL, or that of its scheme. Query, fragment and password are left out. Hosts written as
    numbers are addresses, as browsers take them. The protocol is that of the source, without one of the destination.
    """

    pure = True
    reads = (keys.SOURCE_URL, keys.DESTINATION_URL)
    writes = WRITES
    examples = (
        sdk.Example(
            {"source.url": "https://user@www.example.com/a?b=c"},
            {
                "source.fqdn": "www.example.com",
                "source.port": 443,
                "source.urlpath": "/a",
                "source.account": "user",
                "protocol.application": "http",
                "protocol.transport": "tcp",
            },
        ),
        sdk.Example({"source.url": "ftp://192.0.2.7"}, {"source.ip": "192.0.2.7"}, params={"into": ["ip"]}),
    )

    def __init__(self, params: Params, ctx: sdk.StageContext) -> None:
        super().__init__(params, ctx)
        named = set(params.into)
        wanted = {key for part, found in FIELDS.items() for key in found if named & {part, str(key)}}
        source, destination = zip(*(FIELDS[part] for part in PARTS if part != "protocol"), strict=True)
        self.sides = tuple(
            Side(url, *(key if key in wanted else None for key in found))
            for url, found in ((keys.SOURCE_URL, source), (keys.DESTINATION_URL, destination))
        )
        self.protocol: tuple[Any, ...] = tuple(key if key in wanted else None for key in FIELDS["protocol"])
        self.replaces = params.replaces

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        for event in batch:
            scheme = ""
            for side in self.sides:
                url = event.fields.get(side.url)
                if url is not None and (parts := split(url)):
                    self._place(event, side, parts)
                    scheme = scheme or parts.scheme
            if scheme:
                self._classify(event, scheme)
            yield event

    def _place(self, event: Event, side: Side, parts: Parts) -> None:
        fields, replaces = event.fields, self.replaces
        _, user, host, is_address, port, path = parts
        if port is not None and side.port is not None and (replaces or side.port not in fields):
            fields[side.port] = port  # a port by construction
        self._put(event, side.ip if is_address else side.fqdn, host)
        if path is not None:
            self._put(event, side.path, path)
        if user is not None:
            self._put(event, side.account, user)

    def _put(self, event: Event, key: Any, value: str) -> None:
        if key is not None and (self.replaces or key not in event.fields):
            try:
                event[key] = value
            except InvalidValue:
                return  # the host of a URL may be neither a name nor an address

    def _classify(self, event: Event, scheme: str) -> None:
        fields, replaces = event.fields, self.replaces
        application, transport = self.protocol
        if application is not None and (replaces or application not in fields):
            if known := APPLICATION.get(scheme):
                fields[application] = known
            else:
                self._put(event, application, scheme)
        if transport is not None and scheme in CARRIED_BY and (replaces or transport not in fields):
            fields[transport] = CARRIED_BY[scheme]
