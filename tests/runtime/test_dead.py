"""Dead letters in whole pipelines on a real server: what was given up goes back to work, once, wherever it lay."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import pipelines
from intelstream import sdk
from intelstream.app.control import NotFoundHere, Refused, ask, tell
from intelstream.errors import Rejected, Unavailable
from intelstream.ontology import Event
from intelstream.runtime.spec import PipelineSpec, Retry, StageSpec
from intelstream.transport import letters
from pipelines import lines, pipeline, stage, until

pytestmark = pytest.mark.xdist_group("daemon")
NAMED = {"ip": "source.ip", "port": "source.port", "what": "comment"}
STRICT = {"header": "names", "columns": NAMED}
MENDED = {"header": "names", "columns": NAMED | {"port": {"to": "source.port", "match": "[0-9]+"}}}
OBJECTS = {"rows": "found.list", "columns": NAMED}
MENDED_OBJECTS = {"rows": "found.list", "columns": MENDED["columns"]}


class Moody(sdk.Expert[sdk.Params]):
    """Refuses events while it is told to, and keeps count of the tries."""

    refuses: ClassVar[bool] = True
    seen: ClassVar[list[int]] = []

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        for event in batch:
            self.seen.append(event["source.port"])
            if self.refuses and event["source.port"] % 2:
                batch.reject(event, Rejected("odd"))
            else:
                yield event


class Slow(sdk.Expert[sdk.Params]):
    """Fails with its first event, and with nothing else, until it is told to stop that."""

    fails: ClassVar[bool] = True
    away: ClassVar[bool] = False

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        if self.away:
            raise Unavailable("looking up: closed", retry_after=0.05)
        for event in batch:
            if self.fails and event["source.port"] == 1:
                raise ZeroDivisionError("one")
            yield event


@pytest.fixture(autouse=True)
def _as_at_first() -> None:
    Moody.refuses, Moody.seen = True, []
    Slow.fails, Slow.away = True, False


def inbox(path: Path, to: str = "rows") -> StageSpec:
    return stage("inbox", "collectors.file", to, {"path": str(path)}, every=3600.0)


def table(tmp_path: Path, params: dict[str, Any], *between: StageSpec, bad: int = 3, good: int = 5) -> PipelineSpec:
    """Return a pipeline over a table of which some rows have ports such as `port 7`; the file is written once."""
    file = tmp_path / "in.csv"
    if not file.exists():
        rows = [f"10.0.0.{n % 250},port {n + 1},bad {n}" for n in range(bad)]
        rows += [f"10.0.1.{n % 250},{n + 1},good {n}" for n in range(good)]
        file.write_text("\n".join(["ip,port,what", *sorted(rows, key=lambda row: row[-2:])]) + "\n")
    first = between[0].name if between else "files"
    files = stage("files", "outputs.file", None, {"path": str(tmp_path / "out.jsonl")})
    return pipeline(inbox(file), stage("rows", "parsers.csv", first, params), *between, files)


def through(tmp_path: Path, expert: type[sdk.Expert[Any]], count: int = 6) -> PipelineSpec:
    """Return a pipeline of good rows, with deduplication and an expert."""
    return table(
        tmp_path,
        STRICT,
        stage("dedup", "experts.deduplicate", "mine"),
        stage("mine", expert, "files", retry=Retry(attempts=1, delay=0.3)),
        bad=0,
        good=count,
    )


def comments(tmp_path: Path) -> list[str]:
    return sorted(event["comment"] for event in lines(tmp_path / "out.jsonl"))


async def finish(tmp_path: Path, path: str, select: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Give an order step by step, as the command does, and return what all of it did."""
    step: dict[str, Any] = {"cursor": "", "until": None, "held": ""}
    done, refused = 0, []
    while True:
        order = {"select": select, "cursor": step["cursor"], "until": step["until"], **more}
        step = await tell(tmp_path / "var", f"/dead:{path}", order)
        done += step["done"]
        refused += [one["reason"] for one in step["refused"]]
        if not step["cursor"] and not step["held"]:
            return {"done": done, "refused": refused}


async def listed(tmp_path: Path, **query: Any) -> list[dict[str, Any]]:
    return list(await ask(tmp_path / "var", "/dead", **query))


@pytest.mark.parametrize("most", [letters.MOST, 0], ids=["on the server", "in files"])
async def test_rows_are_parsed_again_from_their_report_when_the_parser_is_mended(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters, "MOST", most)
    async with pipelines.run(table(tmp_path, STRICT), tmp_path) as daemon:
        await until(lambda: daemon.statuses["rows"].dead == 3 and len(lines(tmp_path / "out.jsonl")) == 5)
        [group] = await ask(tmp_path / "var", "/dead-groups")
        assert (group["stage"], group["error"], group["field"], group["count"]) == (
            "rows",
            "InvalidValue",
            "source.port",
            3,
        )
    async with pipelines.run(table(tmp_path, MENDED), tmp_path):
        assert await finish(tmp_path, "retry", {"group": group["group"]}) == {"done": 3, "refused": []}
        await until(lambda: len(lines(tmp_path / "out.jsonl")) == 8)
        assert await finish(tmp_path, "retry", {"group": group["group"]}) == {"done": 0, "refused": []}
        assert await listed(tmp_path) == []

    assert comments(tmp_path) == [*(f"bad {n}" for n in range(3)), *(f"good {n}" for n in range(5))]


async def test_rows_of_a_document_are_parsed_again_too_and_fail_again_as_letters(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(
        '{"found": {"list": [{"ip": "10.0.0.1", "port": "port 1", "what": "a"},'
        '{"ip": "10.0.0.2", "port": 2, "what": "b"},'
        '{"ip": "nowhere", "port": 3, "what": "c"}]}}'
    )

    def spec(params: dict[str, Any]) -> PipelineSpec:
        files = stage("files", "outputs.file", None, {"path": str(tmp_path / "out.jsonl")})
        return pipeline(inbox(tmp_path / "in.json"), stage("rows", "parsers.json", "files", params), files)

    async with pipelines.run(spec(OBJECTS), tmp_path) as daemon:
        await until(lambda: daemon.statuses["rows"].dead == 2 and comments(tmp_path) == ["b"])
    async with pipelines.run(spec(MENDED_OBJECTS), tmp_path) as daemon:
        assert (await finish(tmp_path, "retry", {"all": True}))["done"] == 2
        await until(lambda: daemon.statuses["rows"].dead == 1 and comments(tmp_path) == ["a", "b"])
        [letter] = await listed(tmp_path)

    assert (letter["field"], letter["row"]) == ("source.ip", 2)


async def test_a_report_that_was_held_back_goes_through_when_the_parser_is_mended(tmp_path: Path) -> None:
    async with pipelines.run(table(tmp_path, STRICT, bad=40, good=10), tmp_path) as daemon:
        await until(lambda: daemon.statuses["rows"].dead == 1)
        [letter] = await listed(tmp_path)
        assert letter["error"] == "TooManyBadRows"
    async with pipelines.run(table(tmp_path, MENDED), tmp_path):
        assert (await finish(tmp_path, "retry", {"ids": [letter["id"]]}))["done"] == 1
        await until(lambda: len(lines(tmp_path / "out.jsonl")) == 50)

    assert len(set(comments(tmp_path))) == 50


async def test_ten_thousand_letters_of_one_cause_are_one_group_and_one_action(tmp_path: Path) -> None:
    async with pipelines.run(table(tmp_path, STRICT, bad=10_100, good=13_000), tmp_path) as daemon:
        await until(lambda: daemon.statuses["rows"].dead == 10_100, within=40)
        [group] = await ask(tmp_path / "var", "/dead-groups")
        assert group["count"] == 10_100
    async with pipelines.run(table(tmp_path, MENDED), tmp_path):
        assert (await finish(tmp_path, "retry", {"group": group["group"]}))["done"] == 10_100
        await until(lambda: len(lines(tmp_path / "out.jsonl")) == 23_100, within=40)

    assert len(set(comments(tmp_path))) == 23_100


async def test_events_that_are_sent_again_pass_their_own_marks_and_go_to_any_stage(tmp_path: Path) -> None:
    async with pipelines.run(through(tmp_path, Moody), tmp_path) as daemon:
        await until(lambda: daemon.statuses["mine"].dead == 3 and len(lines(tmp_path / "out.jsonl")) == 3)
        Moody.refuses = False
        [first, *_] = await listed(tmp_path, stage="mine")
        assert (await finish(tmp_path, "retry", {"ids": [first["id"]]}, to="dedup"))["done"] == 1
        assert (await finish(tmp_path, "retry", {"stage": "mine", "error": "Rejected"}))["done"] == 2
        await until(lambda: len(lines(tmp_path / "out.jsonl")) == 6)

    assert comments(tmp_path) == [f"good {n}" for n in range(6)]


async def test_letters_go_nowhere_where_they_make_no_sense(tmp_path: Path) -> None:
    async with pipelines.run(through(tmp_path, Moody), tmp_path) as daemon:
        await until(lambda: daemon.statuses["mine"].dead == 3)
        events = await finish(tmp_path, "retry", {"stage": "mine"}, to="rows")
        with pytest.raises(Refused, match="is a collector"):
            await finish(tmp_path, "retry", {"stage": "mine"}, to="inbox")
        with pytest.raises(NotFoundHere, match="no stage 'elsewhere'"):
            await finish(tmp_path, "retry", {"all": True}, to="elsewhere")
        with pytest.raises(Refused, match="say which letters"):
            await finish(tmp_path, "drop", {})

        assert events["done"] == 0
        assert len(events["refused"]) == 3
        assert "takes no events: name another stage with --to" in events["refused"][0]
        assert len(await listed(tmp_path)) == 3


async def test_what_fails_again_is_a_letter_again_and_is_not_sent_twice_by_one_command(tmp_path: Path) -> None:
    async with pipelines.run(through(tmp_path, Moody), tmp_path) as daemon:
        await until(lambda: daemon.statuses["mine"].dead == 3)
        before = len(Moody.seen)
        assert (await finish(tmp_path, "retry", {"all": True}))["done"] == 3
        await until(lambda: len(Moody.seen) == before + 3)
        [group] = await ask(tmp_path / "var", "/dead-groups")

        assert group["count"] == 3


async def test_fields_of_letters_are_changed_by_the_ontology_and_kept_or_sent_back(tmp_path: Path) -> None:
    async with pipelines.run(through(tmp_path, Moody), tmp_path) as daemon:
        await until(lambda: daemon.statuses["mine"].dead == 3)
        first, second, _ = await listed(tmp_path)
        wrong = await finish(tmp_path, "edit", {"ids": [first["id"]]}, changes={"source.port": "a port"})
        unknown = await finish(tmp_path, "edit", {"ids": [first["id"]]}, changes={"source.prt": "8"})
        changes = {"source.port": "80", "extra.note": "by hand", "comment": None}
        assert (await finish(tmp_path, "edit", {"ids": [first["id"]]}, changes=changes))["done"] == 1
        kept = await ask(tmp_path / "var", f"/dead/{first['id']}")
        sent = await finish(tmp_path, "edit", {"ids": [second["id"]]}, changes={"source.port": "82"}, retry=True)
        assert (await finish(tmp_path, "retry", {"ids": [first["id"]]}))["done"] == sent["done"] == 1
        await until(lambda: len(lines(tmp_path / "out.jsonl")) == 5)

    assert "source.port" in wrong["refused"][0]
    assert "no such field" in unknown["refused"][0]
    assert (kept["message"]["source.port"], kept["message"]["extra.note"]) == (80, "by hand")
    assert "comment" not in kept["message"]
    [changed] = [event for event in lines(tmp_path / "out.jsonl") if event["source.port"] == 80]
    assert changed["extra.note"] == "by hand"
    assert [event["source.port"] for event in lines(tmp_path / "out.jsonl")].count(82) == 1


async def test_a_row_that_was_changed_by_hand_is_parsed_below_its_own_header(tmp_path: Path) -> None:
    async with pipelines.run(table(tmp_path, STRICT, bad=1), tmp_path) as daemon:
        await until(lambda: daemon.statuses["rows"].dead == 1 and len(lines(tmp_path / "out.jsonl")) == 5)
        [letter] = await listed(tmp_path)
        changes = {"raw": "10.0.0.9,443,by hand"}
        assert (await finish(tmp_path, "edit", {"ids": [letter["id"]]}, changes=changes, retry=True))["done"] == 1
        await until(lambda: len(lines(tmp_path / "out.jsonl")) == 6)

    [event] = [one for one in lines(tmp_path / "out.jsonl") if one["comment"] == "by hand"]
    assert (event["source.ip"], event["source.port"]) == ("10.0.0.9", 443)


async def test_letters_that_were_exported_come_back_once_after_they_were_dropped(tmp_path: Path) -> None:
    async with pipelines.run(through(tmp_path, Moody), tmp_path) as daemon:
        await until(lambda: daemon.statuses["mine"].dead == 3 and len(lines(tmp_path / "out.jsonl")) == 3)
        exported = (await ask(tmp_path / "var", "/dead-export", stage="mine"))["letters"]
        assert (await finish(tmp_path, "drop", {"stage": "mine"}))["done"] == 3
        assert await listed(tmp_path) == []
        with pytest.raises(Refused, match=r"letter 1: source\.port"):
            await tell(
                tmp_path / "var", "/dead:import", [exported[0] | {"message": {"__type": "Event", "source.port": -1}}]
            )
        assert await tell(tmp_path / "var", "/dead:import", exported) == {"done": 3, "known": 0}
        assert await tell(tmp_path / "var", "/dead:import", exported) == {"done": 0, "known": 3}
        Moody.refuses = False
        assert (await finish(tmp_path, "retry", {"all": True}))["done"] == 3
        await until(lambda: len(lines(tmp_path / "out.jsonl")) == 6)

    assert comments(tmp_path) == [f"good {n}" for n in range(6)]


async def test_a_message_that_waits_for_its_next_try_holds_no_other_up(tmp_path: Path) -> None:
    async with pipelines.run(through(tmp_path, Slow, count=2000), tmp_path) as daemon:
        await until(lambda: len(lines(tmp_path / "out.jsonl")) == 1999)
        assert daemon.statuses["mine"].dead == 0, "it is still to be tried again"
        Slow.fails = False
        await until(lambda: len(lines(tmp_path / "out.jsonl")) == 2000)

        assert daemon.statuses["mine"].dead == 0
        assert await listed(tmp_path) == []


async def test_a_stage_whose_dependency_is_away_pauses_alone_and_goes_on_by_itself(tmp_path: Path) -> None:
    file, out, other = tmp_path / "in.csv", tmp_path / "out.jsonl", tmp_path / "other.jsonl"
    table(tmp_path, STRICT, bad=0, good=50)
    Slow.away, Slow.fails = True, False
    spec = pipeline(
        inbox(file),
        stage("rows", "parsers.csv", {"default": ["mine", "others"]}, STRICT),
        stage("mine", Slow, "files"),
        stage("files", "outputs.file", None, {"path": str(out)}),
        stage("others", "outputs.file", None, {"path": str(other)}),
    )
    async with pipelines.run(spec, tmp_path) as daemon:
        await until(lambda: len(lines(other)) == 50 and daemon.statuses["mine"].state == "paused")
        assert "looking up: closed" in daemon.statuses["mine"].reason
        assert lines(out) == []
        Slow.away = False
        await until(lambda: len(lines(out)) == 50)

        assert await listed(tmp_path) == []


async def test_what_is_given_up_leaves_by_the_error_path_and_is_no_letter(tmp_path: Path) -> None:
    review = tmp_path / "review.jsonl"
    spec = table(
        tmp_path,
        STRICT,
        stage("mine", Slow, {"default": ["files"], "error": ["review"]}, retry=Retry(attempts=1, delay=0.05)),
        stage("review", "outputs.file", None, {"path": str(review)}),
        bad=0,
    )
    async with pipelines.run(spec, tmp_path):
        await until(lambda: lines(review) and len(lines(tmp_path / "out.jsonl")) == 4)
        assert await listed(tmp_path) == []

    [event] = lines(review)
    assert (event["error.stage"], event["error.class"], event["error.text"]) == ("mine", "ZeroDivisionError", "one")
    assert event["source.port"] == 1
