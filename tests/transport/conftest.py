"""Two servers for every test of the transport: the bundled Valkey and Debian's Redis 7.0."""

import secrets
from collections.abc import AsyncGenerator, Iterator

import pytest

import redises
from intelstream.transport.link import Client
from intelstream.transport.names import Lane
from intelstream.transport.transport import Transport

STAGES = ("parse", "work", "left", "right")


@pytest.fixture(scope="session", params=["valkey", pytest.param("redis7", marks=pytest.mark.xdist_group("redis7"))])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    program = redises.valkey_program() if request.param == "valkey" else redises.redis_program()
    with redises.running(program) as found:
        yield found


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
