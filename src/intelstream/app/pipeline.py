"""A pipeline file as a value: loaded, checked, planned, run."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from intelstream import config
from intelstream.app.daemon import Daemon
from intelstream.app.dry import dry_outputs
from intelstream.errors import Fault
from intelstream.runtime.plan import plan_text
from intelstream.runtime.spec import HostSpec, PipelineSpec


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A checked pipeline and the host it may use.

    `warnings` are faults that do not keep it from running, `secrets` the values that must not appear in any text;
    `source` reads the file again.
    """

    spec: PipelineSpec
    host: HostSpec
    warnings: tuple[Fault, ...] = ()
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    source: Callable[[], PipelineSpec] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        host: Path | None = None,
        state_dir: Path | None = None,
        env: Mapping[str, str] | None = None,
        workers: int | None = None,
    ) -> Self:
        """Read a pipeline file, and the host file beside it unless another one is named; nothing is written.

        `workers` is the number of processes that share the stages, instead of what the host file says.

        Raises:
            ConfigError: with all faults of both files.
        """
        environment = os.environ if env is None else env
        allowed = config.load_host(host, path, state_dir=state_dir, env=environment)
        if workers is not None:
            allowed = replace(allowed, workers=workers)
        loaded = config.load(path, allowed, env=environment)

        def again() -> PipelineSpec:
            return config.load(path, allowed, env=environment).pipeline

        return cls(loaded.pipeline, allowed, loaded.warnings, loaded.secrets, again)

    def dry(self) -> Self:
        """Return it with outputs that only record, in `dry` below the state directory, and queues of its own."""

        def dried(spec: PipelineSpec) -> PipelineSpec:
            return replace(dry_outputs(spec, self.host.state_dir / "dry"), name=f"{spec.name}-dry")

        source = self.source
        return replace(self, spec=dried(self.spec), source=(lambda: dried(source())) if source else None)

    def plan(self) -> str:
        """Return the segments, ways and limits that it runs with, as text."""
        return plan_text(self.spec.stages)

    def daemon(self, *, log_level: str = "info") -> Daemon:
        """Return what runs it and tells how it is; one per run. `log_level` is that of its worker processes."""
        runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
        return Daemon(self.spec, self.host, runtime_dir=runtime_dir, log_level=log_level, source=self.source)

    async def run(self) -> None:
        """Run it until cancelled, which stops it between two frames. Installs no signal handlers.

        Raises:
            DirectoryInUse: another daemon works in the state directory.
            UnusableServer: there is no server, or none that is safe.
        """
        await self.daemon().run()
