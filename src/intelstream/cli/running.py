"""`run` and `check`: a pipeline file as a daemon, or its faults."""

import asyncio
import resource
import signal
import sys
from pathlib import Path
from typing import Annotated, Final

import structlog
import typer
import uvloop

from intelstream.app import logs
from intelstream.app.daemon import Daemon
from intelstream.app.pipeline import Pipeline
from intelstream.cli.live import Live
from intelstream.cli.output import WRONG_USE, Host, StateDir, show_json
from intelstream.errors import CannotApply, ConfigError, Fault

File = Annotated[Path, typer.Argument(help="The pipeline file.", show_default=False)]
OPEN_FILES: Final = 65_536  # beyond that some programs get slow, which go through all that there may be
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run(
    file: File,
    state_dir: StateDir = None,
    host: Host = None,
    dry_outputs: Annotated[
        bool, typer.Option("--dry-outputs", help="Record in `dry` below the state directory instead of delivering.")
    ] = False,
    log_format: Annotated[str, typer.Option(help="`console`, `json`, or `auto`: JSON where nobody looks on.")] = "auto",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that share the stages.", show_default="1")
    ] = None,
) -> None:
    """Run a pipeline in the foreground until Ctrl-C or SIGTERM.

    What the stages have in hand is finished, within 30 s. A second Ctrl-C or SIGTERM ends that at once: it stays
    pending for the next start, and the exit code is 130 or 143. SIGHUP reads the file again, as `reload` does.

    With --dry-outputs it may stand beside another daemon of the same file, with a --state-dir of its own: its queues
    are its own, outputs write JSON lines, one file each. Collectors fetch for real, and delete what they are told to.

    Example: intelstream run config/demo.yaml
    """
    pipeline = Pipeline.load(file, host=host, state_dir=state_dir, workers=workers)
    if dry_outputs:
        pipeline = pipeline.dry()
    _raise_open_files()
    live = sys.stderr.isatty()
    json = log_format == "json" or (log_format == "auto" and not live)
    shown = Live(terminal=live)
    logs.configure(json=json, level=log_level, secrets=pipeline.secrets, file=shown.log_file())
    for warning in pipeline.warnings:
        print(warning, file=sys.stderr)
    uvloop.run(_run(pipeline.daemon(log_level=log_level), shown))


def _raise_open_files() -> None:
    """Let this process and its workers have as many files and connections open as they may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def _run(daemon: Daemon, shown: Live) -> None:
    loop = asyncio.get_running_loop()
    work = asyncio.create_task(daemon.run())
    forced: list[int] = []
    for number in SIGNALS:
        loop.add_signal_handler(number, _stop, daemon, work, number, forced)
    reloads: set[asyncio.Task[None]] = set()
    loop.add_signal_handler(signal.SIGHUP, _reload, daemon, reloads)
    display = asyncio.create_task(shown.follow(daemon))
    try:
        await asyncio.wait((work,))
    finally:
        display.cancel()
        await asyncio.gather(display, *reloads, return_exceptions=True)
    if forced:
        structlog.get_logger().warning("stopped_at_once", cure="what was in hand is taken up at the next start")
        raise typer.Exit(128 + forced[0])
    if not work.cancelled():
        work.result()


def _stop(daemon: Daemon, work: asyncio.Task[None], number: int, forced: list[int]) -> None:
    """Stop between two frames at the first signal, at once at the second, or while nothing is at work yet."""
    if daemon.stopping:
        forced.append(number)
    if daemon.stopping or not daemon.ready.is_set():
        work.cancel()
    if not daemon.stopping:
        daemon.stop()
        structlog.get_logger().info("daemon_stopping", hint="a second signal ends it at once")


def _reload(daemon: Daemon, reloads: set[asyncio.Task[None]]) -> None:
    async def reload() -> None:
        try:
            await daemon.reload()
        except (ConfigError, CannotApply) as error:
            structlog.get_logger().error("pipeline_not_applied", error=str(error), cure="the old one runs on")

    task = asyncio.create_task(reload())
    reloads.add(task)
    task.add_done_callback(reloads.discard)


def check(
    file: File,
    state_dir: StateDir = None,
    host: Host = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print segments, ways and limits.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the faults as JSON.")] = False,
) -> None:
    """Read a pipeline file and list everything that is wrong with it; writes nothing.

    Exit code 0: it can run (there may be warnings), 2: it cannot. Example: intelstream check pipeline.yaml --plan
    """
    try:
        pipeline = Pipeline.load(file, host=host, state_dir=state_dir)
    except ConfigError as error:
        if json:
            show_json({"valid": False, "faults": [_shown(fault) for fault in error.faults]})
            raise typer.Exit(WRONG_USE) from error
        raise
    if json:
        show_json({"valid": True, "faults": [_shown(fault) for fault in pipeline.warnings]})
        return
    for warning in pipeline.warnings:
        print(warning)
    if plan:
        print(pipeline.plan())
    else:
        print(f"{file}: {len(pipeline.spec.stages)} stages, ready to run")


def _shown(fault: Fault) -> dict[str, object]:
    return {name: getattr(fault, name) for name in ("file", "line", "column", "where", "text", "level")}
