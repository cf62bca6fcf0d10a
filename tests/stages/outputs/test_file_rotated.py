import asyncio
import errno
import os
import resource
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from intelstream import sdk, testing
from intelstream.errors import Unavailable
from writing import Place

# -- rotation -----------------------------------------------------------------------------------------------

LINE = len(b'{"comment":"a"}\n')
ROTATED = ["events.jsonl", "events.jsonl.000001", "events.jsonl.000002"]


async def test_a_file_is_rotated_when_it_has_its_size(place: Place) -> None:
    async with place.life(rotate=f"{2 * LINE}B") as writing:
        for comment in "abcde":
            await writing.write(comment)

    assert place.names() == ROTATED
    assert place.comments() == list("abcde")
    assert (place.out / "events.jsonl.000002").read_bytes() == b'{"comment":"c"}\n{"comment":"d"}\n'


async def test_a_file_is_rotated_at_midnight_even_if_nobody_was_there(place: Place) -> None:
    async with place.life(rotate="1d", format="csv", fields="comment") as writing:
        await writing.write("a")
        await writing.stage.ctx.sleep(59)
        await writing.write("b")
        await writing.stage.ctx.sleep(1)
        await writing.write("c")
    place.now += timedelta(days=3)
    async with place.life(rotate="1d", format="csv", fields="comment") as writing:
        await writing.write("d")

    contents = [(place.out / name).read_bytes() for name in ROTATED]
    assert contents == [b"comment\nd\n", b"comment\na\nb\n", b"comment\nc\n"]


async def test_a_rotation_takes_no_name_that_is_there(place: Place) -> None:
    place.out.mkdir()
    (place.out / "events.jsonl.000007").write_bytes(b'{"comment":"older"}\n')
    async with place.life(rotate=f"{LINE}B") as writing:
        await writing.write("a")
        (place.out / "events.jsonl.000008").write_bytes(b'{"comment":"other"}\n')
        await writing.write("b")

    assert place.comments() == ["older", "other", "a", "b"]
    assert place.names()[-1] == "events.jsonl.000009"


def all_of_it(_out: Path) -> None:
    """The write ended, and the worker was killed before the commit."""


def renamed_only(out: Path) -> None:
    (out / "events.jsonl").unlink()


def empty(out: Path) -> None:
    os.truncate(out / "events.jsonl", 0)


def half(out: Path) -> None:
    os.truncate(out / "events.jsonl", LINE // 2)


@pytest.mark.parametrize("killed", [all_of_it, renamed_only, empty, half])
async def test_a_rotation_that_was_not_committed_is_finished(killed: Callable[[Path], None], place: Place) -> None:
    params = {"rotate": f"{2 * LINE}B"}
    async with place.life(**params) as writing:
        await writing.write("a", "b")
        await writing.write("c", "d", committed=False)
    assert place.names() == ["events.jsonl", "events.jsonl.000001"]
    killed(place.out)
    async with place.life(**params) as writing:
        await writing.write("c", "d")
        await writing.write("e")

    assert place.names() == ROTATED
    assert place.comments() == list("abcde")


async def test_rotations_that_a_server_has_forgotten_are_taken_back(place: Place) -> None:
    params = {"rotate": f"{2 * LINE}B"}
    async with place.life(**params) as writing:
        await writing.write("a")
        older = dict(place.state)
        for comment in "bcdef":
            await writing.write(comment)
        writing.state.update(older)
        await writing.resume()
        for comment in "bcdef":
            await writing.write(comment)

    assert place.comments() == list("abcdef")


# -- other programs -----------------------------------------------------------------------------------------


async def test_a_file_that_another_program_rotates_is_followed_by_a_new_one(place: Place) -> None:
    async with place.life() as writing:
        await writing.write("a")
        (place.out / "events.jsonl").rename(place.out / "events.jsonl.1")
        await writing.write("b", committed=False)
    async with place.life() as writing:
        await writing.write("b")
        (place.out / "events.jsonl").unlink()
        await writing.write("c")

    assert place.comments() == ["a", "c"]


async def test_a_file_that_another_program_empties_goes_on(place: Place) -> None:
    async with place.life() as writing:
        await writing.write("a", "b")
        os.truncate(place.out / "events.jsonl", 0)
        await writing.write("c")
        assert writing.log() == [("lost_after_commit", "events.jsonl")]

    assert place.comments() == ["c"]


HOLDER = """
import fcntl, sys
with open(sys.argv[1], "ab") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("locked", flush=True)
    sys.stdin.read()
"""


async def test_a_file_has_one_writer(place: Place) -> None:
    async with place.life() as writing:
        await writing.write("a")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, place.out / "events.jsonl", stdin=PIPE, stdout=PIPE
    )
    assert process.stdout
    assert process.stdin
    assert await process.stdout.readline() == b"locked\n"
    with pytest.raises(Unavailable) as caught:
        async with place.life():
            pass
    process.stdin.close()
    await process.wait()
    async with place.life() as writing:
        await writing.write("b")

    assert str(caught.value).startswith(f"writing {place.out}/events.jsonl: another process has the file")
    assert place.comments() == ["a", "b"]


async def test_two_stages_do_not_write_to_one_file(place: Place) -> None:
    async with place.life() as writing, place.life() as other:
        await writing.write("a")
        with pytest.raises(Unavailable, match="another process has the file"):
            await other.write("b")

    assert place.comments() == ["a"]


@contextmanager
def limited(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size: the disk is full, as it were."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_write_that_does_not_fit_leaves_nothing(place: Place) -> None:
    async with place.life("{feed.name}.jsonl") as writing:
        await writing.write("a", fields={"feed.name": "short"})
        await writing.write("a" * 900, fields={"feed.name": "long"})
        said = ""
        with limited(1000):
            for _ in range(2):
                batch = [testing.event({"comment": "b" * 50, "feed.name": name}) for name in ("short", "long", "long")]
                with pytest.raises(Unavailable) as caught:
                    await writing.stage.write(sdk.Batch(batch, sdk.State(writing.load)))
                said = str(caught.value)
                assert sorted(place.comments()) == ["a", "a" * 900]
        await writing.write("b", fields={"feed.name": "long"})

    assert said == f"writing {place.out}/long.jsonl: {os.strerror(errno.EFBIG)}"
    assert sorted(place.comments()) == ["a", "a" * 900, "b"]


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 64 KiB, which takes root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(  # noqa: S603
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)  # noqa: S603, S607


async def test_a_disk_that_is_full_stops_nothing_for_good(full_disk: Path, place: Place) -> None:
    place.out = full_disk / "out"
    async with place.life() as writing:
        await writing.write("a")
        (full_disk / "other").write_bytes(bytes(56 * 1024))
        for _ in range(2):
            with pytest.raises(Unavailable, match=os.strerror(errno.ENOSPC)):
                await writing.write("b" * 20_000)
            assert place.comments() == ["a"]
        (full_disk / "other").unlink()
        await writing.write("b" * 20_000)

    assert place.comments() == ["a", "b" * 20_000]


async def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    for name, text in (
        ("pipe", "it is no regular file"),
        ("directory", "Is a directory"),
        ("pipe/a", "File exists"),
    ):
        path = str(tmp_path / name)
        async with testing.open_stage("outputs.file", {"path": path}) as run:
            assert isinstance(run.stage, sdk.Output)
            with pytest.raises(Unavailable) as caught:
                await run.stage.write(sdk.Batch([testing.event({})], sdk.State(run.load)))

        assert str(caught.value) == f"writing {path}: {text}"
