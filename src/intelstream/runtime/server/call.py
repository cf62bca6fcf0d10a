"""How supervision talks to the server: the few commands it needs, over a connection that the app hands in."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from intelstream.errors import IntelstreamError, Unavailable

ANSWER: Final = 10.0  # seconds in which a healthy server answers, whatever it is busy with


class Call(Protocol):
    """Sends one command and returns the answer as RESP2 gives it: bytes, numbers, lists. Never two at a time.

    Raises an IntelstreamError for an answer that is an error and for none at all. The call after that connects
    anew: the server may have been started again since.
    """

    def __call__(self, *args: str) -> Awaitable[object]: ...


Connect = Callable[[str], AbstractAsyncContextManager[Call]]
"""Opens what talks to the server at a `unix://` address."""


async def ask(call: Call, *args: str, within: float = ANSWER) -> object:
    """Return the answer to one command.

    Raises:
        Unavailable: the server is down, does not answer in time, or answers with an error.
    """
    try:
        async with asyncio.timeout(within):
            return await call(*args)
    except (IntelstreamError, TimeoutError) as error:
        why = str(error) or f"no answer in {within:g} s"
        raise Unavailable(f"asking the server for {' '.join(args[:2])}: {why}") from error


async def info(call: Call, *sections: str) -> Mapping[str, str]:
    """Return these sections of INFO, by field. Asked once more where the connection was one to a server that ended.

    Raises:
        Unavailable: as `ask`.
    """
    try:
        answer = await ask(call, "INFO", *sections)
    except Unavailable as error:
        if isinstance(error.__cause__, TimeoutError):
            raise
        answer = await ask(call, "INFO", *sections)
    return dict(line.split(":", 1) for line in _text(answer).splitlines() if ":" in line)


async def setting(call: Call, name: str) -> str:
    """Return one setting of the server.

    Raises:
        Unavailable: as `ask`.
    """
    match await ask(call, "CONFIG", "GET", name):
        case [_, value]:
            return _text(value)
        case other:
            raise Unavailable(f"asking the server for its {name}: got {other!r}")


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
