"""`try`: messages through one stage, without a pipeline and without Redis."""

import asyncio
import base64
import sys
from typing import Annotated, Any

import orjson
import typer

from intelstream import catalog
from intelstream.app import testing
from intelstream.cli.output import BAD_STATE, WRONG_USE, show_json
from intelstream.formats import yaml
from intelstream.sdk import Parser


def try_stage(
    use: Annotated[str, typer.Argument(help="The stage, such as experts.url.", show_default=False)],
    given: Annotated[
        list[str] | None,
        typer.Option("--with", help="A parameter as name=value, the value in YAML; may be repeated."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the whole result as one JSON object.")] = False,
) -> None:
    """Send messages from standard input through one stage and print what leaves.

    Input is one JSON message per line; for a parser also the bytes of a report as they are. Network stages really
    connect. Exit code 1 if a message failed. Examples:

    echo '{"source.url": "http://host.example/a"}' | intelstream try experts.url

    intelstream try parsers.csv --with 'columns: [source.ip, source.port]' < list.csv
    """
    stage = catalog.load(use)
    params = _params(given or [])
    messages = _messages(sys.stdin.buffer.read(), parses=issubclass(stage, Parser))
    result = asyncio.run(testing.run_stage(use, params, messages, world=testing.World(live=True)))
    if result.refused:
        for fault in result.refused.faults:
            print(f"{use}: {fault.where}: {fault.text}", file=sys.stderr)
        raise typer.Exit(WRONG_USE)
    if json:
        show_json(_whole(result))
    else:
        _print(result)
    if result.dead:
        raise typer.Exit(BAD_STATE)


def _params(given: list[str]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for pair in given:
        name, separator, value = pair.partition("=")
        if separator and name.strip().isidentifier():
            params[name.strip()] = _value(value)
        else:  # `name: value`, as in a pipeline file
            found = _value(pair)
            if not isinstance(found, dict):
                raise typer.BadParameter(f"expected name=value, got {pair!r}")
            params |= found
    return params


def _value(text: str) -> Any:
    document = yaml.read(text, "--with")
    if document.faults:
        raise typer.BadParameter("; ".join(map(str, document.faults)))
    return document.value


def _messages(data: bytes, *, parses: bool) -> list[Any]:
    if parses and not data.lstrip().startswith(b'{"__type"'):
        return [{"__type": "Report", "raw": base64.b64encode(data).decode()}]
    try:
        return [orjson.loads(line) for line in data.splitlines() if line.strip()]
    except orjson.JSONDecodeError as error:
        raise typer.BadParameter(f"standard input: expected one JSON object per line: {error}") from error


def _print(result: testing.Result) -> None:
    for path, messages in result.outputs.items():
        for message in messages:
            if path != "default":
                print(f"# leaves by {path}", file=sys.stderr)
            print(orjson.dumps(message).decode())
    for drop in result.dropped:
        print(f"# dropped: {drop.reason}", file=sys.stderr)
    for dead in result.dead:
        print(f"# failed: {dead.error}: {dead.text}", file=sys.stderr)
    for pending in result.pending:
        print(f"# waits: {pending}", file=sys.stderr)


def _whole(result: testing.Result) -> dict[str, Any]:
    return {
        "outputs": result.outputs,
        "dropped": [{"message": drop.message, "reason": drop.reason} for drop in result.dropped],
        "dead": [
            {"message": dead.message, "error": dead.error, "field": dead.field, "text": dead.text}
            for dead in result.dead
        ],
        "pending": result.pending,
        "log": result.log,
    }
