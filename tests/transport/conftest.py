"""Two servers for every test of the transport: the bundled Valkey and Debian's Redis 7.0."""

import secrets
from collections.abc import AsyncGenerator, Iterator

import pytest
from hypothesis import settings

from intelstream.transport.link import Client
from intelstream.transport.names import Lane
from intelstream.transport.transport import Transport
from services import servers
from services.servers import RunningServer

settings.register_profile("thorough", max_examples=1000, stateful_step_count=100, deadline=None)
STAGES = ("parse", "work", "left", "right")


@pytest.fixture(scope="session", params=["valkey", pytest.param("redis7", marks=pytest.mark.xdist_group("redis7"))])
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    with servers.running(str(request.param)) as found:
        yield found


@pytest.fixture
def address(server: RunningServer) -> str:
    return server.address


@pytest.fixture
def lane() -> Lane:
    return Lane(f"test-{secrets.token_hex(4)}")


@pytest.fixture
async def transport(address: str, lane: Lane) -> AsyncGenerator[Transport]:
    client = Client(address)
    made = Transport(client, lane, "me")
    await made.open(STAGES)
    yield made
    await client.close()
