import asyncio
import gzip
import io
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import orjson
import pytest

import loopback
from intelstream import sdk, testing
from intelstream.errors import Unavailable
from intelstream.ontology import Event, Report

SCAN = {"source.ip": "192.0.2.1", "classification.type": "scanner"}
WIRE = SCAN | {"raw": "b25l", "__type": "Event"}


class Pushing:
    """The stage with a client that posts to it, and an engine that commits while it `runs`."""

    def __init__(self, run: testing.StageRun, http: aiohttp.ClientSession, url: str) -> None:
        self.run, self.http, self.url = run, http, url
        self.taken: list[Any] = []
        self.begun: list[str] = []

    @asynccontextmanager
    async def running(self, *, fails: bool = False) -> AsyncGenerator[None]:
        """Commit what comes; with `fails` every commit is lost."""
        task = asyncio.create_task(self._run(fails=fails))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self, *, fails: bool) -> None:
        assert isinstance(self.run.stage, sdk.Collector)
        while True:
            events: list[dict[str, Any]] = []
            async for item in self.run.stage.collect(self.run.state.get("cursor")):
                if fails and not isinstance(item, sdk.Begin):
                    break  # and begin again from what is committed
                if isinstance(item, sdk.Begin):
                    self.begun.append(item.key)
                    continue
                if isinstance(item, Event):
                    events.append(item.to_dict(raw=True))
                    continue
                self.taken.append(item.raw if isinstance(item, Report) else events)
                events = []
                if item.cursor is not None:
                    self.run.state["cursor"] = item.cursor
                assert item.after_commit
                await item.after_commit()

    async def post(
        self, body: bytes, headers: Mapping[str, str] | None = None, path: str = "", **more: Any
    ) -> tuple[int, Any]:
        """Post, and return status and document."""
        async with self.http.post(self.url + path, data=io.BytesIO(body), headers=headers, **more) as answer:
            said = await answer.read()
            self.headers = answer.headers
            return answer.status, orjson.loads(said) if answer.content_type.endswith("json") else said


@asynccontextmanager
async def pushing(held: str = "", **params: Any) -> AsyncGenerator[Pushing]:
    [port] = loopback.free_ports()
    world = testing.World(addresses={"127.0.0.1:8401": f"127.0.0.1:{port}"}, live=True, held=held)
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http,
        testing.open_stage("collectors.api", params, world=world) as run,
    ):
        yield Pushing(run, http, f"http://127.0.0.1:{port}{params.get('path', '/')}")


# -- what is taken ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2**20, 5 * 2**20], ids=["small", "medium", "large"])
async def test_a_report_is_taken_as_it_is(size: int) -> None:
    body = b"x" * size
    async with pushing(path="/push") as pushed, pushed.running():
        assert await pushed.post(body) == (202, b"")
        assert pushed.taken == [body]
        assert list((pushed.run.stage.ctx.directory / "spool").glob("*")) == []


FORMS = {
    "an object": (orjson.dumps(WIRE), [SCAN | {"raw": "b25l"}]),
    "an array": (orjson.dumps([WIRE, SCAN]), [SCAN | {"raw": "b25l"}, SCAN]),
    "lines": (b"\n" + orjson.dumps(WIRE) + b"\r\n\n" + orjson.dumps(SCAN) + b"\n", [SCAN | {"raw": "b25l"}, SCAN]),
    "nothing": (b"[]", []),
}


@pytest.mark.parametrize(("body", "events"), FORMS.values(), ids=FORMS)
async def test_events_are_taken_in_any_form(body: bytes, events: list[dict[str, Any]]) -> None:
    async with pushing(accepts="events") as pushed, pushed.running():
        assert await pushed.post(body) == (202, b"")
        assert pushed.taken == [events]


async def test_a_body_may_be_packed_and_is_limited_unpacked() -> None:
    packed = {"Content-Encoding": "gzip"}
    async with pushing(max_bytes=100_000) as pushed, pushed.running():
        assert await pushed.post(gzip.compress(b"x" * 100_000), packed) == (202, b"")
        status, document = await pushed.post(gzip.compress(bytes(50 * 2**20)), packed)

        assert (status, document["detail"]) == (413, "a request has at most 100000B")
        assert pushed.taken == [b"x" * 100_000]


# -- what is refused ----------------------------------------------------------------------------------------

WRONG: dict[str, tuple[bytes, list[tuple[str, str]]]] = {
    "no JSON": (b"{", [("", "invalid_json")]),
    "no JSON in a line": (b'{"comment": "a"}\n{\n[', [("/1", "invalid_json"), ("/2", "invalid_json")]),
    "no object": (b'["a", 1, null]', [(f"/{place}", "invalid_value") for place in range(3)]),
    "no text": (b"\xff\xfe", [("", "invalid_json")]),
    "a value": (orjson.dumps([SCAN, {"source.ip": "nobody"}]), [("/1/source.ip", "invalid_value")]),
    "a field": (orjson.dumps({"a/b~c": 1}), [("/0/a~1b~0c", "invalid_value")]),
    "raw": (orjson.dumps({"raw": "!"}), [("/0/raw", "invalid_value")]),
    "depth": (b"[" * 100_000, [("", "invalid_json")]),
}


@pytest.mark.parametrize(("body", "faults"), WRONG.values(), ids=WRONG)
async def test_events_that_are_wrong_are_named_and_none_is_taken(body: bytes, faults: list[tuple[str, str]]) -> None:
    async with pushing(accepts="events") as pushed, pushed.running():
        status, document = await pushed.post(body)

        assert status == 400
        assert pushed.headers["Content-Type"].startswith("application/problem+json")
        assert [(fault["pointer"], fault["code"]) for fault in document["errors"]] == faults
        assert pushed.taken == []


REFUSED: dict[str, tuple[dict[str, str], bytes, int, dict[str, str]]] = {
    "no token": ({}, b"one", 401, {"WWW-Authenticate": "Bearer"}),
    "another scheme": ({"Authorization": "Basic aHVzaA=="}, b"one", 401, {}),
    "a wrong token": ({"Authorization": "Bearer hus"}, b"one", 403, {}),
    "a token of other letters": ({"Authorization": "Bearer hüsh"}, b"one", 403, {}),
    "nothing": ({"Authorization": "Bearer hush"}, b"", 400, {}),
    "too much": ({"Authorization": "bearer hush"}, b"x" * 1001, 413, {}),
    "a key that is too long": ({"Authorization": "Bearer hush", "Idempotency-Key": "x" * 256}, b"one", 400, {}),
    "no encoding": ({"Authorization": "Bearer hush", "Content-Encoding": "gzip"}, b"one", 400, {}),
}


@pytest.mark.parametrize(("headers", "body", "status", "said"), REFUSED.values(), ids=REFUSED)
async def test_what_must_not_be_taken_is_refused(
    headers: dict[str, str], body: bytes, status: int, said: dict[str, str]
) -> None:
    async with pushing(token="hush", max_bytes=1000) as pushed, pushed.running():  # noqa: S106 - made up
        got, document = await pushed.post(body, headers)

        assert (got, document["status"]) == (status, status)
        assert said.items() <= pushed.headers.items()
        assert pushed.taken == []


async def test_a_body_without_end_is_cut_off() -> None:
    async def endless() -> AsyncGenerator[bytes]:
        while True:
            yield b"x" * 65_536

    async with pushing(max_bytes="3MiB") as pushed, pushed.running():
        async with pushed.http.post(pushed.url, data=endless()) as answer:
            assert answer.status == 413
        assert list((pushed.run.stage.ctx.directory / "spool").glob("*")) == []


async def test_a_body_for_which_there_is_no_room_is_to_be_sent_again() -> None:
    async with pushing() as pushed, pushed.running():
        spool = pushed.run.stage.ctx.directory / "spool"
        spool.write_bytes(b"in the way")
        status, document = await pushed.post(bytes(2 * 2**20))
        spool.unlink()

        assert (status, document["detail"]) == (503, f"spooling to {spool}: File exists")
        assert pushed.taken == []


async def test_other_methods_and_paths_are_not_there() -> None:
    async with pushing(path="/push") as pushed, pushed.http.get(pushed.url) as other:
        assert other.status == 405
        assert (await pushed.post(b"one", path="/more"))[0] == 404


# -- when nothing is taken ----------------------------------------------------------------------------------


async def test_a_sender_waits_for_the_commit_and_is_told_when_nothing_is_taken() -> None:
    async with pushing(timeout="200ms") as pushed:
        status, document = await pushed.post(b"one")
        assert (status, document["detail"]) == (503, "nothing is taken at the moment")
        assert pushed.headers["Retry-After"] == "5"
        async with pushed.running():
            assert await pushed.post(b"two") == (202, b"")
        assert pushed.taken == [b"two"]


async def test_while_there_is_no_room_nothing_is_read_and_the_sender_is_to_come_back() -> None:
    async with pushing(held="the disk is nearly full") as pushed, pushed.running():
        status, document = await pushed.post(b"one")

        assert (status, document["detail"]) == (429, "nothing is taken at the moment: the disk is nearly full")
        assert pushed.headers["Retry-After"] == "5"
        assert pushed.taken == []


async def test_a_commit_that_is_lost_makes_the_sender_send_again() -> None:
    key = {"Idempotency-Key": "a"}
    async with pushing() as pushed:
        async with pushed.running(fails=True):
            assert (await pushed.post(b"one", key))[0] == 503
        async with pushed.running():
            assert (await pushed.post(b"one", key))[0] == 202
        assert pushed.taken == [b"one"]


async def test_too_many_at_a_time_are_told_to_come_back() -> None:
    async with pushing(timeout="5s") as pushed:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as pushed.http:
            posts = [asyncio.create_task(pushed.post(b"%d" % number)) for number in range(60)]
            done, waiting = await asyncio.wait(posts, return_when=asyncio.FIRST_COMPLETED)
            assert {task.result()[0] for task in done} == {429}
            async with pushed.running():
                answers = [status for status, _ in await asyncio.gather(*waiting, *done)]

        assert sorted(set(answers)) == [202, 429]
        assert answers.count(202) == len(pushed.taken) >= 50


@pytest.mark.parametrize("taken", [False, True], ids=["before it was taken", "before it was committed"])
async def test_those_who_wait_are_told_when_the_stage_stops(*, taken: bool) -> None:
    [port] = loopback.free_ports()
    async with aiohttp.ClientSession() as http:
        async with testing.open_stage("collectors.api", {"listen": f"127.0.0.1:{port}"}) as run:
            pushed = Pushing(run, http, f"http://127.0.0.1:{port}/")
            waits = asyncio.create_task(pushed.post(b"one"))
            assert isinstance(run.stage, sdk.Collector)
            reports = run.stage.collect(None)
            if taken:
                assert isinstance(await anext(reports), sdk.Begin)
                assert isinstance(await anext(reports), Report)
            else:
                assert (await pushed.post(b""))[0] == 400  # so the first one is in
        status, document = await waits

    assert (status, document["detail"]) == (503, "the stage stops; send it again")


# -- the same again -----------------------------------------------------------------------------------------


async def test_a_request_with_a_key_is_taken_once() -> None:
    async with pushing() as pushed, pushed.running():
        for key in ("a", "a", "b"):
            assert (await pushed.post(b"one", {"Idempotency-Key": key}))[0] == 202
        assert (await pushed.post(b"one"))[0] == 202
        assert (await pushed.post(b"one"))[0] == 202

        assert len(pushed.taken) == 4
        assert len(pushed.run.state["cursor"]["keys"]) == 2


@pytest.mark.parametrize("accepts", ["report", "events"])
async def test_what_has_the_same_content_begins_as_the_same_delivery(accepts: str) -> None:
    async with pushing(accepts=accepts) as pushed, pushed.running():
        for row in (SCAN, SCAN, WIRE):
            assert (await pushed.post(orjson.dumps(row)))[0] == 202

        first, again, other = pushed.begun
        assert first == again != other
        assert len(pushed.taken) == 3


async def test_a_key_is_known_after_a_restart_and_only_so_many_are_kept() -> None:
    async with pushing() as pushed:
        pushed.run.state["cursor"] = {"keys": [f"{number:016x}{0:016x}" for number in range(499)]}
        async with pushed.running():
            for key in ("a", "b"):
                await pushed.post(b"one", {"Idempotency-Key": key})
        async with pushed.running():
            await pushed.post(b"one", {"Idempotency-Key": "b"})

        keys = pushed.run.state["cursor"]["keys"]
        assert len(pushed.taken) == 2
        assert (len(keys), keys[0]) == (500, f"{1:016x}{0:016x}")


async def test_a_key_that_comes_with_other_content_is_refused_since_that_would_be_lost() -> None:
    async with pushing() as pushed, pushed.running():
        answers = [await pushed.post(body, {"Idempotency-Key": "a"}) for body in (b"one", b"two", b"one")]

        assert [status for status, _ in answers] == [202, 422, 202]
        assert answers[1][1]["detail"].startswith("this Idempotency-Key came with other content before")
        assert pushed.taken == [b"one"]


# -- starting -----------------------------------------------------------------------------------------------


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
