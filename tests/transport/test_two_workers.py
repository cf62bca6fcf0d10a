"""Two workers and one entry, or one state: whoever comes late is refused, and nothing is done twice."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from intelstream.transport import keeper
from intelstream.transport.commit import Answer, Commit, Entry
from intelstream.transport.keeper import Keeper
from intelstream.transport.names import GROUP
from intelstream.transport.reader import Reader
from intelstream.transport.transport import Transport
from transport.steps import ports, put, step, take, worker


@pytest.fixture
async def other(transport: Transport) -> AsyncGenerator[Transport]:
    async with worker(transport.client.address, transport.lane, "other") as found:
        yield found


@pytest.fixture
async def stalled(transport: Transport) -> Entry:
    """The entry of a worker that read it and then said nothing for longer than it may."""
    await put(transport, "work", 1, 2, 3)
    return await take(transport, "work")


@pytest.fixture
async def heir(other: Transport, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Reader]:
    """The reader of another worker, which sweeps."""
    monkeypatch.setattr(keeper, "LIFETIME", 0.0)
    reader = Reader(other, ["work"])
    yield reader
    await reader.close()


async def unheard(_: str) -> None:
    """Nobody reads what comes back."""


async def swept(other: Transport, reader: Reader) -> list[Entry]:
    """Have the other worker look after those that are gone, and read what it has got from them."""

    async def recheck(_: str) -> None:
        await reader.recheck()

    await Keeper(other, ["work"], recheck, print).sweep()
    return await reader.read(10)


async def test_a_late_commit_finds_the_work_done(
    transport: Transport, other: Transport, stalled: Entry, heir: Reader
) -> None:
    [entry] = await swept(other, heir)
    assert entry == stalled
    assert await other.commit(step(other, entry, 1, 2, 3)) is Answer.DONE
    assert await transport.commit(step(transport, stalled, 7)) is Answer.BEFORE

    assert await ports(transport, "left") == [[1, 2, 3]]
    assert await ports(transport, "work") == []
    assert (await transport.backlogs())["work:n"] == 0


async def test_a_commit_behind_the_takeover_is_refused_and_the_heirs_counts(
    transport: Transport, other: Transport, stalled: Entry, heir: Reader
) -> None:
    [entry] = await swept(other, heir)
    assert await transport.commit(step(transport, stalled, 7)) is Answer.FENCED
    assert await ports(transport, "left") == []
    assert await other.commit(step(other, entry, 1, 2, 3)) is Answer.DONE

    assert await ports(transport, "left") == [[1, 2, 3]]


async def test_what_was_committed_before_the_takeover_is_not_taken_over(
    transport: Transport, other: Transport, stalled: Entry, heir: Reader
) -> None:
    assert await transport.commit(step(transport, stalled, 1, 2, 3)) is Answer.DONE
    await put(transport, "work", 4)

    [entry] = await swept(other, heir)
    assert entry.id != stalled.id
    names = await other.call("XINFO", "CONSUMERS", other.lane.stream("work"), GROUP)
    assert [row[1] for row in names] == [b"other"]  # the name of one that left nothing is forgotten


async def test_the_heir_goes_on_where_the_last_commit_ended(
    transport: Transport, other: Transport, stalled: Entry, heir: Reader
) -> None:
    assert await transport.commit(step(transport, stalled, 1, to="1", taken=1)) is Answer.DONE
    [entry] = await swept(other, heir)
    assert entry.position == "1"
    late = Entry(stalled.stage, stalled.id, stalled.frame, stalled.count, "1")
    assert await transport.commit(step(transport, late, 7, taken=2)) is Answer.FENCED
    assert await other.commit(step(other, entry, 2, 3, taken=2)) is Answer.DONE

    assert await ports(transport, "left") == [[1], [2, 3]]
    assert (await transport.kept("work")) == {}  # neither position nor tries are left behind


async def test_a_worker_that_wakes_is_not_given_its_entry_again(
    transport: Transport, other: Transport, stalled: Entry, heir: Reader
) -> None:
    await swept(other, heir)
    await put(transport, "work", 4)

    woken = await take(transport, "work")
    assert woken.id != stalled.id
    assert await transport.commit(step(transport, woken, 4)) is Answer.DONE


async def test_nothing_is_taken_over_from_one_that_lives(
    transport: Transport, other: Transport, stalled: Entry, heir: Reader
) -> None:
    await transport.run("alive", [transport.lane.alive("me")], "1", 60_000)
    await put(transport, "work", 4)

    [entry] = await swept(other, heir)
    assert entry.id != stalled.id
    assert await transport.commit(step(transport, stalled, 1, 2, 3)) is Answer.DONE


async def test_two_that_sweep_at_once_do_not_both_get_an_entry(
    transport: Transport, other: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LIFETIME", 0.0)
    for number in range(200):
        await put(transport, "work", number)
    reader = Reader(transport, ["work"])
    await reader.read(200)
    await reader.close()
    async with worker(other.client.address, other.lane, "third") as third:
        for heir in (other, third):
            await heir.run("alive", [heir.lane.alive(heir.consumer)], "1", 60_000)
        keepers = [Keeper(one, ["work"], unheard, print) for one in (other, third)]
        taken = await asyncio.gather(*(one.takeover("work", "me") for one in keepers))

    assert sum(taken) == 200
    rows = await other.call("XPENDING", other.lane.stream("work"), GROUP, "-", "+", 1000)
    assert len({row[0] for row in rows}) == 200


async def test_of_two_that_read_one_version_only_the_first_writes(
    transport: Transport, other: Transport, stalled: Entry
) -> None:
    await put(transport, "work", 4)
    entry = await take(other, "work")
    version, _ = await transport.states("work", ["sum"])
    first, second = step(transport, stalled, 1), step(other, entry, 4)
    for commit in (first, second):
        commit.version = version
        commit.write("s:sum", 1)

    assert await transport.commit(first) is Answer.DONE
    assert await other.commit(second) is Answer.STALE
    assert await ports(transport, "left") == [[1]]
    assert await other.positions("work", [entry.id]) == [""]


async def test_state_that_many_workers_add_to_is_exact(transport: Transport) -> None:
    for number in range(40):
        await put(transport, "work", number)

    async def adds(name: str) -> int:
        """Take entries until there are none, and add the number of each to the state."""
        refused = 0
        async with worker(transport.client.address, transport.lane, name) as mine:
            reader = Reader(mine, ["work"])
            for _ in range(10):
                [entry] = await reader.read(1)
                answer = None
                while answer is not Answer.DONE:
                    version, [total] = await mine.states("work", ["sum"])
                    commit = Commit(mine.lane, "work", name, version=version)
                    commit.write("s:sum", (total or 0) + 1)
                    commit.take(entry, count=1)
                    answer = await mine.commit(commit)
                    refused += answer is Answer.STALE
                reader.done([entry])
            await reader.close()
        return refused

    refused = await asyncio.gather(*(adds(f"worker-{number}") for number in range(4)))

    assert (await transport.states("work", ["sum"]))[1] == [40]
    assert sum(refused) > 0  # they did meet
    assert await ports(transport, "work") == []
