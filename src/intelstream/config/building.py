"""Builds the stages of a pipeline from its entries, as far as they are right; each check goes on after a fault."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

from intelstream.catalog import AnyStage
from intelstream.config import secrets
from intelstream.config.entries import FEED_ONLY, Entry
from intelstream.config.feeds import Expansion
from intelstream.config.parts import Part, Reading, Ways
from intelstream.config.specs import loaded, spec_of
from intelstream.formats.yaml import Place
from intelstream.runtime.spec import StageSpec

KEYS: Final = frozenset(info.alias or name for name, info in Entry.model_fields.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A stage as far as it is known; `spec` is missing where something of it is wrong, `ways` where that is `to`.

    `way` is where the file says whom it sends to.
    """

    name: str
    place: Place
    way: Place
    ways: Ways | None
    stage: AnyStage | None = None
    spec: StageSpec | None = None


@dataclass(slots=True)
class Builder:
    """Builds the stages of one pipeline, entry by entry."""

    reading: Reading
    nodes: dict[str, Node] = field(default_factory=dict[str, Node])

    def build(self, name: str, given: Any) -> None:
        """Add what one entry stands for: a stage, or the two of a feed."""
        faults, place = self.reading.faults, ("stages", name)
        if not isinstance(given, dict):
            faults.add(place, "expected a mapping, such as {use: experts.taxonomy}")
            self._unbuilt(name, place, None)
            return
        entry, broken = faults.salvage(Entry, given, place)
        broken |= {meant for key in broken - KEYS for meant in get_close_matches(key, KEYS, n=1)}
        self._refuse_secrets(given, place)
        ways = None if "to" in broken else entry.to
        keys = frozenset(given) - broken
        if entry.feed and not entry.use:
            expansion = Expansion(reading=self.reading, name=name, entry=entry, keys=keys, place=place, ways=ways)
            parts = expansion.parts()
            if not parts:
                self.nodes[name] = Node(name=name, place=place, way=(*place, "feed"), ways=expansion.to_parser)
                self._unbuilt(expansion.parser_name, place, ways)
        elif entry.use and not entry.feed:
            for key in FEED_ONLY & given.keys():
                faults.add((*place, key), "goes with `feed`, not with `use`")
            parts = [self._part(name, entry.use, entry, keys, place, ways)]
        else:
            if not broken & {"use", "feed"}:
                faults.add(place, "expected `use` or `feed`, one of them")
            parts = []
            self._unbuilt(name, place, ways)
        for part in parts:
            self._add(part)

    def _part(self, name: str, use: str, entry: Entry, keys: frozenset[str], place: Place, ways: Ways | None) -> Part:
        return Part(
            name=name,
            use=use,
            entry=entry,
            keys=keys,
            given=self.reading.secrets.resolved(entry.given, (*place, "with")),
            place=place,
            use_place=(*place, "use"),
            with_place=(*place, "with"),
            ways=ways,
            set=entry.set,
            labels=entry.labels,
            tags=entry.tags,
            was=entry.was,
        )

    def _add(self, part: Part) -> None:
        stage = loaded(part, self.reading)
        spec = spec_of(part, stage, self.reading) if stage else None
        way = (*part.place, "to")
        self.nodes[part.name] = Node(name=part.name, place=part.place, way=way, ways=part.ways, stage=stage, spec=spec)

    def _unbuilt(self, name: str, place: Place, ways: Ways | None) -> None:
        self.nodes[name] = Node(name=name, place=place, way=(*place, "to"), ways=ways)

    def _refuse_secrets(self, given: Mapping[str, Any], place: Place) -> None:
        """Refuse secrets where they would be shown."""
        for key, value in given.items():
            if key in ("with", "description"):
                continue
            for found in secrets.references(value, (*place, key)):
                if found[len(place) : len(place) + 2] != ("parser", "with"):
                    self.reading.faults.add(found, "secrets can only be in `with`: elsewhere they would be shown")
