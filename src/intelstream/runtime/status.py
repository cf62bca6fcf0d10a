"""What each stage is doing right now, and why: the one truth that CLI and API show."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

COUNTS: Final = ("taken", "sent", "dropped", "dead")
StateName = Literal["disabled", "starting", "running", "idle", "throttled", "paused", "backoff", "waiting", "stopped"]


@dataclass(slots=True)
class StageStatus:
    """One stage. `taken` and `sent` count messages of this run of the daemon; the durable counters are in Redis.

    `waiting` is a collector between two runs, or a stage whose lease another daemon holds; `throttled` one that is held
    because a stage after it is full; `paused` one whose far side or whose Redis is away.
    """

    name: str
    now: Callable[[], datetime]
    state: StateName = "starting"
    since: datetime = field(init=False)
    reason: str = ""
    last_error: str = ""
    next_run: datetime | None = None
    taken: int = 0
    sent: int = 0
    dead: int = 0
    dropped: int = 0

    def __post_init__(self) -> None:
        self.since = self.now()

    def enter(self, state: StateName, reason: str = "") -> bool:
        """Note a change of state and its reason, and say whether it is one; the same again changes nothing."""
        if (state, reason) == (self.state, self.reason):
            return False
        self.state, self.reason, self.since = state, reason, self.now()
        return True

    def count(self, name: str, by: int) -> None:
        """Note what a commit has counted, under the names of the durable counters."""
        if name == "in":
            self.taken += by
        elif name in ("out", "written"):
            self.sent += by
        elif name == "dead":
            self.dead += by
        elif name.startswith("dropped:"):
            self.dropped += by

    def shown(self) -> dict[str, Any]:
        """Return it as commands and other processes see it."""
        return {
            "state": self.state,
            "since": self.since.isoformat(timespec="seconds"),
            "reason": self.reason,
            "last_error": self.last_error,
            "next_run": self.next_run.isoformat(timespec="seconds") if self.next_run else None,
            **{name: getattr(self, name) for name in COUNTS},
        }

    def hold(self, full: str | None) -> None:
        """Note that the stage waits for room in the stage `full` ("" for the whole memory), or no longer."""
        if full is None:
            self.enter("running")
        else:
            self.enter("throttled", f"{full} is full" if full else "the memory for backlogs is used up")
