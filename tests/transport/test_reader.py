"""Reading on real servers: what was given to this worker is handed out once, and never forgotten."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from intelstream.transport.commit import Answer, Entry
from intelstream.transport.link import BLOCK, GroupGone
from intelstream.transport.names import GROUP
from intelstream.transport.reader import Reader
from intelstream.transport.transport import Transport
from transport.steps import numbers_of, ports, put, step, take


@pytest.fixture
async def reader(transport: Transport) -> AsyncGenerator[Reader]:
    found = Reader(transport, ["work"])
    yield found
    await found.close()


async def read(reader: Reader, count: int = 10) -> list[list[int]]:
    return [numbers_of(one.frame) for one in await reader.read(count)]


async def blocked(transport: Transport) -> None:
    """Wait until somebody waits for entries."""
    async with asyncio.timeout(10):
        while b"blocked_clients:0" in await transport.call("INFO", "clients"):
            pass


async def test_one_reader_serves_many_stages(transport: Transport) -> None:
    reader = Reader(transport, ["left", "work"])
    await put(transport, "work", 1)
    await put(transport, "left", 2)
    found = await reader.read(10)
    await reader.close()

    assert [(one.stage, numbers_of(one.frame)) for one in found] == [("left", [2]), ("work", [1])]


async def test_what_is_in_flight_is_not_handed_out_again(transport: Transport, reader: Reader) -> None:
    await put(transport, "work", 1)
    assert await read(reader) == [[1]]
    await reader.recheck()
    await put(transport, "work", 2)

    assert await read(reader) == [[2]]


async def test_what_was_refused_is_handed_out_again(transport: Transport, reader: Reader) -> None:
    await put(transport, "work", 1)
    entries = await reader.read(10)
    reader.forget(entries)

    assert await reader.read(10) == entries


async def test_a_server_that_delivers_again_what_is_in_flight_is_not_believed(
    transport: Transport, reader: Reader
) -> None:
    await put(transport, "work", 1)
    [entry] = await reader.read(10)
    await transport.call(
        "XGROUP", "SETID", transport.lane.stream("work"), GROUP, "0"
    )  # as one that lost its last second
    await put(transport, "work", 2)

    assert await read(reader) == [[2]]
    assert await transport.commit(step(transport, entry, 1)) is Answer.DONE
    assert await ports(transport, "left") == [[1]]


async def test_a_wait_ends_when_it_is_told_to(transport: Transport, reader: Reader) -> None:
    waiting = asyncio.create_task(reader.read(10))
    await blocked(transport)
    async with asyncio.timeout(BLOCK / 2):
        await reader.interrupt()

        assert await waiting == []


async def test_what_a_cancelled_read_was_given_is_read_again(transport: Transport, reader: Reader) -> None:
    for _ in range(20):
        waiting = asyncio.create_task(reader.read(1))
        await blocked(transport)
        putting = asyncio.create_task(put(transport, "work", 7))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting, putting})
        found = [] if waiting.cancelled() else waiting.result()
        while not found:
            found = await reader.read(1)
        assert [numbers_of(one.frame) for one in found] == [[7]]
        assert await transport.commit(step(transport, found[0], 7)) is Answer.DONE
        reader.done(found)

    assert await ports(transport, "left") == [[7]] * 20


async def test_entries_that_somebody_deleted_hide_none_behind_them(transport: Transport, reader: Reader) -> None:
    for number in range(40):
        await put(transport, "work", number)
    entries = await transport.peek("work", 100)
    await transport.call("XREADGROUP", "GROUP", GROUP, "me", "STREAMS", transport.lane.stream("work"), ">")
    await transport.call("XDEL", transport.lane.stream("work"), *[one.id for one in entries[:-1]])

    assert await read(reader) == [[39]]


async def test_an_entry_that_was_purged_in_flight_is_not_done(transport: Transport) -> None:
    await put(transport, "work", 1)
    entry = await take(transport, "work")
    await transport.call("XACK", transport.lane.stream("work"), GROUP, entry.id)
    await transport.call("XDEL", transport.lane.stream("work"), entry.id)

    assert await transport.commit(step(transport, entry, 1)) is Answer.BEFORE
    assert await ports(transport, "left") == []


async def test_a_consumer_deleted_in_flight_loses_and_doubles_nothing(transport: Transport, reader: Reader) -> None:
    await put(transport, "work", 1)
    [entry] = await reader.read(10)
    await transport.call("XGROUP", "DELCONSUMER", transport.lane.stream("work"), GROUP, "me")
    assert await transport.commit(step(transport, entry, 1)) is Answer.STRANDED
    reader.done([entry])
    keys = [transport.lane.stream("work"), transport.lane.hash("work")]
    await transport.run("scrub", keys, GROUP, "me", "-", 100)
    await reader.recheck()

    found: list[Entry] = await reader.read(10)
    assert found == [entry]
    assert await transport.commit(step(transport, found[0], 1)) is Answer.DONE
    assert await ports(transport, "left") == [[1]]


async def test_a_group_that_somebody_deleted_is_an_alarm(transport: Transport, reader: Reader) -> None:
    await transport.call("XGROUP", "DESTROY", transport.lane.stream("work"), GROUP)

    with pytest.raises(GroupGone):
        await reader.read(10)
