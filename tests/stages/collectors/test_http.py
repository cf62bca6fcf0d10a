import base64
import gzip
import io
import zipfile
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

import loopback
from intelstream import sdk, testing
from intelstream.errors import Rejected
from intelstream.ontology import Report

URL = "https://feed.example/list.csv"
NOW = datetime(2024, 3, 6, 1, tzinfo=UTC)
ETAG = {"ETag": '"1"'}
DATE = {"Last-Modified": "Wed, 06 Mar 2024 00:00:00 GMT"}
CSV = b"192.0.2.1,80\n"


def exchange(url: str = URL, **answer: Any) -> testing.Exchange:
    return testing.Exchange(method="GET", url=url, **answer)


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def contents(result: testing.Result) -> list[bytes]:
    return [base64.b64decode(report["raw"]) for report in result.outputs.get("default", [])]


CONDITIONS: dict[str, tuple[dict[str, str], dict[str, Any], dict[str, str | None]]] = {
    "a mark": (ETAG, {}, {"If-None-Match": '"1"', "If-Modified-Since": None}),
    "a date": (DATE, {}, {"If-None-Match": None, "If-Modified-Since": DATE["Last-Modified"]}),
    "both": (ETAG | DATE, {}, {"If-None-Match": '"1"', "If-Modified-Since": DATE["Last-Modified"]}),
    "neither": ({}, {}, {"If-None-Match": None, "If-Modified-Since": None}),
    "not wanted": (ETAG, {"conditional": False}, {"If-None-Match": None}),
}


@pytest.mark.parametrize(("said", "params", "asked"), CONDITIONS.values(), ids=CONDITIONS)
async def test_the_second_time_asks_only_for_what_has_changed(
    said: dict[str, str], params: dict[str, Any], asked: dict[str, str | None]
) -> None:
    world = testing.World(now=NOW, http=[exchange(body=CSV, headers=said), exchange(status=304)])
    async with testing.open_stage("collectors.http", {"url": URL} | params, world=world) as run:
        first, before = await run.collect(), dict(run.state)
        second, after = await run.collect(), dict(run.state)

    assert contents(first) == [CSV]
    assert second.outputs == {}
    assert before == after
    assert {name: second.requests[1].sent_headers.get(name) for name in asked} == asked


async def test_a_url_of_another_day_is_another_list() -> None:
    url = "https://feed.example/{now-1d:%Y-%m-%d}/{now+12h:%H}.csv"
    params = {"url": url, "expand_url": True}
    days = ["https://feed.example/2024-03-05/13.csv", "https://feed.example/2024-03-06/13.csv"]
    world = testing.World(now=NOW, http=[exchange(day, body=CSV, headers=ETAG) for day in days])
    async with testing.open_stage("collectors.http", params, world=world) as run:
        first = await run.collect()
        await run.stage.ctx.sleep(86_400)
        second = await run.collect()

    reports = first.outputs["default"] + second.outputs["default"]
    assert [report["feed.url"] for report in reports] == days
    assert "If-None-Match" not in second.requests[-1].sent_headers


@pytest.mark.parametrize("url", ["{time[%Y]}", "{now}", "{now-1:%d}", "{now:%Y", "{now:Y}"])
async def test_braces_hold_times_alone(url: str) -> None:
    result = await testing.run_stage("collectors.http", {"url": f"http://host.example/{url}", "expand_url": True})

    assert "expected times such as {now:%Y-%m-%d}" in str(result.refused)


async def test_braces_are_left_alone_where_they_are_not_to_be_expanded() -> None:
    world = testing.World(http=[exchange("https://feed.example/%7Bnow:%25Y%7D", body=CSV)])
    result = await testing.run_stage("collectors.http", {"url": "https://feed.example/{now:%Y}"}, world=world)

    assert contents(result) == [CSV]


async def test_what_is_secret_in_a_url_does_not_reach_the_events() -> None:
    world = testing.World(http=[exchange(f"{URL}?key=hush", body=CSV)])
    result = await testing.run_stage("collectors.http", {"url": f"{URL}?key=hush"}, world=world)

    assert [report["feed.url"] for report in result.outputs["default"]] == [f"{URL}?key=***"]


async def collected(run: testing.StageRun) -> list[sdk.Collected]:
    assert isinstance(run.stage, sdk.Collector)
    return [item async for item in run.stage.collect(None)]


async def test_each_file_of_an_archive_is_a_report_and_the_last_one_moves_the_cursor() -> None:
    world = testing.World(http=[exchange(body=zipped(a=b"one", b=b"", c=b"x" * 2 * 2**20), headers=ETAG)])
    async with testing.open_stage("collectors.http", {"url": URL}, world=world) as run:
        reports = [item for item in await collected(run) if isinstance(item, Report)]
        found = [(report.given["extra.file_name"], report.size, report.cursor) for report in reports]
        spool = run.stage.ctx.directory / "spool"
        waiting = len(list(spool.iterdir()))
        for report in reports:
            if report.after_commit:
                await report.after_commit()

        assert found == [("a", 3, None), ("c", 2 * 2**20, {"url": URL, "etag": '"1"'})]
        assert waiting == 2  # the archive, and the large file in it
        assert list(spool.iterdir()) == []


async def test_an_archive_that_holds_nothing_moves_the_cursor() -> None:
    world = testing.World(http=[exchange(body=zipped(), headers=ETAG)])
    async with testing.open_stage("collectors.http", {"url": URL}, world=world) as run:
        result = await run.collect()

    assert result.outputs == {}
    assert run.state == {"cursor": {"url": URL, "etag": '"1"'}}


async def test_an_empty_answer_is_no_report_and_is_told() -> None:
    async with testing.open_stage("collectors.http", {"url": URL}, world=testing.World(http=[exchange()])) as run:
        result = await run.collect()

    assert result.outputs == {}
    assert [entry["event"] for entry in result.log] == ["nothing_received"]


PACKED: dict[str, tuple[bytes, dict[str, Any], list[bytes]]] = {
    "as it is": (CSV, {}, [CSV]),
    "gzip": (gzip.compress(CSV), {}, [CSV]),
    "zip": (zipped(a=b"one", b=b"two"), {}, [b"one", b"two"]),
    "chosen": (zipped(a=b"one", b=b"two"), {"extract": "b*, c*"}, [b"two"]),
    "left packed": (gzip.compress(CSV), {"extract": "none"}, [gzip.compress(CSV)]),
}


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "encoded"])
@pytest.mark.parametrize(("body", "params", "expected"), PACKED.values(), ids=PACKED)
async def test_what_is_packed_is_unpacked(
    body: bytes, params: dict[str, Any], expected: list[bytes], *, encoded: bool
) -> None:
    async def answer(_request: web.Request) -> web.Response:
        response = web.Response(body=body)
        if encoded:
            response.enable_compression(web.ContentCoding.gzip)
        return response

    async with loopback.http(answer) as server:
        url = str(server.make_url("/"))
        result = await testing.run_stage("collectors.http", {"url": url} | params, world=testing.World(live=True))

    assert contents(result) == expected


async def test_a_large_list_is_handed_over_as_a_file() -> None:
    world = testing.World(http=[exchange(body=CSV * 100_000)])
    async with testing.open_stage("collectors.http", {"url": URL}, world=world) as run:
        [report] = await collected(run)

        assert isinstance(report, Report)
        assert report.path
        assert report.path.parent.parent == run.stage.ctx.directory
        assert report.raw == CSV * 100_000


async def test_a_bomb_gives_nothing_is_named_and_leaves_no_file() -> None:
    bomb = gzip.compress(bytes(5 * 2**20))
    world = testing.World(http=[exchange(f"{URL}?key=hush", body=bomb), exchange(f"{URL}?key=hush", status=304)])
    params = {"url": f"{URL}?key=hush", "max_bytes": "4MiB"}
    async with testing.open_stage("collectors.http", params, world=world) as run:
        with pytest.raises(Rejected) as caught:
            await collected(run)
        await run.collect()

        assert str(caught.value).startswith(f"unpacking {URL}?key=***: more than 4MiB unpacked")
        assert run.state == {}
        assert list((run.stage.ctx.directory / "spool").glob("*")) == []
