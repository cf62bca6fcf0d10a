"""Rule files of `experts.modify`: conditions on fields, and the values to write where they hold."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from intelstream.errors import InvalidValue
from intelstream.formats import yaml
from intelstream.formats.faults import near
from intelstream.ontology import Event, Ontology
from intelstream.sdk.patterns import Pattern, Patterns, TooSlow

LARGEST: Final = 4 * 1024 * 1024  # bytes of a rule file
# `{msg[source.ip]}`, `{matches[source.url][1]}`, `{matches[source.url][host]}`; `{{` and `}}` are braces.
PLACE: Final = re.compile(r"\{\{|\}\}|\{msg\[([\w.]+)\]\}|\{matches\[([\w.]+)\]\[(\w+)\]\}|([{}])")

SHOWN: Final = 100  # characters of a value that an error quotes

Matches = Mapping[str, tuple[Pattern, str]]  # by field: what was found, and in which text
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
        found = pattern.search(text)
    except TooSlow as error:
        raise InvalidValue(name, text[:SHOWN], "searching it takes too long") from error
    return found and found[int(group) if group.isdigit() else group]


@dataclass(frozen=True, slots=True)
class Search:
    """A condition that a pattern is found: the place of that pattern among those of the field."""

    place: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: all conditions have to hold.

    A condition is a search, None for a field that has to be absent, or a value to be equal to. An action is a
    template, a value, or None for a field that goes.
    """

    name: str
    conditions: Mapping[str, Search | object | None]
    actions: Mapping[str, Template | object | None]


class Look:
    """One event before the rules; what was searched for once is known until the field is written."""

    __slots__ = ("_event", "_found", "_patterns")

    def __init__(self, event: Event, patterns: Mapping[str, Patterns]) -> None:
        self._event = event
        self._patterns = patterns
        self._found: dict[str, tuple[str, Collection[int]]] = {}

    def matches(self, rule: Rule) -> Matches | None:
        """Return where the patterns of a rule were found, by field; None where it does not hold.

        Raises:
            InvalidValue: searching a value takes too long.
        """
        matches: dict[str, tuple[Pattern, str]] = {}
        for name, condition in rule.conditions.items():
            if isinstance(condition, Search):
                text, found = self._found.get(name) or self._searched(name)
                if condition.place not in found:
                    return None
                matches[name] = self._patterns[name][condition.place], text
                continue
            value = self._event.get(name)
            if condition is None:
                if value is not None:
                    return None
            elif value != condition or isinstance(value, bool) is not isinstance(condition, bool):
                return None
        return matches

    def forget(self, name: str) -> None:
        """Search a field anew, since it was written."""
        if name == "extra":
            self._found.clear()
        self._found.pop(name, None)

    def _searched(self, name: str) -> tuple[str, Collection[int]]:
        value = self._event.get(name)
        text = "" if value is None else str(value)
        try:
            found = () if value is None else self._patterns[name].found(text)
        except TooSlow as error:
            raise InvalidValue(name, text[:SHOWN], "searching it takes too long") from error
        self._found[name] = text, found
        return text, found


class Rules:
    """The rules of a file in their order; the patterns of all of them for one field are searched for together."""

    __slots__ = ("_patterns", "_rules")

    def __init__(self, rules: Sequence[Rule], patterns: Mapping[str, Patterns]) -> None:
        self._rules = rules
        self._patterns = patterns

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules)

    def look(self, event: Event) -> Look:
        return Look(event, self._patterns)


def read(path: Path, ontology: Ontology, *, case_sensitive: bool) -> Rules:
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
    checking = _Checking(ontology, ignore_case=not case_sensitive)
    if not faults:
        for place, text in checking.faults(document.value):
            mark = yaml.under(document.marks, place)
            faults.append(f"{path}:{mark.line if mark else 1}:{mark.column if mark else 1}: {text}")
    if faults:
        raise ValueError("\n".join(faults))
    return checking.rules()


class _Checking:
    """One reading of a file: collects rules and patterns as it finds what is wrong."""

    def __init__(self, ontology: Ontology, *, ignore_case: bool) -> None:
        self._ontology = ontology
        self._ignore_case = ignore_case
        self._rules: list[Rule] = []
        self._patterns: dict[str, list[str]] = {}

    def rules(self) -> Rules:
        compiled = {name: Patterns(all_, ignore_case=self._ignore_case) for name, all_ in self._patterns.items()}
        return Rules(self._rules, compiled)

    def faults(self, value: object) -> Iterator[tuple[Place, str]]:
        """Yield what is wrong, with its place."""
        if not isinstance(value, list):
            yield (), "expected a list of rules"
            return
        for number, one in enumerate(value):
            if (
                not isinstance(one, dict)
                or not isinstance(one.get("if"), dict)
                or not isinstance(one.get("then"), dict)
            ):
                yield (number,), "expected `rulename`, and mappings `if` and `then`"
                continue
            conditions: dict[str, Any] = {}
            actions: dict[str, Any] = {}
            singles: dict[str, Pattern] = {}
            for name, given in one["if"].items():
                try:
                    conditions[name] = self._condition(name, given, singles)
                except ValueError as error:
                    yield (number, "if", name), f"{name}: {error}"
            for name, given in one["then"].items():
                try:
                    actions[name] = self._action(name, given, singles)
                except ValueError as error:
                    yield (number, "then", name), f"{name}: {error}"
            self._rules.append(Rule(str(one.get("rulename", number)), conditions, actions))

    def _condition(self, name: str, given: object, singles: dict[str, Pattern]) -> Any:
        self._known(name)
        if not isinstance(given, str) or given == "":
            return None if given == "" else given
        singles[name] = Pattern(given, ignore_case=self._ignore_case)
        others = self._patterns.setdefault(name, [])
        others.append(given)
        return Search(len(others) - 1)

    def _action(self, name: str, given: object, singles: Mapping[str, Pattern]) -> Any:
        """Refuse a value that the field can never take, and a group that no pattern of the rule has."""
        self._known(name)
        if given == "" or given is None:
            return None
        action = constant = given
        if isinstance(given, str):
            action = template = Template(given)
            for field, group in template.groups:
                if field not in singles or group not in singles[field].names:
                    raise ValueError(f"no group {group!r} in a pattern for {field!r} of this rule")
            constant = template.constant
        if constant is not None:
            try:
                Event({}, self._ontology, id="")[name] = constant
            except InvalidValue as error:
                raise ValueError(error.reason) from error
        return action

    def _known(self, name: str) -> None:
        if name not in self._ontology:
            raise ValueError(near("no such field", name, self._ontology.checks))
