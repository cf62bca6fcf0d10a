"""PostgreSQL, by psycopg: the rows of a write are one parameter of one statement, so it takes one round trip."""

import asyncio
import math
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import orjson
import psycopg
from psycopg.errors import DuplicateTable, UniqueViolation

from intelstream.errors import InvalidValue, PartialWrite, Rejected, StageError, Unavailable
from intelstream.ontology import Event
from intelstream.sdk.sql.database import Database
from intelstream.sdk.sql.params import SqlParams, location
from intelstream.sdk.sql.table import Row, Rows, Table, Types, quoted

TYPES: Final[Types] = {
    "id": "uuid",
    "text": "text",
    "address": "inet",
    "network": "cidr",
    "time": "timestamp with time zone",
    "integer": "bigint",
    "number": "double precision",
    "boolean": "boolean",
    "json": "jsonb",
}
COLUMNS: Final = """
    SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""
# https://www.postgresql.org/docs/current/errcodes-appendix.html: classes of what is wrong with the data
REFUSED: Final = ("22", "23", "44", "54", "P0")
CHANGED: Final = ("42P01", "42703")  # there is no such table, no such column
CURES: Final[Mapping[str, str]] = {
    "25006": "name the primary server, this one is a read-only copy",
    "28": "check `username`, `password` and the server's pg_hba.conf",
    "3D000": "make the database, or name another one in `url`",
    "42501": "run `GRANT SELECT, INSERT ON {table} TO {user}`",
    "42P10": "run `{index}`",
    "53100": "make room on the server's disk",
    "53300": "raise the server's max_connections",
}
SYSTEM_ROOTS: Final = 160000  # libpq that knows `sslrootcert=system`
NUL: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
ESCAPED_NUL: Final = rb"\1\\\\u0000"


class Outdated(Unavailable):
    """What was known of the server holds no longer: it has closed the connection, or the table is another one."""


class Postgres(Database):
    """A table of a PostgreSQL server."""

    def __init__(self, params: SqlParams, table: Table, address: Callable[[str, int], tuple[str, int]]) -> None:
        self._params = params
        self._place = location(params.url or "")
        self._address = address
        self._table = table
        self._rows = Rows(table)
        self._wait = float(params.timeout)
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._types: dict[str, str] = {}

    async def open(self) -> None:
        async with self._told(f"connecting to {self._params.url}"):
            await self._connected()

    async def insert(self, events: Sequence[Event]) -> None:
        rows = [self._rows.of(event) for event in events]
        data, failures = orjson.dumps(rows), {}
        if rb"\u0000" in data:
            failures = _unstorable(rows)
            rows = [row for place, row in enumerate(rows) if place not in failures]
            data = orjson.dumps(rows)
        if rows:
            names = self._table.used(rows)
            known = self._connection
            try:
                await self._write(names, data)
            except Outdated:
                if known is None:
                    raise
                await self._write(names, data)
        if failures:
            raise PartialWrite(failures)

    async def close(self) -> None:
        if self._connection:
            await self._connection.close()
        self._connection = None

    async def _write(self, names: Sequence[str], data: bytes) -> None:
        async with self._told(f"writing to table {self._table.quoted} of {self._params.url}"):
            connection = await self._connected()
            if not self._types.keys() >= set(names):
                self._types = await self._columns(connection)
                self._table.require(names, self._types, TYPES)
            await connection.execute(self._statement(names), [data.decode()])

    def _statement(self, names: Sequence[str]) -> bytes:
        columns = ", ".join(map(quoted, names))
        typed = ", ".join(f"{quoted(name)} {self._types[name]}" for name in names).replace("%", "%%")
        return (
            f"INSERT INTO {self._table.quoted} ({columns}) "  # noqa: S608 - quoted names, types by the server
            f"SELECT {columns} FROM json_to_recordset(%s::json) AS event ({typed}) {self._table.conflict}"
        ).encode()

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self._connection and not self._connection.closed:
            return self._connection
        # No prepared statements: a pooler between us and the server may lose them, and one plan per write costs little.
        connection = await psycopg.AsyncConnection.connect(
            **self._login(), autocommit=True, prepare_threshold=None, client_encoding="utf8"
        )
        self._connection = connection
        self._types = await self._columns(connection)
        if not self._types:
            if not self._table.create:
                raise self._table.missing
            with suppress(DuplicateTable, UniqueViolation):  # another worker is just making it
                await connection.execute(self._table.creation(TYPES).encode())
            self._types = await self._columns(connection)
        self._table.require(self._table.needed, self._types, TYPES)
        return connection

    def _login(self) -> dict[str, Any]:
        """Return what libpq is to know, by its own names; None is its own default."""
        params, place = self._params, self._place
        host, port = place.host, place.port
        if not host.startswith("/"):
            host, port = self._address(host, port)
        mode = params.sslmode or ("prefer" if place.is_here else "verify-full")
        roots = params.ca_file
        if mode == "verify-full" and not roots and psycopg.pq.version() >= SYSTEM_ROOTS:
            roots = Path("system")
        return {
            "host": host,
            "port": port,
            "dbname": place.database,
            "user": params.username,
            "password": params.password.get_secret_value() if params.password else None,
            "sslmode": mode,
            "sslrootcert": roots,
            "sslcert": params.client_cert,
            "sslkey": params.client_key or params.client_cert,
            "connect_timeout": max(2, math.ceil(self._wait)),
            "application_name": "intelstream",
        }

    async def _columns(self, connection: psycopg.AsyncConnection[Any]) -> dict[str, str]:
        found = await connection.execute(COLUMNS, [self._table.quoted])
        return dict(await found.fetchall())

    @asynccontextmanager
    async def _told(self, doing: str) -> AsyncGenerator[None]:
        """Say what an error means; after one that is not about the events the connection is made anew."""
        try:
            async with asyncio.timeout(self._wait):
                yield
        except psycopg.Error as error:
            state = error.sqlstate or ""
            said = error.diag.message_primary or str(error).strip().replace("\n", " ")
            if state.startswith(REFUSED):
                self._types = {}  # its column may be another one when the event comes again
                detail = f": {error.diag.message_detail}" if error.diag.message_detail else ""
                raise Rejected(f"{doing}: {said}{detail}") from error
            lost = self._connection is not None and self._connection.closed
            await self.close()
            kind = Outdated if lost or state in CHANGED else Unavailable
            raise kind(f"{doing}: {said}{self._cure(state, said)}") from error
        except TimeoutError as error:
            await self.close()
            raise Unavailable(f"{doing}: no answer within {self._wait:g} s") from error
        except BaseException:
            await self.close()
            raise

    def _cure(self, state: str, said: str) -> str:
        if not state and "FATAL" in said:  # refused before it was connected: libpq tells no code then
            return "; check `username`, `password` and the database in `url`"
        cure = CURES.get(state) or CURES.get(state[:2], "")
        user = quoted(self._params.username or "USER")
        return f"; {cure.format(table=self._table.quoted, index=self._table.index, user=user)}" if cure else ""


def _unstorable(rows: Sequence[Row]) -> dict[int, StageError]:
    """Find the rows with a NUL in a text, which PostgreSQL cannot store; within JSON it becomes its own escape."""
    failures: dict[int, StageError] = {}
    for place, row in enumerate(rows):
        for name, value in row.items():
            if isinstance(value, dict | list):
                row[name] = orjson.Fragment(NUL.sub(ESCAPED_NUL, orjson.dumps(value)))
            elif isinstance(value, str) and "\0" in value:
                failures[place] = InvalidValue(name, value, "PostgreSQL stores no NUL in a text")
    return failures
