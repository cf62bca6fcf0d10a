"""Whole pipelines on a real server: what goes in comes out, whatever the stages do."""

import base64
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

import pipelines
from intelstream import sdk, testing
from intelstream.app.control import ask
from intelstream.errors import InvalidValue, Rejected, Unavailable
from intelstream.ontology import Event
from intelstream.runtime.server import BundledServer
from intelstream.runtime.spec import Retry
from intelstream.transport.link import BLOCK
from pipelines import lines, pipeline, stage, until

ROWS = {"columns": ["source.ip", "source.port", "comment"]}
pytestmark = pytest.mark.xdist_group("daemon")


def write_rows(path: Path, count: int, width: int = 0) -> None:
    text = "x" * width
    path.write_text("".join(f"10.0.{n >> 8 & 255}.{n & 255},{n % 65536},row {n}{text}\n" for n in range(count)))


def ports(path: Path) -> list[int]:
    return [event["source.port"] for event in lines(path)]


class Choosy(sdk.Expert[sdk.Params]):
    """Fails, refuses, drops and splits by the port."""

    seen: ClassVar[list[int]] = []

    async def process(self, batch: sdk.Batch) -> AsyncIterator[sdk.Way]:
        for event in batch:
            match event["source.port"]:
                case 3:
                    raise ZeroDivisionError("three")
                case 4:
                    batch.reject(event, Rejected("four"))
                case 5:
                    batch.drop(event, "five")
                case 6:
                    yield event.via("other")
                case 7:
                    yield event.derive(0)
                    yield event.derive(1)
                case _:
                    yield event


class Moody(sdk.Output[sdk.Params]):
    """Is away at first, then keeps what it is given."""

    batch = 100
    idempotent = True
    away: ClassVar[bool] = True
    kept: ClassVar[list[int]] = []

    async def write(self, batch: sdk.Batch) -> None:
        if self.away:
            raise Unavailable("writing: closed", retry_after=0.05)
        self.kept.extend(event["source.port"] for event in batch)


class Pure(sdk.Expert[sdk.Params]):
    """Counts what passes, in the comment."""

    pure = True

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        for event in batch:
            if event["source.port"] == 2:
                raise InvalidValue("source.port", 2, "expected another one")
            event["comment"] = event["comment"] + "+"
            yield event


class Push(sdk.Collector[sdk.Params]):
    """Gives one event, and wants to hear when it is safe."""

    mode = "stream"
    durable = True
    told: ClassVar[list[str]] = []

    async def collect(self, cursor: str | None) -> AsyncIterator[sdk.Collected]:
        if cursor is None:
            yield testing.event({"source.ip": "192.0.2.1"})
            yield sdk.Commit(cursor="done", after_commit=self.tell)
        await self.ctx.sleep(3600)

    async def tell(self) -> None:
        self.told.append("after_commit")


class Pushes(sdk.Collector[sdk.Params]):
    """Gives two events one after the other, and wants to hear when each is safe."""

    mode = "stream"
    durable = True
    told: ClassVar[list[int]] = []

    async def collect(self, cursor: int | None) -> AsyncIterator[sdk.Collected]:
        for number in range((cursor or 0) + 1, 3):
            yield testing.event({"source.port": number})
            yield sdk.Commit(cursor=number, after_commit=partial(self.tell, number))
        await self.ctx.sleep(3600)

    async def tell(self, number: int) -> None:
        self.told.append(number)


class Waiting(sdk.Expert[sdk.Params]):
    """Holds what it gets until its timer says so."""

    stateful = True
    timer = 0.2

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        held = (await batch.state.get("held")) or []
        for event in batch:
            batch.drop(event, "held")
        batch.state.set("held", [*held, *(event["source.port"] for event in batch)])
        return
        yield

    async def on_timer(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        if held := await batch.state.get("held"):
            batch.state.set("held", None)
            for port in held:
                yield testing.event({"source.port": port}, id=f"held {port}")


async def test_a_timer_goes_on_while_nothing_comes_in(tmp_path: Path) -> None:
    write_rows(tmp_path / "in.csv", 3)
    out = tmp_path / "out.jsonl"
    spec = pipeline(
        stage("inbox", "collectors.file", "rows", {"path": str(tmp_path / "in.csv"), "settle": "1ms"}, every=3600.0),
        stage("rows", "parsers.csv", "waiting", ROWS),
        stage("waiting", Waiting, "files"),
        stage("files", "outputs.file", None, {"path": str(out)}),
    )
    async with pipelines.run(spec, tmp_path) as daemon:
        await until(lambda: daemon.statuses["waiting"].dropped == 3)
        await until(lambda: len(lines(out)) == 3, within=BLOCK - 1)

    assert sorted(ports(out)) == [0, 1, 2]


async def test_a_sender_hears_of_a_commit_when_the_server_that_took_it_has_it_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    barrier = BundledServer.barrier

    async def watched(server: BundledServer, run_id: str | None = None) -> None:
        Push.told.append(f"barrier for {len(run_id or '')} digits")
        await barrier(server, run_id)

    monkeypatch.setattr(BundledServer, "barrier", watched)
    Push.told = []
    out = tmp_path / "out.jsonl"
    spec = pipeline(stage("push", Push, "files"), stage("files", "outputs.file", None, {"path": str(out)}))
    async with pipelines.run(spec, tmp_path):
        await until(lambda: len(Push.told) == 2 and lines(out))

    assert Push.told == ["barrier for 40 digits", "after_commit"]


async def test_a_stream_goes_on_soon_after_the_disk_could_not_be_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    barrier, failures = BundledServer.barrier, ["once"]

    async def failing(server: BundledServer, run_id: str | None = None) -> None:
        if failures:
            raise Unavailable(f"syncing to disk: {failures.pop()}")
        await barrier(server, run_id)

    monkeypatch.setattr(BundledServer, "barrier", failing)
    Pushes.told = []
    out = tmp_path / "out.jsonl"
    spec = pipeline(stage("push", Pushes, "files"), stage("files", "outputs.file", None, {"path": str(out)}))
    async with pipelines.run(spec, tmp_path):
        await until(lambda: len(lines(out)) == 2 and Pushes.told)

    assert sorted(ports(out)) == [1, 2]
    assert Pushes.told == [2]


async def test_rows_of_a_file_come_out_once_also_after_a_restart(tmp_path: Path) -> None:
    write_rows(tmp_path / "in.csv", 1000)
    out = tmp_path / "out.jsonl"
    spec = pipeline(
        stage("inbox", "collectors.file", "rows", {"path": str(tmp_path / "in.csv")}, every=3600.0),
        stage("rows", "parsers.csv", "dedup", ROWS),
        stage("dedup", "experts.deduplicate", "taxonomy"),
        stage("taxonomy", "experts.taxonomy", "files"),
        stage("files", "outputs.file", None, {"path": str(out)}),
    )
    async with pipelines.run(spec, tmp_path) as daemon:
        await until(lambda: len(lines(out)) == 1000)
        assert daemon.statuses["inbox"].state == "waiting"
    async with pipelines.run(spec, tmp_path) as daemon:
        await until(lambda: daemon.statuses["inbox"].next_run)

    assert ports(out) == list(range(1000))
    assert {event["classification.taxonomy"] for event in lines(out)} == {"other"}


async def test_each_message_ends_where_its_stage_says(tmp_path: Path) -> None:
    write_rows(tmp_path / "in.csv", 10)
    out, other = tmp_path / "out.jsonl", tmp_path / "other.jsonl"
    Choosy.paths = ("other",)
    spec = pipeline(
        stage("inbox", "collectors.file", "rows", {"path": str(tmp_path / "in.csv")}, every=3600.0),
        stage("rows", "parsers.csv", "choosy", ROWS),
        stage("choosy", Choosy, {"default": ["files"], "other": ["others"]}, retry=Retry(attempts=1, delay=0.1)),
        stage("files", "outputs.file", None, {"path": str(out)}),
        stage("others", "outputs.file", None, {"path": str(other)}),
    )
    async with pipelines.run(spec, tmp_path) as daemon:
        await until(lambda: daemon.statuses["choosy"].dead == 2 and len(lines(out)) == 7 and lines(other))
        letters = await ask(tmp_path / "var", "/dead", stage="choosy")
        [row] = [row for row in await ask(tmp_path / "var", "/queues") if row["stage"] == "choosy"]

    assert sorted(ports(out)) == [0, 1, 2, 7, 7, 8, 9]
    assert ports(other) == [6]
    assert {(one["error"], one["message"]["source.port"], one["attempts"]) for one in letters} == {
        ("Rejected", 4, 1),
        ("ZeroDivisionError", 3, 2),
    }
    assert "three" in next(one["traceback"] for one in letters if one["error"] == "ZeroDivisionError")
    assert row["counters"]["in"] == 10
    assert row["counters"]["dropped:five"] == 1
    assert row["counters"]["dead"] == 2
    assert row["counters"]["retrying"] == 0


async def test_an_output_that_is_away_gets_everything_when_it_is_back(tmp_path: Path) -> None:
    write_rows(tmp_path / "in.csv", 500)
    Moody.away, Moody.kept = True, []
    spec = pipeline(
        stage("inbox", "collectors.file", "rows", {"path": str(tmp_path / "in.csv")}, every=3600.0),
        stage("rows", "parsers.csv", "moody", ROWS),
        stage("moody", Moody),
    )
    async with pipelines.run(spec, tmp_path) as daemon:
        await until(lambda: daemon.statuses["moody"].state == "paused")
        assert daemon.statuses["moody"].last_error == "writing: closed"
        Moody.away = False
        await until(lambda: len(Moody.kept) >= 500)

    assert sorted(Moody.kept) == list(range(500))


async def test_pure_stages_run_as_one_segment_and_are_counted_apart(tmp_path: Path) -> None:
    write_rows(tmp_path / "in.csv", 5)
    out, review = tmp_path / "out.jsonl", tmp_path / "review.jsonl"
    spec = pipeline(
        stage("inbox", "collectors.file", "rows", {"path": str(tmp_path / "in.csv")}, every=3600.0),
        stage("rows", "parsers.csv", "first", ROWS),
        stage("first", "experts.taxonomy", "second"),
        stage("second", Pure, {"default": ["files"], "error": ["review"]}),
        stage("files", "outputs.file", None, {"path": str(out)}),
        stage("review", "outputs.file", None, {"path": str(review)}),
    )
    async with pipelines.run(spec, tmp_path):
        await until(lambda: len(lines(out)) == 4 and lines(review))
        rows = {row["stage"]: row for row in await ask(tmp_path / "var", "/queues")}

    assert rows["second"]["segment"] == ["first", "second"]
    assert (rows["first"]["counters"]["in"], rows["second"]["counters"]["in"]) == (5, 5)
    assert {event["comment"][-1] for event in lines(out)} == {"+"}
    [failed] = lines(review)
    assert (failed["error.stage"], failed["error.class"], failed["error.field"]) == (
        "second",
        "InvalidValue",
        "source.port",
    )
    assert failed["classification.taxonomy"] == "other", "it keeps what the stages before had done"


async def test_an_event_that_fails_straight_behind_a_parser_leaves_the_others_and_their_marks_as_they_are(
    tmp_path: Path,
) -> None:
    write_rows(tmp_path / "in.csv", 5)
    out = tmp_path / "out.jsonl"
    spec = pipeline(
        stage("inbox", "collectors.file", "rows", {"path": str(tmp_path / "in.csv")}, every=3600.0),
        stage("rows", "parsers.csv", "dedup", ROWS),
        stage("dedup", "experts.deduplicate", "second"),
        stage("second", Pure, "files"),
        stage("files", "outputs.file", None, {"path": str(out)}),
    )
    async with pipelines.run(spec, tmp_path) as daemon:
        await until(lambda: len(lines(out)) == 4 and daemon.statuses["second"].dead == 1)
        rows = {row["stage"]: row["counters"] for row in await ask(tmp_path / "var", "/queues")}

    assert sorted(ports(out)) == [0, 1, 3, 4]
    assert rows["dedup"]["in"] == rows["rows"]["sent:default:dedup"] == 5
    assert "dropped:duplicate" not in rows["dedup"], "what was marked on the way is not taken for its own twin"


async def test_a_stopped_output_never_fills_the_memory(tmp_path: Path) -> None:
    write_rows(tmp_path / "in.csv", 60_000, width=200)
    Moody.away, Moody.kept = True, []
    spec = pipeline(
        stage("inbox", "collectors.file", "rows", {"path": str(tmp_path / "in.csv")}, every=3600.0),
        stage("rows", "parsers.csv", {"default": ["moody", "again"]}, ROWS),
        stage("moody", Moody, backlog=2000),
        stage("again", "experts.taxonomy", "moody2"),
        stage("moody2", Moody),
    )
    async with pipelines.run(spec, tmp_path) as daemon:
        await until(lambda: daemon.statuses["rows"].state == "throttled")
        assert "moody" in daemon.statuses["rows"].reason
        [row] = [row for row in await ask(tmp_path / "var", "/queues") if row["stage"] == "moody"]
        assert 2000 <= row["messages"] < 2000 + 1100
        Moody.away = False
        await until(lambda: len(Moody.kept) >= 120_000, within=50)

    assert len(Moody.kept) == 120_000


async def test_a_large_report_is_cut_and_one_that_cannot_be_cut_is_spooled(tmp_path: Path) -> None:
    write_rows(tmp_path / "in.csv", 30_000, width=60)
    rows = (f'{{"port": {n}, "c": "{"y" * 60}"}}' for n in range(30_000))
    (tmp_path / "in.json").write_text("[" + ",".join(rows) + "]")
    out = tmp_path / "out.jsonl"
    spec = pipeline(
        stage("inbox", "collectors.file", "rows", {"path": str(tmp_path / "in.csv")}, every=3600.0),
        stage("rows", "parsers.csv", "files", ROWS),
        stage("jbox", "collectors.file", "json", {"path": str(tmp_path / "in.json")}, every=3600.0),
        stage("json", "parsers.json", "files", {"columns": {"port": "source.port", "c": "comment"}}),
        stage("files", "outputs.file", None, {"path": str(out)}),
    )
    async with pipelines.run(spec, tmp_path):
        await until(lambda: len(lines(out)) == 60_000, within=50)
        assert not list((tmp_path / "var" / "spool").rglob("*-*"))

    assert len({(event.get("source.ip"), event["source.port"]) for event in lines(out)}) == 60_000


async def test_a_report_whose_rows_mostly_fail_is_held_back_whole(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("".join(f"no address {n},{n},x\n" for n in range(60)) + "10.0.0.1,1,x\n" * 5)
    spec = pipeline(
        stage("inbox", "collectors.file", "rows", {"path": str(tmp_path / "in.csv")}, every=3600.0),
        stage("rows", "parsers.csv", "files", ROWS),
        stage("files", "outputs.file", None, {"path": str(tmp_path / "out.jsonl")}),
    )
    async with pipelines.run(spec, tmp_path) as daemon:
        await until(lambda: daemon.statuses["rows"].taken)
        [letter] = await ask(tmp_path / "var", "/dead", stage="rows")

    assert letter["error"] == "TooManyBadRows"
    assert "60 of 65 rows failed" in letter["text"]
    assert lines(tmp_path / "out.jsonl") == []


@pytest.mark.parametrize("size", [0, 2 * 1024 * 1024], ids=["small", "spooled"])
async def test_a_report_that_cannot_be_read_is_kept_whole_in_its_dead_letter(size: int, tmp_path: Path) -> None:
    content = f'{{"list": [{{"ip": "10.0.0.1"}}, {{"ip": "10.0.0.2"}}, "{"x" * size}'.encode()
    (tmp_path / "in.json").write_bytes(content)
    spec = pipeline(
        stage("inbox", "collectors.file", "rows", {"path": str(tmp_path / "in.json"), "after": "delete"}, every=3600.0),
        stage("rows", "parsers.json", {"default": ["files"], "error": ["files"]}, {"columns": {"ip": "source.ip"}}),
        stage("files", "outputs.file", None, {"path": str(tmp_path / "out.jsonl")}),
    )
    async with pipelines.run(spec, tmp_path) as daemon:
        await until(lambda: daemon.statuses["rows"].dead)
        [letter] = await ask(tmp_path / "var", "/dead", stage="rows")

    kept = letter["message"]
    assert letter["field"] == "report"
    assert (Path(kept["spooled"]).read_bytes() if size else base64.b64decode(kept["raw"])) == content
    assert not (tmp_path / "in.json").exists()


async def test_a_bad_row_becomes_a_dead_letter_with_field_value_and_text(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("10.0.0.1,1,a\n10.0.0.2,not a port,b\n10.0.0.3,3,c\n")
    out = tmp_path / "out.jsonl"
    spec = pipeline(
        stage("inbox", "collectors.file", "rows", {"path": str(tmp_path / "in.csv")}, every=3600.0),
        stage("rows", "parsers.csv", "files", ROWS),
        stage("files", "outputs.file", None, {"path": str(out)}),
    )
    async with pipelines.run(spec, tmp_path):
        await until(lambda: len(lines(out)) == 2)
        [letter] = await ask(tmp_path / "var", "/dead", stage="rows")

    assert ports(out) == [1, 3]
    assert (letter["field"], letter["row"]) == ("source.port", 1)
    assert "not a port" in letter["text"]
