from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

import loopback
from intelstream import sdk, testing
from intelstream.errors import StageError, Unavailable

URL = "https://sink.example/events"
ONE, TWO = {"source.ip": "192.0.2.1"}, {"source.ip": "192.0.2.2"}


def post(status: int = 200, body: bytes = b"", method: str = "POST") -> testing.Exchange:
    return testing.Exchange(method=method, url=URL, status=status, body=body)


async def send(*messages: Any, answer: testing.Exchange | None = None, **params: Any) -> testing.Result:
    world = testing.World(http=[answer or post()])
    return await testing.run_stage("outputs.http", {"url": URL} | params, messages, world=world)


# -- what is sent -------------------------------------------------------------------------------------------

FORMS: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "one each": ({}, b'{"source.ip":"192.0.2.1"}', "application/json"),
    "objects": ({"hierarchical": True}, b'{"source":{"ip":"192.0.2.1"}}', "application/json"),
    "raw": ({"raw": True}, b'{"source.ip":"192.0.2.1","raw":"b25l"}', "application/json"),
    "an array": (
        {"format": "array", "batch": 10},
        b'[{"source.ip":"192.0.2.1"},{"source.ip":"192.0.2.2"}]',
        "application/json",
    ),
    "lines": (
        {"format": "json_lines", "batch": 10},
        b'{"source.ip":"192.0.2.1"}\n{"source.ip":"192.0.2.2"}\n',
        "application/x-ndjson",
    ),
}


@pytest.mark.parametrize(("params", "body", "content_type"), FORMS.values(), ids=FORMS)
async def test_events_are_sent_in_the_form_asked_for(params: dict[str, Any], body: bytes, content_type: str) -> None:
    result = await send(ONE | {"raw": "b25l"}, TWO, **params)

    assert result.requests[0].sent == body
    assert result.requests[0].sent_headers["Content-Type"] == content_type
    assert (result.dead, result.pending) == ([], [])
    assert len(result.requests) == (1 if params.get("batch") else 2)


async def test_credentials_method_and_the_id_of_the_event_are_sent() -> None:
    event = testing.event(ONE, id=testing.PARENT)
    login = {"username": "user", "password": "hush", "headers": {"X-Team": "cert"}, "method": "PUT"}
    [request] = (await send(event, answer=post(method="PUT"), **login)).requests

    assert request.sent_headers["Authorization"] == aiohttp.encode_basic_auth("user", "hush")
    assert request.sent_headers["X-Team"] == "cert"
    assert request.sent_headers["Idempotency-Key"] == testing.PARENT


async def test_the_key_of_several_events_is_that_of_the_same_events_alone() -> None:
    params = {"format": "array", "batch": 10}
    async with testing.open_stage("outputs.http", {"url": URL} | params, world=testing.World(http=[post()])) as run:
        events = [testing.event({"comment": str(number)}, id=f"{number}") for number in range(3)]
        for sent in (events, events, events[:2]):
            result = await run.send(*sent)
    keys = [request.sent_headers["Idempotency-Key"] for request in result.requests]

    assert keys[0] == keys[1] != keys[2]


# -- what is refused ----------------------------------------------------------------------------------------

OUTCOMES: dict[str, tuple[int, dict[str, Any], tuple[list[str], int]]] = {
    "taken": (201, {}, ([], 0)),
    "refused": (422, {}, (["Rejected"], 0)),
    "not there": (404, {}, (["NotFound"], 0)),
    "throttled": (429, {}, ([], 1)),
    "down": (503, {}, ([], 1)),
    "no entry": (401, {}, ([], 1)),
    "broken": (500, {}, (["Uncertain"], 0)),
    "broken behind": (502, {}, (["Uncertain"], 0)),
    "broken, to be repeated": (500, {"repeatable": True}, ([], 1)),
    "broken, of several": (500, {"format": "json_lines", "batch": 10}, (["Uncertain"], 0)),
}


@pytest.mark.parametrize(("status", "params", "expected"), OUTCOMES.values(), ids=OUTCOMES)
async def test_a_status_says_what_becomes_of_the_event(
    status: int, params: dict[str, Any], expected: tuple[list[str], int]
) -> None:
    result = await send(ONE, answer=post(status, b"because"), **params)

    assert ([dead.error for dead in result.dead], len(result.pending)) == expected
    assert all("posting to https://sink.example/events: HTTP" in dead.text for dead in result.dead)
    assert all("because" in dead.text for dead in result.dead)


def by_comment(answers: dict[str, int]) -> loopback.Handler:
    async def answer(request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        rows = body if isinstance(body, list) else [body]
        return web.Response(status=max(answers[row["comment"]] for row in rows))

    return answer


async def posted(handler: loopback.Handler, comments: str, **params: Any) -> testing.Result:
    async with loopback.http(handler) as server:
        given = {"url": str(server.make_url("/")), "batch": 100} | params
        events = [{"comment": comment} for comment in comments]
        return await testing.run_stage("outputs.http", given, events, world=testing.World(live=True))


async def test_of_a_batch_of_single_requests_each_has_its_own_fate() -> None:
    result = await posted(by_comment({"a": 200, "b": 422, "c": 503, "d": 500, "e": 200}), "abcde")

    assert {dead.message["comment"]: dead.error for dead in result.dead} == {"b": "Rejected", "d": "Rejected"}
    assert "it may have been taken" in next(dead.text for dead in result.dead if dead.message["comment"] == "d")
    assert [event["comment"] for event in result.pending] == ["c"]


async def test_a_batch_that_meets_no_server_waits_as_a_whole() -> None:
    [port] = loopback.free_ports()
    params = {"url": f"http://127.0.0.1:{port}/", "batch": 10}
    async with testing.open_stage("outputs.http", params, world=testing.World(live=True)) as run:
        assert isinstance(run.stage, sdk.Output)
        with pytest.raises(Unavailable):
            await run.stage.write(sdk.Batch([testing.event(ONE), testing.event(TWO)], sdk.State(run.load)))


async def test_an_array_that_is_refused_costs_only_the_event_that_is_meant() -> None:
    result = await posted(by_comment(dict.fromkeys("abcdefgh", 200) | {"c": 400}), "abcdefgh", format="array")

    assert [(dead.message["comment"], dead.error) for dead in result.dead] == [("c", "Rejected")]
    assert result.pending == []


async def test_what_breaks_after_the_status_is_nobodys_matter() -> None:
    async with loopback.says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour") as url:
        result = await testing.run_stage("outputs.http", {"url": url}, [ONE], world=testing.World(live=True))

    assert (result.dead, result.pending) == ([], [])


async def test_one_connection_is_enough() -> None:
    ports = set()

    async def answer(request: web.Request) -> web.Response:
        assert request.transport
        ports.add(request.transport.get_extra_info("peername")[1])
        return web.Response(text="thank you" * 100)

    await posted(answer, "abcdef", batch=1)

    assert len(ports) == 1


DOUBTS: dict[str, tuple[list[bytes], dict[str, Any], dict[str, Any], type[StageError]]] = {
    "no answer": ([], {"holds": True}, {}, StageError),
    "no HTTP": ([b"hello\r\n\r\n"], {}, {}, StageError),
    "no answer, to be repeated": ([], {"holds": True}, {"repeatable": True}, Unavailable),
}


@pytest.mark.parametrize(("parts", "says", "params", "kind"), DOUBTS.values(), ids=DOUBTS)
async def test_what_the_receiver_may_have_taken_is_uncertain(
    parts: list[bytes], says: dict[str, Any], params: dict[str, Any], kind: type[StageError]
) -> None:
    async with loopback.says(*parts, **says) as url:
        given = {"url": url, "timeout": "200ms"} | params
        async with testing.open_stage("outputs.http", given, world=testing.World(live=True)) as run:
            assert isinstance(run.stage, sdk.Output)
            with pytest.raises(StageError) as caught:
                await run.stage.write(sdk.Batch([testing.event(ONE)], sdk.State(run.load)))

    assert type(caught.value) is kind


async def test_a_redirect_that_would_lose_the_events_is_told() -> None:
    async def moved(_request: web.Request) -> web.Response:
        return web.Response(status=301, headers={"Location": "/there"})

    [dead] = (await posted(moved, "a")).dead

    assert "give that address as `url`" in dead.text


@pytest.mark.parametrize("params", [{"method": "GET"}, {"batch": 0}, {"format": "xml"}])
async def test_parameters_that_make_no_sense_are_refused(params: dict[str, Any]) -> None:
    assert (await testing.run_stage("outputs.http", {"url": URL} | params)).refused
