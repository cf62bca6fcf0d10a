import gzip
from collections.abc import AsyncGenerator
from typing import Any

import orjson
import pytest

from pushes import SCAN, WIRE, pushing

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
