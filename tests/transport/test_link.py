"""Links to real servers: errors mean one thing, limits of time hold while cleaning up, and nothing stays open."""

import ast
import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import exceptions

import intelstream
from intelstream.app.prove.proxy import cutting_proxy
from intelstream.errors import IntelstreamError
from intelstream.transport import link
from intelstream.transport import transport as transports
from intelstream.transport.commit import Answer, Commit
from intelstream.transport.link import Client, CommandRefused, Link, ServerTrouble, translated
from intelstream.transport.names import Lane
from intelstream.transport.transport import Transport
from services import servers
from services.servers import KINDS, RunningServer
from transport.steps import bury, frame, ports, put, step, take, worker

BANNED = {
    "XADD",
    "INCR",
    "INCRBY",
    "HINCRBY",
    "SETNX",
    "HSETNX",
    "XACK",
    "LPUSH",
    "RPUSH",
    "RENAME",
    "XAUTOCLAIM",
    "XCLAIM",
}


@pytest.fixture(params=KINDS)
def own_server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """A server that a test may stop and misuse."""
    with servers.running(str(request.param)) as found:
        yield found


def errors_of_the_library() -> list[type[Exception]]:
    found = [
        one for one in vars(exceptions).values() if isinstance(one, type) and issubclass(one, exceptions.RedisError)
    ]
    return sorted(found, key=lambda one: one.__name__)


@pytest.mark.parametrize("kind", errors_of_the_library(), ids=lambda kind: kind.__name__)
def test_every_error_of_the_library_means_something(kind: type[Exception]) -> None:
    error = kind("1 127.0.0.1:6379")  # as text it will do; some want a slot and an address

    assert isinstance(translated(error), IntelstreamError)


ANSWERS = {
    "OOM command not allowed when used memory > 'maxmemory'.": "oom",
    "MISCONF Errors writing to the AOF file: No space left on device": "misconf",
    "LOADING server is loading the dataset in memory": "loading",
    "READONLY You can't write against a read only replica.": "readonly",
    "NOREPLICAS Not enough good replicas to write.": "noreplicas",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": "masterdown",
    "CLUSTERDOWN The cluster is down": "clusterdown",
    "TRYAGAIN Multiple keys request during rehashing of slot": "tryagain",
    "BUSY server is busy running a script.": "busy",
    "-OOM script: 0123, on @user_script:3.": "oom",
}


@pytest.mark.parametrize(("text", "code"), ANSWERS.items(), ids=ANSWERS.values())
def test_an_answer_that_asks_to_wait_is_told_from_a_refusal(text: str, code: str) -> None:
    waits = translated(exceptions.ResponseError(text))

    assert isinstance(waits, ServerTrouble)
    assert waits.code == code
    assert isinstance(translated(exceptions.ResponseError("BUSYGROUP it is there")), CommandRefused)


async def cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait({task})


async def test_a_limit_of_time_holds_while_cleaning_up(
    own_server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "ANSWER", 0.2)
    client = Client(own_server.address)
    await client.call("PING")
    assert own_server.process
    own_server.process.send_signal(signal.SIGSTOP)
    met: list[BaseException] = []
    started = asyncio.Event()

    async def work() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            try:
                await client.call("PING")
            except BaseException as error:  # noqa: BLE001 - which one is the question
                met.append(error)

    task = asyncio.create_task(work())
    await started.wait()
    await cancelled(task)
    own_server.process.send_signal(signal.SIGCONT)
    await client.close()

    assert [type(error) for error in met] == [ServerTrouble]
    assert task.cancelled()


async def test_a_lease_is_given_back_while_cleaning_up_and_never_waited_for(
    own_server: RunningServer, lane: Lane
) -> None:
    started = asyncio.Event()

    async def work(transport: Transport) -> None:
        await transport.lease("work")
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await transport.release("work")

    async with worker(own_server.address, lane, "me") as transport:
        for away in (False, True):
            started.clear()
            task = asyncio.create_task(work(transport))
            await started.wait()
            if away:
                own_server.stop()
            async with asyncio.timeout(5):
                await cancelled(task)
            if not away:
                assert "lease" not in await transport.kept("work")


async def test_a_link_that_was_lent_closes_with_its_client(address: str) -> None:
    client, looker = Client(address), Client(address)
    async with client.link() as lent:
        await lent.call("PING")
        await client.close()
        assert f"id={lent.number} ".encode() in await looker.call("CLIENT", "LIST")
    async with asyncio.timeout(10):
        while f"id={lent.number} ".encode() in await looker.call("CLIENT", "LIST"):
            pass
    await looker.close()


async def test_a_call_that_is_cancelled_leaves_no_answer_for_the_next(address: str) -> None:
    client = Client(address)
    async with client.link() as lent:
        waiting = asyncio.create_task(lent.call("BLPOP", "nothing comes here", 5))
        async with asyncio.timeout(10):
            while b"blocked_clients:0" in await client.call("INFO", "clients"):
                pass
        await cancelled(waiting)

        assert await lent.call("ECHO", "mine") == b"mine"
    await client.close()


async def test_a_connection_whose_opening_failed_is_opened_again(server: RunningServer) -> None:
    async with cutting_proxy(server.socket) as proxy:
        client = Client(proxy.address)
        one = Link(client)
        proxy.cut("INFO")
        with pytest.raises(ServerTrouble):
            await one.call("PING")

        assert await one.call("PING") == b"PONG"
        assert client.run_id
        assert one.number
        await one.close()


async def test_another_incarnation_is_told_from_the_last(own_server: RunningServer) -> None:
    client = Client(own_server.address)
    await client.call("PING")
    first, run_id = client.epoch, client.run_id
    own_server.stop()
    own_server.start()
    with pytest.raises(ServerTrouble):
        await client.call("PING")  # the connection that the old one had
    await client.call("PING")
    await client.close()

    assert client.epoch == first + 1
    assert client.run_id != run_id


async def test_trouble_is_told_once_and_over_when_nobody_waits(
    own_server: RunningServer, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transports, "SLOWEST", 0.05)
    told: list[str | None] = []
    client = Client(own_server.address)
    transport = Transport(client, lane, "me", lambda trouble: told.append(trouble.code if trouble else None))
    await transport.open(["work", "left"])
    await transport.call("CONFIG", "SET", "maxmemory", "1")
    admitting = asyncio.create_task(put(transport, "work", 1))
    async with asyncio.timeout(10):
        while not told:
            await transport.call("PING")  # others are well, and say so
        while not transport.steady(0.5):  # a worker says that it lives where memory is full, too
            await transport.call("PING")
    assert told == ["oom"]
    await transport.call("CONFIG", "SET", "maxmemory", "0")
    await admitting
    await client.close()

    assert told == ["oom", None]


async def test_outputs_drain_and_leases_hold_where_memory_is_full(own_server: RunningServer, lane: Lane) -> None:
    async with worker(own_server.address, lane, "me") as transport:
        await transport.open(["work", "left"])
        await put(transport, "work", 1, 2)
        entry = await take(transport, "work")
        await transport.call("CONFIG", "SET", "maxmemory", "1")
        admitting = asyncio.create_task(put(transport, "work", 3))

        async with asyncio.timeout(5):
            version = (await transport.states("work", ()))[0]
            first, rest = step(transport, entry, 1, to="1", taken=1), None
            first.version = version
            first.write("s:length", 100)
            first.count("work", "written", 1)
            assert await transport.commit(first) is Answer.DONE
            rest = Commit(lane, "work", "me")
            rest.take(type(entry)("work", entry.id, entry.frame, 2, "1"), count=1)
            assert await transport.commit(rest) is Answer.DONE
            assert await transport.lease("left") is not None
            await transport.run("alive", [lane.alive("me")], "1", 60_000)
        assert not admitting.done()
        await transport.call("CONFIG", "SET", "maxmemory", "0")
        await admitting

        assert await ports(transport, "left") == [[1]]
        assert await ports(transport, "work") == [[3]]


async def test_a_key_that_somebody_else_wrote_costs_no_half_of_a_commit(transport: Transport) -> None:
    await put(transport, "work", 1)
    entry = await take(transport, "work")
    sent, delayed, buried = (step(transport, entry, 1) for _ in range(3))
    sent.send(("right",), frame(1), 1)
    delayed.delay("work", frame(1), 1)
    bury(buried, 1)
    lane = transport.lane
    for commit, key in ((sent, lane.stream("right")), (delayed, lane.later("work")), (buried, lane.dead("work"))):
        await transport.call("DEL", key)
        await transport.call("SET", key, "not ours")
        with pytest.raises(CommandRefused, match="somebody else wrote it"):
            await transport.commit(commit)
        await transport.call("DEL", key)

    assert await ports(transport, "left") == []
    assert await transport.commit(sent) is Answer.DONE


async def test_a_step_that_nobody_could_tell_from_its_repetition_is_refused(transport: Transport) -> None:
    commit = Commit(transport.lane, "source", "me")
    commit.send(("work",), frame(1), 1)

    with pytest.raises(ValueError, match="needs the version it started from"):
        await transport.commit(commit, admits=True)


async def test_another_step_of_the_same_name_is_not_taken_for_the_last(transport: Transport) -> None:
    first, second = (Commit(transport.lane, "source", "me", version="0", operation="0:0") for _ in range(2))
    first.send(("work",), frame(1), 1)
    second.send(("work",), frame(2), 1)

    assert await transport.commit(first) is Answer.DONE
    assert await transport.commit(first) is Answer.BEFORE
    assert await transport.commit(second) is Answer.STALE


def test_what_must_not_be_sent_twice_is_sent_by_scripts_alone() -> None:
    folder = Path(intelstream.__file__).parent
    sent: list[str] = []
    for layer in ("transport", "runtime", "app"):
        for file in (folder / layer).rglob("*.py"):
            constants = [node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)]
            words = {one for one in constants if isinstance(one, str)}
            sent += [f"{file.relative_to(folder)}: {word}" for word in words & BANNED]

    assert sent == []
