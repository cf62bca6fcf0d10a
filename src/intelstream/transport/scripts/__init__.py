"""Server-side scripts: each checks everything before its first write, and knows itself when it is sent again."""

from dataclasses import dataclass, field
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Final

DRAINING: Final = "#!lua flags=allow-oom\n"  # frees more than it adds, or is bounded: runs at maxmemory too
ADMITTING: Final = "#!lua\n"


@dataclass(frozen=True, slots=True)
class Script:
    """The text of a script, and the name under which the server remembers it."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", sha1(self.text.encode(), usedforsecurity=False).hexdigest())


@cache
def script(name: str, *, admits: bool = False) -> Script:
    """Read `<name>.lua`. `admits` marks what brings new messages in, and is refused first when memory is short."""
    text = files(__name__).joinpath(f"{name}.lua").read_text(encoding="utf-8")
    return Script((ADMITTING if admits else DRAINING) + text)
