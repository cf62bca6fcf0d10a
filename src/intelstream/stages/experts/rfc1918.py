"""Remove what is private, reserved or for documentation: addresses, names, URLs and AS numbers."""

from collections.abc import AsyncIterator
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import Field

from intelstream import sdk
from intelstream.formats.networks import Networks
from intelstream.ontology import Event

# IANA special-purpose address registries (RFC 6890 and its successors), multicast, and IPv6 unique local (RFC 4193).
NETWORKS: Final = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    *("224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32"),
    *("::/128", "::1/128", "fc00::/7", "fe80::/10", "ff00::/8", "2001:db8::/32", "3fff::/20"),
)
DOMAINS: Final = ("example.com", "example.net", "example.org")  # RFC 2606, with the names below them
SUFFIXES: Final = (".test", ".example", ".invalid", ".localhost", *(f".{name}" for name in DOMAINS))
AS_NUMBERS: Final = (  # RFC 5398 documentation, RFC 6996 private use, RFC 7300 last ones
    range(64_496, 64_512),
    range(64_512, 65_536),
    range(65_536, 65_552),
    range(4_200_000_000, 4_294_967_296),
)


class Params(sdk.Params):
    fields: sdk.FieldList = Field(
        ("destination.ip", "source.ip", "source.url"),
        description="The fields to look at: addresses, names, URLs, ASNs.",
    )
    action: Literal["remove_field", "drop"] = Field("drop", description="What becomes of a value, or of its event.")


class Rfc1918(sdk.Expert[Params]):
    """Remove addresses, names, URLs and AS numbers that are private or reserved.

    So are those for documentation. All fields are looked at. Dropped events are counted as `special`.
    """

    pure = True
    examples = (
        sdk.Example({"source.ip": "10.0.0.1"}),
        sdk.Example({"source.ip": "9.9.9.9"}, {}),
        sdk.Example({"source.ip": "10.0.0.1", "comment": "a"}, {"source.ip": None}, params={"action": "remove_field"}),
    )

    def __init__(self, params: Params, ctx: sdk.StageContext) -> None:
        super().__init__(params, ctx)
        self.networks = Networks(NETWORKS)

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        names, drop = self.params.fields, self.params.action == "drop"
        for event in batch:
            found = [name for name in names if name in event.fields and self._special(event.fields[name])]
            if found and drop:
                batch.drop(event, "special")
                continue
            for name in found:
                del event.fields[name]
            yield event

    def _special(self, value: object) -> bool:
        if isinstance(value, int):
            return any(value in numbers for numbers in AS_NUMBERS)
        text = str(value)
        if "://" in text:
            text = urlsplit(text).hostname or ""
        return text in self.networks or text in DOMAINS or f".{text}".endswith(SUFFIXES)
