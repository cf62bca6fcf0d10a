"""A disk that takes its time: a gate that holds back every fsync of a process, and a trace of them."""

from pathlib import Path


class SlowDisk:
    """The gate that holds fsync back, and the trace of what passed it."""

    def __init__(self, library: Path, directory: Path) -> None:
        self.gate = directory / "gate"
        self.trace = directory / "trace"
        self.trace.touch()
        self.environment = {
            "LD_PRELOAD": str(library),
            "SLOW_FSYNC_GATE": str(self.gate),
            "SLOW_FSYNC_TRACE": str(self.trace),
        }

    def lines(self, pid: int = 0) -> list[str]:
        """Return what was traced: all of it, or what one process did to append-only files, without its number."""
        found = self.trace.read_text().splitlines()
        if not pid:
            return found
        return [line.split()[0] for line in found if f" {pid} " in line and line.endswith(".incr.aof")]
