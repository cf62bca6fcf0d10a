"""What collectors and parsers hand to the engine besides reports and events."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from intelstream.ontology import Event, Report


@dataclass(frozen=True, slots=True)
class Lines:
    """How a collector may cut a report: between lines, with those on top repeated (`sdk.cutting`).

    Repeated are the first `header` lines, and if it is `titled` all up to the next that is neither blank nor a
    comment. `quoted` means that a line break in a column that begins with `quote` does not end a line, within
    `longest` bytes. A line that is longer may be cut down to a little more than that.
    """

    header: int = 0
    quoted: bool = False
    quote: str = '"'
    titled: bool = False
    delimiter: str = ","
    comment: str = ""
    longest: int = 16 * 1024 * 1024


class Row(NamedTuple):
    """One record of a report: the text as it came, and what the parser made of it."""

    text: str
    value: Any


@dataclass(frozen=True, slots=True)
class Commit:
    """What a collector yields to have all that it yielded so far committed, with the state as of now.

    `after_commit` (delete, move, acknowledge, answer 202) runs when the commit is done. A `Report` carries both
    itself; this is for collectors of events, and for sources that gave nothing but a new position.
    """

    cursor: Any = None
    after_commit: Callable[[], Awaitable[None]] | None = None


class Changes(dict[str, Any]):
    """A cursor of many parts, given as those of them that are new: None for one that is gone.

    `collect` is given all parts, as a dict. A commit costs what has changed, however many parts there are.
    """

    def onto(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Return what there is after these changes."""
        return {key: value for key, value in {**parts, **self}.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Begin:
    """What a collector yields before what has to be in whole, though it may take several commits: a message, a request.

    The `key` says what is in it: of that which breaks off and is begun again, by this run or a later one, nothing is
    sent a second time. It has to give the same items in the same order then, and ends with a `Commit`, or with a
    `Report` that carries a cursor.
    """

    key: str


Collected = Report | Event | Begin | Commit
