"""What the daemon logs of what is not its own."""

import asyncio
import io
import json
import logging
from collections.abc import Awaitable, Callable, Iterator

import pytest
import structlog
from aiohttp import web

import loopback
from intelstream.app import logs
from intelstream.sdk.server import BoundedServer


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The log as JSON, for as long as the test lasts."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    file = io.StringIO()
    logs.configure(json=True, file=file)
    yield file
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


async def _read(request: web.BaseRequest) -> web.Response:
    await request.read()
    return web.Response()


async def _break(_: web.BaseRequest) -> web.Response:
    raise ZeroDivisionError


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
HOSTILE = {
    "a length that is none": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -%d\r\n\r\n",
        ["Invalid character in Content-Length: b'Content-Length: -0' ^"],
    ),
    "no gzip": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nnogz%d",
        ["400, message: Can not decode content-encoding: gzip"],
    ),
    "no HTTP": (b"\x16\x03\x01\x02%d\r\n\r\n", []),
}


async def sent(handler: Handler, requests: list[bytes]) -> list[bytes]:
    [port] = loopback.free_ports()
    runner = web.ServerRunner(BoundedServer(handler))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    answers: list[bytes] = []
    for request in requests:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answers.append(await reader.readline())
        writer.close()
        await writer.wait_closed()
    await runner.cleanup()
    return answers


@pytest.mark.parametrize(("request_", "reasons"), HOSTILE.values(), ids=HOSTILE)
async def test_what_strangers_send_that_is_no_request_is_at_most_one_line_a_minute(
    request_: bytes, reasons: list[str], log: io.StringIO
) -> None:
    await sent(_read, [request_ % number for number in range(5)])

    found = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [(entry["event"], entry["reason"]) for entry in found] == [
        ("request_not_understood", reason) for reason in reasons
    ]
    assert "exception" not in log.getvalue()


async def test_what_is_wrong_in_our_own_code_shows_where(log: io.StringIO) -> None:
    await sent(_break, [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])

    [entry] = [json.loads(line) for line in log.getvalue().splitlines()]
    assert (entry["event"], entry["level"], entry["library"]) == ("library_told", "error", "aiohttp.server")
    assert "ZeroDivisionError" in entry["exception"]
