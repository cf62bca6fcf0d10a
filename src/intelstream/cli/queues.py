"""Commands on a running instance: what its stages do, what waits; and the one that reloads it."""

import asyncio
from datetime import datetime
from typing import Annotated, Any

import typer

from intelstream.app import control
from intelstream.cli.output import AsJson, StateDir, directory_of, printable, show_json, show_table

queue = typer.Typer(help="What waits for the stages of a running instance.", no_args_is_help=True)
Stage = Annotated[str, typer.Argument(help="Name of the stage in the pipeline.", show_default=False)]
Count = Annotated[int, typer.Option("-n", "--count", min=1, max=control.MOST, help="How many messages at most.")]


def status(state_dir: StateDir = None, json: AsJson = False) -> None:
    """Tell what every stage does right now, and why.

    Example: intelstream status --json
    """
    found = asyncio.run(control.ask(directory_of(state_dir), "/status"))
    if json:
        show_json(found)
        return
    columns = ("stage", "state", "taken", "sent", "dropped", "dead", "next_run")
    show_table([stage | {"next_run": _short(stage["next_run"])} for stage in found["stages"]], columns)
    for stage in found["stages"]:
        if stage["reason"]:
            print(f"{stage['stage']}: {printable(stage['reason'])}")
    if found["server"]["trouble"]:
        print(f"server: {found['server']['trouble']}")


def _short(when: str | None) -> str:
    """Return a time in UTC without its year: so the table has room in 80 columns."""
    return f"{datetime.fromisoformat(when):%m-%d %H:%M:%SZ}" if when else ""


def reload(state_dir: StateDir = None, json: AsJson = False) -> None:
    """Have a running instance go over to its pipeline file as it is now; what has not changed runs on.

    A file with faults changes nothing. Example: intelstream reload
    """
    found = asyncio.run(control.tell(directory_of(state_dir), "/reload", {}))
    if json:
        show_json(found)
        return
    for what in ("stopped", "started"):
        print(f"{what}: {', '.join(name for names in found[what] for name in names) or 'nothing'}")
    print(f"{found['kept']} segments ran on")


@queue.command("ls")
def queue_ls(state_dir: StateDir = None, json: AsJson = False) -> None:
    """List the backlog of every stage: messages and bytes that wait, delayed retries, dead letters.

    Example: intelstream queue ls
    """
    rows = asyncio.run(control.ask(directory_of(state_dir), "/queues"))
    if json:
        show_json(rows)
    else:
        show_table(rows, ("stage", "messages", "bytes", "retrying", "dead", "in", "use", "segment"))


@queue.command("peek")
def queue_peek(stage: Stage, count: Count = 10, state_dir: StateDir = None, json: AsJson = False) -> None:
    """Show the oldest messages that wait for a stage, without taking any.

    Example: intelstream queue peek deduplicate -n 3 --json
    """
    _show(asyncio.run(control.ask(directory_of(state_dir), f"/queues/{stage}", n=count)), json=json)


def _show(messages: list[dict[str, Any]], *, json: bool) -> None:
    if json:
        show_json(messages)
        return
    for message in messages:
        print(f"{message['__type']} {message.get('__id', '')}")
        for name, value in message.items():
            if not name.startswith("__"):
                print(f"  {name}: {str(value)[:200]!r}" if isinstance(value, str) else f"  {name}: {value}")
