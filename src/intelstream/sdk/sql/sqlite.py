"""SQLite: a file of this machine, written in a thread."""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson

from intelstream.errors import Rejected, Unavailable
from intelstream.ontology import Event
from intelstream.sdk.context import InThread
from intelstream.sdk.sql.database import Database
from intelstream.sdk.sql.table import Row, Rows, Table, Types, quoted

TYPES: Final[Types] = {
    "id": "TEXT",
    "text": "TEXT",
    "address": "TEXT",
    "network": "TEXT",
    "time": "TEXT",
    "integer": "INTEGER",
    "number": "REAL",
    "boolean": "BOOLEAN",
    "json": "TEXT",
}
LONGEST_WAIT: Final = 5.0  # seconds for a lock: longer the stage waits, where it is seen
PRIMARY: Final = 0xFF  # of a result code, the rest says more of it (https://www.sqlite.org/rescode.html)
REFUSED: Final = {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH}
CURES: Final = {
    sqlite3.SQLITE_BUSY: "another process keeps it locked: wait for that, or stop it",
    sqlite3.SQLITE_LOCKED: "another connection keeps it locked: wait for that, or stop it",
    sqlite3.SQLITE_READONLY: "let the user of the daemon write to the file and to its directory",
    sqlite3.SQLITE_PERM: "let the user of the daemon write to the file and to its directory",
    sqlite3.SQLITE_CANTOPEN: "let the user of the daemon write to the file and to its directory",
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_IOERR: "see whether its disk is full or broken",
    sqlite3.SQLITE_NOTADB: "name another `path`",
    sqlite3.SQLITE_CORRUPT: "restore the file, or move it away so that a new one is made",
}


class Sqlite(Database):
    """A SQLite file in WAL mode, so that others read while events are written; each transaction is synced."""

    def __init__(self, path: Path, table: Table, *, wait: float, in_thread: InThread) -> None:
        self._path = path
        self._table = table
        self._rows = Rows(table)
        self._wait = min(wait, LONGEST_WAIT)
        self._in_thread = in_thread
        self._lock = threading.Lock()  # a thread outlives the task that is cancelled while it waits for it
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._there: frozenset[str] = frozenset()

    async def open(self) -> None:
        await self._in_thread(self._locked, ())

    async def insert(self, events: Sequence[Event]) -> None:
        await self._in_thread(self._locked, [self._rows.of(event) for event in events])

    async def close(self) -> None:
        await self._in_thread(self._closed)

    def _locked(self, rows: Sequence[Row]) -> None:
        with self._lock, self._told():
            if self._connection and self._inode != _inode(self._path):
                self._disconnect()  # the file was moved away or replaced: what is written to it is not seen
            connection = self._connection or self._connect()
            if rows:
                self._write(connection, rows)

    def _closed(self) -> None:
        with self._lock:
            self._disconnect()

    def _connect(self) -> sqlite3.Connection:
        if self._table.create:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        elif not self._path.exists():
            raise Unavailable(f"opening {self._path}: there is no such file; set `create: true` to have it made")
        self._connection = connection = sqlite3.connect(
            self._path, timeout=self._wait, isolation_level=None, check_same_thread=False
        )
        self._inode = _inode(self._path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        self._there = self._columns(connection)
        if not self._there:
            if not self._table.create:
                raise self._table.missing
            connection.execute(self._table.creation(TYPES))
            self._there = self._columns(connection)
        self._table.require(self._table.needed, self._there, TYPES)
        return connection

    def _columns(self, connection: sqlite3.Connection) -> frozenset[str]:
        return frozenset(
            name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", [self._table.name])
        )

    def _write(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        names = self._table.used(rows)
        if not self._there.issuperset(names):
            self._there = self._columns(connection)
            self._table.require(names, self._there, TYPES)
        columns, marks = ", ".join(map(quoted, names)), ", ".join("?" * len(names))
        statement = f"INSERT INTO {self._table.quoted} ({columns}) VALUES ({marks}) {self._table.conflict}"  # noqa: S608 - quoted
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(statement, ([_cell(row.get(name)) for name in names] for row in rows))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _disconnect(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say what an error means; after one that is not about the events the file is opened anew."""
        doing = f"writing to {self._path}"
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & PRIMARY
            if code in REFUSED:
                raise Rejected(f"{doing}: {error}") from error
            self._disconnect()
            cure = CURES.get(code, "")
            if "ON CONFLICT" in str(error):
                cure = f"run `{self._table.index}`"
            raise Unavailable(f"{doing}: {error}" + (f"; {cure}" if cure else "")) from error
        except OSError as error:
            self._disconnect()
            raise Unavailable(f"{doing}: {error.strerror}") from error
        except Unavailable:
            self._disconnect()
            raise


def _cell(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else value


def _inode(path: Path) -> int:
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - half the time, for every write
    except FileNotFoundError:
        return 0
