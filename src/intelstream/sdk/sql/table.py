"""The table of events: its columns, as the ontology has them and EventDB names them, and the row of an event."""

import base64
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Literal, NamedTuple

from intelstream.errors import Unavailable
from intelstream.ontology import Event, Ontology
from intelstream.ontology.extra import EXTRA
from intelstream.ontology.network import address, network
from intelstream.ontology.times import time

ID: Final = "event_id"  # EventDB's own `id` is a number that the database counts
Kind = Literal["id", "text", "address", "network", "time", "integer", "number", "boolean", "json"]
Types = Mapping[Kind, str]
Row = dict[str, Any]

_BY_CHECK: Final[Mapping[object, Kind]] = {address: "address", network: "network", time: "time"}
_BY_SCHEMA: Final[Mapping[str, Kind]] = {
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "array": "json",
    "object": "json",
}


class Column(NamedTuple):
    """A field, and what kind of values it has."""

    name: str
    kind: Kind


def columns_of(ontology: Ontology, fields: Sequence[str], *, raw: bool) -> tuple[Column, ...]:
    """Return the columns for these fields, for all if none are named, and that of the event's id before them.

    All that is below `extra.` is one column; `raw` has one if it is asked for.
    """
    says = ontology.json_schema()["properties"]
    every = [name for name in says if name != "raw" and not name.startswith("__")]
    names: dict[str, None] = dict.fromkeys(fields or sorted([*every, "extra"]))
    if raw:
        names["raw"] = None
    return (Column(ID, "id"), *(Column(name, _kind(ontology, name, says)) for name in names))


def _kind(ontology: Ontology, name: str, says: Mapping[str, Mapping[str, Any]]) -> Kind:
    if name == "extra":
        return "json"
    check = ontology.checks.get(name)
    return _BY_CHECK.get(check) or _BY_SCHEMA.get(says[name]["type"], "text")


@dataclass(frozen=True)
class Table:
    """A table by its name, with a schema before a dot where it has one, and the columns that are wanted of it.

    With `chosen` an event's other fields are left out; else a field without a column is a fault of the table. With
    `create` it is made where there is none.
    """

    name: str
    columns: tuple[Column, ...]
    chosen: bool = False
    create: bool = True

    @property
    def quoted(self) -> str:
        return ".".join(map(quoted, self.name.split(".")))

    @property
    def index(self) -> str:
        """The statement that makes ids unique where the table was not made by `creation`."""
        name = quoted(f"{self.name.rpartition('.')[2]}_{ID}")
        return f"CREATE UNIQUE INDEX {name} ON {self.quoted} ({quoted(ID)})"

    @property
    def conflict(self) -> str:
        """What an INSERT ends with, so that an event that is there already makes no second row."""
        return f"ON CONFLICT ({quoted(ID)}) DO NOTHING"

    def creation(self, types: Types) -> str:
        """Return the statement that makes the table."""
        columns = ", ".join(f"{_defined(column, types)}" for column in self.columns)
        return f"CREATE TABLE IF NOT EXISTS {self.quoted} ({columns}, PRIMARY KEY ({quoted(ID)}))"

    @property
    def needed(self) -> list[str]:
        """The columns without which nothing can be written."""
        return [name for name, _ in self.columns] if self.chosen else [ID]

    @property
    def missing(self) -> Unavailable:
        """What to raise where there is no such table and none may be made."""
        return Unavailable(f"writing to table {self.quoted}: there is none; make it, or set `create: true`")

    def used(self, rows: Iterable[Row]) -> list[str]:
        """Return the columns that any of the rows has a value for, in an order that is always the same."""
        found = set(chain.from_iterable(rows))
        return [name for name, _ in self.columns if name in found]

    def require(self, names: Iterable[str], there: Container[str], types: Types) -> None:
        """Make sure that the database has these columns.

        Raises:
            Unavailable: it has not; the text tells the statement that adds them.
        """
        if lacking := [column for column in self.columns if column.name in names and column.name not in there]:
            adding = "; ".join(self._addition(column, types) for column in lacking)
            choosing = "" if self.chosen else ", or name the `fields` to write"
            what = f"column {', '.join(quoted(column.name) for column in lacking)}"
            raise Unavailable(f"writing to table {self.quoted}: it has no {what}; run `{adding}`{choosing}")

    def _addition(self, column: Column, types: Types) -> str:
        adding = f"ALTER TABLE {self.quoted} ADD COLUMN {_defined(column, types)}"
        return f"{adding}; {self.index}" if column.name == ID else adding


class Rows:
    """Makes rows of events: only what has a value, all that is below `extra.` as one object, `raw` as base64."""

    def __init__(self, table: Table) -> None:
        names = {name for name, _ in table.columns}
        self._plain = names - {"extra", "raw", ID}
        self._extra, self._raw = "extra" in names, "raw" in names

    def of(self, event: Event) -> Row:
        """Return the row of an event."""
        row: Row = {ID: event.id}
        extra: Row = {}
        for name, value in event.fields.items():
            if name in self._plain:
                row[name] = value
            elif self._extra and name.startswith(EXTRA):
                extra[name[len(EXTRA) :]] = value
        if extra:
            row["extra"] = extra
        if self._raw and event.raw is not None:
            row["raw"] = base64.b64encode(event.raw.encode()).decode()
        return row


def quoted(name: str) -> str:
    """Return a name as SQL takes it, dots and all."""
    return '"' + name.replace('"', '""') + '"'


def _defined(column: Column, types: Types) -> str:
    return f"{quoted(column.name)} {types[column.kind]}"
