"""`new-stage`: the file of a stage and its test, ready to run."""

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from intelstream.cli.output import WRONG_USE

NAME: Final = re.compile(r"(collectors|parsers|experts|outputs)\.([a-z][a-z0-9_]*)")
EXPERT: Final = '''"""Write a remark into events that have none."""

from collections.abc import AsyncIterator

from pydantic import Field

from intelstream import sdk
from intelstream.ontology import Event, keys


class Params(sdk.Params):
    comment: str = Field("seen", description="What to write into `comment`.")


class {name}(sdk.Expert[Params]):
    """Write a remark into events that have none."""

    pure = True
    writes = (keys.COMMENT,)
    examples = (sdk.Example({{"source.ip": "192.0.2.1"}}, {{"comment": "seen"}}),)

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        for event in batch:
            event.add(keys.COMMENT, self.params.comment)
            yield event
'''
PARSER: Final = '''"""Parse one address per line."""

from collections.abc import Iterator

from pydantic import Field

from intelstream import sdk
from intelstream.ontology import Event, Report, keys


class Params(sdk.Params):
    comment: str = Field("#", description="What a line to be left out begins with.")


class {name}(sdk.Parser[Params]):
    """Parse one address per line."""

    writes = (keys.SOURCE_IP,)

    def rows(self, report: Report) -> Iterator[sdk.Row]:
        for line in report.raw.decode(errors="replace").splitlines():
            if line and not line.startswith(self.params.comment):
                yield sdk.Row(line, line)

    def events(self, row: sdk.Row, report: Report) -> Event:
        event = report.event()
        event[keys.SOURCE_IP] = row.value
        return event
'''
COLLECTOR: Final = '''"""Make a report of a text, once."""

from collections.abc import AsyncIterator

from pydantic import Field

from intelstream import sdk
from intelstream.ontology import Report


class Params(sdk.Params):
    text: str = Field("192.0.2.1", description="What the report holds.")


class {name}(sdk.Collector[Params]):
    """Make a report of a text, once."""

    async def collect(self, cursor: str | None) -> AsyncIterator[Report]:
        if cursor != self.params.text:
            yield Report(self.params.text.encode(), cursor=self.params.text)
'''
OUTPUT: Final = '''"""Log the address of each event."""

from pydantic import Field

from intelstream import sdk
from intelstream.ontology import keys


class Params(sdk.Params):
    label: str = Field("seen", description="What to log each address under.")


class {name}(sdk.Output[Params]):
    """Log the address of each event."""

    idempotent = True
    batch = 256

    async def write(self, batch: sdk.Batch) -> None:
        for event in batch:
            self.ctx.log.info(self.params.label, address=event.get(keys.SOURCE_IP))
'''
TESTS: Final = {
    "experts": '    result = await testing.run_stage({use}, {{}}, [{{"source.ip": "192.0.2.1"}}])\n\n'
    '    assert result.outputs["default"][0]["comment"] == "seen"\n',
    "parsers": '    result = await testing.run_stage({use}, {{}}, [testing.report(b"# list\\n192.0.2.1\\n")])\n\n'
    '    assert result.outputs["default"][0]["source.ip"] == "192.0.2.1"\n',
    "collectors": "    async with testing.open_stage({use}) as run:\n"
    "        first, second = await run.collect(), await run.collect()\n\n"
    '    assert len(first.outputs["default"]) == 1\n    assert second.outputs == {{}}\n',
    "outputs": '    result = await testing.run_stage({use}, {{}}, [{{"source.ip": "192.0.2.1"}}])\n\n'
    '    assert result.log[0]["address"] == "192.0.2.1"\n',
}
TEXTS: Final = {"experts": EXPERT, "parsers": PARSER, "collectors": COLLECTOR, "outputs": OUTPUT}


def new_stage(
    use: Annotated[str, typer.Argument(help="Kind and name, such as experts.geoip.", show_default=False)],
    directory: Annotated[
        Path | None,
        typer.Option("--package", help="Directory of your own package [default: intelstream's source]."),
    ] = None,
) -> None:
    """Write a new stage that works, with its test; change both into what you need.

    In a package of your own, the pipeline file says `use: package.name:Class`, and the host file allows the package.
    Example: intelstream new-stage experts.geoip
    """
    found = NAME.fullmatch(use)
    if not found:
        typer.echo(
            f"intelstream: {use}: expected collectors.NAME, parsers.NAME, experts.NAME or outputs.NAME", err=True
        )
        raise typer.Exit(WRONG_USE)
    kind, name = found.groups()
    class_ = "".join(part.capitalize() for part in name.split("_"))
    if directory is None:
        top = Path("src/intelstream/stages")
        if not top.is_dir():
            typer.echo("intelstream: no src/intelstream/stages here: name your package with --package DIR", err=True)
            raise typer.Exit(WRONG_USE)
        stage, test = top / kind / f"{name}.py", Path("tests/stages") / kind / f"test_{name}.py"
        imported, named = "", f'"{use}"'
    else:
        stage, test = directory / f"{name}.py", directory.parent / "tests" / f"test_{name}.py"
        imported, named = f"from {directory.name}.{name} import {class_}\n", class_
    head = f"from intelstream import testing\n{imported}\n\nasync def test_{name}() -> None:\n"
    _write(stage, TEXTS[kind].format(name=class_))
    _write(test, head + TESTS[kind].format(use=named))
    print(f"try it: intelstream try {use}" if directory is None else f"use: {directory.name}.{name}:{class_}")


def _write(path: Path, text: str) -> None:
    if path.exists():
        typer.echo(f"intelstream: {path} exists; nothing was written", err=True)
        raise typer.Exit(WRONG_USE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(path)
