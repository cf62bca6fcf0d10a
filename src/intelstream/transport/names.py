"""The names of our keys. Those of one lane share a hash tag, so that a Redis Cluster keeps them in one slot."""

from dataclasses import dataclass
from typing import Final

GROUP: Final = "stages"  # one name everywhere: one read may then wait on many streams


@dataclass(frozen=True, slots=True)
class Lane:
    """One complete set of a pipeline's keys."""

    pipeline: str
    number: int = 0

    def _key(self, kind: str, name: str = "") -> str:
        return f"intelstream:{{{self.pipeline}.{self.number}}}:{kind}" + (f":{name}" if name else "")

    @property
    def sizes(self) -> str:
        """Hash of backlogs: `<stage>:n` messages, `<stage>:b` bytes, `total` bytes."""
        return self._key("sizes")

    @property
    def wake(self) -> str:
        """Channel that tells of room."""
        return self._key("wake")

    @property
    def format(self) -> str:
        return self._key("format")

    def stream(self, stage: str) -> str:
        """Input of a stage."""
        return self._key("in", stage)

    def hash(self, stage: str) -> str:
        """Name what is kept of a stage: version, lease, positions, state, counters."""
        return self._key("stage", stage)

    def later(self, stage: str) -> str:
        """Delayed retries, by when they are due."""
        return self._key("later", stage)

    def dead(self, stage: str) -> str:
        """Dead letters of a stage."""
        return self._key("dead", stage)

    def groups(self, stage: str) -> str:
        """Hash of its dead letters by cause: `n:`, `first:` and `last:` of each signature, `bytes` of its stream."""
        return self._key("groups", stage)

    def origins(self, stage: str) -> str:
        """Hash of the number of its dead letters by the report that they are rows of."""
        return self._key("origins", stage)

    def edits(self, stage: str) -> str:
        """Hash of what operators have changed in its dead letters, by letter."""
        return self._key("edits", stage)

    def gone(self, segment: str) -> str:
        """Set of the places of letters in a file that are no more, and of `SETTLED`."""
        return self._key("gone", segment)

    def marks(self, stage: str) -> str:
        """Return what the names of all buckets of marks begin with."""
        return self._key("marks", f"{stage}:")

    def marked(self, stage: str) -> str:
        """Return the name of the number of marks, by generation."""
        return self._key("marked", stage)

    def cache(self, stage: str, key: str) -> str:
        return self._key("cache", f"{stage}:{key}")

    def alive(self, consumer: str) -> str:
        return self._key("alive", consumer)
