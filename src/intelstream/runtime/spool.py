"""Reports too large for a stream lie in files of this host, one per receiver, until their last row is out."""

import os
import shutil
from pathlib import Path
from typing import Final

from intelstream.errors import Unavailable
from intelstream.ontology import Report

_BLOCK: Final = 1024 * 1024


def spool(report: Report, path: Path) -> int:
    """Put the bytes at `path`, durable before it has its name, and return their number.

    Raises:
        Unavailable: there is no room for them; nothing is left of it.
    """
    part = path.with_name(path.name + ".part")
    with report.open() as source:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as target:
                shutil.copyfileobj(source, target, _BLOCK)
                target.flush()
                os.fsync(target.fileno())
            part.replace(path)
            return path.stat().st_size
        except OSError as error:
            part.unlink(missing_ok=True)
            raise Unavailable(f"spooling to {path.parent}: {error.strerror}; make room there") from error
