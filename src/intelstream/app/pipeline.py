"""A pipeline file as a value: loaded, checked, planned, run."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
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

    `warnings` are faults that do not keep it from running, `secrets` the values that must not appear in any text.
    """

    spec: PipelineSpec
    host: HostSpec
    warnings: tuple[Fault, ...] = ()
    secrets: frozenset[str] = frozenset()

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        host: Path | None = None,
        state_dir: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Self:
        """Read a pipeline file, and the host file beside it unless another one is named; nothing is written.

        Raises:
            ConfigError: with all faults of both files.
        """
        environment = os.environ if env is None else env
        allowed = config.load_host(host, path, state_dir=state_dir, env=environment)
        loaded = config.load(path, allowed, env=environment)
        return cls(loaded.pipeline, allowed, loaded.warnings, loaded.secrets)

    def dry(self) -> Self:
        """Return it with outputs that only record, in `dry` below the state directory, and queues of its own."""
        spec = dry_outputs(self.spec, self.host.state_dir / "dry")
        return replace(self, spec=replace(spec, name=f"{spec.name}-dry"))

    def plan(self) -> str:
        """Return the segments, ways and limits that it runs with, as text."""
        return plan_text(self.spec.stages)

    def daemon(self) -> Daemon:
        """Return what runs it and tells how it is; one per run."""
        return Daemon(self.spec, self.host, runtime_dir=os.environ.get("XDG_RUNTIME_DIR"))

    async def run(self) -> None:
        """Run it until cancelled, which stops it between two frames. Installs no signal handlers.

        Raises:
            DirectoryInUse: another daemon works in the state directory.
            UnusableServer: there is no server, or none that is safe.
        """
        await self.daemon().run()
