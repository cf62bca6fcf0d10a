"""Reads the host file: what a host gives to pipelines and allows them; no pipeline can change it."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from intelstream.config.entries import Keys, Texts
from intelstream.config.secrets import Secrets
from intelstream.config.sources import document
from intelstream.errors import ConfigError
from intelstream.formats.faults import Faults, near
from intelstream.runtime.spec import HostSpec
from intelstream.sdk import Size

NAME: Final = "intelstream.yaml"
STATE: Final = "var"
LEAST_MEMORY: Final = 32 * 2**20
MOST_MEMORY: Final = 4 * 2**30  # unless the host file says more
SCHEMES: Final = ("redis", "rediss", "unix")
OWN_GROUPS: Final = Path("/proc/self/cgroup")
GROUPS: Final = Path("/sys/fs/cgroup")


def _url(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if not separator or not rest or scheme not in SCHEMES:
        raise ValueError(near("expected a URL such as redis://host:6379/0 or unix:///path", scheme, SCHEMES))
    try:
        _ = urlsplit(text).port
    except ValueError as error:
        raise ValueError("expected a URL with a port from 0 to 65535") from error
    return text


def _server(text: str) -> str:
    if text not in ("bundled", "auto") and not Path(text).is_absolute():
        raise ValueError(near("expected bundled, auto, or the whole path of a server", text, ("bundled", "auto")))
    return text


def _package(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise ValueError("expected the name of a package, as it is imported")
    return text


class FilesKeys(Keys):
    """Directories that pipelines may use; relative ones are below the host file's."""

    read: Texts | None = Field(default=None, description="What stages may read, instead of the defaults.")
    write: Texts | None = Field(default=None, description="What stages may write, instead of the defaults.")
    secrets: Texts = Field(default=(), description="Where `${file:/path}` may point; nowhere if nothing is said.")


class HostKeys(Keys):
    """The keys of a host file."""

    redis: Annotated[str, AfterValidator(_url)] | None = Field(
        default=None, description="URL of a Redis or Valkey of your own, instead of the bundled server."
    )
    server: Annotated[str, AfterValidator(_server)] = Field(
        default="bundled",
        description="Program of the server: `bundled`, `auto` (the system's, else the bundled one), or a path.",
    )
    memory: Size | None = Field(
        default=None,
        description="Memory for what waits in queues; a quarter of the machine's, at most 4GiB, if nothing is said.",
    )
    workers: int = Field(default=1, ge=1, le=64, description="Processes that share the stages.")
    dead_letters: Size = Field(
        default=Size("4GiB"),
        description="Disk for dead letters in files, and a quarter of it for the reports of each parser that they are "
        "rows of; stages that would need more pause.",
    )
    state_dir: str | None = Field(
        default=None, description="State directory; `var` beside the pipeline file if nothing is said."
    )
    plugins: tuple[Annotated[str, AfterValidator(_package)], ...] = Field(
        default=(), description="Packages whose stages pipelines may use."
    )
    files: FilesKeys = Field(default=FilesKeys(), description="Directories that pipelines may use.")

    @field_validator("memory")
    @classmethod
    def _enough(cls, memory: Size | None) -> Size | None:
        if memory is not None and memory < LEAST_MEMORY:
            raise ValueError("expected 32MiB at least")
        return memory

    @model_validator(mode="after")
    def _one_server(self) -> "HostKeys":
        if self.redis and "server" in self.model_fields_set:
            raise ValueError("give `redis` or `server`, not both")
        return self


def load_host(path: Path | None, pipeline: Path, *, state_dir: Path | None, env: Mapping[str, str]) -> HostSpec:
    """Read a host file, by default the `intelstream.yaml` beside the pipeline file, if there is one.

    Raises:
        ConfigError: with all of its faults.
    """
    beside = pipeline.parent / NAME
    if path is None and beside.exists() and not (pipeline.exists() and beside.samefile(pipeline)):
        path = beside
    keys = _read(path, env) if path else HostKeys()
    home = (path.parent if path else Path()).absolute()
    beside_it = pipeline.parent.absolute()
    state = _state_dir(keys, home, state_dir, env) or beside_it / STATE
    usual = tuple(dict.fromkeys((beside_it, state)))
    return HostSpec(
        state_dir=state,
        redis=keys.redis,
        server=keys.server,
        memory=int(keys.memory or default_memory()),
        dead_letters=int(keys.dead_letters),
        workers=keys.workers,
        plugins=keys.plugins,
        readable=usual if keys.files.read is None else _directories(home, keys.files.read),
        writable=usual if keys.files.write is None else _directories(home, keys.files.write),
        secrets=_directories(home, keys.files.secrets),
    )


def default_memory(own: Path = OWN_GROUPS, groups: Path = GROUPS) -> int:
    """Return a quarter of the memory that the process may use, at most 4 GiB.

    `own` lists the control groups of the process, as `/proc/self/cgroup` does, and `groups` holds their limits
    (cgroups(7); those of systemd and of containers).
    """
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    files = [file for file in _limits(own, groups) if file.is_file()]
    limits = [int(text) for file in files if (text := file.read_text("ascii").strip()).isdigit()]
    return max(LEAST_MEMORY, min(MOST_MEMORY, min((whole, *limits)) // 4))


def _limits(own: Path, groups: Path) -> Iterator[Path]:
    """Yield the files that may limit the memory of the process: of its groups, and of those that they are in."""
    for line in own.read_text("utf-8").splitlines() if own.is_file() else ():
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, name = (groups / "memory", "memory.limit_in_bytes") if controllers else (groups, "memory.max")
        inner = top / group.lstrip("/")
        yield from (one / name for one in (inner, *inner.parents) if one.is_relative_to(top))


def _read(path: Path, env: Mapping[str, str]) -> HostKeys:
    faults = Faults()
    read = document(path, faults)
    faults.marks.update(read.marks)
    value: Any = {} if read.value is None else read.value
    if isinstance(value, dict) and isinstance(value.get("redis"), str):
        files = value.get("files")
        allowed = files.get("secrets") if isinstance(files, dict) else None
        tops = _directories(path.parent.absolute(), [allowed] if isinstance(allowed, str) else allowed or ())
        secrets = Secrets(faults, env, path.parent, tops)
        value = value | {"redis": secrets.resolved(value["redis"], ("redis",))}
    keys = faults.check(HostKeys, value, ())
    if keys is None or faults.found:
        raise ConfigError(faults.listed())
    return keys


def _state_dir(keys: HostKeys, home: Path, given: Path | None, env: Mapping[str, str]) -> Path | None:
    """Return the state directory that somebody has named."""
    if given is not None:
        return given.absolute()
    if named := env.get("INTELSTREAM_STATE_DIR"):
        return Path(named).absolute()
    return (home / keys.state_dir).resolve() if keys.state_dir else None


def _directories(home: Path, names: Any) -> tuple[Path, ...]:
    return tuple(home / name for name in names if isinstance(name, str))
