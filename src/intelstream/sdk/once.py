"""Says once what is so at every run."""

from pathlib import Path
from typing import Any

from intelstream.sdk.context import Log


class Once:
    """Warnings of one stage about files: each is told once per file for as long as the stage runs."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._told: set[tuple[str, Path]] = set()

    def warn(self, event: str, path: Path, **facts: Any) -> None:
        if (event, path) not in self._told:
            self._told.add((event, path))
            self._log.warning(event, path=str(path).encode(errors="replace").decode(), **facts)
