"""The server of a pipeline: the daemon's own, or one that somebody else runs."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from intelstream.errors import Unavailable
from intelstream.runtime.server import BundledServer, Call, StateDirectory, check_outer
from intelstream.runtime.spec import HostSpec
from intelstream.transport.link import CommandRefused, ServerTrouble, connect

RETRY = 5.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where it is, how to make sure that what it acknowledged is on the disk, and what has to run beside it.

    `low_on_disk` says that nothing more should be taken in; of a foreign server nobody here can tell.
    """

    address: str
    barrier: Callable[[str], Awaitable[None]]
    supervise: Callable[[], Awaitable[None]]
    pid: Callable[[], int | None]
    low_on_disk: Callable[[], bool] = lambda: False


@asynccontextmanager
async def serve(host: HostSpec, directory: StateDirectory, runtime_dir: str | None = None) -> AsyncGenerator[Server]:
    """Give the server that the host file names, or the bundled one for as long as the context lasts.

    Raises:
        UnusableServer: it would lose messages, or does not start; the text names the cure.
    """
    if host.redis:
        yield await _outer(host.redis)
        return
    bundled = BundledServer(
        directory, connect=_connect, memory=host.memory, server=host.server, runtime_dir=runtime_dir
    )
    async with bundled as server:
        yield Server(server.address, server.barrier, server.supervise, lambda: server.pid, lambda: server.low_on_disk)


async def _outer(url: str) -> Server:
    """Check a foreign server; wait while it is away."""
    log = structlog.get_logger()
    async with connect(url) as call:
        while True:
            try:
                info = _fields(await call("INFO"))
                break
            except ServerTrouble as trouble:
                log.warning("server_awaited", error=str(trouble))
                await asyncio.sleep(RETRY)
        config: dict[str, str] | None = None
        with suppress(CommandRefused):  # managed servers refuse CONFIG
            flat = [value.decode() for value in await call("CONFIG", "GET", "appendfsync")]
            config = dict(zip(flat[::2], flat[1::2], strict=True))
    for text in check_outer(info, config):
        log.warning("server_could_be_better", text=text)
    always = (config or {}).get("appendfsync") == "always"

    async def barrier(_: str) -> None:
        if always:
            return
        async with connect(url) as call:
            try:
                [local, _] = await call("WAITAOF", "1", "0", "5000")
            except (CommandRefused, ServerTrouble) as error:
                raise Unavailable(f"waiting for the server's disk: {error}; set `appendfsync always`") from error
        if not local:
            raise Unavailable("waiting for the server's disk: it has not written within 5 s")

    return Server(url, barrier, asyncio.Event().wait, lambda: None)  # type: ignore[arg-type]  # it never ends


@asynccontextmanager
async def _connect(address: str) -> AsyncGenerator[Call]:
    async with connect(address) as call:

        async def asked(*args: str) -> object:
            return await call(*args)

        yield asked


def _fields(info: Any) -> dict[str, str]:
    lines = bytes(info).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def instance_of(directory: Path) -> str:
    """Return the name of this state directory on its server; made at the first start."""
    file = directory / "instance"
    if not file.exists():
        part = file.with_suffix(".part")
        part.write_text(secrets.token_hex(6), encoding="ascii")
        part.replace(file)  # or a crash would leave a name of no letters
    return file.read_text(encoding="ascii").strip()
