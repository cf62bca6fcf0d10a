import pytest

from intelstream import testing
from intelstream.errors import PartialWrite, Rejected, StageError, Unavailable
from intelstream.ontology import Event
from intelstream.sdk import Batch, StageContext, State
from intelstream.sdk.concurrency import concurrently
from intelstream.sdk.delivering import each

ERRORS = {1: Unavailable("away"), 2: Rejected("wrong"), 3: StageError("it may have been taken")}


@pytest.fixture
async def ctx() -> StageContext:
    async with testing.open_stage("outputs.stdout") as run:
        return run.stage.ctx


async def deliver(event: Event) -> None:
    if error := ERRORS.get(event["source.port"]):
        raise error


def batch(*ports: int) -> Batch:
    async def nothing(keys: object) -> list[object]:
        raise AssertionError(keys)

    return Batch([testing.event({"source.port": port}) for port in ports], State(nothing))


async def test_what_failed_is_named_and_what_nobody_knows_of_is_not_tried_again(ctx: StageContext) -> None:
    with pytest.raises(PartialWrite) as caught:
        await each(ctx, batch(9, 1, 2, 3), deliver)

    failures = caught.value.failures
    assert {place: type(error) for place, error in failures.items()} == {1: Unavailable, 2: Rejected, 3: Rejected}
    assert str(failures[3]) == "it may have been taken"


@pytest.mark.parametrize(("ports", "error"), [((1,), Unavailable), ((1, 1), Unavailable), ((2,), Rejected)])
async def test_where_all_are_away_the_stage_waits_as_it_would_with_one(
    ctx: StageContext, ports: tuple[int, ...], error: type[StageError]
) -> None:
    with pytest.raises(error):
        await each(ctx, batch(*ports), deliver)


async def test_no_more_go_out_side_by_side_than_the_limit(ctx: StageContext) -> None:
    open_, most = 0, 0

    async def watched(_: Event) -> None:
        nonlocal open_, most
        open_ += 1
        most = max(most, open_)
        await ctx.sleep(0.001)
        open_ -= 1

    assert ctx.concurrently is concurrently
    await each(ctx, batch(*range(10, 30)), watched, limit=4)

    assert most == 4
