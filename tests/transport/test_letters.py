"""Dead letters on real servers, there and in files: sent back once, however often and by however many that is asked."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from intelstream.transport import segments
from intelstream.transport.frames import OVERHEAD
from intelstream.transport.letters import DeadLetters, Outgoing
from intelstream.transport.shelf import Kept
from intelstream.transport.transport import Transport
from transport.steps import bury, frame, going, ports, put, step, take

ROOM = 1_000_000
Placed = Callable[..., Awaitable[DeadLetters]]


async def dead(transport: Transport, *numbers: int, signature: str = "one") -> None:
    """Have messages end as dead letters of the stage `work`."""
    await put(transport, "work", *numbers)
    commit = step(transport, await take(transport, "work"))
    for number in numbers:
        bury(commit, number, signature)
    commit.count("work", "dead", len(numbers))
    await transport.commit(commit)


@pytest.fixture(params=["on the server", "in a file", "in both"])
def placed(request: pytest.FixtureRequest, transport: Transport, tmp_path: Path) -> Placed:
    """Make letters with these numbers that lie where the test wants them."""

    async def place(*numbers: int) -> DeadLetters:
        most = {"on the server": 100, "in a file": 0, "in both": 1}[str(request.param)]
        letters = DeadLetters(transport, tmp_path, most=most)
        if most == 1:
            await dead(transport, *numbers[:-1])
            await DeadLetters(transport, tmp_path, most=0).relieve("work")
            await dead(transport, numbers[-1])
        else:
            await dead(transport, *numbers)
            await letters.relieve("work")
        return letters

    return place


async def numbers(letters: DeadLetters) -> list[int]:
    found: list[Kept] = []
    after = "0-0"
    while after:
        page, after = await letters.page("work", after, count=2)
        found += page
    return [one.data["number"] for one in found]


async def test_letters_are_listed_page_by_page_wherever_they_lie(placed: Placed) -> None:
    letters = await placed(1, 2, 3)

    assert await numbers(letters) == [1, 2, 3]
    assert await letters.count("work") == 3
    assert (await letters.page("left"))[0] == []
    [third] = await letters.find("work", [(await letters.page("work"))[0][2].id])
    assert third.data["number"] == 3


async def test_letters_of_one_cause_are_one_group(transport: Transport, placed: Placed) -> None:
    letters = await placed(1, 2, 3)
    await dead(transport, 4, signature="another")
    most, least = await letters.groups("work")
    found, _ = await letters.page("work", causes=frozenset({"another"}))

    assert (most.signature, most.count, most.first["time"], most.last) == ("one", 3, "t1", "t3")
    assert (least.signature, least.count) == ("another", 1)
    assert [one.data["number"] for one in found] == [4]
    assert await letters.drop("work", found) == 1
    assert [group.signature for group in await letters.groups("work")] == ["one"]


async def test_a_letter_that_is_revived_is_a_message_again(transport: Transport, placed: Placed) -> None:
    letters = await placed(1, 2, 3)
    one, *_ = (await letters.page("work"))[0]
    assert await letters.revive("work", going([one]), "left", ROOM) == 1

    assert await ports(transport, "left") == [[1]]
    assert await numbers(letters) == [2, 3]
    assert await letters.count("work") == 2
    sizes = await transport.backlogs()
    assert sizes["left:n"] == 1
    assert sizes["left:b"] == sizes["total"] == len(frame(1)) + OVERHEAD
    kept = await transport.kept("work")
    assert (kept["dead"], kept["revived"]) == ("2", "1")


async def test_letters_are_revived_once_by_however_many(transport: Transport, placed: Placed) -> None:
    letters = await placed(1, 2, 3)
    outgoing = going((await letters.page("work"))[0])
    revived = await asyncio.gather(*(letters.revive("work", outgoing, "left", ROOM) for _ in range(8)))
    assert await letters.revive("work", outgoing, "left", ROOM) == 0

    assert sum(one or 0 for one in revived) == 3
    assert sorted(await ports(transport, "left")) == [[1], [2], [3]]
    assert (await transport.kept("work"))["dead"] == "0"
    assert await letters.groups("work") == []


async def test_a_frame_goes_only_while_all_of_its_letters_are_there(transport: Transport, placed: Placed) -> None:
    letters = await placed(1, 2, 3)
    first, second, third = (await letters.page("work"))[0]
    together = [Outgoing(frame(1, 2), [first, second], 2), Outgoing(frame(3), [third])]
    assert await letters.drop("work", [first]) == 1

    assert await letters.revive("work", together, "left", ROOM) == 1
    assert await ports(transport, "left") == [[3]]
    assert await numbers(letters) == [2]


async def test_a_full_lane_takes_no_letter_back(transport: Transport, placed: Placed) -> None:
    letters = await placed(1, 2, 3)
    [first, *_] = outgoing = going((await letters.page("work"))[0])
    room = len(first.frame) + OVERHEAD

    assert await letters.revive("work", outgoing[:1], "left", room - 1) is None
    assert await numbers(letters) == [1, 2, 3]
    assert await ports(transport, "left") == []
    assert await letters.revive("work", outgoing[:1], "left", room) == 1


async def test_a_letter_is_dropped_or_revived_and_never_both(transport: Transport, placed: Placed) -> None:
    letters = await placed(1, 2, 3)
    found = (await letters.page("work"))[0]
    dropped, revived = await asyncio.gather(
        letters.drop("work", found[:2]), letters.revive("work", going(found[1:]), "left", ROOM)
    )

    assert dropped + (revived or 0) == 3, (dropped, revived)
    assert await letters.count("work") == 0
    assert len(await ports(transport, "left")) == revived
    assert await letters.drop("work", found) == 0
    assert await letters.drop("work", []) == 0


async def test_what_is_changed_in_a_letter_stays_with_it(transport: Transport, placed: Placed) -> None:
    letters = await placed(1, 2)
    first, second = (await letters.page("work"))[0]
    assert await letters.amend("work", [(first, {"source.port": 80})]) == 1
    assert await letters.drop("work", [second]) == 1
    assert await letters.amend("work", [(second, {"source.port": 80})]) == 0
    await DeadLetters(transport, letters.directory.parent, most=0).relieve("work")
    [changed] = (await letters.page("work"))[0]

    assert changed.data["message"] == {"source.port": 80}
    assert changed.data["edited"] == {"source.port": 80}
    assert await letters.drop("work", [changed]) == 1
    assert await transport.call("HLEN", transport.lane.edits("work")) == 0


async def test_letters_move_to_files_oldest_first_and_are_as_many_as_before(
    transport: Transport, tmp_path: Path
) -> None:
    await dead(transport, *range(7))
    letters = DeadLetters(transport, tmp_path, most=3)
    assert await letters.relieve("work")

    assert int(await transport.call("XLEN", transport.lane.dead("work"))) <= 3
    assert len(list(tmp_path.rglob("*.jsonl.zst"))) == 1
    assert await numbers(letters) == list(range(7))
    assert await letters.count("work") == 7


async def test_a_crash_between_file_and_server_neither_loses_nor_doubles_letters(
    transport: Transport, tmp_path: Path
) -> None:
    await dead(transport, 1, 2, 3)
    letters = DeadLetters(transport, tmp_path)
    found = (await letters.page("work"))[0]
    segments.write(letters.directory / "work", [one.data for one in found], moved=True)
    assert await letters.revive("work", going(found[:1]), "left", ROOM) == 1
    after = DeadLetters(transport, tmp_path)

    assert await numbers(after) == [2, 3]
    assert await after.count("work") == 2
    assert await after.revive("work", going((await after.page("work"))[0]), "left", ROOM) == 2
    assert await ports(transport, "left") == [[1], [2], [3]]


async def test_a_file_goes_when_its_last_letter_has_gone_and_the_server_has_that_on_disk(
    transport: Transport, tmp_path: Path
) -> None:
    await dead(transport, 1, 2)
    waited: list[str] = []

    async def barrier(run_id: str) -> None:
        assert list(tmp_path.rglob("*.jsonl.zst"))
        waited.append(run_id)

    letters = DeadLetters(transport, tmp_path, most=0, barrier=barrier)
    await letters.relieve("work")
    found = (await letters.page("work"))[0]
    assert await letters.drop("work", found[:1]) == 1
    assert list(tmp_path.rglob("*.jsonl.zst"))
    assert await letters.drop("work", found[1:]) == 1

    assert waited == [transport.client.run_id]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_letters_stay_on_the_server_where_the_disk_may_take_no_more(transport: Transport, tmp_path: Path) -> None:
    await dead(transport, 1, 2)
    await DeadLetters(transport, tmp_path, most=0).relieve("work")
    await dead(transport, 3)
    full = DeadLetters(transport, tmp_path, most=0, limit=1)

    assert not await full.relieve("work")
    assert await numbers(full) == [1, 2, 3]
    await full.drop("work", (await full.page("work"))[0])
    assert await full.relieve("work")


async def test_letters_from_outside_come_in_once(transport: Transport, placed: Placed) -> None:
    letters = await placed(1, 2, 3)
    data = [one.data for one in (await letters.page("work"))[0]]
    await letters.drop("work", (await letters.page("work"))[0][:2])

    assert await letters.adopt("work", data) == 2
    assert await letters.adopt("work", data) == 0
    assert await numbers(letters) == [1, 2, 3]
    assert await letters.count("work") == 3
    assert (await transport.kept("work"))["dead"] == "3"


async def test_causes_without_number_are_counted_together(transport: Transport, tmp_path: Path) -> None:
    await put(transport, "work", *range(1100))
    commit = step(transport, await take(transport, "work"))
    for number in range(1100):
        bury(commit, number, f"cause {number}")
    await transport.commit(commit)
    letters = DeadLetters(transport, tmp_path)
    groups = await letters.groups("work")

    assert len(groups) <= 1002
    assert groups[0].signature == "other"
    assert sum(group.count for group in groups) == 1100
    for _ in range(3):
        await letters.drop("work", (await letters.page("work"))[0])
    assert await letters.count("work") == 0
