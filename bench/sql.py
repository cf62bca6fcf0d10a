"""`outputs.sql` into PostgreSQL and SQLite, against one INSERT and commit per event: `make bench-sql`.

The server is a fresh one of the tests' with its defaults, so every commit is synced, and it is asked by its socket.
Events have 15 fields and `extra`.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
import uvloop

from intelstream.app import testing
from intelstream.ontology import Event, ids
from intelstream.sdk import Batch, Output, State
from services import postgres
from services.postgres import USER, RunningPostgres

BATCHES: Final = (256, 1000, 4000)
SINGLE: Final = 2_000  # rows of the run that commits each
Write = Callable[[Sequence[Event]], Awaitable[None]]


def events(count: int) -> list[Event]:
    """Return events that differ, with what a feed and the usual experts give."""
    made = (
        {
            "classification.identifier": "zeus",
            "classification.taxonomy": "malicious-code",
            "classification.type": "c2-server",
            "comment": f"row {n}",
            "feed.name": "Example",
            "feed.provider": "Example",
            "feed.url": "https://feeds.example/list.csv",
            "malware.name": "zeus",
            "source.asn": 64496,
            "source.fqdn": f"host{n}.example.com",
            "source.ip": f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}",
            "source.port": n % 65536,
            "source.url": f"http://host{n}.example.com/gate.php",
            "time.observation": "2024-03-06T12:34:56+00:00",
            "time.source": "2024-03-06T12:00:00+00:00",
            "extra.first_seen": "2024-03-01",
            "extra.hits": n,
        }
        for n in range(count)
    )
    return [testing.event(fields, id=ids.derived(testing.PARENT, n)) for n, fields in enumerate(made)]


@asynccontextmanager
async def stage(**params: Any) -> AsyncGenerator[Write]:
    """Give what writes a batch by the stage."""
    async with testing.open_stage("outputs.sql", params) as run:
        output = run.stage
        if not isinstance(output, Output):
            raise TypeError("expected an output")

        async def write(batch: Sequence[Event]) -> None:
            await output.write(Batch(batch, State(run.load)))

        yield write


@asynccontextmanager
async def single(server: RunningPostgres) -> AsyncGenerator[Write]:
    """Give what writes a batch by one statement and commit per event, as IntelMQ does."""
    place = f"host={server.directory} port={server.port} user={USER} dbname=postgres"
    async with await psycopg.AsyncConnection.connect(place, autocommit=True) as connection:

        async def write(batch: Sequence[Event]) -> None:
            for event in batch:
                row = event.to_dict(extra_as_text=True) | {"event_id": event.id}
                names = ", ".join(f'"{name}"' for name in row)
                marks = ", ".join(["%s"] * len(row))
                statement = f"INSERT INTO events ({names}) VALUES ({marks})"  # noqa: S608 - names of fields
                await connection.execute(statement.encode(), list(row.values()))

        yield write


async def measure(name: str, write: Write, rows: Sequence[Event], batch: int) -> None:
    await write(rows[:1])  # the table is made, the connection is warm
    began, computed = time.perf_counter(), time.process_time()
    for low in range(1, len(rows), batch):
        await write(rows[low : low + batch])
    took, own = time.perf_counter() - began, time.process_time() - computed
    print(
        f"{name:<28} batch {batch:>5} {len(rows) / took:>9,.0f} rows/s {own / len(rows) * 1e6:>7.1f} µs of ours per row"
    )


async def main(count: int) -> None:
    rows = events(count)
    with postgres.running() as server:
        url = {"url": server.socket_url(), "username": USER}
        for batch in BATCHES:
            server.run("postgres", "DROP TABLE IF EXISTS events")
            async with stage(**url) as write:
                await measure("PostgreSQL", write, rows, batch)
                await measure("PostgreSQL, all there already", write, rows, batch)
        server.run("postgres", "TRUNCATE events")
        async with single(server) as write:
            await measure("PostgreSQL, row by row", write, rows[:SINGLE], 1)
    for batch in BATCHES:
        with tempfile.TemporaryDirectory() as directory:
            async with stage(path=str(Path(directory) / "events.db")) as write:
                await measure("SQLite", write, rows, batch)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(parser.parse_args().rows))
