"""Which stages a process hosts: all, those that may run anywhere, or a single one of its own."""

from dataclasses import dataclass
from typing import Final, Literal

from intelstream.runtime.spec import StageSpec
from intelstream.sdk import Expert, Output, Parser


@dataclass(frozen=True, slots=True)
class Role:
    """What a worker process is for.

    `main` hosts all that no other process has for itself; `share` takes part in what may run in several places at once;
    `stage` has the one named `stage` for itself; `quarantine` tries the messages of that stage, one by one, under which
    workers have died.
    """

    kind: Literal["main", "share", "stage", "quarantine"]
    stage: str = ""
    number: int = 0

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.stage}" if self.stage else f"{self.kind}:{self.number}" if self.number else self.kind

    @property
    def alone(self) -> bool:
        """Tell whether suspects are tried here, instead of being handed on."""
        return self.kind in ("stage", "quarantine")

    def hosts(self, spec: StageSpec) -> bool:
        """Tell whether a stage runs in such a process."""
        match self.kind:
            case "main":
                return spec.isolate == "no"
            case "share":
                return spec.isolate == "no" and _anywhere(spec)
            case "stage" | "quarantine":
                return spec.name == self.stage


MAIN: Final = Role("main")


def _anywhere(spec: StageSpec) -> bool:
    stage = spec.stage
    if issubclass(stage, Expert):
        return not stage.stateful
    return issubclass(stage, Parser) or (issubclass(stage, Output) and not stage.exclusive)
