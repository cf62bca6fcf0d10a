"""Reports too large for a stream lie in files of this host, one per receiver, until their last row is out."""

import os
import shutil
from pathlib import Path
from typing import Final

from intelstream.ontology import Report

_BLOCK: Final = 1024 * 1024


def spool(report: Report, path: Path) -> int:
    """Put the bytes at `path`, durable before it has its name, and return their number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with report.open() as source, part.open("wb") as target:
        shutil.copyfileobj(source, target, _BLOCK)
        target.flush()
        os.fsync(target.fileno())
    part.replace(path)
    return path.stat().st_size
