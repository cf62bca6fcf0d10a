"""Prints what expressions and experts cost per event, in nanoseconds, best of several: `python bench/experts.py`."""

import asyncio
from time import perf_counter
from timeit import repeat
from typing import Any

from intelstream import testing
from intelstream.formats.expression import compiled
from intelstream.ontology import STANDARD
from intelstream.sdk import Batch, Expert, State

RUNS = 60
FRAME = 256
FIELDS = {
    "source.asn": 64496,
    "source.ip": "10.1.2.3",
    "source.port": 80,
    "source.fqdn": "www.example.com",
    "classification.type": "scanner",
    "time.source": "2024-03-06T00:00:00+00:00",
    "comment": "an ordinary remark of some words, in which torpedo is one",
}
EXPRESSIONS = (
    "source.asn:64496",
    "classification.type:(scanner OR ddos)",
    "source.fqdn:*",
    "source.fqdn:*.example.com",
    "source.ip:10.0.0.0/8",
    "source.port<1024",
    "time.source<now-10h",
    "tag:tweet",
    "comment~/torpedo/",
    "source.asn:64496 AND NOT classification.type:(ddos OR spam)",
)
EXPERTS: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("experts.taxonomy", {}, {"classification.type": "scanner"}),
    ("experts.filter", {"drop": "classification.type:ddos"}, FIELDS),
    ("experts.filter", {"drop": "time.source<now-10h"}, FIELDS),
    ("experts.url", {}, {"source.url": "http://www.example.com/a/b?c=d"}),
    ("experts.url", {}, {"source.url": "http://192.0.2.7:8080/a/b?c=d"}),
    ("experts.url", {}, {"source.url": "http://user@www.example.com/a/b?c=d"}),
    ("experts.rfc1918", {}, {"source.ip": "9.9.9.9", "source.url": "http://www.cert.at/a"}),
)


async def nothing(_keys: object) -> list[Any]:
    return []


async def expert(use: str, params: dict[str, Any], fields: dict[str, Any]) -> float:
    async with testing.open_stage(use, params) as run:
        assert isinstance(run.stage, Expert)  # noqa: S101 - what is measured is one
        best = float("inf")
        for _ in range(RUNS):
            batch = Batch([testing.event(fields) for _ in range(FRAME)], State(nothing))
            begun = perf_counter()
            async for _way in run.stage.process(batch):
                pass
            best = min(best, perf_counter() - begun)
    return best / FRAME


async def main() -> None:
    event = testing.event(FIELDS, tags=["tweet"])
    for text in EXPRESSIONS:
        scope = {"match": compiled(text, STANDARD), "event": event}
        best = min(repeat("match(event)", globals=scope, number=2_000, repeat=RUNS)) / 2_000
        print(f"{best * 1e9:8.0f}  {text}")
    for use, params, fields in EXPERTS:
        print(f"{await expert(use, params, fields) * 1e9:8.0f}  {use} {params or ''} {fields.get('source.url', '')}")


if __name__ == "__main__":
    asyncio.run(main())
