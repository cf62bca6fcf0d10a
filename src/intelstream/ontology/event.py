"""Events and reports as stages handle them: flat, typed by key, checked where a value is written."""

import base64
import io
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Final, Self, TypeVar, overload

import orjson

from intelstream.errors import InvalidValue
from intelstream.ontology import ids
from intelstream.ontology.fields import STANDARD, Ontology, reason
from intelstream.ontology.key import Key

T = TypeVar("T")
EMPTY: Final = frozenset({"", "-", "N/A", None})
PASSED_ON: Final = frozenset({"rtir_id", "time.observation"})  # from a report to its events, beside feed.*
NEVER_COMPARED: Final = frozenset({"time.observation"})  # nor is `raw`, which is no field here


class Event:
    """One observation. A stage owns the events handed to it and may change them in place."""

    __slots__ = ("again", "arrival", "attempts", "fields", "id", "ontology", "parents", "raw", "stage", "tags")

    def __init__(
        self,
        fields: dict[str, Any],
        ontology: Ontology = STANDARD,
        *,
        id: str,
        parents: tuple[str, ...] = (),
        tags: frozenset[str] = frozenset(),
        raw: str | None = None,
    ) -> None:
        self.fields = fields
        self.ontology = ontology
        self.id = id
        self.parents = parents
        self.tags = tags
        self.raw = raw
        self.stage = ""  # the engine says whose hands the event is in
        self.arrival = ""  # and under which entry and index it came there: `Event.owner` is made of it
        self.attempts = 0  # how often the stage has failed with it
        self.again = False  # sent once more on purpose: its own marks let it pass

    def __repr__(self) -> str:
        return f"Event({self.fields!r})"

    def __contains__(self, key: Key[Any] | str) -> bool:
        return key in self.fields

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    @overload
    def __getitem__(self, key: Key[T]) -> T: ...
    @overload
    def __getitem__(self, key: str) -> Any: ...
    def __getitem__(self, key: Any) -> Any:
        return self.fields[key]

    @overload
    def get(self, key: Key[T]) -> T | None: ...
    @overload
    def get(self, key: Key[T], default: T) -> T: ...
    @overload
    def get(self, key: str, default: Any = None) -> Any: ...
    def get(self, key: Any, default: Any = None) -> Any:
        return self.fields.get(key, default)

    @overload
    def __setitem__(self, key: Key[T], value: T) -> None: ...
    @overload
    def __setitem__(self, key: str, value: Any) -> None: ...
    def __setitem__(self, key: Any, value: Any) -> None:
        """Replace, harmonised; `InvalidValue` is the only way this fails."""
        check = self.ontology.checks.get(key)
        if check is None:
            self._set_extra(key, value)
            return
        try:
            self.fields[key] = check(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise InvalidValue(key, value, reason(error)) from error

    def __delitem__(self, key: Key[Any] | str) -> None:
        self.fields.pop(str(key), None)

    def add(self, key: Key[Any] | str, value: object, *, overwrite: bool = False) -> bool:
        """Store a value that is one, unless the event has one already; say whether it was stored."""
        if (isinstance(value, str | None) and value in EMPTY) or (not overwrite and key in self.fields):
            return False
        self[str(key)] = value
        return True

    def via(self, path: str) -> tuple[str, Self]:
        """Pair the event with a named way out: `yield event.via("other")`."""
        return path, self

    def derive(self, index: int) -> "Event":
        """Return a further event that stems from this one, with all of its fields."""
        own = ids.derived(self.id, self.stage, index)
        child = Event(self.fields.copy(), self.ontology, id=own, parents=(self.id,), tags=self.tags, raw=self.raw)
        child.stage, child.arrival, child.again = self.stage, self.arrival, self.again
        return child

    @property
    def owner(self) -> str:
        """Who the event is to a mark: 16 hex digits of its arrival at the stage, and 16 of its id."""
        return _short(self.arrival) + _short(self.id)

    def owns(self, owner: str) -> bool:
        """Tell whether a mark of this owner lets the event pass.

        A redelivery has the same arrival and passes; a twin, or the same event by another route, has not; one that
        is sent again on purpose passes by its id.
        """
        mine = self.owner
        return owner[:16] == mine[:16] or (self.again and owner[16:] == mine[16:])

    def digest(self, *, only: Collection[str] = (), ignore: Collection[str] = ()) -> str:
        """Identify the content: events that agree in the fields asked for have equal digests."""
        fields = self.fields
        names = only or (k for k in fields if k not in ignore)
        kept = {k: fields[k] for k in names if k in fields and k not in NEVER_COMPARED}
        return blake2b(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()

    def dump(self) -> bytes:
        """Return the form on our own wire, which is trusted when it comes back."""
        own = {"__id": self.id, "__parents": self.parents, "__tags": sorted(self.tags), "__raw": self.raw}
        return orjson.dumps({**self.fields, "__type": "Event", **own})

    @classmethod
    def load(cls, wire: bytes, ontology: Ontology = STANDARD) -> Self:
        fields: dict[str, Any] = orjson.loads(wire)
        del fields["__type"]
        own, parents, tags = fields.pop("__id"), tuple(fields.pop("__parents")), frozenset(fields.pop("__tags"))
        return cls(fields, ontology, id=own, parents=parents, tags=tags, raw=fields.pop("__raw"))

    def to_dict(self, *, raw: bool = False) -> dict[str, Any]:
        """Return the form at every edge, as IntelMQ has it: `raw` is base64."""
        if raw and self.raw is not None:
            return self.fields | {"raw": base64.b64encode(self.raw.encode()).decode()}
        return self.fields.copy()

    def _set_extra(self, key: str, value: Any) -> None:
        if key == "extra" and isinstance(value, Mapping):
            for name, one in value.items():
                self._set_extra(f"extra.{name}", one)
        elif not key.startswith("extra."):
            raise InvalidValue(key, value, "no such field")
        elif value is None or value == "":
            raise InvalidValue(key, value, "expected a value")
        else:
            self.fields[key] = value


class Report:
    """Raw bytes of one fetch, in memory or in a file. A collector gives them; the engine stamps the rest.

    `fields` are what the collector knows beside the labels of its pipeline entry, such as `feed.url`.
    """

    __slots__ = ("_index", "_raw", "_row", "after_commit", "cursor", "fields", "given", "id", "ontology", "path", "start", "tags")

    def __init__(
        self,
        raw: bytes | Path,
        *,
        cursor: Any = None,
        after_commit: Callable[[], Awaitable[None]] | None = None,
        fields: Mapping[str, Any] | None = None,
        tags: Collection[str] = (),
    ) -> None:
        self._raw = raw if isinstance(raw, bytes) else None
        self.path = raw if isinstance(raw, Path) else None
        self.cursor = cursor
        self.after_commit = after_commit
        self.given = fields or {}
        self.stamp(id="", tags=frozenset(tags))

    @property
    def raw(self) -> bytes:
        """All of the bytes. Where a report may be large, read from `open()` instead."""
        if self._raw is None and self.path:
            return self.path.read_bytes()
        return self._raw or b""

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.path.stat().st_size if self._raw is None and self.path else len(self._raw or b"")

    def open(self) -> BinaryIO:
        """Open the bytes for reading; the caller closes."""
        return self.path.open("rb") if self._raw is None and self.path else io.BytesIO(self._raw or b"")

    def stamp(
        self,
        *,
        id: str,
        fields: Mapping[str, Any] | None = None,
        tags: frozenset[str] = frozenset(),
        ontology: Ontology = STANDARD,
    ) -> Self:
        """Fix what every event of this report starts from; values are checked here, once for all rows."""
        template = Event({}, ontology, id=id)
        for name, value in (fields or {}).items():
            template[name] = value
        self.id, self.fields, self.tags, self.ontology = id, template.fields, tags, ontology
        self.prepare({})
        self.seek(0)
        return self

    def prepare(self, constants: Mapping[str, Any], tags: frozenset[str] = frozenset()) -> None:
        """Fix what each event begins with: what is known of the feed, and a parser's constants, which a row may replace."""
        known = {name: value for name, value in self.fields.items() if name in PASSED_ON or name.startswith("feed.")}
        start = Event({}, self.ontology, id=self.id)
        for name, value in constants.items():
            start[name] = value
        self.start = start.fields | known
        self.tags |= tags

    def seek(self, row: int) -> None:
        """Tell which row the events to come belong to; the engine does, before each row."""
        self._row, self._index = row, 0

    def event(self) -> Event:
        """Return a new event of the current row, with what is known of the whole report."""
        self._index += 1
        own = ids.derived(self.id, self._row, self._index - 1)
        return Event(self.start.copy(), self.ontology, id=own, parents=(self.id,), tags=self.tags)


def _short(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()
