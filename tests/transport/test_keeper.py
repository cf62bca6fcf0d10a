"""What a worker does beside its work: it lives, takes over, scrubs, brings back what is due, and ends when told."""

import asyncio
import signal
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import pytest

from intelstream.app.prove.proxy import cutting_proxy
from intelstream.transport import keeper
from intelstream.transport.commit import Answer, Commit
from intelstream.transport.keeper import Keeper, Pulse
from intelstream.transport.link import CommandRefused, ServerTrouble
from intelstream.transport.names import GROUP, Lane
from intelstream.transport.reader import Reader
from intelstream.transport.transport import Transport
from services import servers
from services.servers import KINDS, RunningServer, until
from transport.steps import frame, numbers_of, ports, put, step, take, worker

FAST = 0.05


class Care:
    """A keeper of the stage `work`, and what it told."""

    def __init__(self, transport: Transport) -> None:
        self.rechecked: list[str] = []
        self.stranded: list[tuple[str, int]] = []
        self.reader = Reader(transport, ["work"])
        self.keeper = Keeper(transport, ["work"], self._recheck, lambda *told: self.stranded.append(told))

    async def _recheck(self, stage: str) -> None:
        self.rechecked.append(stage)
        await self.reader.recheck()


@asynccontextmanager
async def cared_for(transport: Transport) -> AsyncGenerator[Care]:
    """Have a keeper run."""
    care = Care(transport)
    task = asyncio.create_task(care.keeper.run())
    try:
        yield care
    finally:
        task.cancel()
        await asyncio.wait({task})
        await care.reader.close()
    assert task.cancelled()


@pytest.fixture
async def care(transport: Transport) -> AsyncGenerator[Care]:
    """A keeper that does not run by itself."""
    found = Care(transport)
    yield found
    await found.reader.close()


@pytest.fixture(params=KINDS)
def own_server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """A server that a test may stop."""
    with servers.running(str(request.param)) as found:
        yield found


async def pending_of(transport: Transport, consumer: str) -> int:
    rows = await transport.call("XPENDING", transport.lane.stream("work"), GROUP, "-", "+", 100, consumer)
    return len(rows)


async def listened(transport: Transport, count: int) -> None:
    """Wait until so many workers listen for room."""
    async with asyncio.timeout(10):
        while (await transport.call("PUBSUB", "NUMSUB", transport.lane.wake))[1] != count:
            pass


async def lives(transport: Transport) -> bool:
    return bool(await transport.call("EXISTS", transport.lane.alive(transport.consumer)))


async def test_a_worker_lives_before_it_reads_and_until_it_ends(transport: Transport) -> None:
    async with Pulse(transport):
        assert await lives(transport)

    assert not await lives(transport)


async def test_a_worker_whose_loop_is_blocked_lives(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LIFETIME", 0.3)
    monkeypatch.setattr(keeper, "RENEWAL", FAST)
    async with Pulse(transport):
        time.sleep(0.9)  # noqa: ASYNC251 - this is what a stage may do that computes

        assert await lives(transport)


async def test_a_worker_lives_again_when_its_server_does(
    own_server: RunningServer, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "RENEWAL", FAST)
    async with worker(own_server.address, lane, "me") as transport, Pulse(transport):
        own_server.stop()
        own_server.start()
        await transport.call("DEL", lane.alive("me"))
        async with asyncio.timeout(20):
            while not await lives(transport):
                pass


async def test_a_worker_can_end_while_its_server_hangs(
    own_server: RunningServer, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "RENEWAL", FAST)
    async with worker(own_server.address, lane, "me") as transport:
        async with Pulse(transport):
            assert own_server.process
            own_server.process.send_signal(signal.SIGSTOP)
        own_server.process.send_signal(signal.SIGCONT)


async def test_what_is_due_comes_back_when_it_is(transport: Transport) -> None:
    await put(transport, "work", 1, 2, 3)
    entry = await take(transport, "work")
    now = int(time.time() * 1000)
    commit = step(transport, entry)
    for number, wait in ((1, 400), (2, -1), (3, 3_600_000)):
        commit.delay("work", frame(number), now + wait)
    await transport.commit(commit)

    async with cared_for(transport):
        async with asyncio.timeout(10):
            while len(came := await ports(transport, "work")) < 2:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
    late = time.time() * 1000 - now - 400
    assert came == [[2], [1]]
    assert 0 <= late < 1000
    assert (await transport.backlogs())["work:n"] == 3


async def test_any_number_may_be_due_at_once(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "DUE", 4)
    await put(transport, "work", *range(30))
    commit = step(transport, await take(transport, "work"))
    for number in range(30):
        commit.delay("work", frame(number), number)
    await transport.commit(commit)

    async with cared_for(transport):
        async with asyncio.timeout(0.9):  # it does not rest in between
            while len(came := await ports(transport, "work")) < 30:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
    assert came == [[number] for number in range(30)]


@pytest.mark.parametrize("cut", [False, True], ids=["at once", "after it subscribed twice"])
async def test_a_sender_hears_that_another_worker_made_room(server: RunningServer, lane: Lane, *, cut: bool) -> None:
    async with cutting_proxy(server.socket) as proxy, worker(server.address, lane, "other") as other:
        await other.open(["work", "left"])
        await put(other, "work", 1)
        await put(other, "left", 7)
        if cut:
            proxy.cut("SUBSCRIBE")
        async with worker(proxy.address, lane, "me") as transport, cared_for(transport):
            await listened(other, 1)
            if cut:
                await listened(other, 0)
                await listened(other, 1)
            commit = step(transport, await take(transport, "work"), 1)
            commit.room = [("left", 1)]
            waiting = asyncio.create_task(transport.vacancy(0, within=30))
            assert not (await transport.run("commit", *commit_call(commit)))[0] > 0
            last = Commit(lane, "left", "other")
            last.take(await take(other, "left"), count=1)
            assert await other.commit(last) is Answer.DONE

            async with asyncio.timeout(5):
                await waiting


def commit_call(commit: Commit) -> tuple[list[str], bytes, bytes]:
    keys, args = commit.call()
    return keys, args[0], args[1]


async def test_stranded_entries_come_back_are_told_and_counted(
    transport: Transport, care: Care, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "STEP", 2)
    for number in range(5):
        await put(transport, "work", number)
    assert len(await care.reader.read(10)) == 5
    entries = await transport.peek("work", 10)
    await transport.commit(step(transport, entries[0]))
    await transport.call("XGROUP", "DELCONSUMER", transport.lane.stream("work"), GROUP, "me")
    care.reader.done(entries)
    await put(transport, "work", 5)  # was never delivered, so is none of them

    await care.keeper.scrub()
    await care.keeper.scrub()
    assert care.stranded == [("work", 4)]
    assert (await transport.kept("work"))["stranded"] == "4"
    assert [numbers_of(one.frame) for one in await care.reader.read(10)] == [[1], [2], [3], [4]]
    assert [numbers_of(one.frame) for one in await care.reader.read(10)] == [[5]]


async def test_a_scrub_leaves_alone_what_is_in_flight(transport: Transport) -> None:
    await put(transport, "work", 1)
    entry = await take(transport, "work")
    async with worker(transport.client.address, transport.lane, "other") as other:
        await Care(other).keeper.scrub()

    assert await transport.commit(step(transport, entry, 1)) is Answer.DONE


async def test_streams_that_somebody_deleted_stop_nobody(
    transport: Transport, care: Care, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LIFETIME", 0.0)
    await transport.call("DEL", transport.lane.stream("work"))
    await care.keeper.scrub()
    await care.keeper.sweep()

    assert care.rechecked == []


async def test_after_an_outage_all_may_say_that_they_live_before_anything_is_taken_over(
    own_server: RunningServer, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LIFETIME", 1.5)
    async with worker(own_server.address, lane, "busy") as busy, worker(own_server.address, lane, "me") as transport:
        await busy.open(["work", "left"])
        await put(busy, "work", 1)
        entry = await take(busy, "work")
        own_server.stop(signal.SIGTERM)
        own_server.start()  # what said that the other one lives has run out meanwhile
        care = Care(transport)
        await care.keeper.sweep()
        assert await pending_of(transport, "busy") == 1

        async with asyncio.timeout(20):
            while await pending_of(transport, "busy"):
                await care.keeper.sweep()
                await asyncio.sleep(FAST)
        assert care.rechecked == ["work"]
        assert await busy.commit(step(busy, entry)) is Answer.FENCED


async def test_those_that_are_known_to_be_gone_are_taken_over_at_once(own_server: RunningServer, lane: Lane) -> None:
    async with worker(own_server.address, lane, "mine.1") as before, worker(own_server.address, lane, "mine.2") as now:
        await before.open(["work"])
        await put(before, "work", 1)
        await take(before, "work")
        await before.run("alive", [lane.alive("mine.1")], "1", 60_000)
        await now.bury_predecessors("mine.", ["work"])
        care = Care(now)
        await care.keeper.sweep()

        assert await pending_of(now, "mine.2") == 1
        assert care.rechecked == ["work"]


async def test_an_outage_half_way_through_a_takeover_ends_it(own_server: RunningServer, lane: Lane) -> None:
    async with worker(own_server.address, lane, "busy") as busy, worker(own_server.address, lane, "me") as transport:
        await busy.open(["work"])
        await put(busy, "work", 1)
        await take(busy, "work")
        care = Care(transport)
        own_server.stop()
        with pytest.raises(ServerTrouble):
            await care.keeper.takeover("work", "busy")
        own_server.start()

        assert await pending_of(transport, "busy") == 1


async def test_every_job_ends_with_the_keeper(transport: Transport) -> None:
    before = asyncio.all_tasks()
    async with cared_for(transport):
        await listened(transport, 1)
        assert len(asyncio.all_tasks() - before) == 5  # its own task and four jobs

    assert asyncio.all_tasks() == before
    await listened(transport, 0)


async def test_every_job_ends_while_the_server_is_away(own_server: RunningServer, lane: Lane) -> None:
    before = asyncio.all_tasks()
    async with worker(own_server.address, lane, "me") as transport:
        await transport.open(["work"])
        async with cared_for(transport):
            own_server.stop()
            await until(lambda: transport.trouble is not None, "trouble")

        assert asyncio.all_tasks() == before
        assert transport.trouble is None  # nobody waits for it


async def test_a_job_that_fails_ends_all(transport: Transport, care: Care) -> None:
    before = asyncio.all_tasks()
    await transport.call("SET", transport.lane.later("work"), "no set")
    with pytest.raises(ExceptionGroup) as failed:
        await care.keeper.run()

    assert failed.group_contains(CommandRefused)
    assert asyncio.all_tasks() == before
