from intelstream import testing
from intelstream.runtime.drain import parse
from intelstream.sdk import Parser

LIST = b'# terms\nAddress,Tags\n192.0.2.1,"ftp, new_trap"\nnever,http\n192.0.2.2,\n'


async def test_each_kind_of_attack_is_an_event_and_one_that_nobody_knows_is_none_the_less() -> None:
    result = await testing.run_stage("parsers.turris", {}, [testing.report(LIST)])

    assert [
        (event["source.ip"], event["classification.type"], event.get("classification.identifier"))
        for event in result.outputs["default"]
    ] == [("192.0.2.1", "brute-force", None), ("192.0.2.1", "other", "new_trap"), ("192.0.2.2", "other", None)]
    assert [(dead.error, dead.field) for dead in result.dead] == [("InvalidValue", "source.ip")]


async def test_rows_may_be_left_out_and_the_events_of_a_row_have_ids_of_their_own() -> None:
    async with testing.open_stage("parsers.turris", {"not_rows": "^192.0.2.2|^never"}) as run:
        assert isinstance(run.stage, Parser)
        found = [event.id for row in parse(run.stage, testing.report(LIST)) for event in row.events]

    assert len(set(found)) == 2


async def test_another_list_is_refused() -> None:
    result = await testing.run_stage("parsers.turris", {}, [testing.report(b"ip,kind\n192.0.2.1,http\n")])

    assert [dead.text for dead in result.dead] == ["report: expected a header with Address, Tags, got 'ip,kind'"]
