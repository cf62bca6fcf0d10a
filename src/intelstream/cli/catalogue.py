"""Commands on what there is: stages, feeds, schemas. They need no running instance."""

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from intelstream import catalog, docs
from intelstream.app.feedtest import check_feed
from intelstream.cli.output import BAD_STATE, NOT_FOUND, AsJson, show_json, show_table
from intelstream.config import schema as schemas
from intelstream.errors import UnknownName
from intelstream.ontology import fields

stages = typer.Typer(help="The stages that a pipeline can use.", no_args_is_help=True)
feeds = typer.Typer(help="The feeds that a pipeline can use by name.", no_args_is_help=True)
Folders = Annotated[list[Path] | None, typer.Option("--feeds", help="A directory of your own feeds; may be repeated.")]


class Schema(StrEnum):
    """What `schema` prints."""

    PIPELINE = "pipeline"
    HOST = "host"
    EVENT = "event"


@stages.command("ls")
def stages_ls(
    kind: Annotated[str, typer.Argument(help="collectors, parsers, experts or outputs.")] = "",
    json: AsJson = False,
) -> None:
    """List the built-in stages with what each does.

    Example: intelstream stages ls parsers
    """
    rows = [{"use": name, "does": catalog.summary(name)} for name in catalog.names() if name.startswith(kind)]
    if json:
        show_json(rows)
    else:
        show_table(rows, ("use", "does"))


@stages.command("show")
def stages_show(
    use: Annotated[str, typer.Argument(help="Such as parsers.csv.", show_default=False)],
    json: AsJson = False,
) -> None:
    """Show a stage's page: parameters with types and defaults, fields, paths, examples.

    Example: intelstream stages show experts.deduplicate
    """
    stage = catalog.load(use)
    if json:
        show_json({"use": use, "params": stage.Params.model_json_schema(), "paths": stage.paths})
    else:
        print(docs.page(use, stage))


@feeds.command("ls")
def feeds_ls(folders: Folders = None, json: AsJson = False) -> None:
    """List the feeds: provider, name, terms, whether they need an account.

    Example: intelstream feeds ls
    """
    rows = [_row(name, folders or ()) for name in sorted(catalog.feed_names(folders or ()))]
    if json:
        show_json(rows)
    else:
        show_table(rows, ("feed", "auth", "every", "terms", "summary"))


@feeds.command("show")
def feeds_show(
    name: Annotated[str, typer.Argument(help="Such as abuse_ch.feodotracker.", show_default=False)],
    folders: Folders = None,
    json: AsJson = False,
) -> None:
    """Show a feed as it stands in its file.

    Example: intelstream feeds show spamhaus.drop
    """
    if json:
        show_json(_row(name, folders or ()))
    else:
        print(catalog.feed_folder(name, folders or ()).joinpath("feed.yaml").read_text(encoding="utf-8"))


@feeds.command("test")
def feeds_test(
    names: Annotated[list[str] | None, typer.Argument(help="Feeds to test [default: all].")] = None,
    folders: Folders = None,
    write: Annotated[bool, typer.Option("--write", help="Write what the sample gives to expected.jsonl.")] = False,
    json: AsJson = False,
) -> None:
    """Parse each feed's sample and compare with its expected.jsonl; nothing is fetched. Exit code 1 on a difference.

    Example: intelstream feeds test --feeds ./my-feeds
    """
    wanted = names or sorted(catalog.feed_names(folders or ()))
    found = asyncio.run(_checked(wanted, folders or ()))
    if write:
        for one in found:
            _write(one.feed, one.events, folders or ())
        return
    rows = [{"feed": one.feed, "events": len(one.events), "faults": list(one.faults)} for one in found]
    if json:
        show_json(rows)
    else:
        for row in rows:
            print(f"{row['feed']}: {row['events']} events, {'ok' if not row['faults'] else 'not as expected'}")
            for fault in row["faults"]:
                print(f"  {fault}")
    if any(row["faults"] for row in rows):
        raise typer.Exit(BAD_STATE)


def schema(which: Annotated[Schema, typer.Argument(help="Which one.")] = Schema.PIPELINE) -> None:
    """Print a JSON Schema: of the pipeline file for editors, of the host file, or of an event.

    Example: intelstream schema pipeline > pipeline.schema.json
    """
    made: dict[Schema, Any] = {
        Schema.PIPELINE: schemas.pipeline_schema,
        Schema.HOST: schemas.host_schema,
        Schema.EVENT: fields.event_schema,
    }
    show_json(made[which]())


async def _checked(names: list[str], folders: Any) -> list[Any]:
    try:
        return [await check_feed(name, folders) for name in names]
    except UnknownName as error:
        typer.echo(f"intelstream: {error}", err=True)
        raise typer.Exit(NOT_FOUND) from error


def _row(name: str, folders: Any) -> dict[str, Any]:
    feed = catalog.feed(name, folders)
    return {"feed": name} | feed.model_dump(mode="json", by_alias=True) | {"every": str(feed.every)}


def _write(name: str, events: Any, folders: Any) -> None:
    folder = Path(str(catalog.feed_folder(name, folders)))
    lines = b"".join(orjson.dumps(event, option=orjson.OPT_SORT_KEYS) + b"\n" for event in events)
    (folder / "expected.jsonl").write_bytes(lines)
    print(f"{folder / 'expected.jsonl'}: {len(events)} events")
