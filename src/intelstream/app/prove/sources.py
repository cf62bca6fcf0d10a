"""What goes in: rows of a CSV file, or events of feeds' samples, each with a number of its own; the same for a seed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final

import orjson

from intelstream import catalog
from intelstream.app.prove.stages import NUMBER
from intelstream.errors import ConfigError, Fault

TYPES: Final = ("scanner", "c2-server", "phishing", "malware-distribution", "brute-force", "spam")
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
TWINS: Final = 0.1  # share of rows that repeat an earlier one to the letter
BAD: Final = 0.01  # share of rows that no parser can take
RECENT: Final = 5000  # rows among which the repeated ones are chosen
Known = Mapping[str, Any]


def rows(first: int, count: int, seed: int) -> Iterator[bytes]:
    """Yield lines of CSV: number from `first` on, time, address, port, URL, type, name of the malware."""
    chance = Random(f"{seed}:{first}")  # noqa: S311 - repeatable is what it is for
    recent: list[bytes] = []
    for number in range(first, first + count):
        if recent and chance.random() < TWINS:
            yield recent[chance.randrange(len(recent))]
            continue
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        if chance.random() < BAD:
            address = "no address"
        when = (START + timedelta(seconds=number)).isoformat()
        url = f"http://host{number % 997}.example.com:{chance.randrange(1024, 65536)}/{chance.randrange(10**6)}"
        cells = (number, when, address, chance.randrange(1, 65536), url, chance.choice(TYPES), f"family{number % 50}")
        line = f"{','.join(map(str, cells))}\n".encode()
        if len(recent) < RECENT:
            recent.append(line)
        else:
            recent[number % RECENT] = line
        yield line


def events(samples: Sequence[Known], first: int, count: int, values: Known, tags: Iterable[str]) -> Iterator[bytes]:
    """Yield events as JSON lines, the samples over and over, numbered from `first` on.

    `values` are put over those of a sample: labels, constants of the parser.
    """
    own = {"time.observation": START.isoformat(), "__tags": sorted(tags)}
    for number in range(first, first + count):
        sample = {key: value for key, value in samples[number % len(samples)].items() if key != "__id"}
        yield orjson.dumps({**sample, **own, **values, NUMBER: number}) + b"\n"


def of_file(path: Path, most: int) -> list[dict[str, Any]]:
    """Read at most so many events from a file of JSON lines.

    Raises:
        ConfigError: it cannot be read, or holds no events.
    """
    found: list[dict[str, Any]] = []
    try:
        with path.open("rb") as file:
            for place, line in enumerate(islice(file, most), 1):
                if line.strip():
                    value = orjson.loads(line)
                    if not isinstance(value, dict):
                        raise ConfigError([Fault(str(path), place, 1, "", "expected one JSON object per line")])
                    found.append(value)
    except (OSError, orjson.JSONDecodeError) as error:
        raise ConfigError([Fault(str(path), len(found) + 1, 1, "", f"reading events: {error}")]) from error
    if not found:
        raise ConfigError([Fault(str(path), 1, 1, "", "expected events, one JSON object per line")])
    return found


def of_feeds(wanted: Known) -> list[dict[str, Any]]:
    """Return what the samples of the feeds give: of the one with these labels, else of all."""
    mine: list[dict[str, Any]] = []
    every: list[dict[str, Any]] = []
    for name in sorted(catalog.feed_names()):
        file = catalog.feed_folder(name).joinpath("expected.jsonl")
        if not file.is_file():
            continue
        found = [orjson.loads(line) for line in file.read_bytes().splitlines()]
        every += found
        labels = catalog.feed(name).labels
        if wanted and all(labels.get(key) == wanted.get(key) for key in ("provider", "name")):
            mine += found
    return mine or every
