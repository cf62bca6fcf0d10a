import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from intelstream import catalog, sdk, testing
from intelstream.errors import Rejected, StageError, Unavailable
from intelstream.ontology import STANDARD, Event
from intelstream.stages.outputs.sql import Params

EVENT = {
    "time.source": "2024-03-06T12:34:56+00:00",
    "source.ip": "192.0.2.1",
    "source.port": 80,
    "source.tor_node": True,
    "source.geolocation.latitude": 48.2081743,
    "feed.name": 'say "x", ? y',
    "comment": "a\0b",
    "extra.a": {"b": [1, None, "ö"]},
    "extra.a.c": 1.5,
}
RAW = "b25l"
EXTRA = {"a": {"b": [1, None, "ö"]}, "a.c": 1.5}
Run = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "events.db"


@pytest.fixture
def run(path: Path) -> Run:
    """Run statements as another program does, and return the rows of the last one."""

    def do(*statements: str) -> list[tuple[Any, ...]]:
        path.parent.mkdir(exist_ok=True)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return [connection.execute(statement).fetchall() for statement in statements][-1]

    return do


@asynccontextmanager
async def opened(path: Path, **params: Any) -> AsyncGenerator[testing.StageRun]:
    async with testing.open_stage("outputs.sql", {"path": str(path)} | params) as stage:
        yield stage


async def send(path: Path, *events: Event | dict[str, Any], **params: Any) -> testing.Result:
    async with opened(path, **params) as stage:
        return await stage.send(*events)


async def raised(stage: testing.StageRun, *events: dict[str, Any]) -> StageError:
    assert isinstance(stage.stage, sdk.Output)
    made = [testing.event(one, id=numbered(place).id) for place, one in enumerate(events)]
    with pytest.raises(StageError) as caught:
        await stage.stage.write(sdk.Batch(made, sdk.State(stage.load)))
    return caught.value


def numbered(number: int) -> Event:
    return testing.event({"comment": str(number)}, id=testing.PARENT[:-4] + f"{number:04x}")


COMMENTS = "SELECT comment FROM events ORDER BY length(comment), comment"


# -- what is written ----------------------------------------------------------------------------------------


async def test_every_value_is_in_its_column_as_it_is(path: Path, run: Run) -> None:
    result = await send(path, EVENT | {"raw": RAW}, raw=True)
    [(extra, *others)] = run(
        'SELECT extra, "time.source", "source.ip", "source.port", "source.tor_node", "source.geolocation.latitude", '
        '"feed.name", comment, raw, tlp FROM events'
    )

    assert (result.dead, result.pending) == ([], [])
    assert orjson.loads(extra) == EXTRA
    assert others == [
        "2024-03-06T12:34:56+00:00",
        "192.0.2.1",
        80,
        1,
        48.2081743,
        EVENT["feed.name"],
        "a\0b",
        RAW,
        None,
    ]


async def test_all_fields_of_the_vocabulary_have_a_column_and_raw_only_on_demand(path: Path, run: Run) -> None:
    await send(path, EVENT)

    assert {name for _, name, *_ in run("PRAGMA table_info(events)")} == {*STANDARD.checks, "extra", "event_id"}


async def test_chosen_fields_are_the_only_ones(path: Path, run: Run) -> None:
    await send(path, EVENT, table="few", fields="source.port, extra, raw")

    assert [name for _, name, *_ in run("PRAGMA table_info(few)")] == ["event_id", "source.port", "extra", "raw"]
    assert run('SELECT "source.port", raw FROM few') == [(80, None)]


async def test_fields_of_a_deployment_have_columns_of_their_types(path: Path) -> None:
    ontology = STANDARD.with_own({"org.case": "Integer", "org.tags": ["Text"]})
    params = Params.model_validate({"path": str(path)}, context={"ontology": ontology})
    kinds = dict(params.into.columns)

    assert (kinds["org.case"], kinds["org.tags"], kinds["source.ip"]) == ("integer", "json", "address")


async def test_events_written_again_are_there_once(path: Path, run: Run) -> None:
    events = [numbered(number) for number in range(300)]
    async with opened(path) as stage:
        await stage.send(*events[:200])
    async with opened(path, batch=7) as stage:  # it was killed before its commit, and takes up again with more
        result = await stage.send(*events[100:], *events[:50])

    assert (result.dead, result.pending) == ([], [])
    assert run(COMMENTS) == [(str(number),) for number in range(300)]


async def test_others_read_while_events_are_written(path: Path) -> None:
    async with opened(path) as stage:
        await stage.send(numbered(1))
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            before = reader.execute(COMMENTS).fetchall()
            result = await stage.send(numbered(2))
            during = reader.execute(COMMENTS).fetchall()
            reader.execute("COMMIT")
            after = reader.execute(COMMENTS).fetchall()

    assert result.pending == []
    assert (before, during, after) == ([("1",)], [("1",)], [("1",), ("2",)])


async def test_a_file_that_was_moved_away_is_made_anew(path: Path, run: Run) -> None:
    async with opened(path) as stage:
        await stage.send(numbered(1))
        path.rename(path.with_suffix(".old"))
        result = await stage.send(numbered(2))

    assert result.pending == []
    assert run(COMMENTS) == [("2",)]


# -- what is refused: of one event --------------------------------------------------------------------------

TABLE = """
    CREATE TABLE events (event_id TEXT PRIMARY KEY, comment TEXT CHECK (length(comment) <= 5), status INTEGER,
    "feed.name" TEXT UNIQUE, "feed.code" TEXT CHECK ("feed.code" <> 'bad'), tlp TEXT) STRICT
"""
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "too long": ({"comment": "longer"}, "CHECK constraint failed: length(comment) <= 5"),
    "of a wrong type": ({"status": "a text"}, "cannot store TEXT value in INTEGER column events.status"),
    "a twin in another column": ({"feed.name": "fine 3"}, "UNIQUE constraint failed: events.feed.name"),
    "against a rule": ({"feed.code": "bad"}, "CHECK constraint failed"),
}


@pytest.mark.parametrize(("bad", "text"), REFUSED.values(), ids=REFUSED)
async def test_a_row_that_the_database_refuses_costs_only_itself(
    bad: dict[str, Any], text: str, path: Path, run: Run
) -> None:
    run(TABLE)
    good = [{"feed.name": f"fine {number}"} for number in range(9)]
    result = await send(path, *good[:5], bad, *good[5:])

    assert [(dead.error, dead.message) for dead in result.dead] == [("Rejected", bad | {"__type": "Event"})]
    assert text in result.dead[0].text
    assert result.pending == []
    assert run('SELECT "feed.name" FROM events ORDER BY 1') == [(one["feed.name"],) for one in good]


async def test_a_refused_write_leaves_nothing(path: Path, run: Run) -> None:
    run(TABLE)
    async with opened(path) as stage:
        error = await raised(stage, {"comment": "one"}, {"comment": "longer"})

    assert type(error) is Rejected
    assert run("SELECT count(*) FROM events") == [(0,)]


# -- what makes the stage wait: nothing is lost -------------------------------------------------------------

WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "table": ("CREATE TABLE other (x)", {"create": False}, "there is none; make it, or set `create: true`"),
    "column": (
        "CREATE TABLE events (event_id TEXT PRIMARY KEY)",
        {},
        'it has no column "comment"; run `ALTER TABLE "events" ADD COLUMN "comment" TEXT`, or name the `fields`',
    ),
    "chosen columns": (
        "CREATE TABLE events (event_id TEXT PRIMARY KEY)",
        {"fields": "tlp, source.port"},
        'run `ALTER TABLE "events" ADD COLUMN "tlp" TEXT; ALTER TABLE "events" ADD COLUMN "source.port" INTEGER`',
    ),
    "key": (
        "CREATE TABLE events (comment TEXT)",
        {},
        'ADD COLUMN "event_id" TEXT; CREATE UNIQUE INDEX "events_event_id" ON "events" ("event_id")`',
    ),
    "key that is not unique": (
        "CREATE TABLE events (event_id TEXT, comment TEXT)",
        {},
        'run `CREATE UNIQUE INDEX "events_event_id" ON "events" ("event_id")`',
    ),
}


@pytest.mark.parametrize(("before", "params", "text"), WRONG.values(), ids=WRONG)
async def test_a_table_that_does_not_fit_is_told_with_its_cure_and_loses_nothing(
    before: str, params: dict[str, Any], text: str, path: Path, run: Run
) -> None:
    run(before)
    async with opened(path, **params) as stage:
        error = await raised(stage, {"comment": "one"})
        result = await stage.send({"comment": "one"})

    assert type(error) is Unavailable
    assert text in str(error)
    assert ([event["comment"] for event in result.pending], result.dead) == (["one"], [])


async def test_the_stage_goes_on_as_soon_as_the_cure_is_applied(path: Path, run: Run) -> None:
    run("CREATE TABLE events (event_id TEXT)")
    async with opened(path) as stage:
        waits = [await stage.send(numbered(1))]
        run("ALTER TABLE events ADD COLUMN comment TEXT")
        waits.append(await stage.send(numbered(1)))
        run("CREATE UNIQUE INDEX ids ON events (event_id)")
        goes_on = await stage.send(numbered(1))

    assert [len(result.pending) for result in (*waits, goes_on)] == [1, 1, 0]
    assert run(COMMENTS) == [("1",)]


async def test_a_file_that_another_process_keeps_locked_is_waited_for_and_loses_nothing(path: Path, run: Run) -> None:
    async with opened(path, timeout="200ms") as stage:
        await stage.send(numbered(1))
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            error = await raised(stage, {"comment": "two"})
            other.execute("COMMIT")
        result = await stage.send(numbered(2))

    assert type(error) is Unavailable
    assert (
        str(error)
        == f"writing to {path}: database is locked; another process keeps it locked: wait for that, or stop it"
    )
    assert result.pending == []
    assert run(COMMENTS) == [("1",), ("2",)]


async def test_a_lock_that_is_given_back_in_time_is_waited_for(path: Path, run: Run) -> None:
    async with opened(path) as stage:
        await stage.send(numbered(1))
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            threading.Timer(0.2, other.execute, ["COMMIT"]).start()
            result = await stage.send(numbered(2))

    assert result.pending == []
    assert run(COMMENTS) == [("1",), ("2",)]


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("no database, but a text\n" * 100), "not a database; name another `path`"),
    "a directory": (Path.mkdir, "unable to open database file; let the user of the daemon write"),
    "a link to nowhere": (lambda path: path.symlink_to("/proc/nowhere/events.db"), "unable to open database file"),
}


@pytest.mark.parametrize(("make", "text"), NO_FILES.values(), ids=NO_FILES)
async def test_what_is_no_database_is_told_and_left_alone(
    make: Callable[[Path], object], text: str, path: Path
) -> None:
    path.parent.mkdir()
    make(path)
    before = path.read_bytes() if path.is_file() else None
    async with opened(path) as stage:
        error = await raised(stage, {"comment": "one"})
        [entry] = (await stage.flush()).log

    assert (type(error), text in str(error)) == (Unavailable, True)
    assert (entry["event"], text in entry["error"]) == ("database_not_opened", True)
    assert before == (path.read_bytes() if path.is_file() else None)


async def test_no_file_is_made_where_none_is_wanted(path: Path) -> None:
    result = await send(path, EVENT, create=False)

    assert len(result.pending) == 1
    assert not path.parent.exists()


# -- parameters ---------------------------------------------------------------------------------------------

NO_PARAMS: dict[str, tuple[dict[str, Any], str]] = {
    "no database": ({}, "give `url` for PostgreSQL, or `path` for SQLite"),
    "two": ({"path": "a.db", "url": "postgresql:///a"}, "give `url` for PostgreSQL, or `path` for SQLite"),
    "another system": ({"url": "oracle://host/a"}, "expected postgresql://HOST/DATABASE"),
    "no database's name": ({"url": "postgresql://host"}, "expected the name of the database"),
    "a path of databases": ({"url": "postgresql://host/a/b"}, "expected the name of the database"),
    "a secret in the open": ({"url": "postgresql://user:hush@host/a"}, "give the user as `username`"),
    "settings of the library": ({"url": "postgresql://host/a?passfile=/etc/shadow"}, "takes nothing behind `?`"),
    "sockets of nowhere": ({"url": "postgresql:///a?host=elsewhere"}, "expected a directory behind `host=`"),
    "a port that is none": ({"url": "postgresql://host:99999/a"}, "Port out of range"),
    "a user of a file": ({"path": "a.db", "username": "me"}, "`username` goes with `url`"),
    "two tables": ({"path": "a.db", "table": "events, raws"}, "String should match pattern"),
    "a statement": ({"path": "a.db", "table": 'e"; DROP TABLE x; --'}, "String should match pattern"),
    "a schema of SQLite": ({"path": "a.db", "table": "main.events"}, "SQLite has no schemas"),
    "a part of extra": ({"path": "a.db", "fields": "extra.a"}, "all that is below `extra.` is one column"),
    "no such field": ({"path": "a.db", "fields": "source.ipp"}, "did you mean 'source.ip'?"),
    "nothing to check by": ({"url": "postgresql://h/a", "sslmode": "verify-ca"}, "needs a `ca_file`"),
    "a key alone": ({"url": "postgresql://h/a", "client_key": "key.pem"}, "needs a `client_cert`"),
}


@pytest.mark.parametrize(("params", "text"), NO_PARAMS.values(), ids=NO_PARAMS)
async def test_parameters_that_make_no_sense_are_refused(params: dict[str, Any], text: str) -> None:
    result = await testing.run_stage("outputs.sql", params)

    assert text in str(result.refused)
    assert "hush" not in str(result.refused)


def test_a_path_stays_in_the_directories_that_may_be_written(tmp_path: Path) -> None:
    context = {"directory": tmp_path, "writable": [tmp_path / "open"]}
    inside = Params.model_validate({"path": "open/a.db"}, context=context)

    assert inside.path == tmp_path / "open/a.db"
    with pytest.raises(ValueError, match="outside the directories that the host file allows"):
        Params.model_validate({"path": "../a.db"}, context=context)


def test_the_library_is_needed_by_postgresql_alone() -> None:
    sql = catalog.load("outputs.sql")
    needed = {"url": sdk.Extra("postgres", "psycopg"), "path": None}

    assert {
        name: sql.requires_of(Params.model_validate({name: "postgresql:///a"})) for name in ("url", "path")
    } == needed


def test_equal_parameters_are_equal_and_others_are_not() -> None:
    own = {"ontology": STANDARD.with_own({"org.case": "Integer"})}
    one, same, other = (
        Params.model_validate({"path": "a.db"}, context=context) for context in (None, {"ontology": STANDARD}, own)
    )

    assert (one == same, one == other) == (True, False)
