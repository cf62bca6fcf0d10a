"""How far a collector has come: one cursor, or many parts of one, each kept under a name of its own."""

from typing import Any, Final, Self

from intelstream.sdk import Changes
from intelstream.transport.commit import Commit
from intelstream.transport.transport import STATE, Transport

WHOLE: Final = f"{STATE}cursor"
PART: Final = "cursor:"  # in front of what one part is called


class Standing:
    """What is committed of a collector's cursor."""

    def __init__(self, whole: Any, parts: dict[str, Any]) -> None:
        self._whole = whole
        self._parts = parts

    @classmethod
    async def load(cls, transport: Transport, stage: str) -> Self:
        [whole] = (await transport.states(stage, ["cursor"]))[1]
        return cls(whole, await transport.parts(stage, PART))

    @property
    def cursor(self) -> Any:
        """What the collector is given; it may keep it."""
        return dict(self._parts) if self._parts else self._whole

    def move(self, commit: Commit, cursor: Any) -> None:
        """Write the cursor with a commit, or those of its parts that have changed."""
        if not isinstance(cursor, Changes):
            for key in self._parts:
                commit.write(f"{STATE}{PART}{key}", None)
            self._whole, self._parts = cursor, {}
            commit.write(WHOLE, cursor)
            return
        if self._whole is not None:
            self._whole = None
            commit.write(WHOLE, None)
        for key, value in cursor.items():
            commit.write(f"{STATE}{PART}{key}", value)
            if value is None:
                self._parts.pop(key, None)
            else:
                self._parts[key] = value
