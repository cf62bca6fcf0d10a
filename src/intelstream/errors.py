"""Every error intelstream raises on purpose, and what the engine does with it.

IntelstreamError
├── ConfigError         a file is wrong                   -> all faults in one list, exit 2
├── DirectoryInUse      another daemon works here         -> the daemon does not start
├── CannotApply         a change needs a new start        -> the old pipeline runs on
├── UnusableDirectory   state cannot be kept there        -> the daemon does not start
├── UnusableServer      the server cannot be run or used  -> said with its cure; at start the daemon ends
└── StageError          a stage could not do its work
    ├── InvalidValue    this event can never pass         -> dead at once
    ├── Crashed         it brought workers down            -> dead at once
    ├── Rejected        the far side refuses this event   -> dead at once
    │   └── NotFound    what was asked for is not there   -> the stage's own to catch, else dead at once
    ├── Unavailable     the far side is down or throttles -> the stage pauses, entries stay pending
    └── PartialWrite    some events of a frame failed     -> the frame commits, each by its own error

Anything else that escapes a stage is a bug in it: tried again `retry.attempts` times, then dead.
"""

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

Level = Literal["error", "warning"]


class IntelstreamError(Exception):
    """Base class of everything raised on purpose."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong in a file, and where."""

    file: str
    line: int
    column: int
    where: str
    text: str
    level: Level = "error"

    def __str__(self) -> str:
        level = "" if self.level == "error" else "warning: "
        where = f"{self.where}: " if self.where else ""
        return f"{self.file}:{self.line}:{self.column}: {level}{where}{self.text}"


class ConfigError(IntelstreamError):
    """A file is wrong; `faults` lists everything that is, not just the first."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


class DirectoryInUse(IntelstreamError):
    """Another daemon works in this state directory."""


class CannotApply(IntelstreamError):
    """A pipeline cannot take the place of the one that runs; the text names the cure."""


class UnusableDirectory(IntelstreamError):
    """The state directory cannot be made or written; the text names the cure."""


class UnusableServer(IntelstreamError):
    """The server, bundled or foreign, cannot be started or must not be used; the text names the cure."""


class UnknownName(IntelstreamError):
    """No stage or feed has this name; `hint` is the nearest that exists."""

    def __init__(self, text: str, hint: str | None = None) -> None:
        super().__init__(f"{text}; did you mean {hint!r}?" if hint else text)


class StageError(IntelstreamError):
    """A stage could not do its work. `code` is a bounded metric label."""

    code: ClassVar[str] = "stage_failed"


class _Shown(reprlib.Repr):
    """Shows a value in bounded length and depth: it comes from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 200

    def repr_int(self, x: int, level: int) -> str:  # noqa: ARG002 - Python refuses to write out thousands of digits
        return repr(x) if abs(x) < 10**self.maxlong else f"a number of {x.bit_length()} bits"


class InvalidValue(StageError):
    """A value breaks the ontology; no retry can help."""

    code = "invalid_value"

    def __init__(self, field: str, value: object, reason: str) -> None:
        self.field = field
        self.reason = f"{reason}, got {_Shown().repr(value)}"
        super().__init__(f"{field}: {self.reason}")


class Rejected(StageError):
    """The far side refuses this very event; no retry can help."""

    code = "rejected"


class Crashed(StageError):
    """Worker processes died while the stage had this very event alone; it is not tried again."""

    code = "crashed"


class NotFound(Rejected):
    """What was asked for does not exist; asking again cannot help."""

    code = "not_found"


class Unavailable(StageError):
    """The far side is down or throttles; everything stays pending."""

    code = "unavailable"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PartialWrite(StageError):
    """Some events of a frame were not written, the rest were. Keyed by place in the batch."""

    code = "partial_write"

    def __init__(self, failures: Mapping[int, StageError]) -> None:
        super().__init__(f"{len(failures)} events were not written")
        self.failures = failures
