import asyncio
import base64
import fcntl
import gzip
import os
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from intelstream import sdk, testing
from intelstream.errors import Unavailable
from intelstream.ontology import Report

LONG_AGO = datetime(2024, 3, 6, tzinfo=UTC)  # files of the tests are younger, as if of another clock: left alone long
MIB = 2**20


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@asynccontextmanager
async def opened(path: Path, now: datetime = LONG_AGO, **params: Any) -> AsyncGenerator[testing.StageRun]:
    given = {"path": str(path)} | params
    async with testing.open_stage("collectors.file", given, world=testing.World(now=now)) as run:
        yield run


async def read(run: testing.StageRun) -> dict[str, bytes]:
    """Collect once and return what came, by name; pieces of one file are joined."""
    found: dict[str, bytes] = {}
    for report in (await run.collect()).outputs.get("default", []):
        name = report["extra.file_name"]
        found[name] = found.get(name, b"") + base64.b64decode(report["raw"])
    return found


def told(result: testing.Result) -> list[tuple[str, str]]:
    return [(entry["event"], Path(entry["path"]).name) for entry in result.log]


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


async def test_links_are_followed_within_the_directory_alone(inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"hush")
    (inbox / "real").write_bytes(b"one")
    (inbox / "out").symlink_to(tmp_path / "secret")
    (inbox / "up").symlink_to("../secret")
    (inbox / "circle").symlink_to("circle")
    (inbox / "within").symlink_to("real")
    (inbox / "directory").symlink_to(tmp_path)
    async with opened(inbox) as run:
        result = await run.collect()
        await run.collect()

    assert sorted(report["extra.file_name"] for report in result.outputs["default"]) == ["real", "within"]
    assert sorted(told(result)) == [("link_not_followed", name) for name in ("directory", "out", "up")]


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
        assert sorted(run.state["cursor"]["read"]) == [str(inbox / "b"), str(inbox / "c")]


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


async def test_a_large_file_is_handed_over_where_it_lies(inbox: Path) -> None:
    (inbox / "large").write_bytes(bytes(2 * MIB))
    (inbox / "small").write_bytes(bytes(MIB))
    async with opened(inbox) as run:
        assert isinstance(run.stage, sdk.Collector)
        reports = [item async for item in run.stage.collect(None) if isinstance(item, Report)]

    assert {report.given["extra.file_name"]: report.path for report in reports} == {
        "large": inbox / "large",
        "small": None,
    }


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
        assert len(run.state["cursor"]["read"]) == 5


@pytest.mark.parametrize(("place", "text"), [("none/*.csv", "create it"), ("file/a", "no such directory")])
async def test_a_directory_that_is_not_there_is_named(place: str, text: str, inbox: Path) -> None:
    (inbox / "file").write_bytes(b"")
    async with opened(inbox / place) as run:
        assert isinstance(run.stage, sdk.Collector)
        with pytest.raises(Unavailable, match=text) as caught:
            _ = [item async for item in run.stage.collect(None)]

    assert str((inbox / place).parent) in str(caught.value)


# -- what the user of the daemon must not do ----------------------------------------------------------------

UNPRIVILEGED = """
import asyncio, json, os, sys
from intelstream import testing

async def main(path, **params):
    async with testing.open_stage("collectors.file", {"path": path} | params) as run:
        first, second = await run.collect(), await run.collect()
    reports = [[report["extra.file_name"] for report in one.outputs.get("default", [])] for one in (first, second)]
    return reports, [(entry["event"], entry["cure"]) for entry in second.log]

asyncio.run(main(sys.argv[1] + "/open"))  # what is imported late is imported before
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
print(json.dumps(asyncio.run(main(sys.argv[1], **json.loads(sys.argv[2])))))
"""


@pytest.mark.parametrize("params", [{"after": "delete"}, {"follow": True}], ids=["read", "followed"])
async def test_what_must_not_be_read_or_deleted_is_told_once_with_its_cure(params: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        inbox = Path(name)
        (inbox / "open").write_bytes(b"one\n")
        (inbox / "closed").write_bytes(b"hush\n")
        (inbox / "closed").chmod(0)
        inbox.chmod(0o555)
        command = (sys.executable, "-c", UNPRIVILEGED, name, orjson.dumps(params))
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
        said, errors = await process.communicate()
        inbox.chmod(0o755)

    assert errors == b""
    reports, log = orjson.loads(said)
    assert reports == [["open"], []]
    deleted = [["file_not_deleted", "let the user of the daemon write to its directory"]] if "after" in params else []
    assert sorted(log) == [*deleted, ["file_not_readable", "let the user of the daemon read it"]]


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


# -- following ----------------------------------------------------------------------------------------------


def add(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


async def test_lines_that_are_added_come_whole_and_once(inbox: Path) -> None:
    log = inbox / "app.log"
    add(log, "one\ntw")
    async with opened(log, follow=True) as run:
        assert await read(run) == {"app.log": b"one\n"}
        assert await read(run) == {}
        add(log, "o\nthree\n")
        assert await read(run) == {"app.log": b"two\nthree\n"}
        cursor = run.state["cursor"]
    add(log, "four\n")
    async with opened(log, follow=True) as run:
        run.state["cursor"] = cursor
        assert await read(run) == {"app.log": b"four\n"}


def renamed(log: Path) -> None:
    log.rename(log.with_name("app.log.1"))


def renamed_twice(log: Path) -> None:
    renamed(log)
    log.write_bytes(b"")
    log.with_name("app.log.1").rename(log.with_name("app.log-20240306"))


def copied_and_emptied(log: Path) -> None:
    log.with_name("app.log.1").write_bytes(log.read_bytes())
    os.truncate(log, 0)


@pytest.mark.parametrize("pattern", ["app.log", "app.log*", "*"])
@pytest.mark.parametrize("length", [1, 500], ids=["short", "long"])
@pytest.mark.parametrize("rotate", [renamed, renamed_twice, copied_and_emptied])
async def test_a_rotation_loses_and_doubles_nothing(rotate: Any, length: int, pattern: str, inbox: Path) -> None:
    log = inbox / "app.log"
    add(log, "first\n" * length)
    async with opened(inbox / pattern, follow=True) as run:
        await read(run)
        add(log, "last\n")
        rotate(log)
        add(log, "next\n")
        lines = b"".join((await read(run)).values())
        assert sorted(lines.splitlines()) == [b"last", b"next"]
        assert await read(run) == {}
        add(log, "after\n")
        assert await read(run) == {"app.log": b"after\n"}


async def test_lines_written_to_a_renamed_file_are_still_read(inbox: Path) -> None:
    log = inbox / "app.log"
    add(log, "one\n")
    async with opened(log, follow=True) as run:
        await read(run)
        with log.open("a") as writer:
            renamed(log)
            add(log, "new\n")
            await read(run)
            writer.write("late\n")
        assert await read(run) == {"app.log.1": b"late\n"}
        log.with_name("app.log.1").unlink()
        add(log, "newer\n")
        assert await read(run) == {"app.log": b"newer\n"}
        assert list(run.state["cursor"]["followed"]) == [str(log)]


async def test_a_file_that_was_emptied_begins_anew(inbox: Path) -> None:
    log = inbox / "app.log"
    add(log, "one\ntwo\n")
    async with opened(log, follow=True) as run:
        await read(run)
        log.write_text("new\n")
        assert await read(run) == {"app.log": b"new\n"}
        log.write_text("new, and longer than before\n")
        assert await read(run) == {"app.log": b"new, and longer than before\n"}


async def test_a_long_file_comes_in_pieces_that_end_with_a_line(inbox: Path) -> None:
    log = inbox / "app.log"
    lines = b"".join(b"%06d %s\n" % (number, b"x" * 100) for number in range(25_000))
    log.write_bytes(lines + b"y" * MIB + b"z\n")
    async with opened(log, follow=True) as run:
        result = await run.collect()
    raws = [base64.b64decode(report["raw"]) for report in result.outputs["default"]]

    assert b"".join(raws) == lines + b"y" * MIB + b"z\n"
    assert [raw[-1:] for raw in raws[:3]] == [b"\n"] * 3
    assert max(map(len, raws)) == MIB


@pytest.mark.parametrize("params", [{"after": "delete"}, {"extract": "*.csv"}])
async def test_what_is_followed_is_neither_deleted_nor_unpacked(params: dict[str, Any], inbox: Path) -> None:
    result = await testing.run_stage("collectors.file", {"path": str(inbox), "follow": True} | params)

    assert "neither deleted nor an archive" in str(result.refused)
