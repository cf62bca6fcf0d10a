"""Push events onto a list of a Redis server, as IntelMQ reads them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

import orjson
from pydantic import AfterValidator, Field
from redis.asyncio import Redis as Server
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, RedisError, ResponseError  # noqa: A004 - Redis' own
from yarl import URL

from intelstream import sdk
from intelstream.errors import StageError, Unavailable
from intelstream.sdk.edge import Form
from intelstream.sdk.http import shown


def _url(text: str) -> str:
    if not text.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("expected redis://…, rediss://… or unix://…")
    return text


class Params(Form):
    url: Annotated[str, AfterValidator(_url), "URL"] = Field(
        "redis://127.0.0.1:6379/2", description="The server and its database."
    )
    key: str = Field(min_length=1, description="The list to push onto, for IntelMQ the name of a queue.")
    with_type: bool = Field(True, description="Whether to write `__type`, which IntelMQ asks for.")
    raw: bool = Field(True, description="Whether to write `raw`, as base64.")
    batch: int = Field(1, ge=1, le=4096, description="Most events of one write, which is done whole or not at all.")
    timeout: sdk.Duration = Field(sdk.Duration("5s"), description="Longest wait for an answer.")


class Redis(sdk.Output[Params]):
    """Push events onto a list of a Redis server, as IntelMQ reads them.

    If the connection breaks between a write and its answer, its events become dead letters: whether they are on the
    list cannot be told.
    """

    network = True
    server: Server

    def __init__(self, params: Params, ctx: sdk.StageContext) -> None:
        super().__init__(params, ctx)
        self.batch = params.batch

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        url = URL(self.params.url)
        if url.host:
            host, port = self.ctx.address(url.host, url.port or 6379)
            url = url.with_host(host).with_port(port)
        wait = self.params.timeout
        never = Retry(NoBackoff(), 0)  # the library's default sends twice what it has no answer to
        self.server = Server.from_url(
            str(url), single_connection_client=True, retry=never, socket_timeout=wait, socket_connect_timeout=wait
        )
        try:
            yield
        finally:
            await self.server.aclose()

    async def write(self, batch: sdk.Batch) -> None:
        shape, own = self.params.shape, {"__type": "Event"} if self.params.with_type else {}
        lines = [orjson.dumps({**own, **shape(event)}) for event in batch]
        doing = f"pushing to {self.params.key!r} of {shown(self.params.url)}"
        await self._connected(doing)
        try:
            await self.server.lpush(self.params.key, *lines)
        except (ResponseError, BusyLoadingError) as error:
            raise Unavailable(f"{doing}: {error}") from error
        except (RedisError, OSError) as error:
            raise StageError(f"{doing}: {error}; it may have been taken") from error

    async def _connected(self, doing: str) -> None:
        """Make sure that the server answers: what fails until then has written nothing."""
        try:
            try:
                await self.server.ping()
            except ConnectionError:  # an old connection that the server has closed
                await self.server.ping()
        except (RedisError, OSError) as error:
            raise Unavailable(f"{doing}: {error}") from error
