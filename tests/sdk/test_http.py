"""Whatever a server does ends as one of our errors; what is secret goes to its own host alone."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import client_exceptions, http_exceptions, web
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

import loopback
from intelstream import testing
from intelstream.errors import NotFound, Rejected, StageError, Unavailable
from intelstream.sdk.files import Spool
from intelstream.sdk.http import Client, HttpParams, shown

NOW = datetime(2024, 3, 6, 12, tzinfo=UTC)
OK = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def client(url: str | URL, **params: Any) -> AsyncGenerator[Client]:
    given = {"timeout": "1s", "url": str(url)} | params
    async with testing.open_stage("collectors.http", given, world=testing.World(now=NOW, live=True)) as run:
        yield Client(run.stage.ctx, run.stage.params)


async def get(url: str | URL, **params: Any) -> bytes:
    async with client(url, **params) as http:
        return (await http.get()).body


async def failing(url: str | URL, **params: Any) -> StageError:
    with pytest.raises(StageError) as caught:
        await get(url, **params)
    return caught.value


def answers(status: int, body: str = "", **headers: str) -> loopback.Handler:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


# -- every failure is one of ours ---------------------------------------------------------------------------

KEY = ConnectionKey("host.example", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)
TARGET = aiohttp.RequestInfo(URL("http://host.example/?token=hush"), "GET", headers={}, real_url=URL())  # type: ignore[arg-type]
HARD_TO_MAKE: dict[type[Exception], Callable[[type[Any]], Exception]] = {
    client_exceptions.ClientResponseError: lambda kind: kind(TARGET, (), status=400, message="torn"),
    client_exceptions.UnixClientConnectorError: lambda kind: kind("/run/socket", KEY, OSError(111, "refused")),
    client_exceptions.ClientConnectorCertificateError: lambda kind: kind(KEY, ssl.CertificateError("expired")),
    client_exceptions.ClientConnectorError: lambda kind: kind(KEY, OSError(111, "refused")),
    client_exceptions.ServerFingerprintMismatch: lambda kind: kind(b"a", b"b", "host.example", 443),
    client_exceptions.NonHttpUrlClientError: lambda kind: kind("ftp://host.example/?token=hush"),
    client_exceptions.InvalidURL: lambda kind: kind("http://?token=hush"),
    http_exceptions.LineTooLong: lambda kind: kind(b"line", 8190),
    http_exceptions.InvalidHeader: lambda kind: kind(b"header"),
    http_exceptions.BadStatusLine: lambda kind: kind("line"),
    http_exceptions.HttpProcessingError: lambda kind: kind(message="torn"),
}


def every_failure() -> list[Exception]:
    found = {
        kind
        for module in (client_exceptions, http_exceptions)
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, Exception)
        and kind.__module__.startswith("aiohttp")
        # WebSockets are not spoken here
        and kind is not client_exceptions.WSMessageTypeError
    }
    made = []
    for kind in sorted(found, key=str):
        make = next((make for base, make in HARD_TO_MAKE.items() if issubclass(kind, base)), lambda kind: kind("torn"))
        made.append(make(kind))
    return [*made, TimeoutError(), OSError(104, "Connection reset by peer"), ssl.SSLError("bad record")]


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("failure", every_failure(), ids=lambda failure: type(failure).__name__)
async def test_no_failure_of_the_library_escapes_and_none_shows_a_secret(
    failure: Exception, *, repeatable: bool
) -> None:
    async def fail(_request: aiohttp.ClientRequest, _handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        raise failure

    url = "https://user:hush@host.example/list?token=hush"
    async with (
        testing.open_stage("collectors.http", {"url": url}) as run,
        aiohttp.ClientSession(middlewares=(fail,)) as session,
    ):
        http = Client(replace(run.stage.ctx, http=session), run.stage.params)
        with pytest.raises(StageError) as caught:
            await http.request("POST", body=b"x", repeatable=repeatable)

    cause = caught.value.__cause__
    assert cause
    assert failure in (cause, cause.__cause__)
    assert str(caught.value).startswith("posting to https://host.example/list?token=***: ")
    assert "hush" not in str(caught.value)


# -- what a status means ------------------------------------------------------------------------------------

STATUSES = {
    400: (Rejected, Rejected),
    401: (Unavailable, Unavailable),
    403: (Rejected, Rejected),
    404: (NotFound, NotFound),
    407: (Unavailable, Unavailable),
    408: (Unavailable, Unavailable),
    410: (NotFound, NotFound),
    422: (Rejected, Rejected),
    429: (Unavailable, Unavailable),
    500: (Unavailable, StageError),
    502: (Unavailable, StageError),
    503: (Unavailable, Unavailable),
    504: (Unavailable, StageError),
    522: (Unavailable, StageError),
}


@pytest.mark.parametrize("status", STATUSES)
async def test_a_status_is_an_error_and_says_whether_the_request_may_have_been_taken(status: int) -> None:
    async with (
        loopback.http(answers(status, "quota\n<b>used</b> up\x1b[2J")) as server,
        client(server.make_url("/")) as http,
    ):
        for repeatable, expected in zip((True, False), STATUSES[status], strict=True):
            with pytest.raises(StageError) as caught:
                await http.request("POST", body=b"x", repeatable=repeatable)

            assert type(caught.value) is expected
            assert f"HTTP {status}: quota <b>used</b> up[2J" in str(caught.value)


WAITS = {
    "7": 7,
    "Wed, 06 Mar 2024 12:00:30 GMT": 30,
    "Wed, 06 Mar 2024 11:00:00 GMT": 0,
    "99999999999999": 86_400,
    "²": None,
    "soon": None,
    "": None,
}


@pytest.mark.parametrize(("said", "wait"), WAITS.items())
async def test_retry_after_is_seconds_or_a_date(said: str, wait: float | None) -> None:
    async with loopback.http(answers(503, Retry_After=said)) as server:
        error = await failing(server.make_url("/"))

    assert isinstance(error, Unavailable)
    assert error.retry_after == wait


# -- servers that are broken, slow or hostile ---------------------------------------------------------------

CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BAD: dict[str, tuple[dict[str, Any], dict[str, Any], type[StageError], str]] = {
    "endless chunks": (
        {"parts": [CHUNKED], "endless": b"400\r\n" + b"x" * 1024 + b"\r\n"},
        {},
        Rejected,
        "more than 64KiB",
    ),
    "endless headers": (
        {"parts": [OK], "endless": b"X-A: " + b"x" * 512 + b"\r\n"},
        {},
        Unavailable,
        "Too many headers",
    ),
    "a length that is too large": (
        {"parts": [OK + b"Content-Length: 9\r\n\r\nfour"]},
        {},
        Unavailable,
        "not completed",
    ),
    "a length over the limit": (
        {"parts": [OK + b"Content-Length: 65537\r\n\r\n"], "holds": True},
        {},
        Rejected,
        "max_bytes",
    ),
    "a torn chunk": ({"parts": [CHUNKED + b"zz\r\n"]}, {}, Unavailable, ""),
    "no HTTP": ({"parts": [b"SSH-2.0-OpenSSH_9.2\r\n\r\n"]}, {}, Unavailable, ""),
    "nothing": ({"parts": []}, {}, Unavailable, "disconnected"),
    "silence": ({"parts": [], "holds": True}, {"timeout": "200ms"}, Unavailable, "no answer within 200ms"),
    "silence in the body": (
        {"parts": [CHUNKED], "holds": True},
        {"timeout": "200ms"},
        Unavailable,
        "within 200ms",
    ),
    "an encoding that is none": (
        {"parts": [OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone"]},
        {},
        Unavailable,
        "",
    ),
    "a bomb of gzip": (
        {"parts": [OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(64 * 2**20))]},
        {},
        Rejected,
        "more than 64KiB",
    ),
}


@pytest.mark.parametrize(("said", "params", "kind", "text"), BAD.values(), ids=BAD)
async def test_a_bad_server_costs_an_error_and_no_memory(
    said: dict[str, Any], params: dict[str, Any], kind: type[StageError], text: str
) -> None:
    parts, rest = said["parts"], {name: value for name, value in said.items() if name != "parts"}
    async with loopback.says(*parts, **rest) as url:
        error = await failing(url, max_bytes="64KiB", **params)

    assert type(error) is kind
    assert text in str(error)
    assert url in str(error)


async def test_an_answer_that_drips_is_not_waited_for() -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x")
                await asyncio.sleep(0.01)
        except ConnectionResetError:
            return response

    async with loopback.http(drip) as server:
        error = await failing(server.make_url("/"), timeout="300ms")

    assert isinstance(error, Unavailable)
    assert "slower than 1024 bytes a second" in str(error)


async def test_a_closed_port_and_an_unknown_host_are_named() -> None:
    [port] = loopback.free_ports()

    closed = await failing(f"http://127.0.0.1:{port}/list?key=hush")
    assert isinstance(closed, Unavailable)
    assert f"getting http://127.0.0.1:{port}/list?key=***: connecting to 127.0.0.1:{port}" in str(closed)

    unknown = await failing("http://host.invalid/")
    assert isinstance(unknown, Unavailable)
    assert "no address for host.invalid" in str(unknown)


@pytest.mark.parametrize("url", ["http://[::1", "nothing", "ftp://host.example/", "http://host.example:99999/"])
async def test_what_is_no_url_is_rejected_by_name(url: str) -> None:
    async with client("http://host.example/") as http:
        with pytest.raises(Rejected, match="no URL that can be asked"):
            await http.get(url)


# -- redirects and credentials ------------------------------------------------------------------------------

WAYS_IN: dict[str, dict[str, Any]] = {
    "token": {"token": "hush"},
    "user": {"username": "user", "password": "hush"},
    "header": {"headers": {"X-Key": "hush"}},
}


@pytest.mark.parametrize("given", WAYS_IN.values(), ids=WAYS_IN)
async def test_credentials_follow_a_redirect_on_their_host_and_go_nowhere_else(given: dict[str, Any]) -> None:
    seen: dict[str, dict[str, str]] = {}

    async def other(request: web.Request) -> web.Response:
        seen["other"] = dict(request.headers)
        return web.Response(text="list")

    async def own(request: web.Request) -> web.Response:
        seen[request.path] = dict(request.headers)
        there = "/second" if request.path == "/first" else str(foreign.make_url("/list"))
        return web.Response(status=302, headers={"Location": there})

    async with loopback.http(other) as foreign, loopback.http(own) as server:
        body = await get(server.make_url("/first"), user_agent="tests", **given)

    assert body == b"list"
    assert [
        name for name in ("/first", "/second", "other") if "X-Key" in seen[name] or "Authorization" in seen[name]
    ] == [
        "/first",
        "/second",
    ]
    assert seen["other"]["User-Agent"] == "tests"


async def test_credentials_in_the_url_are_sent_as_a_header() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.raw_path} {request.headers['Authorization']}")

    async with loopback.http(answer) as server:
        body = await get(server.make_url("/list").with_user("user").with_password("p:ss"))

    assert body == b"/list " + aiohttp.encode_basic_auth("user", "p:ss").encode()


REDIRECTS: dict[str, tuple[int, str, str, str]] = {
    "a loop": (302, "/", "GET", "more than 5 redirects"),
    "nowhere": (302, "", "GET", "more than 5 redirects"),
    "no scheme that is known": (302, "gopher://host.example/", "GET", "no URL"),
    "a file": (302, "file:///etc/passwd", "GET", "no URL"),
    "no port": (302, "http://host.example:port/", "GET", "no URL"),
    "a method that changes": (302, "/other", "POST", "give that address as `url`"),
}


@pytest.mark.parametrize(("status", "location", "method", "text"), REDIRECTS.values(), ids=REDIRECTS)
async def test_a_bad_redirect_is_refused(status: int, location: str, method: str, text: str) -> None:
    async with loopback.http(answers(status, Location=location)) as server, client(server.make_url("/")) as http:
        with pytest.raises(StageError, match=text):
            await http.request(method)


async def test_a_redirect_that_keeps_the_method_keeps_the_body() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/":
            return web.Response(status=307, headers={"Location": "/there"})
        return web.Response(text=f"{request.method} {await request.text()}")

    async with loopback.http(answer) as server, client(server.make_url("/")) as http:
        assert (await http.request("POST", body=b"events")).body == b"POST events"


# -- TLS and proxies ----------------------------------------------------------------------------------------


class Authority:
    """A certificate authority with the files that a pipeline would name."""

    def __init__(self, directory: Path) -> None:
        self.ca = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self.client_cert = directory / "client.pem"
        self.ca.cert_pem.write_to_path(self.ca_file)
        self.ca.issue_cert("client@example").private_key_and_cert_chain_pem.write_to_path(self.client_cert)

    def server(self, *, asks: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert("127.0.0.1").configure_cert(context)
        self.ca.configure_trust(context)
        context.verify_mode = ssl.CERT_OPTIONAL if asks else ssl.CERT_NONE
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def certified(request: web.Request) -> web.Response:
    if request.path == "/away":
        return web.Response(status=302, headers={"Location": request.query["to"]})
    return web.Response(text="known" if request.get_extra_info("peercert") else "unknown")


async def test_a_certificate_must_be_of_an_authority_that_is_trusted(authority: Authority) -> None:
    async with loopback.http(certified, tls=authority.server()) as server:
        url = server.make_url("/")
        error = await failing(url)

        assert isinstance(error, Unavailable)
        assert "certificate of 127.0.0.1" in str(error)
        assert "`ca_file`" in str(error)
        assert await get(url, ca_file=authority.ca_file) == b"unknown"
        assert await get(url, verify=False) == b"unknown"


async def test_a_client_certificate_is_shown_to_its_own_host_alone(authority: Authority) -> None:
    shows = {"ca_file": authority.ca_file, "client_cert": authority.client_cert}
    async with (
        loopback.http(certified, tls=authority.server(asks=True)) as server,
        loopback.http(certified, tls=authority.server(asks=True)) as other,
    ):
        assert await get(server.make_url("/"), **shows) == b"known"
        assert await get(server.make_url("/away").with_query(to=str(other.make_url("/"))), **shows) == b"unknown"


async def test_a_redirect_out_of_tls_is_refused(authority: Authority) -> None:
    async with loopback.http(certified, tls=authority.server()) as server, loopback.http(certified) as plain:
        url = server.make_url("/away").with_query(to=str(plain.make_url("/")))

        assert "from https to plain http" in str(await failing(url, ca_file=authority.ca_file))


async def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    error = await failing("https://127.0.0.1:1/", ca_file=tmp_path / "none.pem")

    assert isinstance(error, Unavailable)
    assert "`ca_file`" in str(error)


async def test_a_proxy_is_asked_with_its_own_credentials() -> None:
    async def proxy(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.raw_path} {request.headers['Proxy-Authorization']}")

    async with loopback.http(proxy) as server:
        through = str(server.make_url("/").with_user("user").with_password("hush"))
        body = await get("http://host.example/list", proxy=through)

    assert body == b"http://host.example/list " + aiohttp.encode_basic_auth("user", "hush").encode()


# -- what is large ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "as_file"), [(0, False), (2**20, False), (2**20 + 1, True), (5 * 2**20, True)])
async def test_what_is_large_lands_in_a_file(size: int, *, as_file: bool) -> None:
    content = bytes(size)

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=content)

    given = {"url": "http://host.example/"}
    async with (
        loopback.http(answer) as server,
        testing.open_stage("collectors.http", given, world=testing.World(live=True)) as run,
    ):
        spool = Spool(run.stage.ctx)
        found = (await Client(run.stage.ctx, run.stage.params).download(spool, url=str(server.make_url("/")))).content

        assert isinstance(found, Path) is as_file
        assert (found.read_bytes() if isinstance(found, Path) else found) == content
        spool.sweep()
        assert list(spool.directory.glob("*")) == []


async def test_a_download_that_is_too_large_leaves_nothing() -> None:
    parts = [CHUNKED]
    async with (
        loopback.says(*parts, endless=b"10000\r\n" + b"x" * 65536 + b"\r\n") as url,
        testing.open_stage("collectors.http", {"url": url, "max_bytes": "3MiB"}, world=testing.World(live=True)) as run,
    ):
        spool = Spool(run.stage.ctx)
        with pytest.raises(Rejected, match="more than 3MiB"):
            await Client(run.stage.ctx, run.stage.params).download(spool)

        assert list(spool.directory.glob("*")) == []


async def test_a_spool_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"in the way")
    world = testing.World(live=True, directory=tmp_path)
    async with (
        loopback.says(CHUNKED, endless=b"10000\r\n" + b"x" * 65536 + b"\r\n") as url,
        testing.open_stage("collectors.http", {"url": url}, world=world) as run,
    ):
        with pytest.raises(Unavailable, match=f"spooling to {tmp_path}/spool: File exists"):
            await Client(run.stage.ctx, run.stage.params).download(Spool(run.stage.ctx))


async def test_what_is_posted_goes_below_the_url_in_one_piece() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.path} {request.content_type} {len(await request.read())}")

    async with loopback.http(answer) as server, client(server.make_url("/top/")) as http:
        assert (await http.post("_bulk", bytes(2 * 2**20), "application/x-ndjson")).body == (
            b"/top/_bulk application/x-ndjson 2097152"
        )


# -- parameters ---------------------------------------------------------------------------------------------

SHOWN = {
    "https://user:hush@host.example:8443/a?b=1": "https://host.example:8443/a?b=1",
    "https://host.example/?api_key=hush&format=csv": "https://host.example/?api_key=***&format=csv",
    "https://host.example/?q=0123456789abcdef0123456789abcdef": "https://host.example/?q=***",
    "https://host.example/?q=eyJhbGciOi.eyJzdWIi.c2ln": "https://host.example/?q=***",
    "https://host.example/?since=2024-03-06T00:00:00Z&key=": "https://host.example/?since=2024-03-06T00:00:00Z&key=",
    "https://host.example/list?plain#part": "https://host.example/list?plain",
}


@pytest.mark.parametrize(("url", "expected"), SHOWN.items())
def test_a_url_is_shown_without_secrets(url: str, expected: str) -> None:
    assert shown(url) == expected


REFUSED: dict[str, dict[str, Any]] = {
    "token and user": {"token": "a", "username": "b"},
    "a password alone": {"password": "a"},
    "a key alone": {"client_key": "a"},
    "a header of two lines": {"headers": {"X-A": "b\r\nX-C: d"}},
    "a header without a name": {"headers": {"": "b"}},
    "no URL": {"url": "host.example"},
    "a file": {"url": "file:///etc/passwd"},
    "a method that is none": {"method": "BREW"},
}


@pytest.mark.parametrize("given", REFUSED.values(), ids=REFUSED)
async def test_parameters_that_contradict_are_refused(given: dict[str, Any]) -> None:
    assert (await testing.run_stage("collectors.http", {"url": "http://host.example/"} | given)).refused


def test_the_user_agent_is_ours() -> None:
    assert HttpParams.model_validate({"url": "http://host.example/"}).user_agent.startswith("intelstream/")
