"""What collectors bring, on a real server: what breaks off half way is in once, and nothing comes in without room."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest

import loopback
import pipelines
from intelstream import sdk, testing
from intelstream.errors import Unavailable
from intelstream.ontology import Report
from intelstream.runtime.runs import MOST_UNFINISHED, Unfinished
from intelstream.runtime.server import BundledServer
from pipelines import pipeline, stage, until

pytestmark = pytest.mark.xdist_group("daemon")
ROW = "192.0.2.1,{},{}\n"
COLUMNS = {"columns": ["source.ip", "source.port", "comment"]}


class Mails(sdk.Collector[sdk.Params]):
    """Brings mails that stay with their sender until they are said to be in, each with many events."""

    mode = "stream"
    gives: ClassVar[str] = "events"
    inbox: ClassVar[dict[str, list[int]]] = {}

    async def collect(self, cursor: Any) -> AsyncIterator[sdk.Collected]:
        for name, ports in list(self.inbox.items()):
            yield sdk.Begin(name)
            if self.gives == "events":
                for port in ports:
                    yield testing.event({"source.ip": "192.0.2.1", "source.port": port, "comment": name})
                yield sdk.Commit(name)
            else:
                rows = "".join(ROW.format(port, name + "x" * 100) for port in ports)
                yield Report(rows.encode(), cursor=name)
            del self.inbox[name]
        await self.ctx.sleep(3600)


class Places(sdk.Collector[sdk.Params]):
    """Commits cursors, and notes what it is given: first as it starts, then when it is through."""

    mode = "stream"
    steps: ClassVar[list[Any]] = []
    given: ClassVar[list[Any]] = []

    async def collect(self, cursor: Any) -> AsyncIterator[sdk.Collected]:
        self.given.append(cursor)
        for step in self.steps:
            yield sdk.Commit(step)
        self.given.append("through")
        await self.ctx.sleep(3600)


class Shelf(sdk.Output[sdk.Params]):
    """Keeps ports and comments; takes nothing as long as it is shut."""

    batch = 100
    idempotent = True
    shut: ClassVar[bool] = False
    kept: ClassVar[list[tuple[int, str]]] = []

    async def write(self, batch: sdk.Batch) -> None:
        if self.shut:
            raise Unavailable("writing: shut", retry_after=0.05)
        self.kept.extend((event["source.port"], event["comment"].rstrip("x")) for event in batch)


@pytest.fixture(autouse=True)
def _empty() -> None:
    Shelf.shut, Shelf.kept, Mails.inbox = False, [], {}


WAYS = {
    "events": ("events", [stage("mails", Mails, "shelf"), stage("shelf", Shelf, backlog=1000)]),
    "a report that is cut": (
        "reports",
        [
            stage("mails", Mails, "rows"),
            stage("rows", "parsers.csv", "shelf", COLUMNS, backlog=1),
            stage("shelf", Shelf, backlog=1000),
        ],
    ),
}


@pytest.mark.parametrize(("gives", "stages"), WAYS.values(), ids=WAYS)
async def test_what_broke_off_half_way_is_in_once_also_if_others_come_before_it_is_begun_again(
    gives: str, stages: list[Any], tmp_path: Path
) -> None:
    ports = list(range(1, 40_001))
    Mails.gives, Shelf.shut = gives, True
    Mails.inbox = {"first": ports}
    spec = pipeline(*stages)
    async with pipelines.run(spec, tmp_path) as daemon:
        await until(lambda: daemon.statuses["mails"].state == "throttled")
    sent = daemon.statuses["mails"].sent
    Mails.inbox, Shelf.shut = {"second": ports[:5], "first": ports}, False
    async with pipelines.run(spec, tmp_path):
        await until(lambda: not Mails.inbox and len(Shelf.kept) >= len(ports) + 5, within=40)

    assert 0 < sent < len(ports)
    assert sorted(Shelf.kept) == sorted([(port, "first") for port in ports] + [(port, "second") for port in ports[:5]])


async def test_what_is_ended_and_comes_again_is_another_one(tmp_path: Path) -> None:
    Mails.gives = "events"
    spec = pipeline(stage("mails", Mails, "shelf"), stage("shelf", Shelf))

    async def brought(kept: int) -> None:
        Mails.inbox = {"one": list(range(1, 601))}
        async with pipelines.run(spec, tmp_path):
            await until(lambda: not Mails.inbox and len(Shelf.kept) >= kept)

    await brought(600)
    await brought(1200)

    assert sorted(Shelf.kept) == sorted([(port, "one") for port in range(1, 601)] * 2)


async def test_a_cursor_of_many_parts_is_kept_part_by_part(tmp_path: Path) -> None:
    spec = pipeline(stage("places", Places, "shelf"), stage("shelf", Shelf))
    given: list[Any] = []
    for Places.steps in (
        [sdk.Changes(a=1, b=2), sdk.Changes(a=None, c=3)],
        [],
        ["whole"],
        [sdk.Changes(d=4)],
        [sdk.Changes(d=None)],
        [],
    ):
        Places.given = []
        async with pipelines.run(spec, tmp_path):
            await until(lambda: Places.given[1:])
        given.append(Places.given[0])

    assert given == [None, {"b": 2, "c": 3}, {"b": 2, "c": 3}, "whole", {"d": 4}, None]


async def test_nothing_is_fetched_while_the_disk_is_nearly_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    low = True
    monkeypatch.setattr(BundledServer, "low_on_disk", property(lambda _: low))
    monkeypatch.setattr("intelstream.runtime.station.POLL", 0.05)
    (tmp_path / "in.csv").write_text(ROW.format(1, "a"))
    spec = pipeline(
        stage("inbox", "collectors.file", "rows", {"path": str(tmp_path / "in.csv"), "settle": "1ms"}, every=3600.0),
        stage("rows", "parsers.csv", "shelf", COLUMNS),
        stage("shelf", Shelf),
    )
    async with pipelines.run(spec, tmp_path) as daemon:
        await until(lambda: daemon.statuses["inbox"].reason == "the disk is nearly full")
        assert daemon.statuses["inbox"].state == "throttled"
        assert Shelf.kept == []
        low = False
        await until(lambda: Shelf.kept)


async def test_who_pushes_while_the_disk_is_nearly_full_is_told_to_come_back_and_then_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    low = True
    monkeypatch.setattr(BundledServer, "low_on_disk", property(lambda _: low))
    [port] = loopback.free_ports()
    params = {"accepts": "events", "listen": f"127.0.0.1:{port}"}
    spec = pipeline(stage("push", "collectors.api", "shelf", params), stage("shelf", Shelf))
    event = {"source.ip": "192.0.2.1", "source.port": 1, "comment": "a"}
    async with pipelines.run(spec, tmp_path) as daemon, aiohttp.ClientSession() as http:
        await until(lambda: daemon.statuses["push"].state == "running")
        answers: list[tuple[int, str | None]] = []
        for low in (True, False):  # noqa: B007 - what the server is asked for
            async with http.post(f"http://127.0.0.1:{port}/", json=event) as answer:
                answers.append((answer.status, answer.headers.get("Retry-After")))
        await until(lambda: Shelf.kept)

    assert answers == [(429, "5"), (202, None)]
    assert Shelf.kept == [(1, "a")]


def test_the_oldest_of_too_many_that_broke_off_are_forgotten() -> None:
    unfinished = Unfinished({})
    for number in range(MOST_UNFINISHED + 1):
        unfinished.begin(str(number))
        unfinished.keep(unfinished.after(3, ends=False), ends=False)

    assert len(unfinished.out) == MOST_UNFINISHED
    assert "0" not in unfinished.out


def test_what_is_passed_over_and_what_follows_is_counted_on() -> None:
    unfinished = Unfinished({"mail": 2})
    unfinished.begin("mail")

    assert [unfinished.passes() for _ in range(3)] == [True, True, False]
    assert unfinished.after(3, ends=False) == {"mail": 5}
    assert unfinished.after(3, ends=True) == {}
