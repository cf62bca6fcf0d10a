"""The socket in the state directory: how commands reach the daemon that works there."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal

import aiohttp
import orjson

from intelstream.app.control.faults import NotFoundHere, NotRunning, Refused
from intelstream.errors import CannotApply, ConfigError, Fault, IntelstreamError

SOCKET: Final = "control.sock"
LONGEST_PATH: Final = 100  # bytes of a socket's path that the system takes, less a margin
RAISED: Final[Mapping[int, type[IntelstreamError]]] = {
    HTTPStatus.NOT_FOUND: NotFoundHere,
    HTTPStatus.CONFLICT: CannotApply,
}


async def ask(directory: Path, path: str, **query: Any) -> Any:
    """Ask the daemon of a state directory; that changes nothing.

    Raises:
        NotRunning: none answers there.
        NotFoundHere: what was asked for is not there.
        Refused: it makes no sense.
    """
    return await _request(directory, "GET", path, query, None)


async def tell(directory: Path, path: str, body: Any) -> Any:
    """Tell the daemon of a state directory to do something; errors as those of `ask`.

    Raises:
        CannotApply: a change of the pipeline that only a new start can do.
        ConfigError: the daemon was to read files that have faults.
    """
    return await _request(directory, "POST", path, {}, orjson.dumps(body))


async def _request(
    directory: Path, method: Literal["GET", "POST"], path: str, query: dict[str, Any], body: bytes | None
) -> Any:
    target = directory / SOCKET
    try:
        with reachable(target) as place:
            connector = aiohttp.UnixConnector(place)
            async with (
                aiohttp.ClientSession(connector=connector) as http,
                http.request(method, f"http://daemon{path}", params=query, data=body) as response,
            ):
                found = orjson.loads(await response.read())
    except (aiohttp.ClientError, OSError) as error:
        raise NotRunning(
            f"asking the daemon in {directory}: none answers; start it with `intelstream run PIPELINE`, or name its "
            "state directory with --state-dir: `var` beside its pipeline file, if nothing else was said"
        ) from error
    if response.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        raise ConfigError([Fault(**fault) for fault in found["faults"]])
    if not response.ok:
        raise RAISED.get(response.status, Refused)(found["detail"])
    return found


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """Give a name for a socket that is short enough: where its path is not, one through its open directory."""
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
