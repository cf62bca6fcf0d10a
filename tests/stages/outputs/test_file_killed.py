import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from writing import Place


async def test_what_was_not_committed_is_cut_off_before_it_is_written_again(place: Place) -> None:
    async with place.life() as writing:
        await writing.write("a", "b")
        await writing.write("c", "d", committed=False)
    async with place.life() as writing:
        await writing.write("c", "d")
        assert writing.log() == [("uncommitted_tail_cut", "events.jsonl")]

    assert place.comments() == ["a", "b", "c", "d"]
    [cut] = (place.own / "cut").iterdir()
    assert cut.read_bytes() == b'{"comment":"c"}\n{"comment":"d"}\n'


async def test_what_was_not_committed_is_cut_off_where_another_program_has_renamed_the_file(place: Place) -> None:
    async with place.life() as writing:
        await writing.write("a", "b")
        await writing.write("c", "d", committed=False)
    (place.out / "events.jsonl").rename(place.out / "events.jsonl-20240306")
    async with place.life() as writing:
        await writing.write("c", "d")
        assert writing.log() == [("uncommitted_tail_cut", "events.jsonl-20240306")]

    assert place.comments() == ["a", "b", "c", "d"]
    assert (place.out / "events.jsonl-20240306").read_bytes() == b'{"comment":"a"}\n{"comment":"b"}\n'


async def test_a_first_write_that_was_not_committed_is_found_under_another_name(place: Place) -> None:
    async with place.life() as writing:
        await writing.write("a", "b", committed=False)
    (place.out / "events.jsonl").rename(place.out / "events.jsonl.1")
    async with place.life() as writing:
        await writing.write("a", "b")
        await writing.write("c")

    assert place.comments() == ["a", "b", "c"]


async def test_a_file_that_only_has_the_inode_of_one_that_is_gone_is_left_alone(place: Place) -> None:
    async with place.life() as writing:
        await writing.write("a")
    other = place.out / "events.jsonl.1.gz"
    (place.out / "events.jsonl").rename(other)
    other.write_bytes(b"something else, and longer\n")  # the inode was free, and is used again
    async with place.life() as writing:
        assert writing.log() == [("file_moved", "events.jsonl")]
        await writing.write("b")

    assert other.read_bytes() == b"something else, and longer\n"


def torn(out: Path) -> None:
    with (out / "events.jsonl").open("ab") as file:
        file.write(b'{"comment":"c"}\n{"comm')


def only_torn(out: Path) -> None:
    with (out / "events.jsonl").open("ab") as file:
        file.write(b"{")


def nothing(_out: Path) -> None:
    pass


@pytest.mark.parametrize("damage", [torn, only_torn, nothing])
async def test_a_torn_line_is_cut_off(damage: Callable[[Path], None], place: Place) -> None:
    async with place.life() as writing:
        await writing.write("a", "b")
    damage(place.out)
    async with place.life() as writing:
        await writing.write("c", "d")

    assert place.comments() == ["a", "b", "c", "d"]


async def test_a_commit_that_was_lost_is_written_again_in_the_same_life(place: Place) -> None:
    async with place.life() as writing:
        await writing.write("a")
        await writing.write("b", committed=False)
        await writing.resume()
        await writing.write("b")
        await writing.write("c")

    assert place.comments() == ["a", "b", "c"]


@pytest.mark.parametrize("before", [b"", b'{"comment":"older"}\n', b'{"comment":"older"}'])
async def test_a_first_write_that_was_not_committed_is_found_too(before: bytes, place: Place) -> None:
    place.out.mkdir()
    if before:
        (place.out / "events.jsonl").write_bytes(before)
    for _ in range(3):
        async with place.life() as writing:
            await writing.write("a", "b", committed=False)
    async with place.life() as writing:
        await writing.write("a", "b")
        await writing.write("c")

    assert place.comments() == [*(["older"] if before else []), "a", "b", "c"]


async def test_a_state_that_is_older_than_the_file_wins(place: Place) -> None:
    """The server may lose its last second: what was committed then comes again."""
    async with place.life() as writing:
        await writing.write("a")
        older = dict(place.state)
        await writing.write("b")
        await writing.write("c")
        writing.state.update(older)
        await writing.resume()
        await writing.write("b", "c")

    assert place.comments() == ["a", "b", "c"]


async def test_a_state_that_is_gone_cuts_nothing_off(place: Place) -> None:
    async with place.life() as writing:
        await writing.write("a", "b")
    place.state.clear()
    async with place.life() as writing:
        await writing.write("c")

    assert place.comments() == ["a", "b", "c"]


async def test_a_file_that_lost_committed_lines_is_told_and_goes_on(place: Place) -> None:
    async with place.life() as writing:
        await writing.write("a", "b")
    os.truncate(place.out / "events.jsonl", len(b'{"comment":"a"}\n'))
    async with place.life() as writing:
        await writing.write("c")
        assert writing.log() == [("lost_after_commit", "events.jsonl")]

    assert place.comments() == ["a", "c"]


KILLED = """
import asyncio, sys, tempfile
from pathlib import Path
import orjson
from intelstream import sdk, testing

async def main(own, out, rotate):
    committed = Path(own) / "committed"
    world = testing.World(directory=Path(own) / "stage")
    async with testing.open_stage("outputs.file", {"path": out, "rotate": rotate}, world=world) as run:
        done, state = orjson.loads(committed.read_bytes()) if committed.exists() else (0, {})

        async def load(keys):
            return [state.get(key) for key in keys]

        await run.stage.resume(sdk.State(load))
        print("ready", flush=True)
        while True:
            batch = sdk.Batch([testing.event({"comment": str(done + n)}) for n in range(100)], sdk.State(load))
            await run.stage.write(batch)
            done, state = done + 100, state | batch.state.written
            new = committed.with_suffix(".new")
            new.write_bytes(orjson.dumps((done, state)))
            new.replace(committed)  # the commit
            print("committed", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("rotate", ["never", "20KiB"])
async def test_a_writer_that_is_killed_again_and_again_loses_and_doubles_nothing(rotate: str, place: Place) -> None:
    (place.own / "stage").mkdir()
    for turn in range(6):
        command = (sys.executable, "-c", KILLED, place.own, place.out / "events.jsonl", rotate)
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"
        for _ in range(3 * turn):
            await process.stdout.readline()
        process.send_signal(signal.SIGKILL)  # in whatever it is doing by now
        await process.wait()
    done, place.state = orjson.loads((place.own / "committed").read_bytes())
    place.own /= "stage"
    async with place.life(rotate=rotate) as writing:
        await writing.write(*range(done, done + 100))

    assert place.comments() == [str(number) for number in range(done + 100)]
    assert done > 0
