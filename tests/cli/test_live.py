"""The table that `run` shows on a terminal: names and numbers are whole, however narrow or low the terminal is."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from intelstream.cli.live import stage_table
from intelstream.runtime.status import StageStatus, StateName

NOW = datetime(2024, 3, 6, 10, 0, 0, tzinfo=UTC)
AWAY = "getting https://lists.example/a/long/path/to/list.txt: no address for lists.example"


def status(name: str, state: StateName = "idle", reason: str = "", taken: int = 0, sent: int = 0) -> StageStatus:
    one = StageStatus(name, lambda: NOW, taken=taken, sent=sent)
    one.enter(state, reason)
    return one


def shown(*stages: StageStatus, width: int = 80, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    console.print(stage_table(stages, height))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_names_and_numbers_are_whole_at_any_width(width: int) -> None:
    away = status("a-name-of-23-characters", "waiting", AWAY)
    away.next_run = NOW
    heading, first, second = shown(away, status("events", "running", taken=1234567, sent=1234567), width=width)

    assert heading.split() == ["stage", "in", "out", "dropped", "dead", "state"]
    assert first.startswith("a-name-of-23-characters  ")
    assert "waiting  next run 10:00:00Z"[: width - 60] in first
    assert len(first) <= width
    assert second.split() == ["events", "1234567", "1234567", "0", "0", "running"]


def test_a_low_terminal_shows_what_is_in_trouble_and_what_did_most_in_the_order_of_the_pipeline() -> None:
    stages = [status(f"s{n}", taken=n, sent=n) for n in range(30)]
    stages[3] = status("s3", "paused", AWAY)
    lines = shown(*stages, height=12)

    assert [line.split()[0] for line in lines[1:-1]] == ["s3", "s23", "s24", "s25", "s26", "s27", "s28", "s29"]
    assert lines[-1].startswith("… 22 more")


def test_what_comes_from_outside_does_not_steer_the_terminal() -> None:
    text = "\n".join(shown(status("fetch", "paused", "HTTP 503: \x1b[2Jgone\n[bold]x"), width=120))

    assert r"HTTP 503: \x1b[2Jgone\n[bold]x" in text
