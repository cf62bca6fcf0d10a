"""The daemon that a proof kills: `python -m intelstream.app.prove.underproof DIRECTORY PROXY [second]`.

Its server is its own, but it talks to it through the prover's proxy. The `second` one has a state directory of its own
and works on the first one's server.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import uvloop

from intelstream.app import logs
from intelstream.app.daemon import Daemon
from intelstream.app.prove.proof import Proof
from intelstream.app.servers import Server, serve
from intelstream.runtime.server import StateDirectory
from intelstream.runtime.spec import HostSpec

SECOND: Final = "second"


def second_dir(proof: Proof) -> Path:
    """Return the state directory of the second daemon."""
    return proof.directory / SECOND


async def run(proof: Proof, proxy: str, *, second: bool) -> None:
    """Run the pipeline under proof until SIGTERM."""
    spec, host = proof.specs()

    @asynccontextmanager
    async def through_proxy(
        host: HostSpec, directory: StateDirectory, runtime_dir: str | None
    ) -> AsyncGenerator[Server]:
        async with serve(host, directory, runtime_dir) as server:
            yield replace(server, address=proxy)

    if second:
        daemon = Daemon(spec, replace(host, state_dir=second_dir(proof), redis=proxy))
    else:
        daemon = Daemon(spec, host, runtime_dir=os.environ.get("XDG_RUNTIME_DIR"), serve=through_proxy)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, daemon.stop)
    await daemon.run()


def main() -> None:
    directory, proxy, *which = sys.argv[1:]
    logs.configure(json=True)
    uvloop.run(run(Proof.load(Path(directory)), proxy, second=SECOND in which))


if __name__ == "__main__":
    main()
