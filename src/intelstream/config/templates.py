"""Makes the stages of `templates`, once for each item: `{placeholder}` becomes the item's value, nothing more."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from intelstream.config.entries import TemplateKeys
from intelstream.config.sources import Stages
from intelstream.formats import yaml
from intelstream.formats.faults import Faults, near
from intelstream.formats.yaml import Mark, Place
from intelstream.ontology import STANDARD

PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
LARGEST: Final = 16 * yaml.LARGEST  # characters of all that is made
ITEM: Final = "item"


def expand(templates: Mapping[str, Any], stages: Stages) -> None:
    """Add the stages of all templates; a fault in one stands where its text, or the item's value, stands."""
    budget = _Budget()
    for name, value in templates.items():
        place = ("templates", name)
        keys, _ = stages.faults.salvage(TemplateKeys, value if isinstance(value, dict) else {}, place)
        if not isinstance(value, dict):
            stages.faults.add(place, "expected a mapping with `for_each` and `stages`")
            continue
        for missing in [key for key in ("for_each", "stages") if not value.get(key)]:
            stages.faults.add(place, f"expected `{missing}`")
        try:
            _expand(keys, place, stages, budget)
        except OverflowError as error:
            stages.faults.add((*place, "for_each"), str(error))


@dataclass(slots=True)
class _Budget:
    """How much may still be made: a template of many stages with many items is a product."""

    values: int = yaml.MOST
    characters: int = LARGEST

    def spend(self, text: str = "") -> None:
        self.values -= 1
        self.characters -= len(text)
        if self.values < 0 or self.characters < 0:
            raise OverflowError("too much once it is made for each item")


@dataclass(slots=True)
class _Making:
    """One item, put into a template. `marks` are by places within the entry that is made."""

    faults: Faults
    budget: _Budget
    item: Mapping[str, Any]
    origin: Place  # of the item
    known: frozenset[str]  # what any item has
    used: set[str]
    marks: dict[Place, Mark] = field(default_factory=dict[Place, Mark])

    def value(self, value: Any, source: Place, place: Place) -> Any:
        """Return a value with the item's in it, and note where it stands."""
        self.budget.spend()
        self.marks[place] = self.mark(value, source)
        match value:
            case str():
                return self.text(value, source, place)
            case list():
                return [self.value(one, (*source, n), (*place, n)) for n, one in enumerate(value)]
            case dict():
                return {
                    made: self.value(one, (*source, name), (*place, made))
                    for name, one in value.items()
                    for made in (self.name(name, (*source, name)),)
                }
            case _:
                return value

    def text(self, text: str, source: Place, place: Place) -> Any:
        whole = PLACEHOLDER.fullmatch(text)
        if whole and whole[1] in self.item:
            self.used.add(whole[1])
            return self.copied(self.item[whole[1]], (*self.origin, whole[1]), place)
        return self.name(text, source)

    def name(self, text: str, source: Place) -> str:
        """Return a text with the item's values in it."""

        def put(found: re.Match[str]) -> str:
            if found[1] not in self.item:
                self.missing(found[1], source)
                return found[0]
            self.used.add(found[1])
            if isinstance(self.item[found[1]], dict | list):
                self.faults.add(source, f"{found[0]} is a mapping or a list, which can only stand alone")
            return _spelt(self.item[found[1]])

        made = PLACEHOLDER.sub(put, text)
        self.budget.spend(made)
        return made

    def missing(self, name: str, source: Place) -> None:
        """Tell of a placeholder that stays as it is: braces may be meant for the stage, but hardly those."""
        if name in self.known:
            self.faults.add(self.origin, f"has no value for {{{name}}}, which other items have")
        elif name not in STANDARD:  # the name of a field is meant for the stage
            self.faults.add(source, near(f"no item has a value for {{{name}}}", name, self.known), level="warning")

    def copied(self, value: Any, source: Place, place: Place) -> Any:
        """Note where the parts of an item's own value stand."""
        self.budget.spend()
        inner = source[:-1] if source not in self.faults.marks else source  # a plain item has no name of its own
        self.marks[place] = self.faults.marks[inner]
        if isinstance(value, list):
            return [self.copied(one, (*inner, n), (*place, n)) for n, one in enumerate(value)]
        if isinstance(value, dict):
            return {name: self.copied(one, (*inner, name), (*place, name)) for name, one in value.items()}
        return value

    def mark(self, value: Any, source: Place) -> Mark:
        """Return where a value stands: in the item, if it is what the one placeholder of a text makes of it."""
        names = {found[1] for found in PLACEHOLDER.finditer(value)} & self.item.keys() if isinstance(value, str) else ()
        if len(names) == 1:
            place = (*self.origin, *names)
            return self.faults.marks.get(place) or self.faults.marks[self.origin]
        return self.faults.marks[source]


def _expand(keys: TemplateKeys, place: Place, stages: Stages, budget: _Budget) -> None:
    used: set[str] = set()
    items = [(n, item if isinstance(item, dict) else {ITEM: item}) for n, item in enumerate(keys.for_each)]
    known = frozenset(name for _, item in items for name in item)
    for number, item in items:
        origin = (*place, "for_each", number)
        for name, entry in keys.stages.items():
            source = (*place, "stages", name)
            making = _Making(stages.faults, budget, item, origin, known, used)
            made = making.value(entry, source, ())
            stages.add(making.name(name, source), made, making.marks.items(), making.mark(name, source))
    unused = {name: number for number, item in reversed(items) for name in item if name not in used}
    for name, number in unused.items():
        there = (*place, "for_each", number, *((name,) if name != ITEM else ()))
        stages.faults.add(there, f"no stage of the template has {{{name}}}", level="warning")


def _spelt(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
