"""Rule files of `experts.modify`: conditions on fields, and the values to write where they hold."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from intelstream.errors import InvalidValue
from intelstream.formats import yaml
from intelstream.formats.faults import near
from intelstream.formats.regex import Patterns
from intelstream.ontology import Event, Ontology

LARGEST: Final = 4 * 1024 * 1024  # bytes of a rule file
# `{msg[source.ip]}`, `{matches[source.url][1]}`, `{matches[source.url][host]}`; `{{` and `}}` are braces.
PLACE: Final = re.compile(r"\{\{|\}\}|\{msg\[([\w.]+)\]\}|\{matches\[([\w.]+)\]\[(\w+)\]\}|([{}])")

SHOWN: Final = 100  # characters of a value that an error quotes

Matches = Mapping[str, tuple[Patterns, str]]  # by field, the pattern and the text it was found in
Place = tuple[str | int, ...]


class Template:
    """A text with places for values of the event and for groups of the conditions' patterns.

    Raises:
        ValueError: there is a brace that begins no such place.
    """

    __slots__ = ("_parts", "groups")

    def __init__(self, text: str) -> None:
        self._parts: list[str | tuple[str, str | None]] = []
        self.groups: list[tuple[str, str]] = []
        end = 0
        for found in PLACE.finditer(text):
            field, matched, group, brace = found.groups()
            if brace:
                raise ValueError(
                    f"expected {{msg[FIELD]}} or {{matches[FIELD][GROUP]}} at {text[found.start() :][:20]!r}"
                )
            self._parts.append(text[end : found.start()])
            if field or matched:
                self._parts.append((field or matched, group))
                self.groups += [(matched, group)] if matched else []
            else:
                self._parts.append(found[0][0])
            end = found.end()
        self._parts.append(text[end:])

    @property
    def constant(self) -> str | None:
        """The text, if it is always the same."""
        texts = [part for part in self._parts if isinstance(part, str)]
        return "".join(texts) if len(texts) == len(self._parts) else None

    def filled(self, event: Event, matches: Matches) -> str | None:
        """Return the text for an event; None where it has not got what the text asks for."""
        out: list[str] = []
        for part in self._parts:
            if isinstance(part, str):
                out.append(part)
            elif (value := _value(event, matches, *part)) is None:
                return None
            else:
                out.append(str(value))
        return "".join(out)


def _value(event: Event, matches: Matches, name: str, group: str | None) -> Any:
    if group is None:
        return event.get(name)
    pattern, text = matches[name]
    try:
        found = pattern.groups(0, text)
    except TimeoutError as error:
        raise InvalidValue(name, text[:SHOWN], "searching it takes too long") from error
    return found and found[int(group) if group.isdigit() else group]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: all conditions have to hold.

    A condition is a pattern, None for a field that has to be absent, or a value to be equal to. An action is a
    template, a value, or None for a field that goes.
    """

    name: str
    conditions: Mapping[str, Patterns | object | None]
    actions: Mapping[str, Template | object | None]

    def matches(self, event: Event) -> Matches | None:
        """Return where the patterns were found, by field; None where the rule does not hold.

        Raises:
            InvalidValue: searching a value takes too long.
        """
        found: dict[str, tuple[Patterns, str]] = {}
        for name, condition in self.conditions.items():
            value = event.get(name)
            if condition is None:
                if value is not None:
                    return None
            elif isinstance(condition, Patterns):
                text = "" if value is None else str(value)
                if value is None or not _holds(name, condition, text):
                    return None
                found[name] = condition, text
            elif value != condition or isinstance(value, bool) is not isinstance(condition, bool):
                return None
        return found


def _holds(name: str, condition: Patterns, text: str) -> bool:
    try:
        return bool(condition.found(text))
    except TimeoutError as error:
        raise InvalidValue(name, text[:SHOWN], "searching it takes too long") from error


def read(path: Path, ontology: Ontology, *, case_sensitive: bool) -> Sequence[Rule]:
    """Read a rule file, JSON or YAML: a list of `{rulename, if: {field: condition}, then: {field: value}}`.

    Raises:
        ValueError: it is none; lists every fault as `file:line:column: text`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise ValueError(f"reading {path}: {error.strerror}") from error
    if len(data) > LARGEST:
        raise ValueError(f"reading {path}: larger than {LARGEST} bytes")
    document = yaml.read(data, str(path))
    faults = [str(fault) for fault in document.faults]
    rules: list[Rule] = []
    if not faults:
        for place, text in _checked(document.value, ontology, rules, ignore_case=not case_sensitive):
            mark = yaml.under(document.marks, place)
            faults.append(f"{path}:{mark.line if mark else 1}:{mark.column if mark else 1}: {text}")
    if faults:
        raise ValueError("\n".join(faults))
    return rules


def _checked(value: object, ontology: Ontology, rules: list[Rule], *, ignore_case: bool) -> Iterator[tuple[Place, str]]:
    """Fill `rules`, and yield what is wrong with its place."""
    if not isinstance(value, list):
        yield (), "expected a list of rules"
        return
    for number, one in enumerate(value):
        if not isinstance(one, dict) or not isinstance(one.get("if"), dict) or not isinstance(one.get("then"), dict):
            yield (number,), "expected `rulename`, and mappings `if` and `then`"
            continue
        conditions: dict[str, Any] = {}
        actions: dict[str, Any] = {}
        for part, made in (("if", conditions), ("then", actions)):
            for name, given in one[part].items():
                if name not in ontology:
                    yield (number, part, name), f"{name}: {near('no such field', name, ontology.checks)}"
                    continue
                try:
                    made[name] = _compiled(given, part, ignore_case=ignore_case)
                    if part == "then":
                        _check_action(name, made[name], conditions, ontology)
                except ValueError as error:
                    yield (number, part, name), f"{name}: {error}"
        rules.append(Rule(str(one.get("rulename", number)), conditions, actions))


def _check_action(name: str, action: object, conditions: Mapping[str, Any], ontology: Ontology) -> None:
    """Refuse a value that the field can never take, and a group that no pattern of the rule has."""
    if isinstance(action, Template):
        for field, group in action.groups:
            pattern = conditions.get(field)
            if not isinstance(pattern, Patterns) or group not in pattern.names(0):
                raise ValueError(f"no group {group!r} in a pattern for {field!r} of this rule")
        action = action.constant
    if action is not None:
        try:
            Event({}, ontology, id="")[name] = action
        except InvalidValue as error:
            raise ValueError(error.reason) from error


def _compiled(given: object, part: str, *, ignore_case: bool) -> Any:
    if given == "" or given is None:
        return None
    if not isinstance(given, str):
        return given
    return Patterns((given,), ignore_case=ignore_case) if part == "if" else Template(given)
