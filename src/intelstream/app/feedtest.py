"""A feed against its own sample: what it gives must be exactly its `expected.jsonl`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from intelstream import catalog
from intelstream.app import testing

NOT_COMPARED: Final = frozenset({"raw", "__type", "feed.url", "time.observation"})  # of the fetch, not of the feed
CLOCK: Final = datetime(2024, 3, 6, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FeedCheck:
    """How a feed fared: `events` are what its sample gave, `faults` in words what is not as expected."""

    feed: str
    events: Sequence[dict[str, Any]]
    faults: Sequence[str] = field(default=())


async def check_feed(name: str, folders: Sequence[Path] = ()) -> FeedCheck:
    """Parse a feed's sample and compare with what is expected; nothing is fetched.

    Raises:
        UnknownName: there is no such feed.
    """
    feed, folder = catalog.feed(name, folders), catalog.feed_folder(name, folders)
    samples = [file for file in folder.iterdir() if file.name.startswith("sample.")]
    if len(samples) != 1:
        return FeedCheck(name, (), (f"expected one file sample.* in {folder}, found {len(samples)}",))
    if feed.parser is None:
        return FeedCheck(name, (), ("it has no parser",))
    labels = {f"feed.{label}": value for label, value in feed.labels.items()}
    url = feed.collector.given.get("url")
    report = testing.report(samples[0].read_bytes(), labels | ({"feed.url": url} if url else {}))
    world = testing.World(now=CLOCK)
    parsed = await testing.run_stage(feed.parser.use, feed.parser.given, [report], set=feed.parser.set, world=world)
    if parsed.refused:
        return FeedCheck(name, (), tuple(map(str, parsed.refused.faults)))
    got = [
        {key: value for key, value in event.items() if key not in NOT_COMPARED}
        for event in parsed.outputs.get("default", ())
    ]
    faults = [f"a row failed: {dead.error} {dead.field or ''}: {dead.text}" for dead in parsed.dead]
    wanted_file = folder.joinpath("expected.jsonl")
    if not wanted_file.is_file():
        return FeedCheck(name, got, (*faults, f"{folder} has no expected.jsonl"))
    wanted = [orjson.loads(line) for line in wanted_file.read_bytes().splitlines()]
    faults += _differences(got, wanted)
    return FeedCheck(name, got, faults)


def _differences(got: Sequence[dict[str, Any]], wanted: Sequence[dict[str, Any]]) -> list[str]:
    found = [] if len(got) == len(wanted) else [f"expected {len(wanted)} events, got {len(got)}"]
    for place, (one, other) in enumerate(zip(got, wanted, strict=False), 1):
        found += [
            f"event {place}: {key}: expected {other.get(key)!r}, got {one.get(key)!r}"
            for key in sorted(one.keys() | other.keys())
            if one.get(key) != other.get(key)
        ]
    return found
