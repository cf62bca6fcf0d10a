"""The commit script on real servers: whole or not at all, once, and only by whom the entry belongs to."""

import asyncio

import pytest

from intelstream.transport.commit import Answer, Commit, Entry
from intelstream.transport.frames import OVERHEAD
from intelstream.transport.link import CommandRefused
from intelstream.transport.names import GROUP
from intelstream.transport.reader import Reader
from intelstream.transport.transport import Transport
from transport.steps import frame, ports, put, step, take, worker


@pytest.fixture
async def entry(transport: Transport) -> Entry:
    await put(transport, "work", 1, 2, 3)
    return await take(transport, "work")


async def test_a_commit_moves_the_messages_and_frees_the_backlog(transport: Transport, entry: Entry) -> None:
    assert await transport.commit(step(transport, entry, 1, 2, 3)) is Answer.DONE

    assert await ports(transport, "left") == [[1, 2, 3]]
    assert await ports(transport, "work") == []
    sizes = await transport.backlogs()
    assert (sizes["work:n"], sizes["work:b"], sizes["left:n"]) == (0, 0, 3)
    assert sizes["total"] == sizes["left:b"] == len(frame(1, 2, 3)) + OVERHEAD


async def test_the_same_commit_twice_changes_nothing(transport: Transport, entry: Entry) -> None:
    commit = step(transport, entry, 1, 2, 3)
    await transport.commit(commit)

    assert await transport.commit(commit) is Answer.BEFORE
    assert await ports(transport, "left") == [[1, 2, 3]]


async def test_a_part_is_committed_by_position_and_only_from_the_one_it_started_from(
    transport: Transport, entry: Entry
) -> None:
    first = step(transport, entry, 1, to="1", taken=1)
    assert await transport.commit(first) is Answer.DONE
    assert await transport.commit(first) is Answer.BEFORE
    assert await transport.commit(step(transport, entry, 9, to="2", taken=2)) is Answer.MOVED

    rest = Entry(entry.stage, entry.id, entry.frame, entry.count, "1")
    assert await transport.commit(step(transport, rest, 2, 3, taken=2)) is Answer.DONE
    assert await ports(transport, "left") == [[1], [2, 3]]
    assert (await transport.backlogs())["work:n"] == 0


async def test_an_entry_that_was_taken_over_is_the_other_workers_alone(transport: Transport, entry: Entry) -> None:
    async with worker(transport.client.address, transport.lane, "other") as other:
        keys = [transport.lane.stream("work"), transport.lane.alive("me"), transport.lane.hash("work")]
        assert await other.run("takeover", keys, GROUP, "me", "other", 10)

        assert await transport.commit(step(transport, entry, 1)) is Answer.FENCED
        assert await other.commit(step(other, entry, 2)) is Answer.DONE
        assert await transport.commit(step(transport, entry, 1)) is Answer.BEFORE
    assert await ports(transport, "left") == [[2]]


async def test_an_entry_in_no_pending_list_is_stranded_and_scrubbed(transport: Transport, entry: Entry) -> None:
    await transport.call("XGROUP", "DELCONSUMER", transport.lane.stream("work"), GROUP, "me")

    assert await transport.commit(step(transport, entry, 1)) is Answer.STRANDED
    key = [transport.lane.stream("work"), transport.lane.hash("work")]
    assert (await transport.run("scrub", key, GROUP, "me", "-", 100))[1:] == [entry.id.encode()]
    assert await transport.commit(step(transport, entry, 1)) is Answer.DONE


async def test_state_is_written_only_over_the_version_that_was_read(transport: Transport, entry: Entry) -> None:
    version, _ = await transport.states("work", ["seen"])
    early, late = step(transport, entry), step(transport, entry)
    for commit, value in ((early, "a"), (late, "b")):
        commit.version = version
        commit.write("s:seen", value)
    await put(transport, "work", 4)
    reader = Reader(transport, ["work"])
    pending = await reader.read(10)
    [other] = await reader.read(10)
    await reader.close()
    assert [one.id for one in pending] == [entry.id]
    elsewhere = step(transport, other)
    elsewhere.version = version
    elsewhere.write("s:seen", "c")

    assert await transport.commit(elsewhere) is Answer.DONE
    assert await transport.commit(early) is Answer.STALE
    assert (await transport.states("work", ["seen"]))[1] == ["c"]


async def test_a_lease_shuts_the_last_holder_out(transport: Transport) -> None:
    old = await transport.lease("source")
    async with worker(transport.client.address, transport.lane, "heir") as heir:
        new = await heir.lease("source")
        late = Commit(transport.lane, "source", "me", version=old or "", operation="x")
        late.send(("work",), frame(1), 1)

        assert int(new or 0) > int(old or 0)
        assert await transport.commit(late, admits=True) is Answer.STALE


async def test_a_lease_stays_with_a_holder_that_lives(transport: Transport) -> None:
    await transport.lease("source")
    await transport.run("alive", [transport.lane.alive("me")], "1", 10_000)
    async with worker(transport.client.address, transport.lane, "heir") as heir:
        assert await heir.lease("source") is None

        await transport.release("source")
        assert await heir.lease("source") is not None


async def test_a_full_destination_holds_its_sender_until_there_is_room(transport: Transport, entry: Entry) -> None:
    await put(transport, "left", 7)
    held: list[str | None] = []
    commit = step(transport, entry, 1)
    commit.room = [("left", 1)]

    def on_hold(full: str | None) -> None:
        held.append(full)
        if full is not None:
            commits.append(full)

    commits: list[str] = []

    async def drained() -> None:
        waiting = await take(transport, "left")
        done = Commit(transport.lane, "left", "me")
        done.take(waiting, count=1)
        assert await transport.commit(done) is Answer.DONE

    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(transport.commit(commit, on_hold=on_hold))
        while not commits:  # noqa: ASYNC110 - filled by a callback
            await asyncio.sleep(0.01)
        tasks.create_task(drained())
    assert sending.result() is Answer.DONE
    assert (held[0], held[-1]) == ("left", None)
    assert await ports(transport, "left") == [[1]]


async def test_what_frees_more_than_it_adds_passes_a_full_lane(transport: Transport, entry: Entry) -> None:
    shrinking = step(transport, entry, 1)
    shrinking.total = 1

    assert await transport.commit(shrinking) is Answer.DONE


async def test_one_bad_key_leaves_the_input_pending(transport: Transport, entry: Entry) -> None:
    await transport.call("SET", transport.lane.stream("left"), "not a stream")

    with pytest.raises(CommandRefused):
        await transport.commit(step(transport, entry, 1))

    await transport.call("DEL", transport.lane.stream("left"))
    assert await transport.commit(step(transport, entry, 1)) is Answer.DONE
