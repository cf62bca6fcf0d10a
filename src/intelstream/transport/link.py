"""Connections to the server: nothing is resent behind our back, no read is cancelled, every error has one meaning."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from redis import exceptions
from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from intelstream.errors import IntelstreamError, Unavailable
from intelstream.transport.scripts import Script

BLOCK: Final = 4.0  # seconds a read waits for entries
ANSWER: Final = 10.0  # seconds after which an answer counts as lost; longer than BLOCK
CONNECT: Final = 5.0
IDLE_LINKS: Final = 16
PASSING: Final = (
    "LOADING",
    "OOM",
    "MISCONF",
    "READONLY",
    "NOREPLICAS",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "BUSY",
)
RUN_ID: Final = "run_id"
UPTIME: Final = "uptime_in_seconds"


class ServerTrouble(IntelstreamError):
    """The server is down, starting, full or refuses writes for now: wait and ask again. `code` says which."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"talking to Redis: {text}")
        self.code = code


class GroupGone(IntelstreamError):
    """A stream lost its consumer group: somebody deleted it, and with it the record of what was in flight."""


class Restarted(Unavailable):
    """Another incarnation of the server answers: what the last one said may not be so any more. Nothing was sent."""


class Link:
    """One connection, used by one task at a time."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._connection: AbstractConnection = client.connection()
        self.number = 0  # what the server calls this connection; for CLIENT UNBLOCK

    async def call(self, *args: Any, epoch: int | None = None) -> Any:
        """Send one command and return its answer as lists, bytes and numbers.

        With an `epoch` it is for that incarnation of the server alone.

        Raises:
            ServerTrouble: no answer came, or one that asks to wait. A command may have been carried out.
            GroupGone: the consumer group is not there.
            Restarted: another incarnation would get it.
        """
        task = asyncio.current_task()
        if task and task.cancelling():
            # In a task that is being cancelled, as when cleaning up, Python before 3.11.3 (Debian 12 has 3.11.2) turns
            # the end of a time limit into another cancellation; in a task of its own it does not.
            return await asyncio.create_task(self._call(args, epoch))
        return await self._call(args, epoch)

    async def _call(self, args: Sequence[Any], epoch: int | None) -> Any:
        connection = self._connection
        try:
            # A time limit of our own: the one of the library loses cancellations (`asyncio.wait_for` in Python 3.11).
            async with asyncio.timeout(ANSWER):
                if not connection.is_connected:
                    await self._open()
                if epoch is not None:
                    self._client.require(epoch)
                await connection.send_command(*args)
                return await connection.read_response(disable_decoding=True)
        except exceptions.ResponseError as error:
            raise translated(error) from error
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            await self.close()
            raise translated(error) from error
        except BaseException:
            await self.close()  # an answer still under way must not meet the next question
            raise

    async def read(self, wait: float) -> Any:
        """Return the next message that the server pushes, None if there is none in so many seconds."""
        try:
            return await self._connection.read_response(disable_decoding=True, timeout=wait)
        except (exceptions.RedisError, OSError) as error:
            await self.close()
            raise translated(error) from error

    async def close(self) -> None:
        await self._connection.disconnect(nowait=True)

    async def _open(self) -> None:
        await self._connection.connect_check_health(check_health=False)
        try:
            await self._connection.send_command("CLIENT", "ID")
            self.number = int(cast("int", await self._connection.read_response(disable_decoding=True)))
            await self._connection.send_command("INFO", "server")
            info = cast("bytes", await self._connection.read_response(disable_decoding=True))
        except exceptions.ResponseError:
            await self.close()  # or the next call would find it open and not ask again
            raise
        self._client.meet(info.decode())


class Client:
    """Links to one server, and what is known of it. `epoch` rises when `run_id` says that it is another incarnation.

    `started` is when that one began to run, by the monotonic clock, to a second. `address` is `redis://`,
    `rediss://` or `unix://`.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.epoch = 0
        self.run_id = ""
        self.started = -math.inf
        self._idle: list[Link] = []
        self._closed = False

    def connection(self) -> AbstractConnection:
        given: dict[str, Any] = dict(parse_url(self.address))
        kind = given.pop("connection_class", Connection)
        made: AbstractConnection = kind(
            **given,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=CONNECT,
            socket_read_size=65536,
            health_check_interval=0,
        )
        return made

    def meet(self, info: str) -> None:
        """Note which incarnation of the server answers: another one may have lost its newest writes."""
        found = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        run_id = found.get(RUN_ID, "")
        if self.run_id and run_id != self.run_id:
            self.epoch += 1
        self.run_id = run_id
        self.started = time.monotonic() - int(found.get(UPTIME, 0))

    def require(self, epoch: int) -> None:
        """Make sure that it is still this incarnation of the server.

        Raises:
            Restarted: it is another one.
        """
        if epoch != self.epoch:
            raise Restarted(f"talking to Redis: {self.address} has been started again meanwhile")

    @asynccontextmanager
    async def link(self) -> AsyncGenerator[Link]:
        """Lend a connection."""
        link = self._idle.pop() if self._idle else Link(self)
        try:
            yield link
        finally:
            if len(self._idle) < IDLE_LINKS and not self._closed:
                self._idle.append(link)
            else:
                await link.close()

    async def call(self, *args: Any) -> Any:
        async with self.link() as link:
            return await link.call(*args)

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any], epoch: int | None = None) -> Any:
        """Run a script; all of ours may be sent twice. The text itself goes over only where it is not known.

        With an `epoch` it is for that incarnation of the server alone.
        """
        async with self.link() as link:
            try:
                return await link.call("EVALSHA", script.sha, len(keys), *keys, *args, epoch=epoch)
            except ScriptUnknown:
                return await link.call("EVAL", script.text, len(keys), *keys, *args, epoch=epoch)

    async def close(self) -> None:
        self._closed = True  # those that are lent close when they come back
        while self._idle:
            await self._idle.pop().close()


class ScriptUnknown(IntelstreamError):
    """The server has not seen the script yet, or has been told to forget it."""


class CommandRefused(IntelstreamError):
    """The server calls a command wrong: a fault of ours, or a key that somebody else wrote."""


MEANINGS: Final[tuple[tuple[type[Exception], str, str], ...]] = (
    (exceptions.AuthenticationError, "denied", "{} (check user and password in the host file's `redis`)"),
    (exceptions.NoPermissionError, "denied", "{} (give the user this command)"),
    (exceptions.BusyLoadingError, "loading", "it is still loading its data"),
    (exceptions.OutOfMemoryError, "oom", "it is out of memory (maxmemory)"),
    (exceptions.ReadOnlyError, "readonly", "it is a read-only replica"),
    (exceptions.TimeoutError, "timeout", "no answer in time ({})"),
    (TimeoutError, "timeout", f"no answer within {ANSWER:g} s"),
)


def translated(error: Exception) -> IntelstreamError:
    """Say what an error of the client library means to us; the only place that knows."""
    text = str(error) or type(error).__name__
    if isinstance(error, exceptions.NoScriptError):
        return ScriptUnknown(text)
    for kind, code, meaning in MEANINGS:
        if isinstance(error, kind):
            return ServerTrouble(code, meaning.format(text))
    if isinstance(error, exceptions.ResponseError):
        return _refusal(text)
    return ServerTrouble("unreachable", text)


def _refusal(text: str) -> IntelstreamError:
    """Tell the answers that ask to wait from those that say we are wrong. A script's error begins with its own name."""
    words = text.replace("-", " ").split()
    if "NOSCRIPT" in words[:1]:
        return ScriptUnknown(text)
    if "NOGROUP" in words:
        return GroupGone(text)
    code = next((one for one in PASSING if one in words), None)
    return ServerTrouble(code.lower(), text) if code else CommandRefused(text)


@asynccontextmanager
async def connect(address: str) -> AsyncGenerator[Callable[..., Awaitable[Any]]]:
    """Open what sends single commands to a server, for those who look after it. It connects anew after any error."""
    client = Client(address)
    link = Link(client)
    try:
        yield link.call
    finally:
        await link.close()
