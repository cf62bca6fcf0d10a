"""What one step of a stage takes and gives, gathered until the script writes all of it or nothing."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import orjson

from intelstream.transport.frames import OVERHEAD
from intelstream.transport.names import GROUP, Lane

START: Final = ""  # position of an entry of which nothing has been committed


class Answer(Enum):
    """What the script said."""

    DONE = 1
    BEFORE = 0  # done already: the reply was lost
    FENCED = -1  # another worker has taken the entry over
    MOVED = -2  # the position is not the one this step started from
    STALE = -3  # the version is not: somebody else wrote state, or took the lease
    STRANDED = -4  # in no pending list; the scrub brings it back
    FULL = -5  # a destination has as much as it may
    LANE_FULL = -6  # all of them together have

    @property
    def written(self) -> bool:
        return self in (Answer.DONE, Answer.BEFORE)

    @property
    def waits(self) -> bool:
        """Tell whether the same commit may be sent again later."""
        return self in (Answer.FULL, Answer.LANE_FULL)


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream entry that this worker has been given: a frame, and how far it has come with it.

    `tries` counts the workers that were gone while they had it.
    """

    stage: str
    id: str
    frame: bytes
    count: int
    position: str = START
    tries: int = field(default=0, compare=False)

    @property
    def size(self) -> int:
        return len(self.frame) + OVERHEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why there is a dead letter, as it is counted: letters of one `signature` are one group.

    `first` is what is shown of the group (JSON), of which the earliest letter's stays; `origin` is the report whose row
    it is.
    """

    signature: str
    time: str
    first: str
    origin: str = ""


@dataclass(slots=True)
class Commit:
    """One step of `stage`.

    `version` is the one that the step started from, "" for stages that keep none. A step that takes no entry has to
    have one, and is known by its `operation` when it is sent again; another step of the same name is another one.
    `room` are the most messages of destinations that have a limit, `total` the most bytes of the lane; `buried` are
    number and bytes of dead letters by stage.
    """

    lane: Lane
    stage: str
    consumer: str
    version: str = ""
    operation: str = ""
    room: Sequence[tuple[str, int]] = ()
    total: int | None = None
    size: int = 0
    buried: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    _mark: str = field(default_factory=lambda: secrets.token_hex(8))
    _keys: dict[str, int] = field(default_factory=dict[str, int])
    _bodies: list[bytes] = field(default_factory=list[bytes])
    _entries: list[list[Any]] = field(default_factory=list[list[Any]])
    _outs: list[list[Any]] = field(default_factory=list[list[Any]])
    _later: list[list[Any]] = field(default_factory=list[list[Any]])
    _dead: list[list[Any]] = field(default_factory=list[list[Any]])
    _groups: dict[tuple[int, str], list[Any]] = field(default_factory=dict[tuple[int, str], list[Any]])
    _origins: dict[tuple[int, str], int] = field(default_factory=dict[tuple[int, str], int])
    _state: list[Any] = field(default_factory=list[Any])
    _counts: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])

    def __post_init__(self) -> None:
        self._key(self.lane.sizes)
        self._key(self.lane.hash(self.stage))

    def take(self, entry: Entry, *, count: int, to: str | None = None) -> None:
        """End an entry, or note that it has come as far as `to`; so many messages leave the backlog."""
        self._entries.append(
            [
                self._key(self.lane.stream(entry.stage)),
                self._key(self.lane.hash(entry.stage)),
                entry.stage,
                entry.id,
                entry.position,
                to or "",
                count,
                entry.size if to is None else 0,
            ]
        )

    def send(self, targets: Sequence[str], frame: bytes, count: int) -> None:
        """Append a frame of so many messages to the stream of each target."""
        body = self._body(frame, times=len(targets))
        for target in targets:
            self._outs.append([self._key(self.lane.stream(target)), body, target, count])

    def delay(self, stage: str, frame: bytes, due: int) -> None:
        """Put a frame of one message aside until `due`, in milliseconds since the epoch."""
        self._later.append([self._key(self.lane.later(stage)), self._body(frame), stage, 1, due])

    def bury(self, stage: str, letter: bytes, cause: Cause) -> None:
        """Add a dead letter, and count it with those of its cause."""
        self._dead.append([self._key(self.lane.dead(stage)), self._body(letter)])
        key = self._key(self.lane.groups(stage))
        group = self._groups.setdefault((key, cause.signature), [key, cause.signature, 0, 0, cause.first, ""])
        group[2] += 1
        group[3] += len(letter) + OVERHEAD
        group[5] = cause.time
        number, size = self.buried.get(stage, (0, 0))
        self.buried[stage] = number + 1, size + len(letter) + OVERHEAD
        if cause.origin:
            origin = self._key(self.lane.origins(stage)), cause.origin
            self._origins[origin] = self._origins.get(origin, 0) + 1

    def write(self, name: str, value: Any) -> None:
        """Set a field of the stage's hash to a JSON value; None removes it."""
        self._state += [name, False if value is None else orjson.dumps(value).decode()]

    def count(self, stage: str, name: str, by: int = 1) -> None:
        """Add to a counter."""
        if by:
            self._counts[stage, name] = self._counts.get((stage, name), 0) + by

    def counts(self) -> Iterator[tuple[str, str, int]]:
        """Yield what is counted: stage, name of the counter, number."""
        return ((stage, name, by) for (stage, name), by in self._counts.items())

    @property
    def empty(self) -> bool:
        return not (self._entries or self._outs or self._later or self._dead or self._state or self._counts)

    def call(self) -> tuple[list[str], list[bytes]]:
        """Return keys and arguments of the script.

        Raises:
            ValueError: it has neither an entry nor a version, so that nobody could tell when it is sent again.
        """
        if not self._entries and not self.version:
            raise ValueError(
                f"committing for {self.stage}: a step that takes no entry needs the version it started from"
            )
        counts = [[self._key(self.lane.hash(stage)), name, by] for (stage, name), by in self._counts.items()]
        header = {
            "g": GROUP,
            "c": self.consumer,
            "entries": self._entries,
            "v": self.version,
            "op": f"{self.operation}:{self._mark}" if not self._entries else "",
            "state": self._state,
            "outs": self._outs,
            "later": self._later,
            "dead": self._dead,
            "groups": list(self._groups.values()),
            "count": counts + [[key, origin, by] for (key, origin), by in self._origins.items()],
            "room": self.room,
            "total": self.total if self.total is not None else False,
            "wake": self.lane.wake,
        }
        return list(self._keys), [orjson.dumps(header), *self._bodies]

    def _key(self, name: str) -> int:
        return self._keys.setdefault(name, len(self._keys) + 1)

    def _body(self, body: bytes, times: int = 1) -> int:
        self._bodies.append(body)
        self.size += (len(body) + OVERHEAD) * times
        return len(self._bodies) + 1
