"""The row plan: columns compiled to what is done for each row, so that nothing is decided per row."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from reprlib import Repr
from typing import Any, Final

from intelstream.errors import InvalidValue
from intelstream.ontology import Ontology
from intelstream.ontology.event import EMPTY
from intelstream.ontology.extra import extra_key
from intelstream.ontology.fields import Check, reason
from intelstream.sdk.columns import Column
from intelstream.sdk.convert import Converter, converter, makes_time, makes_value, spelt
from intelstream.sdk.fieldchecks import FieldCheck, Reading, check_of
from intelstream.sdk.patterns import Pattern

Cells = Sequence[Any]
Fields = dict[str, Any]
Get = Callable[[Cells], Any]
Quick = tuple[int, str, Check, Any]
WRONG: Final = (ValueError, TypeError, OverflowError)
REQUIRED: Final = object()
PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
SHOWN: Final = 200  # characters of a value in an error
MOST: Final = 1000  # events of one row
SHORT: Final = Repr()


@dataclass(frozen=True, slots=True)
class Source:
    """One cell, or several put together, and what is done to its text before a field sees it."""

    get: Get
    place: int | None = None
    match: Pattern | None = None
    split: str | None = None
    convert: Converter | None = None
    makes_value: bool = True  # the converter does, whenever it does not fail
    timed: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One field, or the first of several that accepts, and what may fill it, in order of preference."""

    fields: tuple[str, ...]
    sources: tuple[Source, ...] = ()
    lenient: bool = False
    missing: Any = None  # REQUIRED, or the value of an empty cell
    makes_events: bool = False

    @property
    def is_single(self) -> bool:
        """Whether one cell goes to one field, and nothing has to be looked for in it."""
        alone = len(self.sources) == 1 and len(self.fields) == 1 and not self.lenient
        source = self.sources[0]
        as_it_is = source.place is not None and source.makes_value and not source.match and not source.split
        return alone and as_it_is and self.fields[0] != "extra"


def steps(columns: Iterable[tuple[int, Column | None]], composed: Mapping[str, Get]) -> tuple[Step, ...]:
    """Compile columns; two that feed one field become one step, and the first with a value wins."""
    found: dict[tuple[str, ...], Step] = {}
    for place, column in columns:
        if column:
            missing = column.default if column.default is not None else REQUIRED if column.required else None
            own = Step(column.to, (_source(place, column),), column.lenient, missing, column.makes_events)
            found[column.to] = _joined(found.get(column.to), own)
    for field, get in composed.items():
        found[field,] = _joined(found.get((field,)), Step((field,), (Source(get),)))
    return tuple(found.values())


def _joined(first: Step | None, second: Step) -> Step:
    if first is None:
        return second
    missing = first.missing if first.missing is not None else second.missing
    return Step(
        first.fields,
        first.sources + second.sources,
        first.lenient or second.lenient,
        missing,
        first.makes_events or second.makes_events,
    )


def _source(place: int, column: Column) -> Source:
    return Source(
        partial(cell, place),
        place,
        Pattern(column.match) if column.match else None,
        column.split,
        converter(column.convert) if column.convert is not None else None,
        makes_value=column.convert is None or makes_value(column.convert),
        timed=makes_time(column.convert),
    )


def cell(place: int, cells: Cells) -> Any:
    """Return one cell, None if the row is too short."""
    return cells[place] if place < len(cells) else None


def composer(template: str, place_of: Callable[[str], int]) -> Get:
    """Compile a template such as `http://{host}{path}`; if one of its cells is empty, so is the whole."""
    parts = PLACEHOLDER.split(template)  # texts, and names between them
    return partial(_composed, parts[::2], [place_of(name) for name in parts[1::2]])


def _composed(texts: Sequence[str], places: Sequence[int], cells: Cells) -> str | None:
    values = [cell(place, cells) for place in places]
    if any(isinstance(value, str | None) and value in EMPTY for value in values):
        return None
    return texts[0] + "".join(spelt(value) + text for value, text in zip(values, texts[1:], strict=True))


class Plan:
    """Steps with the checks of one ontology.

    `quick` is for a loop over single cells: place, field, check, and what an empty cell means. What is not quick,
    `rest` does.
    """

    def __init__(self, steps: Sequence[Step], reading: Reading, ontology: Ontology) -> None:
        self.empty = EMPTY | reading.empty
        shared = [field for step in steps for field in step.fields]
        quick: list[Quick] = []
        patient: list[Quick] = []
        others: list[tuple[Step, tuple[tuple[str, Check], ...], Any]] = []
        for step in sorted(steps, key=lambda step: step.makes_events):  # these last: the others go into each event
            timed = any(source.timed for source in step.sources)
            checks = [(field, check_of(ontology, reading, field, timed=timed)) for field in step.fields]
            field, check = checks[0]
            missing = step.missing if step.missing in (None, REQUIRED) else check.patient(step.missing)
            if step.is_single and shared.count(field) == 1:
                place, check = _single(step.sources[0], check)
                quick.append((place, field, check.quick, missing))
                patient.append((place, field, check.patient, missing))
            else:
                others.append((step, tuple((field, check.patient) for field, check in checks), missing))
        self.quick, self._patient, self._others = tuple(quick), tuple(patient), tuple(others)
        self.has_rest = bool(others)

    def is_empty(self, value: object) -> bool:
        """Say whether a value is none, as far as feeds go."""
        return (value.strip() in self.empty) if isinstance(value, str) else value is None

    def slowly(self, cells: Cells, fields: Fields) -> None:
        """Do what the loop over `quick` does, for a row that it failed with.

        Raises:
            InvalidValue: a value is wrong, or a required one missing.
        """
        for place, field, check, missing in self._patient:
            value = cell(place, cells)
            if not self.is_empty(value):
                try:
                    fields[field] = check(value)
                except WRONG as error:
                    raise refused(field, value, error) from error
            elif missing is not None:
                fields[field] = stand_in(field, missing)

    def rest(self, cells: Cells, fields: Fields) -> list[Fields]:
        """Do the other steps; return the fields of each event: several where a cell holds several values.

        Raises:
            InvalidValue: as above.
        """
        taken: set[str] = set()
        for step, checks, missing in self._others:
            values = self._values(step, cells)
            if not values and missing is not None:
                fields[step.fields[0]] = stand_in(step.fields[0], missing)
            elif step.makes_events and values:
                return [self._stored(step, checks, value, fields.copy(), taken.copy()) for value in values]
            elif values:
                self._stored(step, checks, values[0], fields, taken)
        return [fields]

    def _values(self, step: Step, cells: Cells) -> list[Any]:
        """Return the value of the first cell that has one, or the values that are in it."""
        for source in step.sources:
            value = source.get(cells)
            if self.is_empty(value):
                continue
            try:
                values = self._read(source, value)
            except WRONG as error:
                if step.lenient:
                    return []
                raise refused(step.fields[0], value, error) from error
            if values:
                return values if step.makes_events or not source.split else [values]
        return []

    def _read(self, source: Source, value: Any) -> list[Any]:
        if source.match:
            value = source.match.find(spelt(value))
        values = spelt(value).split(source.split) if source.split and value is not None else [value]
        if len(values) > MOST:
            raise ValueError(f"expected at most {MOST} values in a cell")
        kept = [part.strip() if isinstance(part, str) else part for part in values if not self.is_empty(part)]
        if convert := source.convert:
            kept = [done for part in kept if not self.is_empty(done := convert(part))]
        return kept

    def _stored(
        self, step: Step, checks: Sequence[tuple[str, Check]], value: Any, fields: Fields, taken: set[str]
    ) -> Fields:
        """Write to the first field that accepts, unless an earlier step of this row has."""
        failure: Exception | None = None
        for field, check in checks:
            try:
                found = check(value)
            except WRONG as error:
                failure = error
                continue
            if field == "extra":
                fields.update((extra_key(name), one) for name, one in found.items())
            elif field not in taken:
                fields[field] = found
            taken.add(field)
            return fields
        if failure and not step.lenient:
            raise refused(step.fields[0], value, failure) from failure
        return fields


def _single(source: Source, check: FieldCheck) -> tuple[int, FieldCheck]:
    return source.place or 0, check.after(source.convert) if source.convert else check


def stand_in(field: str, missing: Any) -> Any:
    """Return what stands for an empty cell.

    Raises:
        InvalidValue: the cell must not be empty.
    """
    if missing is REQUIRED:
        raise InvalidValue(field, None, "expected a value in each row")
    return missing


def refused(field: str, value: object, error: Exception) -> InvalidValue:
    """Say which value a field does not take; no more than its beginning is shown."""
    shown = value[:SHOWN] if isinstance(value, str) else value if isinstance(value, int | float) else SHORT.repr(value)
    return InvalidValue(field, shown, reason(error))
