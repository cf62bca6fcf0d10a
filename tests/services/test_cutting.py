"""The proxy itself: the server has carried the command out, and the client does not know it."""

import asyncio

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from intelstream.app.prove.proxy import CuttingProxy, cutting_proxy
from services.servers import RunningServer


def client_of(proxy: CuttingProxy) -> redis.asyncio.Redis:
    return redis.asyncio.Redis(unix_socket_path=str(proxy.path), retry=Retry(NoBackoff(), 0))


async def test_the_answer_to_the_wanted_command_alone_is_lost(any_redis: RunningServer) -> None:
    async with cutting_proxy(any_redis.socket) as proxy, client_of(proxy) as client:
        proxy.cut("XADD", nth=2)
        await client.xadd("s", {"d": "x" * 200_000})
        await client.set("a", "1")
        with pytest.raises(redis.ConnectionError):
            await client.xadd("s", {"d": "2"})

        assert proxy.cuts == 1
        assert await client.xlen("s") == 2
        await client.xadd("s", {"d": "3"})
        assert await client.xlen("s") == 3


async def test_answers_before_the_lost_one_arrive(any_redis: RunningServer) -> None:
    async with cutting_proxy(any_redis.socket) as proxy:
        proxy.cut("incr")
        reader, writer = await asyncio.open_unix_connection(proxy.path)
        for command in ("SET a 1", "INCR n", "GET a"):
            words = command.split()
            writer.write("".join([f"*{len(words)}\r\n", *(f"${len(word)}\r\n{word}\r\n" for word in words)]).encode())
        answers = await reader.read()
        writer.close()
        await writer.wait_closed()

    assert answers == b"+OK\r\n"
    with any_redis.client() as client:
        assert client.get("n") == "1"
