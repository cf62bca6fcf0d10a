"""Marks on real servers: the first owner keeps one, until its time is over."""

from datetime import UTC, datetime, timedelta

from intelstream.transport.marks import StageCache, StageMarks
from intelstream.transport.transport import Transport

ONE, TWO = "1" * 32, "2" * 32


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2024, 3, 6, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


async def test_a_mark_belongs_to_whoever_set_it_first(transport: Transport) -> None:
    marks = StageMarks(transport, "work", Clock().now, print)

    assert await marks.claim_many([("a", ONE), ("b", ONE), ("a", TWO)], 60) == [ONE, ONE, ONE]
    assert await marks.claim_many([("b", TWO), ("c", TWO)], 60) == [ONE, TWO]
    assert await marks.claim_many([], 60) == []


async def test_two_stages_do_not_share_marks(transport: Transport) -> None:
    clock = Clock()
    await StageMarks(transport, "work", clock.now, print).claim_many([("a", ONE)], 60)

    assert await StageMarks(transport, "left", clock.now, print).claim_many([("a", TWO)], 60) == [TWO]


async def test_a_mark_lives_as_long_as_it_is_to_and_at_most_a_quarter_longer(transport: Transport) -> None:
    clock = Clock()
    marks = StageMarks(transport, "work", clock.now, print)
    await marks.claim_many([("a", ONE)], 100)
    clock.time += timedelta(seconds=99)
    within = await marks.claim_many([("a", TWO)], 100)
    clock.time += timedelta(seconds=27)

    assert within == [ONE]
    assert await marks.claim_many([("a", TWO)], 100) == [TWO]


async def test_beyond_the_most_the_oldest_generation_goes_early_and_that_is_told(transport: Transport) -> None:
    clock, early = Clock(), list[int]()
    marks = StageMarks(transport, "work", clock.now, early.append)
    await marks.claim_many([(f"old {number}", ONE) for number in range(60)], 100, most=100)
    clock.time += timedelta(seconds=30)
    await marks.claim_many([(f"new {number}", ONE) for number in range(60)], 100, most=100)

    assert early == [60]
    assert await marks.claim_many([("old 1", TWO), ("new 1", TWO)], 100, most=100) == [TWO, ONE]


async def test_many_marks_of_one_frame_keep_their_order(transport: Transport) -> None:
    marks = StageMarks(transport, "work", Clock().now, print)
    owners = [f"{number:032x}" for number in range(2000)]
    claims = [(f"key {number}", owner) for number, owner in enumerate(owners)]

    assert await marks.claim_many(claims, 60) == owners
    assert await marks.claim_many([(key, TWO) for key, _ in claims], 60) == owners


async def test_the_cache_forgets_what_it_never_had(transport: Transport) -> None:
    cache = StageCache(transport, "work")
    await cache.set_many({"a": b"1", "b": b"2"}, 60)

    assert await cache.get_many(["a", "x", "b"]) == [b"1", None, b"2"]
    assert await cache.get_many([]) == []
