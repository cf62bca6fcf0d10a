"""Dead letters on real servers: sent back to work once, however often and by however many that is asked."""

import asyncio

import pytest

from intelstream.transport.frames import OVERHEAD, pack
from intelstream.transport.letters import DeadLetters
from intelstream.transport.transport import Transport
from transport.steps import body, frame, ports, put, step, take

ROOM = 1_000_000


@pytest.fixture
async def letters(transport: Transport) -> DeadLetters:
    """Three dead letters of the stage `work`."""
    await put(transport, "work", 1, 2, 3)
    commit = step(transport, await take(transport, "work"))
    for number in (1, 2, 3):
        commit.bury("work", pack(b'{"number":%d}' % number))
    commit.count("work", "dead", 3)
    await transport.commit(commit)
    return DeadLetters(transport)


async def bodies(letters: DeadLetters) -> list[tuple[str, bytes]]:
    """Return what is to be sent for each letter."""
    return [(one["id"], body(one["number"])) for one in await letters.list("work", 10)]


async def test_letters_are_listed_page_by_page(letters: DeadLetters) -> None:
    first = await letters.list("work", 2)
    rest = await letters.list("work", 2, after=first[-1]["id"])

    assert [one["number"] for one in first + rest] == [1, 2, 3]
    assert await letters.count("work") == 3
    assert await letters.list("left", 10) == []


async def test_a_letter_that_is_revived_is_a_message_again(transport: Transport, letters: DeadLetters) -> None:
    one, *_ = await bodies(letters)
    assert await letters.revive("work", [one], "left", ROOM) == 1

    assert await ports(transport, "left") == [[1]]
    assert await letters.count("work") == 2
    sizes = await transport.backlogs()
    assert sizes["left:n"] == 1
    assert sizes["left:b"] == sizes["total"] == len(frame(1)) + OVERHEAD
    kept = await transport.kept("work")
    assert (kept["dead"], kept["revived"]) == ("2", "1")


async def test_letters_are_revived_once_by_however_many(transport: Transport, letters: DeadLetters) -> None:
    all_ = await bodies(letters)
    revived = await asyncio.gather(*(letters.revive("work", all_, "left", ROOM) for _ in range(8)))
    assert await letters.revive("work", all_, "left", ROOM) == 0

    assert sorted(one or 0 for one in revived) == [0, 0, 0, 0, 0, 0, 0, 3]
    assert await ports(transport, "left") == [[1], [2], [3]]
    assert (await transport.kept("work"))["dead"] == "0"


async def test_a_full_lane_takes_no_letter_back(transport: Transport, letters: DeadLetters) -> None:
    all_ = await bodies(letters)
    room = sum(len(pack(one)) + OVERHEAD for _, one in all_)

    assert await letters.revive("work", all_, "left", room - 1) is None
    assert await letters.count("work") == 3
    assert await ports(transport, "left") == []
    assert await letters.revive("work", all_, "left", room) == 3


async def test_a_letter_is_dropped_or_revived_and_never_both(transport: Transport, letters: DeadLetters) -> None:
    all_ = await bodies(letters)
    ids = [id_ for id_, _ in all_]
    dropped, revived = await asyncio.gather(
        letters.drop("work", ids[:2]), letters.revive("work", all_[1:], "left", ROOM)
    )

    assert dropped + (revived or 0) == 3
    assert await letters.count("work") == 0
    assert len(await ports(transport, "left")) == revived
    assert await letters.drop("work", ids) == 0
    assert await letters.drop("work", []) == 0
