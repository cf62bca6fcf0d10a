"""Events as stages handle them: flat, typed by key, checked where a value is written."""

import base64
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, Self, TypeVar, overload

import orjson

from intelstream.errors import InvalidValue
from intelstream.ontology import ids
from intelstream.ontology.extra import EXTRA, extra_key, extras, folded, is_extra, nested
from intelstream.ontology.fields import STANDARD, Ontology, reason
from intelstream.ontology.key import Key
from intelstream.ontology.plain import plain
from intelstream.ontology.text import decoded, json_object, spelt, text

T = TypeVar("T")
EMPTY: Final = frozenset({"", "-", "N/A", None})
NEVER_COMPARED: Final = frozenset({"time.observation"})  # nor is `raw`, which is no field here
REFUSALS: Final = (ValueError, TypeError, OverflowError)  # all that a check raises
MOST_TAGS: Final = 100
SPECIAL: Final = frozenset({"extra", "raw"})  # names of what is no field of its own


class Event:
    """One observation. A stage owns the events handed to it and may change them in place.

    Two names stand for what is no field of its own: `extra` for all that is below `extra.`, as one mapping, and `raw`
    for the text of the row.
    """

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
        self.arrival = ""  # and where it came there, one of `ids.arrivals`: `Event.owner` is made of it
        self.attempts = 0  # how often the stage has failed with it
        self.again = False  # sent once more on purpose: its own marks let it pass

    def __repr__(self) -> str:
        return f"Event({self.fields!r})"

    def __contains__(self, key: Key[Any] | str) -> bool:
        return key in self.fields or (key in SPECIAL and self.get(key) is not None)

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    @overload
    def __getitem__(self, key: Key[T]) -> T: ...
    @overload
    def __getitem__(self, key: str) -> Any: ...
    def __getitem__(self, key: Any) -> Any:
        try:
            return self.fields[key]
        except KeyError:
            if (found := self.get(key)) is None:
                raise
            return found

    @overload
    def get(self, key: Key[T]) -> T | None: ...
    @overload
    def get(self, key: Key[T], default: T) -> T: ...
    @overload
    def get(self, key: str, default: Any = None) -> Any: ...
    def get(self, key: Any, default: Any = None) -> Any:
        fields = self.fields
        if key in fields:
            return fields[key]
        if key == "extra":
            return dict(extras(fields)) or default
        if key == "raw" and self.raw is not None:
            return self.raw
        return default

    @overload
    def __setitem__(self, key: Key[T], value: T) -> None: ...
    @overload
    def __setitem__(self, key: str, value: Any) -> None: ...
    def __setitem__(self, key: Any, value: Any) -> None:
        """Replace, harmonised; `InvalidValue` is the only way this fails."""
        check = self.ontology.checks.get(key)
        try:
            if check is not None:
                self.fields[key] = check(value)
            else:
                self._set_special(key, value)
        except REFUSALS as error:
            raise InvalidValue(str(key), value, reason(error)) from error

    def __delitem__(self, key: Key[Any] | str) -> None:
        """Remove a field, if it is there."""
        if key == "extra":
            self.fields = {name: value for name, value in self.fields.items() if not name.startswith(EXTRA)}
        elif key == "raw":
            self.raw = None
        else:
            self.fields.pop(str(key), None)

    def add(self, key: Key[Any] | str, value: object, *, overwrite: bool = False) -> bool:
        """Store a value that is one, unless the event has one already; say whether it was stored.

        Of a mapping for `extra`, what is not there yet is stored.
        """
        if value is None or (type(value) is str and value in EMPTY):
            return False
        if key == "extra" and not overwrite:
            return self._merge(value)
        if not overwrite and key in self:
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
        return self.arrival + (self.id[19:23] + self.id[24:] if len(self.id) == ids.LENGTH else _short(self.id))

    def owns(self, owner: str) -> bool:
        """Tell whether a mark of this owner lets the event pass.

        A redelivery has the same arrival and passes; a twin, or the same event by another route, has not; one that
        is sent again on purpose passes by its id.
        """
        mine = self.owner
        return owner[:16] == mine[:16] or (self.again and owner[16:] == mine[16:])

    def digest(self, *, only: Collection[str] = (), ignore: Collection[str] = ()) -> str:
        """Identify the content: events that agree in the fields asked for have equal digests.

        Neither the time of observation nor `raw` is ever asked for. With `only` the same tuple over and over is fast.
        """
        if only:
            names, compared = _compared(only if isinstance(only, tuple) else tuple(only))
            digest = compared.copy()
            digest.update(orjson.dumps(list(map(self._compared_value, names)), option=orjson.OPT_SORT_KEYS))
            return digest.hexdigest()
        skipped = NEVER_COMPARED.union(ignore)
        kept = {name: value for name, value in self.fields.items() if name not in skipped}
        if "extra" in skipped:
            kept = {name: value for name, value in kept.items() if not name.startswith(EXTRA)}
        return blake2b(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()

    def dump(self) -> bytes:
        """Return the form on our own wire, which is trusted when it comes back."""
        own = {"__id": self.id, "__parents": self.parents, "__tags": sorted(self.tags), "__raw": self.raw}
        return orjson.dumps({**self.fields, "__type": "Event", **own})

    @classmethod
    def load(cls, wire: bytes, ontology: Ontology = STANDARD) -> Self:
        """Read what `dump` has written."""
        fields: dict[str, Any] = orjson.loads(wire)
        del fields["__type"]
        own, parents, tags = fields.pop("__id"), tuple(fields.pop("__parents")), frozenset(fields.pop("__tags"))
        return cls(fields, ontology, id=own, parents=parents, tags=tags, raw=fields.pop("__raw"))

    def to_dict(
        self,
        *,
        raw: bool = False,
        hierarchical: bool = False,
        with_type: bool = False,
        extra_as_text: bool = False,
    ) -> dict[str, Any]:
        """Return the form at every edge, as IntelMQ has it: `raw` is base64."""
        found = folded(self.fields) if extra_as_text else self.fields.copy()
        if raw and self.raw is not None:
            found["raw"] = base64.b64encode(self.raw.encode()).decode()
        if hierarchical:
            found = nested(found)
        return found | {"__type": "Event"} if with_type else found

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], ontology: Ontology = STANDARD, *, id: str = "") -> Self:
        """Read and check what another system gives: `raw` is base64, the `__` keys may be missing.

        `id` is for an event that brings none. Empty values are skipped, keys in `__` that nobody knows are left out.

        Raises:
            InvalidValue: a field that the ontology has not, or a value that it refuses.
        """
        own = given.get("__id") or id
        parents, tags = (_texts(given, name) for name in ("__parents", "__tags"))
        for name, value, good in (
            ("__type", given.get("__type"), given.get("__type") in (None, "Event")),
            ("__id", own, own == id or ids.is_id(own)),
            ("__parents", parents, all(map(ids.is_id, parents))),
        ):
            if not good:
                raise InvalidValue(name, value, "expected that of an event")
        event = cls({}, ontology, id=own, parents=parents, tags=frozenset(tags))
        for name, value in given.items():
            if name == "raw" and value is not None:
                event.raw = _checked(name, value, decoded).decode("utf-8", "replace")
            elif is_extra(name):
                event.fields[name] = _checked(name, value, plain)
            elif not name.startswith("__"):
                event.add(name, value, overwrite=True)
        return event

    def _set_special(self, key: str, value: Any) -> None:
        """Set what has no check of its own."""
        if key == "extra":
            found = json_object(value)
            del self["extra"]
            self.fields |= {extra_key(name): one for name, one in found.items()}
        elif key == "raw":
            self.raw = spelt(value) if isinstance(value, str | bytes) and value else text(value)
        elif not (isinstance(key, str) and is_extra(key)):
            raise ValueError("no such field")
        elif value is None or value == "":
            raise ValueError("expected a value")
        else:
            self.fields[key] = plain(value)

    def _merge(self, value: object) -> bool:
        found = {extra_key(name): one for name, one in _checked("extra", value, json_object).items()}
        new = found.keys() - self.fields.keys()
        self.fields |= {name: one for name, one in found.items() if name in new}
        return bool(new)

    def _compared_value(self, name: str) -> Any:
        return self.fields.get(name) if name != "extra" else self.get(name)


@lru_cache(maxsize=256)
def _compared(only: tuple[str, ...]) -> tuple[tuple[str, ...], blake2b]:
    """Return the names to compare, in order, and a hash that has them in already."""
    names = tuple(sorted(set(only) - NEVER_COMPARED - {"raw"}))
    return names, blake2b(orjson.dumps(names), digest_size=16)


def _checked(name: str, value: Any, check: Callable[[Any], T]) -> T:
    try:
        return check(value)
    except REFUSALS as error:
        raise InvalidValue(name, value, reason(error)) from error


def _texts(given: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = given.get(name) or ()
    if not isinstance(found, list | tuple) or len(found) > MOST_TAGS:
        raise InvalidValue(name, found, f"expected a list of at most {MOST_TAGS} texts")
    return tuple(_checked(name, one, text) for one in found)


def _short(given: str) -> str:
    return blake2b(given.encode(), digest_size=8).hexdigest()
