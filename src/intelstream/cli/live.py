"""What `run` shows while it runs: on a terminal a table that renews itself, elsewhere a line now and then."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Final, TextIO, cast

import structlog
from rich.console import Console
from rich.live import Live as Screen
from rich.table import Table

from intelstream.app.daemon import Daemon
from intelstream.cli.output import table_of
from intelstream.runtime.status import StageStatus

EVERY: Final = 0.5
LINE: Final = 10.0  # seconds between two lines where no terminal is
AROUND: Final = 4  # rows of a terminal that are not stages: the heading, what is left out, and the log above
LEAST: Final = 3
TROUBLE: Final = ("paused", "backoff")


class Live:
    """Shows per stage how many messages came in and went out."""

    def __init__(self, *, terminal: bool) -> None:
        self._console = Console(file=sys.stderr, markup=False, highlight=False) if terminal else None

    def log_file(self) -> TextIO:
        """Return where the log goes: above the table, where there is one."""
        return cast("TextIO", _Above(self._console)) if self._console else sys.stderr

    async def follow(self, daemon: Daemon) -> None:
        """Show the daemon's stages until cancelled, and then how they ended."""
        await daemon.ready.wait()
        if self._console is None:
            await self._lines(daemon)
            return
        with Screen(console=self._console, auto_refresh=False) as screen:
            try:
                while True:
                    screen.update(stage_table([*daemon.statuses.values()], self._console.height), refresh=True)
                    await asyncio.sleep(EVERY)
            finally:
                screen.update(stage_table([*daemon.statuses.values()], self._console.height), refresh=True)

    async def _lines(self, daemon: Daemon) -> None:
        log, last = structlog.get_logger(), ""
        while True:
            await asyncio.sleep(LINE)
            counts = {name: f"{one.taken}>{one.sent}" for name, one in daemon.statuses.items()}
            if (text := str(counts)) != last:
                last = text
                log.info("progress", **{name.replace("-", "_"): count for name, count in counts.items()})


def stage_table(stages: Sequence[StageStatus], height: int) -> Table:
    """Return a table of stages that fits into so many rows: names and numbers whole, notes as far as there is room.

    Where the terminal is too low, stages in trouble stay, then those that did most; the last row counts the others.
    """
    shown = _fitting(stages, max(LEAST, height - AROUND))
    rows = [
        {
            "stage": one.name,
            "in": one.taken,
            "out": one.sent,
            "dropped": one.dropped,
            "dead": one.dead,
            "state": one.state,
            "": _note(one),
        }
        for one in shown
    ]
    if left := len(stages) - len(shown):
        rows.append({"stage": f"… {left} more", "": "intelstream status"})
    return table_of(rows, ("stage", "in", "out", "dropped", "dead", "state", ""), cut=True)


def _fitting(stages: Sequence[StageStatus], rows: int) -> list[StageStatus]:
    if len(stages) <= rows:
        return [*stages]
    by_weight = sorted(stages, key=lambda one: (one.state in TROUBLE, one.taken + one.sent), reverse=True)
    kept = {one.name for one in by_weight[:rows]}
    return [one for one in stages if one.name in kept]


def _note(one: StageStatus) -> str:
    if one.next_run and one.state == "waiting":
        return f"next run {one.next_run:%H:%M:%S}Z {one.reason}".rstrip()
    return one.reason


class _Above:
    """A file whose lines appear above a live table."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str) -> int:
        if line := text.rstrip("\n"):
            self._console.out(line, highlight=False)
        return len(text)

    def flush(self) -> None:
        return

    def isatty(self) -> bool:
        return True
