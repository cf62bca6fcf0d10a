import fcntl
import gzip
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from inboxes import opened, read, told
from intelstream import sdk
from intelstream.errors import Unavailable
from intelstream.ontology import Event, Report

# -- what is read -------------------------------------------------------------------------------------------

PLACES = {
    "a file": ("a.csv", ["a.csv"]),
    "a file that is not there": ("none.csv", []),
    "a directory": ("", ["a.csv", "b.txt"]),
    "a pattern": ("*.csv", ["a.csv"]),
    "a pattern of directories": ("*/*.csv", ["deep.csv"]),
    "a pattern of any depth": ("**/*.csv", ["a.csv", "deep.csv"]),
    "a name with a dot in front": (".*", [".hidden"]),
    "what looks like a pattern and is none": ("[a].csv", ["a.csv"]),
}


@pytest.mark.parametrize(("place", "names"), PLACES.values(), ids=PLACES)
async def test_a_path_means_a_file_a_directory_or_a_pattern(place: str, names: list[str], inbox: Path) -> None:
    (inbox / "deeper").mkdir()
    for name in ("a.csv", "b.txt", ".hidden", "deeper/deep.csv"):
        (inbox / name).write_bytes(name.encode())
    os.mkfifo(inbox / "pipe.csv")
    async with opened(inbox / place) as run:
        assert sorted(await read(run)) == names


async def test_the_oldest_comes_first_with_where_it_lay(inbox: Path) -> None:
    for age, name in enumerate(("c d", "b", "a")):
        (inbox / name).write_bytes(b"one")
        os.utime(inbox / name, (age, age))
    async with opened(inbox) as run:
        reports = (await run.collect()).outputs["default"]

    assert [report["extra.file_name"] for report in reports] == ["c d", "b", "a"]
    assert reports[0]["feed.url"] == f"file://localhost{inbox}/c%20d"


# -- what is remembered -------------------------------------------------------------------------------------


async def test_a_file_is_read_once_and_again_when_it_changes(inbox: Path) -> None:
    file = inbox / "a"
    file.write_bytes(b"one")
    (inbox / "b").write_bytes(b"one")
    async with opened(inbox) as run:
        assert await read(run) == {"a": b"one", "b": b"one"}
        assert await read(run) == {}
        file.write_bytes(b"more")
        assert await read(run) == {"a": b"more"}
        file.rename(inbox / "renamed")
        assert await read(run) == {}
        (inbox / "renamed").unlink()
        (inbox / "c").write_bytes(b"three")
        assert await read(run) == {"c": b"three"}
        assert sorted(run.state["cursor"]) == [f"read:{inbox}/b", f"read:{inbox}/c"]


async def test_a_commit_says_of_one_file_what_is_new_however_many_there_are(inbox: Path) -> None:
    for number in range(50):
        (inbox / str(number)).write_bytes(b"one")
    async with opened(inbox) as run:
        assert isinstance(run.stage, sdk.Collector)
        cursors = [item.cursor async for item in run.stage.collect(None) if not isinstance(item, sdk.Begin | Event)]

    assert [len(cursor) for cursor in cursors] == [1] * 50


async def test_what_is_gone_is_forgotten_in_bounded_steps(inbox: Path) -> None:
    for number in range(2500):
        (inbox / str(number)).write_bytes(b"")
    async with opened(inbox) as run:
        await run.collect()
        for file in list(inbox.iterdir())[1:]:
            file.unlink()
        assert isinstance(run.stage, sdk.Collector)
        items = [item async for item in run.stage.collect(run.state["cursor"])]
        await run.collect()

        assert [len(item.cursor) for item in items if isinstance(item, sdk.Commit)] == [1000, 1000, 499]
        assert len(run.state["cursor"]) == 1


async def test_a_name_that_is_no_text_is_told_and_costs_the_others_nothing(inbox: Path) -> None:
    (inbox / os.fsdecode(b"\xff.csv")).write_bytes(b"one")
    (inbox / "a.csv").write_bytes(b"one")
    async with opened(inbox) as run:
        result = await run.collect()

    assert [report["extra.file_name"] for report in result.outputs["default"]] == ["a.csv"]
    assert told(result) == [("file_name_not_utf8", "?.csv")]


# -- what is deleted ----------------------------------------------------------------------------------------


async def test_files_are_deleted_that_were_in_when_the_daemon_was_killed(inbox: Path) -> None:
    (inbox / "a").write_bytes(b"one")
    (inbox / "large").write_bytes(bytes(2000))
    (inbox / "torn.gz").write_bytes(gzip.compress(b"one")[:-4])
    async with opened(inbox, max_bytes=1000) as run:
        await run.collect()
        cursor = run.state["cursor"]
    async with opened(inbox, max_bytes=1000, after="delete") as run:
        run.state["cursor"] = cursor
        assert await read(run) == {}

    assert sorted(file.name for file in inbox.iterdir()) == ["large", "torn.gz"]


async def test_a_file_is_deleted_when_its_commit_is_on_the_disk(inbox: Path) -> None:
    for after, durable in (("keep", False), ("delete", True)):
        async with opened(inbox, after=after) as run:
            assert isinstance(run.stage, sdk.Collector)
            assert run.stage.durable is durable


async def test_a_file_system_that_changes_its_inodes_gives_nothing_twice(inbox: Path) -> None:
    (inbox / "a").write_bytes(b"one")
    (inbox / "b").write_bytes(b"two")
    async with opened(inbox) as run:
        await read(run)
        for name, content in (("a", b"one"), ("b", b"new")):
            status = (inbox / name).stat()
            (inbox / "other").write_bytes(content)
            os.utime(inbox / "other", ns=(status.st_atime_ns, status.st_mtime_ns))
            (inbox / "other").rename(inbox / name)

        assert await read(run) == {"b": b"new"}


async def test_files_of_one_time_and_beginning_are_different_files(inbox: Path) -> None:
    for name in ("a", "b"):
        (inbox / name).write_bytes(b"x" * 2000 + name.encode())
        os.utime(inbox / name, (1, 1))
    async with opened(inbox) as run:
        assert sorted(await read(run)) == ["a", "b"]


async def test_a_file_that_has_been_replaced_while_it_was_out_is_read_again(inbox: Path) -> None:
    file = inbox / "a"
    file.write_bytes(b"one")
    async with opened(inbox, after="delete") as run:
        assert isinstance(run.stage, sdk.Collector)
        [report] = [item async for item in run.stage.collect(None)]
        assert isinstance(report, Report)
        file.write_bytes(b"two, meanwhile")
        assert report.after_commit
        await report.after_commit()

        assert file.read_bytes() == b"two, meanwhile"
        assert await read(run) == {"a": b"two, meanwhile"}
        assert list(inbox.iterdir()) == []


# -- what is large, packed or damaged -----------------------------------------------------------------------


async def test_files_that_are_too_large_or_damaged_are_told_once_and_cost_the_others_nothing(inbox: Path) -> None:
    (inbox / "large").write_bytes(bytes(2000))
    (inbox / "bomb.gz").write_bytes(gzip.compress(bytes(100_000)))
    (inbox / "torn.gz").write_bytes(gzip.compress(b"one")[:-4])
    (inbox / "good.gz").write_bytes(gzip.compress(b"one"))
    (inbox / "empty").write_bytes(b"")
    async with opened(inbox, max_bytes=1000) as run:
        first = await run.collect()
        second = await run.collect()

        assert [report["extra.file_name"] for report in first.outputs["default"]] == ["good.gz"]
        assert second.outputs == {}
        assert sorted(told(second)) == [
            ("file_not_unpacked", "bomb.gz"),
            ("file_not_unpacked", "torn.gz"),
            ("file_too_large", "large"),
        ]
        assert len(run.state["cursor"]) == 5


@pytest.mark.parametrize(("place", "text"), [("none/*.csv", "create it"), ("file/a", "no such directory")])
async def test_a_directory_that_is_not_there_is_named(place: str, text: str, inbox: Path) -> None:
    (inbox / "file").write_bytes(b"")
    async with opened(inbox / place) as run:
        assert isinstance(run.stage, sdk.Collector)
        with pytest.raises(Unavailable, match=text) as caught:
            _ = [item async for item in run.stage.collect(None)]

    assert str((inbox / place).parent) in str(caught.value)


# -- what is still being written ----------------------------------------------------------------------------


async def test_a_file_is_left_alone_until_it_has_been_so_for_a_while(inbox: Path) -> None:
    now = datetime.now(UTC) + timedelta(seconds=1)
    file = inbox / "a"
    file.write_bytes(b"half")
    async with opened(inbox, now=now, settle="1h") as run:
        assert isinstance(run.stage, sdk.Collector)
        (inbox / "old").write_bytes(b"old")
        os.utime(inbox / "old", (1, 1))
        names = []
        async for item in run.stage.collect(None):
            assert isinstance(item, Report)
            names.append(item.given["extra.file_name"])
            file.write_bytes(b"half and half")  # while the old one is handed over

        assert names == ["old"]
        assert run.stage.ctx.now() == now + timedelta(hours=1)
        assert await read(run) == {"old": b"old", "a": b"half and half"}


async def test_a_file_that_is_locked_waits(inbox: Path) -> None:
    (inbox / "a").write_bytes(b"one")
    async with opened(inbox) as run:
        with (inbox / "a").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert await read(run) == {}
        assert await read(run) == {"a": b"one"}
