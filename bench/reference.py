"""The reference pipeline against the same work in one plain loop: `make bench`, or with `--rows N --runs N`.

file collector -> parsers.csv -> deduplicate -> taxonomy -> url -> filter (drops scanner) -> file output, on the bundled
server with its append-only file on. The plain loop runs the same stages on the same rows, without streams.
"""

import argparse
import asyncio
import random
import resource
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import orjson
import uvloop

from intelstream.app import logs, testing
from intelstream.app.daemon import Daemon
from intelstream.app.pipeline import Pipeline
from intelstream.ontology import Event, Report, ids
from intelstream.runtime.drain import parse
from intelstream.sdk import Batch, State

TYPES: Final = ("scanner", "phishing", "c2-server", "brute-force", "malware-distribution")
COLUMNS: Final = (
    "time.source",
    "source.ip",
    "source.port",
    "source.url",
    "classification.type",
    "malware.name",
    "source.asn",
)
FRAME: Final = 256
REPEATED: Final = 9  # the last digit of rows that repeat the one before
PIPELINE: Final = """\
name: bench
stages:
  inbox:    {{use: collectors.file, with: {{path: "{rows}"}}, every: 1d, to: rows}}
  rows:     {{use: parsers.csv, with: {{columns: [{columns}]}}, to: dedup}}
  dedup:    {{use: experts.deduplicate, to: taxonomy}}
  taxonomy: {{use: experts.taxonomy, to: url}}
  url:      {{use: experts.url, to: mine}}
  mine:     {{use: experts.filter, with: {{drop: "classification.type:scanner"}}, to: files}}
  files:    {{use: outputs.file, with: {{path: "{events}"}}}}
"""
CHAIN: Final[Sequence[tuple[str, dict[str, Any]]]] = (
    ("experts.deduplicate", {}),
    ("experts.taxonomy", {}),
    ("experts.url", {}),
    ("experts.filter", {"drop": "classification.type:scanner"}),
)


def generate(path: Path, rows: int, seed: int = 1) -> tuple[int, Counter[str]]:
    """Write a seeded CSV, every tenth row a repetition; return how many events are to come out, by type."""
    chance = random.Random(seed)  # noqa: S311 - repeatable is what it is for
    start = datetime(2026, 1, 1, tzinfo=UTC)
    wanted: Counter[str] = Counter()
    before = ""
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            if number % 10 == REPEATED:
                file.write(before)
                continue
            kind = chance.choice(TYPES)
            when = (start + timedelta(seconds=number)).isoformat()
            address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
            url = f"http://host{number}.example.com:{chance.randrange(1024, 65536)}/a/{chance.randrange(10**6)}?q=1"
            port, family, asn = chance.randrange(1, 65536), f"family{number % 50}", 64496 + number % 16
            before = f"{when},{address},{port},{url},{kind},{family},{asn}\n"
            file.write(before)
            if kind != "scanner":
                wanted[kind] += 1
    return wanted.total(), wanted


@asynccontextmanager
async def chain() -> AsyncGenerator[tuple[Any, list[Any], Any]]:
    """Open parser, experts and serialiser as the plain loop uses them."""
    async with AsyncExitStack() as stack:
        parser = await stack.enter_async_context(testing.open_stage("parsers.csv", {"columns": list(COLUMNS)}))
        experts = [(await stack.enter_async_context(testing.open_stage(use, params))).stage for use, params in CHAIN]
        yield parser.stage, experts, None


async def plain(rows: Path, out: Path) -> tuple[float, dict[str, float]]:
    """Run the plain loop; return its seconds, and the seconds of each stage."""
    spent: dict[str, float] = dict.fromkeys(("parsers.csv", *(use for use, _ in CHAIN), "outputs.file"), 0.0)
    async with chain() as (parser, experts, _):
        with out.open("wb") as file:
            report = Report(rows).stamp(id=testing.PARENT, fields={"feed.name": "bench"})
            begun = time.perf_counter()
            frame: list[Event] = []
            mark = begun
            for parsed in parse(parser, report):
                frame += parsed.events
                if len(frame) >= FRAME:
                    spent["parsers.csv"] += time.perf_counter() - mark
                    await _through(experts, frame, file, spent)
                    frame, mark = [], time.perf_counter()
            await _through(experts, frame, file, spent)
            return time.perf_counter() - begun, spent


async def _through(experts: Sequence[Any], events: Sequence[Event], file: Any, spent: dict[str, float]) -> None:
    for (use, _), expert in zip(CHAIN, experts, strict=True):
        mark = time.perf_counter()
        batch = Batch(events, State(_nothing))
        for event, arrival in zip(events, ids.arrivals(str(id(batch)), len(events)), strict=True):
            event.arrival = arrival
        events = [way async for way in expert.process(batch) if isinstance(way, Event)]
        spent[use] += time.perf_counter() - mark
    mark = time.perf_counter()
    file.write(b"".join(orjson.dumps(event.to_dict()) + b"\n" for event in events))
    spent["outputs.file"] += time.perf_counter() - mark


async def _nothing(keys: Sequence[str]) -> Sequence[Any]:
    return [None] * len(keys)


async def piped(rows: Path, out: Path, directory: Path, wanted: int) -> tuple[float, int]:
    """Run the pipeline until all is out; return its seconds from the daemon's readiness, and the server's peak KiB."""
    file = directory / "bench.yaml"
    file.write_text(PIPELINE.format(rows=rows, events=out, columns=", ".join(COLUMNS)), encoding="utf-8")
    daemon: Daemon = Pipeline.load(file, state_dir=directory / "var", env={}).daemon()
    task = asyncio.create_task(daemon.run())
    await daemon.ready.wait()
    begun = time.perf_counter()
    while daemon.statuses["files"].sent < wanted and not task.done():  # noqa: ASYNC110 - read-only, from outside
        await asyncio.sleep(0.01)
    seconds = time.perf_counter() - begun
    peak = await _peak(daemon)
    daemon.stop()
    await task
    return seconds, peak


async def _peak(daemon: Daemon) -> int:
    """Return the largest resident size of the server so far, in KiB."""
    pid = daemon.server_pid()
    if pid is None:
        return 0
    text = await asyncio.to_thread(Path(f"/proc/{pid}/status").read_text)
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM"))


def check(out: Path, total: int, wanted: Counter[str]) -> None:
    """Compare the output with what the generator promised: number, types, no event twice."""
    found: Counter[str] = Counter()
    seen: set[tuple[Any, ...]] = set()
    for line in out.open("rb"):
        event = orjson.loads(line)
        found[event["classification.type"]] += 1
        seen.add((event["source.ip"], event["time.source"]))
    if found != wanted or len(seen) != total:
        raise SystemExit(f"{out}: expected {total} events {dict(wanted)}, found {len(seen)} {dict(found)}")


async def main(rows: int, runs: int) -> None:
    loops: list[float] = []
    pipes: list[float] = []
    spent: dict[str, float] = {}
    peak = 0
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            total, wanted = generate(directory / "rows.csv", rows)
            seconds, spent = await plain(directory / "rows.csv", directory / "plain.jsonl")
            check(directory / "plain.jsonl", total, wanted)
            loops.append(seconds)
            seconds, server = await piped(directory / "rows.csv", directory / "events.jsonl", directory, total)
            check(directory / "events.jsonl", total, wanted)
            pipes.append(seconds)
            peak = max(peak, server)
    _say("plain loop", rows, loops)
    _say("pipeline, 1 worker, AOF on", rows, pipes)
    print(
        f"the pipeline takes {statistics.median(pipes) / statistics.median(loops):.2f} times the time of the plain loop"
    )
    for use, seconds in spent.items():
        print(f"  {use:24} {seconds / rows * 1e6:6.2f} µs per row in the plain loop")
    daemon = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory: daemon {daemon / 1024:.0f} MiB, server {peak / 1024:.0f} MiB")


def _say(what: str, rows: int, seconds: Sequence[float]) -> None:
    rates = sorted(rows / one for one in seconds)
    print(
        f"{what}: {statistics.median(rates):,.0f} rows/s (min {rates[0]:,.0f}, max {rates[-1]:,.0f}; {len(rates)} runs)"
    )


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=200_000)
    arguments.add_argument("--runs", type=int, default=3)
    given = arguments.parse_args()
    logs.configure(json=False, level="warning")
    uvloop.run(main(given.rows, given.runs))
