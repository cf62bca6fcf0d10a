"""A server that was started again may have forgotten its newest writes: what was begun with the last one is void."""

from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime

import pytest

from intelstream.transport.commit import Commit
from intelstream.transport.link import Client, Restarted
from intelstream.transport.marks import StageMarks
from intelstream.transport.names import Lane
from intelstream.transport.transport import Transport
from services import servers
from services.servers import RunningServer
from transport.steps import frame

ONE, TWO = "1" * 32, "2" * 32


def noon() -> datetime:
    return datetime(2024, 3, 6, 12, tzinfo=UTC)


@pytest.fixture
def own_server() -> Iterator[RunningServer]:
    with servers.running("valkey") as server:
        yield server


@pytest.fixture
async def own(own_server: RunningServer) -> AsyncGenerator[Transport]:
    client = Client(own_server.address)
    made = Transport(client, Lane("incarnations"), "me")
    await made.open(("source", "work"))
    yield made
    await client.close()


def restart(server: RunningServer) -> None:
    server.stop()
    server.start()


async def test_no_mark_is_set_for_what_an_earlier_server_gave(own: Transport, own_server: RunningServer) -> None:
    before = StageMarks(own, "work", noon, print)
    restart(own_server)
    with pytest.raises(Restarted):
        await before.claim_many([("a", ONE)], 60)

    assert await StageMarks(own, "work", noon, print).claim_many([("a", TWO)], 60) == [TWO]


def admission(own: Transport) -> Commit:
    commit = Commit(own.lane, "source", own.consumer, version="0", operation="one")
    commit.send(("work",), frame(1), 1)
    return commit


@pytest.mark.parametrize("met", [True, False], ids=["told by another connection", "told by its own"])
async def test_a_step_begun_with_an_earlier_server_is_not_committed(
    own: Transport, own_server: RunningServer, *, met: bool
) -> None:
    epoch = own.client.epoch
    restart(own_server)
    if met:
        await own.call("PING")
    with pytest.raises(Restarted):
        await own.commit(admission(own), admits=True, epoch=epoch)

    assert await own.peek("work", 10) == []
    assert (await own.commit(admission(own), admits=True, epoch=own.client.epoch)).written
    assert len(await own.peek("work", 10)) == 1


async def test_with_the_same_server_a_lost_connection_is_no_hindrance(
    own: Transport, own_server: RunningServer
) -> None:
    with own_server.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)

    assert (await own.commit(admission(own), admits=True, epoch=own.client.epoch)).written
