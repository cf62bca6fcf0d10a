"""`prove`: kill a pipeline while it works, and account for every event."""

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from intelstream.app.prove.faults import TITLES
from intelstream.app.prove.proof import Proof
from intelstream.app.prove.proving import Progress, Proving
from intelstream.app.prove.report import Findings
from intelstream.cli.output import BAD_STATE, WRONG_USE, AsJson, Host, show_json, show_table
from intelstream.errors import ConfigError


class Fault(StrEnum):
    """What `prove` does to the processes."""

    DAEMON = "daemon"
    WORKER = "worker"
    SERVER = "server"
    CUT = "cut"
    FILL = "fill"
    STOP = "stop"


SINK = ("sink", "expected", "found", "lost", "doubled", "altered")


def prove(
    file: Annotated[
        Path | None, typer.Argument(metavar="[PIPELINE]", help="The pipeline file [default: one that uses everything].")
    ] = None,
    events: Annotated[int, typer.Option(min=1, help="How many events go in.")] = 10_000,
    kills: Annotated[int, typer.Option(min=0, help="How often the daemon is killed; other faults in proportion.")] = 20,
    fault: Annotated[
        list[Fault] | None,
        typer.Option(help="Do this one alone, as often as --kills says; may be repeated [default: all]."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides events, faults and their moments.")] = 0,
    events_file: Annotated[
        Path | None,
        typer.Option(help="JSON lines to use as events of PIPELINE [default: what the samples of the feeds give]."),
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(help="Empty directory for everything that the proof writes; kept [default: a temporary one]."),
    ] = None,
    host: Host = None,
    json: AsJson = False,
) -> None:
    """Kill a pipeline at random moments while it works, and account for every event afterwards.

    Real processes run: the daemon and the server are killed (-9), connections cut after sending, memory filled, a
    daemon stopped for longer than its claims last. Of PIPELINE the experts and ways are kept. Events come from a
    generator in the place of collectors and parsers, outputs record, stages that ask the network let everything pass,
    and the server is one of its own: nothing leaves the machine.

    Exit code 0: each event is where it has to be, once, as it has to be; 1: some are lost, doubled or altered. The
    directory with everything that shows it is kept then.

    Example: intelstream prove pipeline.yaml --events 10000 --kills 20 --seed 7
    """
    if events_file is not None and file is None:
        raise typer.BadParameter("goes with a pipeline file: the default one makes its own events")
    if state_dir is not None and state_dir.is_dir() and any(state_dir.iterdir()):
        typer.echo(f"intelstream: {state_dir} is not empty: name an empty directory, or none", err=True)
        raise typer.Exit(WRONG_USE)
    directory = (state_dir or Path(tempfile.mkdtemp(prefix="intelstream-proof-"))).absolute()
    proof = Proof(
        directory=directory,
        pipeline=file.absolute() if file else None,
        host=host.absolute() if host else None,
        events=events,
        seed=seed,
    )
    with _followed(shown=sys.stderr.isatty()) as on_progress, _kept(directory, always=state_dir is not None) as keep:
        proving = Proving(proof, kills, on_progress, only=[one.value for one in fault or ()])
        found = uvloop.run(_run(proving, events_file))
        keep(found)
    if json:
        show_json(found.shown())
    else:
        _show(found)
    if not found.good:
        raise typer.Exit(BAD_STATE)


async def _run(proving: Proving, events_file: Path | None) -> Findings:
    """Run it; SIGTERM ends it as Ctrl-C does, with all of its processes."""
    work = asyncio.ensure_future(proving.run(events_file))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@contextmanager
def _kept(directory: Path, *, always: bool) -> Iterator[Callable[[Findings], None]]:
    """Remove a proof's directory when it is over, or is not wanted; one that shows a fault stays."""
    keeps = always

    def keep(found: Findings) -> None:
        nonlocal keeps
        keeps = always or not found.good
        found.kept = directory if keeps else None

    try:
        yield keep
    except (ConfigError, KeyboardInterrupt):
        _remove(directory, unless=keeps)
        raise
    _remove(directory, unless=keeps)


def _remove(directory: Path, *, unless: bool) -> None:
    if not unless:
        shutil.rmtree(directory)


@contextmanager
def _followed(*, shown: bool) -> Iterator[Callable[[Progress], None]]:
    """Show on a terminal how far the proof has come."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(file=sys.stderr), disable=not shown, transient=True) as bars:
        events, faults = bars.add_task("events acknowledged"), bars.add_task("faults")

        def on_progress(one: Progress) -> None:
            bars.update(events, completed=one.acknowledged, total=one.events)
            bars.update(faults, completed=one.faults, total=one.planned, description=_doing(one.doing))

        yield on_progress


def _doing(what: str) -> str:
    return next((title for kind, title in TITLES.items() if kind == what), what)


def _show(found: Findings) -> None:
    """Print the result as tables."""
    rows = [{name: getattr(one, name) for name in SINK} for one in found.verdicts]
    dead = [{"sink": f"dead letters of {one.sink}"} | {n: getattr(one, n) for n in SINK[1:]} for one in found.dead]
    rows += [{"sink": name, "expected": "not judged"} for name in found.unjudged]
    show_table([*rows, *dead], SINK)
    print()
    drops = [
        {"stage": one.stage, "dropped": one.found, "reason": one.reason}
        | ({} if one.good else {"reason": f"{one.reason} (expected {one.expected})"})
        for one in found.dropped
    ]
    if drops:
        show_table(drops, ("stage", "dropped", "reason"))
        print()
    for kind, number in sorted(found.faults.items()):
        if number:
            print(f"{number:4} × {TITLES[kind]}")
    print(
        f"\nin {found.taken}, acknowledged {found.acknowledged}, out {sum(one.found for one in found.verdicts)}, "
        f"dead {sum(one.found for one in found.dead)}, lost {found.total('lost')}, doubled {found.total('doubled')}, "
        f"altered {found.total('altered')}; {found.seconds:.1f} s, seed {found.seed}"
    )
    for one in (*found.verdicts, *found.dead):
        for text in one.named:
            print(f"{one.sink}: {text}")
    for text in found.troubles:
        print(text)
    if found.kept:
        print(f"kept: {found.kept}")
