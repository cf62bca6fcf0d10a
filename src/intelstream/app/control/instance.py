"""A running instance, as the operators' functions see it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from intelstream.app.control.faults import NotFoundHere
from intelstream.runtime.spec import PipelineSpec, StageSpec
from intelstream.runtime.station import Site
from intelstream.runtime.worker import Change
from intelstream.transport.transport import Transport

MOST = 1000  # messages shown at once


def _none() -> int | None:
    return None


@dataclass(frozen=True, slots=True)
class Instance:
    """What runs; `server_pid` asks for the process of the server, if it is ours.

    `crew` tells of the processes beside the daemon, `reload` reads the pipeline file again.
    """

    site: Site
    server_pid: Callable[[], int | None] = _none
    crew: Callable[[], list[dict[str, Any]]] = list
    reload: Callable[[], Awaitable[Change]] | None = None

    @property
    def pipeline(self) -> PipelineSpec:
        return self.site.pipeline

    @property
    def transport(self) -> Transport:
        return self.site.transport

    def stage(self, name: str) -> StageSpec:
        """Return a stage of the pipeline.

        Raises:
            NotFoundHere: it has none of this name.
        """
        if (found := self.pipeline.stages.get(name)) is None:
            raise NotFoundHere(f"no stage {name!r} in the running pipeline {self.pipeline.name!r}")
        return found
