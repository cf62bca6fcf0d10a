"""What a proof is of: settings that the prover and the processes under proof share, as a file."""

import os
from dataclasses import asdict, dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final, Self

import orjson

from intelstream import config
from intelstream.app.prove.closing import Entry, closed, entries
from intelstream.errors import ConfigError, Fault
from intelstream.runtime.server.config import Layout, Record
from intelstream.runtime.spec import HostSpec, PipelineSpec

NAME: Final = "proof.json"
MEMORY: Final = 64 * 2**20
OWN_PACKAGE: Final = "intelstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A pipeline under proof: None is our own, which has its parsers too. `directory` holds everything."""

    directory: Path
    pipeline: Path | None = None
    host: Path | None = None
    events: int = 10_000
    seed: int = 0

    @classmethod
    def load(cls, directory: Path) -> Self:
        found = orjson.loads((directory / NAME).read_bytes())
        paths = {key: Path(found[key]) for key in ("directory", "pipeline", "host") if found[key]}
        return cls(**(found | paths))

    def save(self) -> None:
        (self.directory / NAME).write_bytes(orjson.dumps(asdict(self), default=str, option=orjson.OPT_INDENT_2))

    @property
    def parses(self) -> bool:
        return self.pipeline is None

    @property
    def state_dir(self) -> Path:
        """The state directory of the daemon under proof."""
        return self.directory / "var"

    @property
    def socket(self) -> Path:
        """Where its server listens: known once the daemon has been started."""
        layout = Layout(self.state_dir)
        record = Record.read(layout.record)
        return record.socket if record else layout.directory / "server.sock"

    def entries(self) -> list[Entry]:
        """Return where events come in.

        Raises:
            ConfigError: the pipeline is wrong, or nothing comes in.
        """
        found = entries(self._loaded()[0], self.events, parses=self.parses)
        if not found:
            raise ConfigError(
                [Fault(str(self.pipeline), 1, 1, "", "proving it: nothing that is enabled brings events")]
            )
        return found

    def specs(self) -> tuple[PipelineSpec, HostSpec]:
        """Return the pipeline as it is proved, and the host: always a server of its own, whatever the host file says.

        Raises:
            ConfigError: the pipeline is wrong.
        """
        spec, host = self._loaded()
        return (
            closed(spec, self.directory, self.events, self.seed, parses=self.parses),
            replace(host, redis=None, state_dir=self.state_dir),
        )

    def _loaded(self) -> tuple[PipelineSpec, HostSpec]:
        if self.pipeline is not None:
            host = config.load_host(self.host, self.pipeline, state_dir=self.state_dir, env=os.environ)
            return config.load(self.pipeline, host, env=os.environ).pipeline, host
        with as_file(files("intelstream.app.prove").joinpath("pipeline.yaml")) as path:
            near = (path.parent,)
            own = HostSpec(
                state_dir=self.state_dir, memory=MEMORY, plugins=(OWN_PACKAGE,), readable=near, writable=near
            )
            return config.load(path, own, env={}).pipeline, own
