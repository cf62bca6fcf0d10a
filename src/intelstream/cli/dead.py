"""`dead`: messages that stages of a running instance gave up, looked at, sent back, changed, dropped, moved about."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from intelstream.app.control import MOST, Refused, ask, tell
from intelstream.cli import letters
from intelstream.cli.output import AsJson, StateDir, directory_of, printable, show_json, show_table
from intelstream.transport.segments import save

dead = typer.Typer(help="Messages that stages of a running instance gave up.", no_args_is_help=True)

Ids = Annotated[list[str] | None, typer.Argument(help="Ids of letters, as `dead ls` shows them.", show_default=False)]
Stage = Annotated[str | None, typer.Option("--stage", "-s", help="Letters of this stage.")]
Group = Annotated[str | None, typer.Option("--group", "-g", help="Letters of this group, as `dead group` shows it.")]
Error = Annotated[str | None, typer.Option("--error", help="Letters with this class of error.")]
Field = Annotated[str | None, typer.Option("--field", help="Letters with an error in this field.")]
All = Annotated[bool, typer.Option("--all", help="All letters.")]
To = Annotated[str | None, typer.Option("--to", help="Another stage to send them to.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", help="Do it, though there is more than one.")]


@dead.command("group")
def group(
    stage: Stage = None, error: Error = None, field: Field = None, state_dir: StateDir = None, json: AsJson = False
) -> None:
    """List dead letters by cause: one row for each stage, error class and field.

    Example: intelstream dead group
    """
    query = _query(stage=stage, error=error, field=field)
    rows = asyncio.run(ask(directory_of(state_dir), "/dead-groups", **query))
    if json:
        show_json(rows)
        return
    if not rows:
        print("no dead letters")
        return
    shown = [row | {"first": letters.short(row["first"]), "last": letters.short(row["last"])} for row in rows]
    show_table(shown, ("group", "count", "stage", "error", "field", "first", "last", "example"))
    print(f"\nlook at them:   intelstream dead ls --group {rows[0]['group']}")
    print(f"send them back: intelstream dead retry --group {rows[0]['group']}")


@dead.command("ls")
def ls(
    stage: Annotated[str | None, typer.Argument(help="Name of a stage in the pipeline.", show_default=False)] = None,
    group: Group = None,
    error: Error = None,
    field: Field = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=MOST, help="How many letters at most.")] = 10,
    state_dir: StateDir = None,
    json: AsJson = False,
) -> None:
    """List the oldest dead letters, all or those of a stage, a group, a class of error, a field.

    Example: intelstream dead ls feodo.parser
    """
    query = _query(stage=stage, group=group, error=error, field=field)
    rows = asyncio.run(ask(directory_of(state_dir), "/dead", n=count, **query))
    if json:
        show_json(rows)
        return
    if not rows:
        print("no dead letters")
        return
    shown = [row | {"time": letters.short(row["time"])} for row in rows]
    show_table(shown, ("id", "time", "error", "field", "row", "attempts", "text"))
    if len(rows) == count:
        total = asyncio.run(ask(directory_of(state_dir), "/dead-number", **query))
        if total > count:
            print(f"… {total - count} more; by cause: intelstream dead group")
    print(f"\nthe whole of one: intelstream dead show {rows[0]['id']}")


@dead.command("show")
def show(
    id: Annotated[str, typer.Argument(help="Id of a letter, as `dead ls` shows it.", show_default=False)],
    state_dir: StateDir = None,
    json: AsJson = False,
) -> None:
    """Show the whole of one dead letter: what failed where and why, and the message.

    Example: intelstream dead show rows:1764000000000-0
    """
    found = asyncio.run(ask(directory_of(state_dir), f"/dead/{id}"))
    if json:
        show_json(found)
        return
    for name in ("id", "stage", "time", "error", "field", "text", "attempts", "report", "row"):
        if found.get(name) is not None:
            print(f"{name:>9}  {printable(str(found[name]))}")
    edited = found.get("edited", {})
    print(f"\n{found['message']['__type'].lower()}")
    for name, value in letters.message(found["message"]).items():
        mark = "~" if name in edited else " "
        print(f" {mark} {name}: {printable(str(value))[:1000]}")
    if found["traceback"]:
        print("\n" + "\n".join(printable(line) for line in found["traceback"].splitlines()))
    print(f"\nsend it back:   intelstream dead retry {id}")
    wrong = found["field"] if found["field"] and found["message"]["__type"] == "Event" else "raw"
    print(f"change it:      intelstream dead edit {id} --set {wrong}=… --retry")


@dead.command("retry")
def retry(
    ids: Ids = None,
    stage: Stage = None,
    group: Group = None,
    error: Error = None,
    field: Field = None,
    all: All = False,
    to: To = None,
    state_dir: StateDir = None,
    json: AsJson = False,
) -> None:
    """Send dead letters back to work: to the stage that gave them up, or to another one.

    Events pass their own marks of deduplication. Rows of reports are parsed again from the report that they were in.
    May be repeated: what has gone is not sent again. Example: intelstream dead retry --group 3f9ac2d81b07
    """
    select = _select(ids, stage, group, error, field, all=all)
    letters.finish(
        letters.orders(directory_of(state_dir), "/dead:retry", {"select": select, "to": to}), "sent back", json=json
    )


@dead.command("edit")
def edit(
    ids: Ids = None,
    set: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE, checked by the ontology; raw=TEXT for a row.")
    ] = None,
    unset: Annotated[list[str] | None, typer.Option("--unset", help="FIELD to be removed.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Send them back at once, instead of keeping them.")] = False,
    stage: Stage = None,
    group: Group = None,
    error: Error = None,
    field: Field = None,
    all: All = False,
    to: To = None,
    state_dir: StateDir = None,
    json: AsJson = False,
) -> None:
    """Change fields of dead letters, and keep them or send them back.

    Example: intelstream dead edit rows:1764000000000-0 --set source.port=443 --retry
    """
    changes: dict[str, str | None] = dict.fromkeys(unset or (), None)
    for text in set or ():
        name, found, value = text.partition("=")
        if not found:
            raise Refused(f"--set {text}: expected FIELD=VALUE")
        changes[name] = value
    order = {
        "select": _select(ids, stage, group, error, field, all=all),
        "changes": changes,
        "retry": retry,
        "to": to,
    }
    letters.finish(
        letters.orders(directory_of(state_dir), "/dead:edit", order), "sent back" if retry else "changed", json=json
    )


@dead.command("drop")
def drop(
    ids: Ids = None,
    stage: Stage = None,
    group: Group = None,
    error: Error = None,
    field: Field = None,
    all: All = False,
    yes: Yes = False,
    state_dir: StateDir = None,
    json: AsJson = False,
) -> None:
    """Delete dead letters for good; more than one only with --yes.

    Example: intelstream dead drop --group 3f9ac2d81b07 --yes
    """
    directory, select = directory_of(state_dir), _select(ids, stage, group, error, field, all=all)
    if not yes:
        query = _query(stage=stage, group=group, error=error, field=field, ids=",".join(ids or ()))
        if (count := asyncio.run(ask(directory, "/dead-number", **query))) > 1:
            raise Refused(f"this deletes {count} dead letters for good: add --yes (`dead export` keeps a copy)")
    letters.finish(letters.orders(directory, "/dead:drop", {"select": select}), "dropped", json=json)


@dead.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="File to write, `-` for standard output.", show_default=False)],
    stage: Stage = None,
    group: Group = None,
    error: Error = None,
    field: Field = None,
    state_dir: StateDir = None,
) -> None:
    """Write dead letters to a file, one JSON object in each line. They stay where they are.

    Example: intelstream dead export letters.jsonl --stage rows
    """
    query = _query(stage=stage, group=group, error=error, field=field)
    lines = letters.exported(directory_of(state_dir), query)
    if str(file) == "-":
        for line in lines:
            sys.stdout.write(line.decode())
        return
    count = 0

    def counted() -> Iterator[bytes]:
        nonlocal count
        for line in lines:
            count += 1
            yield line

    save(file, counted())
    print(f"{count} dead letters in {file}", file=sys.stderr)


@dead.command("import")
def bring(
    file: Annotated[Path, typer.Argument(help="File that `dead export` wrote, `-` for standard input.")],
    state_dir: StateDir = None,
    json: AsJson = False,
) -> None:
    """Bring exported dead letters back. Those that are there already stay as they are, so it may be repeated.

    Example: intelstream dead import letters.jsonl
    """
    directory, done, known = directory_of(state_dir), 0, 0
    with sys.stdin.buffer if str(file) == "-" else file.open("rb") as source:
        for some in letters.chunks(source):
            answer = asyncio.run(tell(directory, "/dead:import", some))
            done, known = done + answer["done"], known + answer["known"]
    if json:
        show_json({"done": done, "known": known})
    else:
        print(f"{done} brought in, {known} were there already")


def _query(**given: str | None) -> dict[str, str]:
    return {name: value for name, value in given.items() if value}


def _select(
    ids: Sequence[str] | None, stage: str | None, group: str | None, error: str | None, field: str | None, *, all: bool
) -> dict[str, Any]:
    if not (ids or stage or group or error or field or all):
        raise Refused("say which letters: ids, --stage, --group, --error, --field, or --all")
    return {"ids": ids or [], "stage": stage, "group": group, "error": error, "field": field, "all": all}
