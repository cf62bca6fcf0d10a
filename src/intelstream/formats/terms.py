"""What one term of an expression asks of a message, compiled to a closure for the type of its field."""

import operator
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from ipaddress import ip_network
from typing import Any, Final

from intelstream.formats import literals
from intelstream.formats.faults import near
from intelstream.formats.literals import Clock, Literal, Test
from intelstream.formats.networks import Networks
from intelstream.ontology import Event, Ontology, Report
from intelstream.ontology.fields import Check, reason
from intelstream.sdk.patterns import contains

Message = Event | Report
Match = Callable[[Message], bool]

COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
OURS: Final = ("tag", "id", "raw", "extra")  # no fields of the event: labels, id, text of the row, all of `extra.`


class Kind(Enum):
    """How the values of a field are read and compared."""

    ANY = "any"  # `extra.…`, and every field where the ontology is not known
    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"
    TIME = "time"
    ADDRESS = "address"
    NETWORK = "network"


class Field:
    """The field of a term, with the type that its check betrays.

    Raises:
        ValueError: the ontology has no such field.
    """

    __slots__ = ("check", "kind", "name")

    def __init__(self, name: str, known: Ontology | None) -> None:
        if known is not None and name not in known and name not in OURS:
            raise ValueError(near("no such field", name, (*known.checks, *OURS)))
        self.name = name
        self.check = known.checks.get(name) if known else None
        if self.check:
            self.kind = self._kind()
        else:
            self.kind = Kind.TEXT if name in OURS else Kind.ANY

    def has(self, values: Sequence[Literal]) -> Match:
        """Return the test for one of several values; `*` alone asks whether there is one at all."""
        if [*values] == [Literal("*")]:
            return _present(self.name)
        if self.name == "extra":
            raise ValueError("expected `extra:*`, or a key of it such as extra.port")
        if self.kind is Kind.ANY:
            return self._on(_any_of([_alike(value) for value in values]))
        tests = [self._glob(value) for value in values if value.is_glob]
        plain = [value for value in values if not value.is_glob]
        if networks := [_network(value.text) for value in plain if self._is_network(value)]:
            tests.append(self._within(Networks(networks)))
        exact = [self._value(value) for value in plain if not self._is_network(value)]
        if not tests and self.name not in OURS and not any(isinstance(value, list) for value in exact):
            return _is_one_of(self.name, exact)
        if exact:
            tests.append(frozenset(_single(value) for value in exact).__contains__)
        return self._on(_any_of(tests))

    def compares(self, sign: str, literal: Literal, now: Clock) -> Match:
        """Return the test of a number or time against a limit."""
        compare = COMPARISONS[sign]
        if self.kind is Kind.NUMBER or (self.kind is Kind.ANY and literals.number(literal.text) is not None):
            limit = literals.number(literal.text)
            if limit is None:
                raise ValueError(f"expected a number, got {literal.text!r}")
            return self._on(
                lambda value: type(value) is not bool and literals.is_number(value) and compare(value, limit)
            )
        if self.kind not in (Kind.TIME, Kind.ANY):
            raise ValueError("only numbers and times can be compared")
        moment = literals.moment(literal.text, now)
        if self.kind is Kind.TIME:  # text of one form in UTC: its order is that of the times
            return self._on(lambda value: compare(value, moment()))
        return self._on(lambda value: (when := literals.iso(value)) is not None and compare(when, moment()))

    def matches(self, pattern: str, *, ignore_case: bool) -> Match:
        """Return the test whether a pattern is found in the text of the value."""
        found = contains(pattern, ignore_case=ignore_case)
        return self._on(lambda value: (text := literals.spelt(value)) is not None and found(text))

    def _on(self, test: Test) -> Match:
        """Apply a test to the field's value; of several, one has to pass."""
        name = self.name
        if name == "id":
            return lambda message: test(message.id)
        if name == "tag":
            return lambda message: any(map(test, message.tags))
        if name == "raw":  # the bytes of a report are not searched
            return lambda message: isinstance(message, Event) and message.raw is not None and test(message.raw)

        def match(message: Message) -> bool:
            value = message.fields.get(name)
            if isinstance(value, list):
                return any(map(test, value))
            return value is not None and test(value)

        return match

    def _takes(self, probe: object) -> object:
        """Return what the check makes of a value, of one in a list if it makes lists; None if it refuses."""
        return _single(_tried(self.check, probe)) if self.check else None

    def _kind(self) -> Kind:
        """Tell the type by what the check accepts: that holds for fields of a deployment, too."""
        if isinstance(self._takes("zzz"), str):
            return Kind.TEXT
        if self._takes("true") is True:
            return Kind.FLAG
        if literals.is_number(self._takes("7")):
            return Kind.NUMBER
        if self._takes("2001:db8::1"):
            return Kind.NETWORK if self._takes("2001:db8::/32") else Kind.ADDRESS
        return Kind.TIME if self._takes("2024-03-06T10:11:12+00:00") else Kind.TEXT

    def _is_network(self, literal: Literal) -> bool:
        return self.kind is Kind.NETWORK or (self.kind is Kind.ADDRESS and "/" in literal.text)

    def _value(self, literal: Literal) -> Any:
        """Return a value as the field keeps it, so that spelling makes no difference."""
        if self.kind is Kind.TIME:
            if (when := literals.iso(literal.text)) is None:
                raise ValueError(f"expected a time such as 2024-03-06T10:00:00, got {literal.text!r}")
            return when
        if self.check is None:
            return literal.text
        try:
            value = self.check(literal.text)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{reason(error)}, got {literal.text!r}") from error
        if not isinstance(_single(value), str | int | float):
            raise ValueError(f"expected `{self.name}:*`: this field is compared with no value")  # noqa: TRY004 - as all faults of a term
        return value

    def _glob(self, literal: Literal) -> Test:
        if self.kind in (Kind.NUMBER, Kind.FLAG):
            raise ValueError(f"expected a {self.kind.value}; a star stands for text, got {literal.text!r}")
        # What the field keeps in one case is looked for in that case.
        case = {"zz": str.lower, "ZZ": str.upper}.get(str(self._takes("Zz")), str)
        return literals.glob(case(literal.text))

    def _within(self, networks: Networks) -> Test:
        return networks.holds if self.kind is Kind.ADDRESS else networks.covers


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def _tried(check: Check, probe: object) -> object:
    try:
        return check(probe)
    except (ValueError, TypeError, OverflowError):
        return None


def _present(name: str) -> Match:
    match name:
        case "id":
            return lambda message: bool(message.id)
        case "tag":
            return lambda message: bool(message.tags)
        case "raw":
            return lambda message: not isinstance(message, Event) or message.raw is not None
        case "extra":
            return lambda message: any(key.startswith("extra.") for key in message.fields)
    return lambda message: name in message.fields


def _is_one_of(name: str, values: Sequence[Any]) -> Match:
    if len(values) == 1:
        value = values[0]
        return lambda message: message.fields.get(name) == value
    known = frozenset(values)
    return lambda message: message.fields.get(name) in known


def _any_of(tests: Sequence[Test]) -> Test:
    match tests:
        case (one,):
            return one
        case (one, other):
            return lambda value: one(value) or other(value)
    return lambda value: any(test(value) for test in tests)


def _alike(literal: Literal) -> Test:
    """Compare with a value of unknown type: as text, and unless it is quoted as number, truth value or address."""
    text = literal.text
    if literal.quoted:
        return lambda value: value == text
    if literal.is_glob:
        return literals.glob(text)
    if text in ("true", "false"):
        return lambda value: value is (text == "true") or value == text
    if (number := literals.number(text)) is not None:
        return lambda value: type(value) is not bool and value in (number, text)
    if "/" in text and _tried(_network, text):
        networks = Networks([text])
        return lambda value: value == text or value in networks
    return lambda value: value == text


def _network(text: str) -> str:
    try:
        return str(ip_network(text, strict=False))
    except ValueError as error:
        raise ValueError(f"expected an address or a network such as 192.0.2.0/24, got {text!r}") from error
