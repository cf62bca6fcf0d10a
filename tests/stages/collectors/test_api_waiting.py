import asyncio

import aiohttp
import orjson
import pytest

import loopback
from intelstream import sdk, testing
from intelstream.ontology import Report
from pushes import SCAN, WIRE, Pushing, pushing

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
