"""What came out, read from where the outputs of a closed pipeline record: JSON lines, or a table of SQLite."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson

from intelstream.app.dry import record_of
from intelstream.app.prove.closing import OUT, SQL, TABLE, is_sqlite, table_of
from intelstream.app.prove.expected import content_of, identity_of
from intelstream.app.prove.stages import COUNT, GROUP
from intelstream.ontology import Ontology
from intelstream.ontology.extra import EXTRA
from intelstream.runtime.spec import PipelineSpec
from intelstream.sdk.sql.table import ID, columns_of

Fields = Mapping[str, Any]


class Ledger:
    """The records of all outputs of a closed pipeline."""

    def __init__(self, spec: PipelineSpec, directory: Path) -> None:
        self._ontology = spec.ontology
        self._paths = {
            name: table_of(directory, name) if is_sqlite(one) else record_of(directory / OUT, name)
            for name, one in spec.stages.items()
            if one.kind == "output"
        }

    def size(self) -> int:
        """Return the bytes of all records: it changes when anything comes out."""
        beside = [path.with_name(f"{path.name}-wal") for path in self._paths.values()]
        return sum(path.stat().st_size for path in (*self._paths.values(), *beside) if path.exists())

    def contents(self, sink: str) -> Mapping[str, Sequence[bytes]]:
        """Return what a record holds, by event."""
        found: defaultdict[str, list[bytes]] = defaultdict(list)
        for event in self._events(sink):
            found[identity_of(event)].append(content_of(event))
        return found

    def sums(self, sink: str) -> Counter[str]:
        """Return the counts that a record holds, added up by group."""
        found: Counter[str] = Counter()
        for event in self._events(sink):
            found[str(event.get(GROUP, ""))] += int(event[COUNT])
        return found

    def _events(self, sink: str) -> Iterator[Fields]:
        path = self._paths[sink]
        if not path.exists():
            return iter(())
        return _rows(path, self._ontology) if path.suffix == SQL else _lines(path)


def _lines(path: Path) -> Iterator[Fields]:
    """Yield events; a line without its end is none, for nobody has committed it."""
    with path.open("rb") as file:
        yield from (orjson.loads(line) for line in file if line.endswith(b"\n"))


def _rows(path: Path, ontology: Ontology) -> Iterator[Fields]:
    kinds = dict(columns_of(ontology, (), raw=True))
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [TABLE]).fetchone():
            return
        rows = database.execute(f"SELECT * FROM {TABLE}")  # noqa: S608 - a name of ours
        names = [column[0] for column in rows.description]
        for row in rows:
            fields: dict[str, Any] = {}
            for name, value in zip(names, row, strict=True):
                if value is None or name == ID:
                    continue
                if name == "extra":
                    fields |= {f"{EXTRA}{key}": one for key, one in orjson.loads(value).items()}
                else:
                    fields[name] = _read(value, kinds[name])
            yield fields


def _read(value: Any, kind: str) -> Any:
    if kind == "json":
        return orjson.loads(value)
    return bool(value) if kind == "boolean" else value
