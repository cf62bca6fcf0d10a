"""The commands."""

import sys


def main() -> None:
    """Run the command line; the exit code is 0 for well, 1 for a bad state, 2 for wrong use or a faulty file."""
    from intelstream.cli.commands import app  # noqa: PLC0415 - `intelstream.cli` itself costs nothing
    from intelstream.cli.output import failing  # noqa: PLC0415

    with failing():
        app(prog_name="intelstream")
    sys.exit(0)
