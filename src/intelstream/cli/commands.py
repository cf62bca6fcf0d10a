"""The command line: each command parses, calls one function, prints."""

from importlib.metadata import version
from typing import Annotated

import typer

from intelstream.cli import catalogue, dead, proving, queues, running, scaffold, trying

app = typer.Typer(
    name="intelstream",
    help="Threat-intelligence feeds in, one vocabulary inside, every system outside.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"intelstream {version('intelstream')}")
        raise typer.Exit


@app.callback()
def _main(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None: ...


app.command("run")(running.run)
app.command("check")(running.check)
app.command("prove")(proving.prove)
app.command("try")(trying.try_stage)
app.command("schema")(catalogue.schema)
app.command("status")(queues.status)
app.command("reload")(queues.reload)
app.command("new-stage")(scaffold.new_stage)
app.add_typer(catalogue.stages, name="stages")
app.add_typer(catalogue.feeds, name="feeds")
app.add_typer(queues.queue, name="queue")
app.add_typer(dead.dead, name="dead")
