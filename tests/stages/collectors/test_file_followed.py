import base64
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from inboxes import MIB, opened, read
from intelstream import testing


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
        assert list(run.state["cursor"]) == [f"followed:{log}"]


async def test_the_last_line_of_a_renamed_file_needs_no_end_once_it_is_left_alone(inbox: Path) -> None:
    log = inbox / "app.log"
    add(log, "one\ntwo, with no end")
    now = datetime.now(UTC)
    async with opened(log, now=now, follow=True, settle="1h") as run:
        assert await read(run) == {"app.log": b"one\n"}
        renamed(log)
        assert await read(run) == {}
        add(log, "three\n")
        assert await read(run) == {"app.log": b"three\n"}
        await run.advance(now + timedelta(hours=2))
        assert await read(run) == {"app.log.1": b"two, with no end"}
        assert await read(run) == {}


async def test_the_last_line_of_a_file_that_has_its_name_waits_for_its_end(inbox: Path) -> None:
    log = inbox / "app.log"
    add(log, "one\ntw")
    os.utime(log, (1, 1))
    async with opened(log, follow=True) as run:
        assert await read(run) == {"app.log": b"one\n"}
        assert await read(run) == {}


async def test_a_pattern_that_names_rotated_files_too_gives_their_last_lines_once(inbox: Path) -> None:
    log = inbox / "app.log"
    add(log, "one\ntwo")
    async with opened(inbox / "app.log*", follow=True) as run:
        await read(run)
        renamed(log)
        add(log, "three\n")
        assert await read(run) == {"app.log.1": b"two", "app.log": b"three\n"}
        assert await read(run) == {}


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
