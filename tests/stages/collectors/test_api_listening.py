import asyncio
import socket
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from intelstream import testing
from intelstream.errors import Unavailable
from intelstream.sdk.server import HEADER, MOST
from pushes import Pushing, pushing


async def connected(pushed: Pushing, number: int) -> list[socket.socket]:
    """Open connections that each send the beginning of a request, and no more."""
    loop = asyncio.get_running_loop()
    found: list[socket.socket] = []
    for _ in range(number):
        one = socket.socket()
        one.setblocking(False)
        await loop.sock_connect(one, ("127.0.0.1", urlsplit(pushed.url).port))
        await loop.sock_sendall(one, b"POST / HTTP/1.1\r\nHost: x\r\nX-a: ")
        found.append(one)
    return found


async def ended(connections: list[socket.socket]) -> None:
    """Wait until the other side has closed all of them."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(HEADER / 2):
        for one in connections:
            with one, suppress(ConnectionError):
                assert await loop.sock_recv(one, 1) == b""


async def test_those_who_only_hold_connections_keep_nobody_out() -> None:
    async with pushing() as pushed, pushed.running():
        held = await connected(pushed, MOST + 50)
        assert await pushed.post(b"one") == (202, b"")
        await ended(held[:50])
        for one in held[50:]:
            one.close()

        assert pushed.taken == [b"one"]


async def test_a_header_has_to_come_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intelstream.sdk.server.HEADER", 0.2)
    async with pushing() as pushed, pushed.running():
        await ended(await connected(pushed, 3))
        assert await pushed.post(b"one") == (202, b"")


async def test_an_address_in_use_is_named_with_its_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(Unavailable) as caught:
            async with testing.open_stage("collectors.api", {"listen": where}):
                pass

    assert str(caught.value).startswith(f"listening on {where}: ")
    assert "give another `listen`" in str(caught.value)


ADDRESSES: dict[str, tuple[dict[str, Any], bool]] = {
    "loopback": ({"listen": "127.0.0.2:8401"}, True),
    "loopback of IPv6": ({"listen": "[::1]:8401"}, True),
    "localhost": ({"listen": "localhost:8401"}, True),
    "everywhere": ({"listen": "0.0.0.0:8401"}, False),
    "everywhere with a token": ({"listen": "0.0.0.0:8401", "token": "hush"}, True),
    "everywhere with an empty token": ({"listen": "[::]:8401", "token": ""}, False),
    "a name": ({"listen": "host.example:8401"}, False),
    "no port": ({"listen": "127.0.0.1"}, False),
    "no such port": ({"listen": "127.0.0.1:65536"}, False),
    "no path": ({"path": "push"}, False),
    "a path with a pattern": ({"path": "/{name}"}, False),
}


@pytest.mark.parametrize(("params", "valid"), ADDRESSES.values(), ids=ADDRESSES)
def test_beyond_the_own_host_a_token_is_needed(params: dict[str, Any], *, valid: bool) -> None:
    from intelstream.stages.collectors.api import Api  # noqa: PLC0415 - no server for each of these

    try:
        Api.Params.model_validate(params)
    except ValueError:
        assert not valid
    else:
        assert valid
