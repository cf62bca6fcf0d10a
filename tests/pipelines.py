"""Pipelines built by hand, run by a real daemon on its bundled server."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from intelstream import catalog
from intelstream.app.daemon import Daemon, running
from intelstream.catalog import AnyStage
from intelstream.runtime.spec import HostSpec, PipelineSpec, StageSpec

MEMORY = 64 * 1024 * 1024


def stage(
    name: str,
    use: str | AnyStage,
    to: Mapping[str, Sequence[str]] | str | None = None,
    params: Mapping[str, Any] | None = None,
    **more: Any,
) -> StageSpec:
    """Return a stage; `to` may be the name of the one that follows."""
    kind = catalog.load(use) if isinstance(use, str) else use
    ways = {"default": (to,)} if isinstance(to, str) else {path: tuple(targets) for path, targets in (to or {}).items()}
    return StageSpec(
        name=name,
        use=use if isinstance(use, str) else use.__name__,
        stage=kind,
        params=kind.Params.model_validate(params or {}),
        to=ways,
        **more,
    )


def pipeline(*stages: StageSpec, **more: Any) -> PipelineSpec:
    return PipelineSpec(name="test", stages={one.name: one for one in stages}, **more)


@asynccontextmanager
async def run(spec: PipelineSpec, directory: Path, memory: int = MEMORY) -> AsyncGenerator[Daemon]:
    """Run a pipeline with its state in a directory."""
    async with run_on(spec, HostSpec(state_dir=directory / "var", memory=memory)) as daemon:
        yield daemon


@asynccontextmanager
async def run_on(spec: PipelineSpec, host: HostSpec) -> AsyncGenerator[Daemon]:
    """Run a pipeline on a host."""
    async with running(spec, host) as daemon:
        yield daemon


async def until(holds: Callable[[], Any], within: float = 20.0) -> None:
    """Wait for a condition; fail where it does not come true."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - the condition is in files and statuses
            await asyncio.sleep(0.01)


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the events of a file, without a line that is being written."""
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    return [orjson.loads(line) for line in whole.splitlines()]
