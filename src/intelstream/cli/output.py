"""How commands speak: tables for people, JSON for programs, errors with the cure and an honest exit code."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from intelstream.app.control import NotFoundHere, NotRunning, Refused
from intelstream.config import load_host
from intelstream.errors import ConfigError, IntelstreamError

BAD_STATE: Final = 1
WRONG_USE: Final = 2
NOT_FOUND: Final = 3
NOT_REACHABLE: Final = 5
UNBOUND: Final = 10_000  # columns of what no terminal shows

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
StateDir = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        help="State directory of the daemon [default: INTELSTREAM_STATE_DIR, host file, `var` beside the pipeline].",
    ),
]
Host = Annotated[Path | None, typer.Option("--host", help="Host file [default: intelstream.yaml beside the pipeline].")]


@contextmanager
def failing() -> Iterator[None]:
    """Turn errors raised on purpose into a line on standard error and an exit code; a closed pipe is no error."""
    try:
        yield
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise SystemExit(WRONG_USE) from error
    except NotRunning as error:
        print(f"intelstream: {error}", file=sys.stderr)
        raise SystemExit(NOT_REACHABLE) from error
    except NotFoundHere as error:
        print(f"intelstream: {error}", file=sys.stderr)
        raise SystemExit(NOT_FOUND) from error
    except Refused as error:
        print(f"intelstream: {error}", file=sys.stderr)
        raise SystemExit(WRONG_USE) from error
    except IntelstreamError as error:
        print(f"intelstream: {error}", file=sys.stderr)
        raise SystemExit(BAD_STATE) from error
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end
        raise SystemExit(0) from None


def show_json(value: Any) -> None:
    """Print a value as JSON."""
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def show_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str | None = None) -> None:
    """Print rows as a table of these columns; into a pipe or a file each row is one line."""
    width = None if sys.stdout.isatty() else UNBOUND
    Console(markup=False, highlight=False, width=width).print(table_of(rows, columns, title))


def table_of(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str | None = None, *, cut: bool = False
) -> Table:
    """Return a table in which the last column alone gives way: it is folded, or cut at the edge of the terminal.

    What comes from feeds is shown as it is, never as markup.
    """
    table = Table(title=title, box=None, header_style="bold", pad_edge=False)
    numbers = {name for name in columns if rows and isinstance(rows[0].get(name), int)}
    for name in columns:
        gives = name == columns[-1]
        table.add_column(name.replace("_", " "), justify="right" if name in numbers else "left", no_wrap=not gives)
    for row in rows:
        *cells, last = (Text(_cell(row.get(name))) for name in columns)
        last.overflow, last.no_wrap = ("ellipsis", True) if cut else ("fold", False)
        table.add_row(*cells, last)
    return table


def printable(text: str) -> str:
    """Return a text from outside without what would steer the terminal."""
    return text if text.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return printable(", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))


def directory_of(state_dir: Path | None) -> Path:
    """Return the state directory that a command on a running instance means: as for a pipeline file of this directory.

    Raises:
        ConfigError: the host file of this directory is wrong.
    """
    return load_host(None, Path("pipeline.yaml"), state_dir=state_dir, env=os.environ).state_dir
