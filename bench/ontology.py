"""Prints what the operations of the ontology cost, in nanoseconds, best of several runs: `python bench/ontology.py`."""

from collections.abc import Callable
from functools import partial
from timeit import repeat
from typing import Any

from intelstream.ontology import STANDARD, Event, Ontology, Report, ids

RUNS = 60
CALLS = 2_000
REPORT = "018e0a5c-8000-7000-8000-000000000000"
FEED = {
    "feed.accuracy": 80,
    "feed.documentation": "https://example.com/about",
    "feed.name": "Scanners",
    "feed.provider": "Partner",
    "feed.url": "https://example.com/list.csv",
    "time.observation": "2024-03-06T00:00:00+00:00",
}
WRITES = {
    "text": ("source.as_name", "Example Networks Ltd."),
    "text, not ASCII": ("source.geolocation.city", "Köln"),
    "lower": ("malware.name", "AgentTesla"),
    "listed": ("classification.type", "scanner"),
    "country": ("source.geolocation.cc", "AT"),
    "port": ("source.port", 443),
    "port as text": ("source.port", "443"),
    "ASN with AS": ("source.asn", "AS64496"),
    "float as text": ("source.geolocation.latitude", "48.2085"),
    "IPv4": ("source.ip", "203.0.113.254"),
    "IPv6": ("source.ip", "2001:db8::7"),
    "IPv6, capitals": ("source.ip", "2001:DB8:0::7"),
    "network": ("source.network", "192.0.2.0/24"),
    "host name": ("source.fqdn", "www.example.com"),
    "host name, capitals": ("source.fqdn", "WWW.Example.COM."),
    "host name, umlaut": ("source.fqdn", "bücher.example"),
    "URL": ("source.url", "http://www.example.com/some/path/file.php?id=1&page=2"),
    "URL, defanged": ("source.url", "hxxp://www.example[.]com/some/path"),
    "time, canonical": ("time.source", "2024-03-02T10:11:12+00:00"),
    "time, UTC by any sign": ("time.source", "2024-03-02 10:11:12"),
    "time, other zone": ("time.source", "2024-03-02T10:11:12+02:00"),
    "time, free text": ("time.source", "Sat, 2 Mar 2024 10:11:12 +0000"),
    "extra": ("extra.tag", "telnet"),
    "extra, nested": ("extra.tags", ["telnet", {"port": 23}]),
}


def cost(call: Callable[[], Any]) -> float:
    """Return nanoseconds per call, less those of calling."""
    idle = min(repeat(lambda: None, number=CALLS, repeat=RUNS))
    return (min(repeat(call, number=CALLS, repeat=RUNS)) - idle) / CALLS * 1e9


def show(name: str, call: Callable[[], Any]) -> None:
    print(f"{name:40} {cost(call):8,.0f}")


def main() -> None:
    event = Event({}, id=REPORT)
    for name, (key, value) in WRITES.items():
        show(f"event[k] = {name}", partial(event.__setitem__, key, value))
    show("event.add, not there yet", lambda: (event.add("comment", "x"), event.fields.pop("comment")))
    show("event.add, there already", lambda: event.add("source.port", 80))
    show("event[k]", lambda: event["source.port"])
    show("event.get", lambda: event.get("source.port"))

    report = Report(b"").stamp(id=REPORT, fields=FEED)
    show("report.event, 6 fields", report.event)
    show("Event()", lambda: Event({}, STANDARD, id=REPORT, parents=(REPORT,), tags=frozenset()))
    show("event.derive", lambda: event.derive(1))
    places = ids.Places(REPORT)
    show("ids.Places.of", lambda: places.of(7, 0))
    show("ids.derived", lambda: ids.derived(REPORT, "split", 1))
    only = ("source.ip", "source.port", "classification.type", "time.source")
    show("event.digest, only 4 fields", lambda: event.digest(only=only))
    show("event.digest, all 15 fields", event.digest)
    show("event.owner", lambda: event.owner)
    wire = event.dump()
    show("event.dump", event.dump)
    show("Event.load", lambda: Event.load(wire))
    show("event.to_dict", event.to_dict)
    show("event.to_dict, hierarchical", lambda: event.to_dict(hierarchical=True))
    edge = event.to_dict()
    show("Event.from_dict", lambda: Event.from_dict(edge))
    print(f"{'Ontology(), in ms':40} {min(repeat(Ontology, number=1, repeat=RUNS)) * 1e3:8.1f}")


if __name__ == "__main__":
    main()
