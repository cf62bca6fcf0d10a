import base64
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

import loopback
from intelstream import sdk, testing
from intelstream.app.prove.proxy import cutting_proxy
from intelstream.errors import StageError, Unavailable
from services import servers

EVENT = {"source.ip": "192.0.2.1", "feed.name": "list"}
RAW = base64.b64encode(b"one").decode()

pytestmark = pytest.mark.xdist_group("outputs.redis")


@pytest.fixture
async def server(valkey_port: int) -> AsyncGenerator[Redis]:
    async with Redis(port=valkey_port) as client:
        await client.flushall()
        yield client


@asynccontextmanager
async def opened(port: int, **params: Any) -> AsyncGenerator[testing.StageRun]:
    """Open the stage with the default address, which leads to the tests' own server."""
    world = testing.World(addresses={"127.0.0.1:6379": f"127.0.0.1:{port}"})
    async with testing.open_stage("outputs.redis", {"key": "queue"} | params, world=world) as run:
        yield run


async def queue(server: Redis, database: int = 2) -> list[Any]:
    """Return what a reader of IntelMQ would get, in order: it pops from the right."""
    await server.select(database)
    return [orjson.loads(line) for line in reversed(await server.lrange("queue", 0, -1))]


FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as IntelMQ takes it": ({}, {"__type": "Event", "raw": RAW} | EVENT),
    "without a type": ({"with_type": False}, {"raw": RAW} | EVENT),
    "without raw": ({"raw": False}, {"__type": "Event"} | EVENT),
    "objects": (
        {"with_type": False, "raw": False, "hierarchical": True},
        {"source": {"ip": "192.0.2.1"}, "feed": {"name": "list"}},
    ),
    "some fields": ({"with_type": False, "raw": False, "fields": "source.ip"}, {"source.ip": "192.0.2.1"}),
}


@pytest.mark.parametrize(("params", "expected"), FORMS.values(), ids=FORMS)
async def test_an_event_is_pushed_in_the_form_asked_for(
    params: dict[str, Any], expected: dict[str, Any], server: Redis, valkey_port: int
) -> None:
    async with opened(valkey_port, **params) as run:
        await run.send(EVENT | {"raw": RAW})

    assert await queue(server) == [expected]


@pytest.mark.parametrize("batch", [1, 3, 100])
async def test_events_are_read_in_the_order_they_came(batch: int, server: Redis, valkey_port: int) -> None:
    params = {"batch": batch, "with_type": False, "url": "redis://127.0.0.1:6379/5"}
    async with opened(valkey_port, **params) as run:
        await run.send(*({"comment": str(number)} for number in range(10)))

    assert await queue(server, 5) == [{"comment": str(number)} for number in range(10)]


async def test_a_write_without_an_answer_is_uncertain_and_not_repeated(valkey_port: int) -> None:
    with servers.running("valkey") as server:
        async with (
            cutting_proxy(server.socket) as proxy,
            opened(valkey_port, url=f"{proxy.address}?db=2", batch=2) as run,
        ):
            proxy.cut("LPUSH")
            result = await run.send({"comment": "one"}, {"comment": "two"})
            after = await run.send({"comment": "three"})
        async with Redis.from_url(server.address) as other:
            found = await queue(other)

    assert [dead.error for dead in result.dead] == ["Uncertain", "Uncertain"]
    assert "it may have been taken" in result.dead[0].text
    assert (after.dead, after.pending) == ([], [])
    assert [event["comment"] for event in found] == ["one", "two", "three"]


async def test_a_connection_that_the_server_has_closed_is_opened_again(server: Redis, valkey_port: int) -> None:
    async with opened(valkey_port) as run:
        await run.send({"comment": "one"})
        await server.client_kill_filter(_type="normal", skipme=True)
        result = await run.send({"comment": "two"})

    assert (result.dead, result.pending) == ([], [])
    assert [event["comment"] for event in await queue(server)] == ["one", "two"]


async def failing(port: int, **params: Any) -> StageError:
    async with opened(port, **params) as run:
        assert isinstance(run.stage, sdk.Output)
        with pytest.raises(StageError) as caught:
            await run.stage.write(sdk.Batch([testing.event(EVENT)], sdk.State(run.load)))
    return caught.value


async def test_a_server_that_is_away_loses_nothing(valkey_port: int) -> None:
    [port] = loopback.free_ports()
    error = await failing(valkey_port, url=f"redis://:hush@127.0.0.1:{port}/2")

    assert type(error) is Unavailable
    assert str(error).startswith(f"pushing to 'queue' of redis://127.0.0.1:{port}/2: ")
    assert "hush" not in str(error)


async def test_a_server_that_is_silent_is_not_waited_for(valkey_port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = await failing(valkey_port, url=f"redis://127.0.0.1:{silent.getsockname()[1]}", timeout="100ms")

    assert type(error) is Unavailable


async def test_a_server_that_refuses_is_told_and_loses_nothing(server: Redis, valkey_port: int) -> None:
    await server.select(2)
    await server.set("queue", "a text")
    wrong_type = await failing(valkey_port)
    wrong_password = await failing(valkey_port, url="redis://user:hush@127.0.0.1:6379/2")
    no_database = await failing(valkey_port, url="redis://127.0.0.1:6379/9999")

    assert (type(wrong_type), "WRONGTYPE" in str(wrong_type)) == (Unavailable, True)
    assert (type(wrong_password), "hush" in str(wrong_password)) == (Unavailable, False)
    assert type(no_database) is Unavailable


@pytest.mark.parametrize(
    "params", [{}, {"key": ""}, {"key": "a", "url": "http://host.example"}, {"key": "a", "batch": 0}]
)
async def test_parameters_that_make_no_sense_are_refused(params: dict[str, Any]) -> None:
    assert (await testing.run_stage("outputs.redis", params)).refused
