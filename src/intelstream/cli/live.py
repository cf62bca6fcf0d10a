"""What `run` shows while it runs: on a terminal a table that renews itself, elsewhere a line now and then."""

import asyncio
import sys
from typing import Final, TextIO, cast

import structlog
from rich.console import Console
from rich.live import Live as Screen
from rich.table import Table

from intelstream.app.daemon import Daemon
from intelstream.runtime.spec import PipelineSpec

EVERY: Final = 0.5
LINE: Final = 10.0  # seconds between two lines where no terminal is


class Live:
    """Shows per stage how many messages came in and went out."""

    def __init__(self, pipeline: PipelineSpec, *, terminal: bool) -> None:
        self._pipeline = pipeline
        self._console = Console(file=sys.stderr, markup=False, highlight=False) if terminal else None

    def log_file(self) -> TextIO:
        """Return where the log goes: above the table, where there is one."""
        return cast("TextIO", _Above(self._console)) if self._console else sys.stderr

    async def follow(self, daemon: Daemon) -> None:
        """Show the daemon's stages until cancelled."""
        await daemon.ready.wait()
        if self._console is None:
            await self._lines(daemon)
            return
        with Screen(console=self._console, auto_refresh=False, transient=False) as screen:
            while True:
                screen.update(self._table(daemon), refresh=True)
                await asyncio.sleep(EVERY)

    async def _lines(self, daemon: Daemon) -> None:
        log, last = structlog.get_logger(), ""
        while True:
            await asyncio.sleep(LINE)
            counts = {name: f"{one.taken}>{one.sent}" for name, one in daemon.statuses.items()}
            if (text := str(counts)) != last:
                last = text
                log.info("progress", **{name.replace("-", "_"): count for name, count in counts.items()})

    def _table(self, daemon: Daemon) -> Table:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for name in ("stage", "in", "out", "dropped", "dead", "state", ""):
            table.add_column(
                name, justify="right" if name in ("in", "out", "dropped", "dead") else "left", no_wrap=True
            )
        for name, one in daemon.statuses.items():
            note = one.reason
            if one.next_run and one.state == "waiting":
                note = f"next run {one.next_run:%H:%M:%S}Z {note}"
            row = (name, one.taken, one.sent, one.dropped, one.dead, one.state, note[:80])
            table.add_row(*map(str, row))
        return table


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
