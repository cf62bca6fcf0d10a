"""`outputs.sql` into a real PostgreSQL: what is written, what is refused, and what makes the stage wait."""

import asyncio
import signal
import socket
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from intelstream import sdk, testing
from intelstream.errors import InvalidValue, PartialWrite, Rejected, StageError, Unavailable
from intelstream.ontology import Event
from services import postgres
from services.postgres import PASSWORD, USER, RunningPostgres

pytestmark = [pytest.mark.xdist_group("postgresql"), pytest.mark.timeout(120)]
EVENT = {
    "time.source": "2024-03-06T12:34:56.789000+00:00",
    "source.ip": "2001:db8::1",
    "source.network": "192.0.2.0/24",
    "source.asn": 4_200_000_000,
    "source.port": 80,
    "source.tor_node": True,
    "source.geolocation.latitude": 48.2081743,
    "feed.name": 'say "x", \\u0000 %s y',
    "malware.hash.md5": "d41d8cd98f00b204e9800998ecf8427e",
    "misp.event_uuid": "zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz",
    "extra.a": {"b": [1, None, "ö"]},
    "extra.a.c": 1.5,
}
RAW = "b25l"
Given = Event | dict[str, Any]


EMPTIED = (
    "ALTER DATABASE postgres RESET ALL",
    "DROP SCHEMA IF EXISTS cert CASCADE",
    "DROP SCHEMA public CASCADE",
    "CREATE SCHEMA public",
    "GRANT ALL ON SCHEMA public TO public",
)


class Place:
    """A database that has nothing in it."""

    name = "postgres"

    def __init__(self, server: RunningPostgres) -> None:
        self.server = server
        self.run(*EMPTIED)

    @asynccontextmanager
    async def opened(self, **params: Any) -> AsyncGenerator[testing.StageRun]:
        """Open the stage as the server's administrator, unless told otherwise."""
        given = {"url": self.server.url(self.name), "username": USER, "password": PASSWORD} | params
        async with testing.open_stage("outputs.sql", given) as run:
            yield run

    async def send(self, *events: Given, **params: Any) -> testing.Result:
        async with self.opened(**params) as run:
            return await run.send(*events)

    async def failing(self, **params: Any) -> StageError:
        """Return what a write of one event raises."""
        async with self.opened(**params) as run:
            return await raised(run, {"comment": "one"})

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        return self.server.run(self.name, *statements)

    def comments(self, table: str = "events") -> list[str]:
        return [comment for (comment,) in self.run(f"SELECT comment FROM {table} ORDER BY comment")]  # noqa: S608 - ours


def numbered(number: int) -> Event:
    return testing.event({"comment": str(number)}, id=testing.PARENT[:-4] + f"{number:04x}")


async def raised(run: testing.StageRun, *events: dict[str, Any]) -> StageError:
    assert isinstance(run.stage, sdk.Output)
    made = [testing.event(one, id=numbered(place).id) for place, one in enumerate(events)]
    with pytest.raises(StageError) as caught:
        await run.stage.write(sdk.Batch(made, sdk.State(run.load)))
    return caught.value


@pytest.fixture
def place(postgresql: RunningPostgres) -> Place:
    return Place(postgresql)


def commented(*comments: object) -> list[dict[str, Any]]:
    return [{"comment": str(comment)} for comment in comments]


# -- what is written ----------------------------------------------------------------------------------------


async def test_every_value_is_in_a_column_of_its_own_type(place: Place) -> None:
    result = await place.send(EVENT | {"raw": RAW}, raw=True)

    assert (result.dead, result.pending) == ([], [])
    assert place.run("""
        SELECT "time.source" = '2024-03-06 12:34:56.789Z', host("source.ip"), text("source.network"), "source.asn",
        "source.port", "source.tor_node", "source.geolocation.latitude", "feed.name", "malware.hash.md5",
        "misp.event_uuid", extra, raw FROM events
    """) == [
        (
            True,
            "2001:db8::1",
            "192.0.2.0/24",
            4_200_000_000,
            80,
            True,
            48.2081743,
            EVENT["feed.name"],
            EVENT["malware.hash.md5"],
            EVENT["misp.event_uuid"],
            {"a": {"b": [1, None, "ö"]}, "a.c": 1.5},
            RAW,
        )
    ]


async def test_all_fields_of_the_vocabulary_have_a_column_and_raw_only_on_demand(place: Place) -> None:
    await place.send(*commented("one"))
    names = {
        name for (name,) in place.run("SELECT column_name FROM information_schema.columns WHERE table_name = 'events'")
    }

    assert names == {*testing.event({}).ontology.checks, "extra", "event_id"}


async def test_chosen_fields_are_the_only_ones(place: Place) -> None:
    await place.send(EVENT | {"comment": "one", "raw": RAW}, fields="comment, extra, source.ip")

    assert place.run('SELECT comment, extra, host("source.ip") FROM events') == [
        ("one", {"a": {"b": [1, None, "ö"]}, "a.c": 1.5}, "2001:db8::1")
    ]
    assert len(place.run("SELECT column_name FROM information_schema.columns WHERE table_name = 'events'")) == 4


async def test_events_written_again_are_there_once(place: Place) -> None:
    events = [numbered(number) for number in range(300)]
    async with place.opened() as run:
        await run.send(*events[:200])
    async with place.opened(batch=7) as run:  # it was killed before its commit, and takes up again with more
        result = await run.send(*events[100:], *events[:50])

    assert (result.dead, result.pending) == ([], [])
    assert place.comments() == sorted(str(n) for n in range(300))


async def test_a_write_is_one_statement(place: Place) -> None:
    place.run("CREATE TABLE one_trip (event_id uuid UNIQUE, comment text)")
    await place.send(*commented(*range(1000)), table="one_trip", fields="comment")

    assert len(place.comments("one_trip")) == 1000
    assert place.server.log.read_text().count('INSERT INTO "one_trip"') == 1


async def test_workers_that_make_the_table_at_the_same_time_all_write(place: Place) -> None:
    events = [numbered(number) for number in range(8)]
    results = await asyncio.gather(*map(place.send, events))

    assert [(result.dead, result.pending) for result in results] == [([], [])] * 8
    assert place.comments() == [str(number) for number in range(8)]


async def test_a_table_of_eventdb_goes_on_once_it_has_the_key(place: Place) -> None:
    place.run(
        "CREATE TYPE severity_enum AS ENUM ('low', 'high')",
        "CREATE TABLE events (id BIGSERIAL PRIMARY KEY, severity severity_enum, comment varchar(100), extra json, "
        '"source.ip" inet, "source.asn" integer)',
        "INSERT INTO events (comment) VALUES ('an old one')",
    )
    async with place.opened() as run:
        waiting = await raised(run, EVENT)
        place.run("ALTER TABLE events ADD COLUMN event_id uuid UNIQUE")
        result = await run.send({"severity": "high", "comment": "new", "source.asn": 64496, "extra.a": 1})

    assert 'it has no column "event_id"; run `ALTER TABLE' in str(waiting)
    assert (result.dead, result.pending) == ([], [])
    assert place.run("SELECT id, severity::text, comment, extra FROM events ORDER BY id") == [
        (1, None, "an old one", None),
        (2, "high", "new", {"a": 1}),
    ]


async def test_a_table_may_be_in_a_schema_of_its_own(place: Place) -> None:
    place.run("CREATE SCHEMA cert")
    await place.send(*commented("one"), table="cert.Events")

    assert place.comments('cert."Events"') == ["one"]


async def test_the_socket_is_enough_on_this_machine(place: Place) -> None:
    result = await place.send(*commented("one"), url=place.server.socket_url(place.name), password=None)

    assert result.pending == []
    assert place.comments() == ["one"]


async def test_a_certificate_is_asked_for_and_checked(place: Place) -> None:
    url = place.server.url(place.name, "localhost")
    strict = {"url": url, "sslmode": "verify-full"}
    unknown = await place.failing(**strict)
    result = await place.send(*commented("one"), **strict, ca_file=str(place.server.ca_file))

    assert (type(unknown), "certificate verify failed" in str(unknown)) == (Unavailable, True)
    assert (result.pending, place.comments()) == ([], ["one"])


# -- what is refused: of one event --------------------------------------------------------------------------

TABLE = """
    CREATE TABLE events (event_id uuid UNIQUE, comment varchar(5), status integer, "source.ip" inet,
    "feed.name" text UNIQUE, "feed.code" text CHECK ("feed.code" <> 'bad'), "time.source" timestamptz, extra jsonb)
"""
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "too long": ({"comment": "longer"}, "value too long for type character varying(5)"),
    "of a wrong type": ({"status": "a text"}, 'invalid input syntax for type integer: "a text"'),
    "out of range": ({"status": "99999999999"}, "out of range for type integer"),
    "a twin in another column": ({"feed.name": "fine 3"}, 'unique constraint "events_feed.name_key"'),
    "against a rule": ({"feed.code": "bad"}, 'check constraint "events_feed.code_check"'),
    "a trigger's no": ({"feed.code": "no"}, "not this one"),
}


@pytest.mark.parametrize(("bad", "text"), REFUSED.values(), ids=REFUSED)
async def test_a_row_that_the_database_refuses_costs_only_itself(bad: dict[str, Any], text: str, place: Place) -> None:
    place.run(
        TABLE,
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$",
        "CREATE TRIGGER no BEFORE INSERT ON events FOR EACH ROW "
        """WHEN (NEW."feed.code" = 'no') EXECUTE FUNCTION no()""",
    )
    good = [{"feed.name": f"fine {number}"} for number in range(9)]
    result = await place.send(*good[:5], bad, *good[5:])

    assert [(dead.error, dead.message) for dead in result.dead] == [("Rejected", bad | {"__type": "Event"})]
    assert text in result.dead[0].text
    assert result.pending == []
    assert place.run('SELECT "feed.name" FROM events ORDER BY 1') == [(one["feed.name"],) for one in good]


async def test_a_refused_event_passes_once_its_column_is_wide_enough(place: Place) -> None:
    place.run(TABLE)
    async with place.opened() as run:
        refused = await run.send({"comment": "longer"})
        place.run("ALTER TABLE events ALTER COLUMN comment TYPE text")
        again = await run.send({"comment": "longer"})

    assert [len(result.dead) for result in (refused, again)] == [1, 0]
    assert place.comments() == ["longer"]


async def test_a_nul_in_a_text_costs_the_event_and_is_told_by_field(place: Place) -> None:
    async with place.opened() as run:
        error = await raised(run, *commented("a", "b\0", "c"))

    assert isinstance(error, PartialWrite)
    assert {at: type(one) for at, one in error.failures.items()} == {1: InvalidValue}
    assert str(error.failures[1]) == "comment: PostgreSQL stores no NUL in a text, got 'b\\x00'"
    assert place.comments() == ["a", "c"]


async def test_a_nul_within_extra_is_written_as_json_writes_it(place: Place) -> None:
    await place.send({"extra.payload": "a\0b\\\0c", "extra.same": "\\u0000", "comment": "one"})

    assert place.run("SELECT extra FROM events") == [({"payload": "a\\u0000b\\\\u0000c", "same": "\\u0000"},)]


async def test_many_bad_rows_leave_the_good_ones(place: Place) -> None:
    place.run(TABLE)
    result = await place.send(*commented(*(f"{n}{'x' * (5 * (n % 3 == 0))}" for n in range(300))))

    assert len(result.dead) == 100
    assert place.comments() == sorted(str(n) for n in range(300) if n % 3)


# -- what makes the stage wait: nothing is lost -------------------------------------------------------------

WRONG: dict[str, tuple[Sequence[str], dict[str, Any], str]] = {
    "password": ((), {"password": "a secret"}, 'password authentication failed for user "keeper"; check `username`'),
    "user": ((), {"username": "nobody"}, 'password authentication failed for user "nobody"; check `username`'),
    "no password": ((), {"password": None}, "fe_sendauth: no password supplied"),
    "database": (
        (),
        {"url": "/nowhere"},
        'database "nowhere" does not exist; check `username`, `password` and the data',
    ),
    "table": ((), {"create": False}, "there is none; make it, or set `create: true`"),
    "schema": ((), {"table": "cert.events"}, 'schema "cert" does not exist'),
    "column": (
        ["CREATE TABLE events (event_id uuid UNIQUE)"],
        {},
        'it has no column "comment"; run `ALTER TABLE "events" ADD COLUMN "comment" text`, or name the `fields`',
    ),
    "chosen column": (
        ["CREATE TABLE events (event_id uuid UNIQUE)"],
        {"fields": "tlp, source.ip"},
        'it has no column "tlp", "source.ip"; run `ALTER TABLE "events" ADD COLUMN "tlp" text; '
        'ALTER TABLE "events" ADD COLUMN "source.ip" inet`',
    ),
    "key": (
        ["CREATE TABLE events (comment text)"],
        {},
        'ADD COLUMN "event_id" uuid; CREATE UNIQUE INDEX "events_event_id" ON "events" ("event_id")`',
    ),
    "key that is not unique": (
        ["CREATE TABLE events (comment text, event_id uuid)"],
        {},
        'run `CREATE UNIQUE INDEX "events_event_id" ON "events" ("event_id")`',
    ),
    "rights": (
        [
            "CREATE TABLE events (comment text, event_id uuid UNIQUE)",
            "DO $$ BEGIN CREATE ROLE weak LOGIN PASSWORD 'hush-hush'; EXCEPTION WHEN duplicate_object THEN END $$",
        ],
        {"username": "weak"},
        'permission denied for table events; run `GRANT SELECT, INSERT ON "events" TO "weak"`',
    ),
    "copy": (
        ["CREATE TABLE events (comment text, event_id uuid UNIQUE)"],
        {"read_only": True},
        "read-only transaction; name the primary server",
    ),
}


@pytest.mark.parametrize(("before", "params", "text"), WRONG.values(), ids=WRONG)
async def test_what_is_wrong_with_the_database_is_told_with_its_cure_and_loses_nothing(
    before: Sequence[str], params: dict[str, Any], text: str, place: Place
) -> None:
    params = dict(params)
    if params.get("url"):
        params["url"] = place.server.url("nowhere")
    if before:
        place.run(*before)
    if params.pop("read_only", False):
        place.run(f"ALTER DATABASE {place.name} SET default_transaction_read_only = on")
    error = await place.failing(**params)
    result = await place.send(*commented("one"), **params)

    assert type(error) is Unavailable
    assert text in str(error)
    assert "a secret" not in str(error)
    assert [event["comment"] for event in result.pending] == ["one"]
    assert result.dead == []


async def test_the_stage_goes_on_as_soon_as_the_cure_is_applied(place: Place) -> None:
    place.run("CREATE TABLE events (event_id uuid)")
    async with place.opened() as run:
        waits = [await run.send(*commented("one"))]
        place.run("ALTER TABLE events ADD COLUMN comment text")
        waits.append(await run.send(*commented("one")))
        place.run("CREATE UNIQUE INDEX ON events (event_id)")
        goes_on = await run.send(*commented("one"))

    assert [len(result.pending) for result in (*waits, goes_on)] == [1, 1, 0]
    assert place.comments() == ["one"]


async def test_a_table_that_is_another_one_by_now_is_looked_at_again(place: Place) -> None:
    async with place.opened() as run:
        await run.send(*commented("one"))
        place.run("DROP TABLE events", "CREATE TABLE events (event_id text PRIMARY KEY, comment text)")
        other = await run.send(*commented("two"))
        place.run("ALTER TABLE events DROP COLUMN comment")
        lacking = await raised(run, *commented("three"))
        place.run("DROP TABLE events")
        made = await run.send(*commented("four"))

    assert (other.pending, made.pending) == ([], [])
    assert 'it has no column "comment"' in str(lacking)
    assert place.comments() == ["four"]


@pytest.fixture
def lonely() -> Iterator[RunningPostgres]:
    with postgres.running() as server:
        yield server


async def test_a_server_that_is_away_loses_nothing_and_is_found_again(lonely: RunningPostgres) -> None:
    place = Place(lonely)
    async with place.opened() as run:
        await run.send(*commented("one"))
        lonely.stop(signal.SIGQUIT)
        away = await run.send(*commented("two"))
        lonely.start()
        back = await run.send(*commented("three"))

    assert (len(away.pending), away.dead, back.pending, back.dead) == (1, [], [], [])
    assert place.comments() == ["one", "three"]


async def test_a_server_that_is_not_there_at_the_start_is_logged(lonely: RunningPostgres) -> None:
    place = Place(lonely)
    lonely.stop()
    async with place.opened() as run:
        [entry] = (await run.flush()).log
        lonely.start()
        result = await run.send(*commented("one"))

    assert (entry["event"], "connecting to postgresql://127.0.0.1" in entry["error"]) == ("database_not_opened", True)
    assert (result.pending, place.comments()) == ([], ["one"])


async def test_a_connection_that_the_server_has_closed_is_made_anew_at_once(place: Place) -> None:
    async with place.opened() as run:
        await run.send(*commented("one"))
        place.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'intelstream'")
        result = await run.send(*commented("two"))

    assert (result.pending, result.dead) == ([], [])
    assert place.comments() == ["one", "two"]


async def test_a_table_that_is_locked_is_not_waited_for_longer_than_the_timeout(place: Place) -> None:
    async with place.opened(timeout="300ms") as run:
        with place.server.connection(place.name) as other, other.transaction():
            other.execute("LOCK TABLE events")
            error = await raised(run, *commented("one"))
        result = await run.send(*commented("two"))

    assert (type(error), "no answer within 0.3 s" in str(error)) == (Unavailable, True)
    assert (result.pending, place.comments()) == ([], ["two"])


async def test_a_server_that_is_silent_is_not_waited_for(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/events"
        error = await place.failing(url=url, timeout="300ms")

    assert (type(error), "no answer within 0.3 s" in str(error)) == (Unavailable, True)


async def test_a_refusal_of_one_event_leaves_the_connection(place: Place) -> None:
    place.run(TABLE)
    async with place.opened() as run:
        errors = [await raised(run, *commented("longer than 5")) for _ in range(2)]
        connections = place.run("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'intelstream'")

    assert [type(error) for error in errors] == [Rejected, Rejected]
    assert connections == [(1,)]
