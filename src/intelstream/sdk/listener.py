"""Listens for HTTP requests that are answered only when what they brought has been committed."""

import asyncio
import hmac
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, TypedDict

import orjson
from aiohttp import web

from intelstream.errors import Unavailable
from intelstream.ontology import Report
from intelstream.sdk.context import StageContext
from intelstream.sdk.files import LARGE, Content, Spool, digest_of
from intelstream.sdk.listener_params import ListenerParams, endpoint
from intelstream.sdk.server import BoundedServer

__all__ = ["Cursor", "Given", "Listener", "ListenerParams", "Said"]
OPEN: Final = 50  # requests at a time; further ones are told to come back
SLOWEST: Final = 300.0  # seconds for a body to come
SOON: Final = "5"  # seconds after which a sender is to try again
LONGEST_KEY: Final = 255
KEYS: Final = 500  # Idempotency-Keys that are remembered
DIGITS: Final = 16  # of a digest
SHUTDOWN: Final = 5.0  # seconds for the last answers


@dataclass(frozen=True, slots=True)
class Said:
    """What a request is answered."""

    status: int
    detail: str = ""
    errors: Sequence[dict[str, Any]] = ()


ACCEPTED: Final = Said(202)
STOPPING: Final = Said(503, "the stage stops; send it again")
REUSED: Final = Said(422, "this Idempotency-Key came with other content before; give each request one of its own")


class Cursor(TypedDict):
    """What a listener remembers with each commit: digests of the newest Idempotency-Keys, each before its content's."""

    keys: list[str]


@dataclass(eq=False, slots=True)
class Given:
    """One request that waits for its answer. `key` is a digest of its Idempotency-Key, `digest` one of its content.

    `cursor` is to be committed with what is made of it, and `accept` is to run then.
    """

    content: Content
    digest: str
    key: str | None
    said: asyncio.Future[Said]
    remember: Callable[[str, str], None]
    cursor: Cursor = field(default_factory=lambda: Cursor(keys=[]))
    taken: bool = False
    withdrawn: bool = False

    async def accept(self) -> None:
        """Answer that it is taken."""
        if self.key:
            self.remember(self.key, self.digest)
        self.answer(ACCEPTED)

    def answer(self, said: Said) -> None:
        """Answer it, unless it is answered already."""
        if not self.said.done():
            self.said.set_result(said)


class Listener:
    """The server of one stage."""

    def __init__(self, ctx: StageContext, params: ListenerParams) -> None:
        self._ctx = ctx
        self._params = params
        self._spool = Spool(ctx)
        self._token = params.token.get_secret_value().encode() if params.token else b""
        self._waiting: asyncio.Queue[Given] = asyncio.Queue()
        self._given: set[Given] = set()
        self._committed: dict[str, str] = {}
        self._open = 0
        self._stopping = False

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Listen until the block ends; then all that still wait are told to send again.

        Raises:
            Unavailable: the address is in use, or not ours.
        """
        host, port = endpoint(self._params.listen)
        runner = web.ServerRunner(BoundedServer(self._handle), shutdown_timeout=SHUTDOWN)
        await self._ctx.in_thread(self._spool.sweep)
        await runner.setup()
        try:
            await self._listen(runner, *self._ctx.address(host, port))
            yield
        finally:
            self._stopping = True
            self._dismiss(taken=False)
            await runner.cleanup()

    async def _listen(self, runner: web.BaseRunner, host: str, port: int) -> None:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            cure = "stop what listens there, or give another `listen`"
            why = os.strerror(error.errno) if error.errno else error.strerror
            raise Unavailable(f"listening on {host}:{port}: {why}; {cure}") from error

    async def requests(self, cursor: Cursor | None) -> AsyncIterator[Given]:
        """Yield requests as they come, less those that are committed; their senders wait until each is answered.

        Those given out before that nobody has answered were lost with their commit: their senders are told so.
        """
        self._dismiss(taken=True)
        self._committed = {one[:DIGITS]: one[DIGITS:] for one in (cursor["keys"] if cursor else ())}
        while True:
            given = await self._waiting.get()
            if given.withdrawn:
                continue
            given.taken = True
            if given.key and (content := self._committed.get(given.key)) is not None:
                given.answer(ACCEPTED if content == given.digest else REUSED)
                continue
            keys = [key + content for key, content in self._committed.items()]
            given.cursor["keys"] = [*keys, *([given.key + given.digest] if given.key else [])][-KEYS:]
            yield given

    def _remember(self, key: str, content: str) -> None:
        self._committed[key] = content
        if len(self._committed) > KEYS:
            del self._committed[next(iter(self._committed))]

    def _dismiss(self, *, taken: bool) -> None:
        for given in self._given:
            if given.taken or not taken:
                given.answer(STOPPING)

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        if refusal := self._refusal(request):
            return _answer(refusal)
        self._open += 1
        try:
            content = await self._body(request)
            said = content if isinstance(content, Said) else await self._hand_in(request, content)
        finally:
            self._open -= 1
        return _answer(said)

    def _refusal(self, request: web.BaseRequest) -> Said | None:
        """Say what is wrong with a request before its body is read."""
        if request.path != self._params.path:
            return Said(404, "there is nothing here")
        if request.method != "POST":
            return Said(405, "post it")
        if self._token and (refusal := self._stranger(request)):
            return refusal
        if len(request.headers.get("Idempotency-Key", "")) > LONGEST_KEY:
            return Said(400, f"an Idempotency-Key has at most {LONGEST_KEY} characters")
        if (request.content_length or 0) > self._params.max_bytes:
            return self._too_large()
        return STOPPING if self._stopping else self._no_room()

    def _stranger(self, request: web.BaseRequest) -> Said | None:
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return Said(401, "show the token as `Authorization: Bearer …`")
        if not hmac.compare_digest(shown.strip().encode("utf-8", "surrogateescape"), self._token):
            return Said(403, "the token is wrong")
        return None

    def _no_room(self) -> Said | None:
        if reason := self._ctx.held():
            return Said(429, f"nothing is taken at the moment: {reason}")
        return Said(429, "too many requests wait already") if self._open >= OPEN else None

    def _too_large(self) -> Said:
        return Said(413, f"a request has at most {self._params.max_bytes}")

    async def _body(self, request: web.BaseRequest) -> Content | Said:
        buffer, size = bytearray(), 0
        try:
            async with asyncio.timeout(SLOWEST):
                with self._spool.landing() as landing:
                    async for chunk in request.content.iter_any():
                        buffer += chunk
                        size += len(chunk)
                        if size > self._params.max_bytes:
                            landing.discard()
                            return self._too_large()
                        if len(buffer) > LARGE:
                            await self._ctx.in_thread(landing.write, bytes(buffer))
                            buffer.clear()
                    content = await self._ctx.in_thread(landing.close, bytes(buffer))
        except TimeoutError:
            return Said(408, "the body did not come in time")
        except Unavailable as error:
            return Said(503, str(error))
        except (web.RequestPayloadError, ConnectionError) as error:
            return Said(400, f"the body cannot be read: {error}")
        return content or Said(400, "the body is empty")

    async def _hand_in(self, request: web.BaseRequest, content: Content) -> Said:
        """Let a request wait until it is taken, and then, however long it takes, until it is answered."""
        key = request.headers.get("Idempotency-Key")
        try:
            given = Given(
                content,
                await self._ctx.in_thread(digest_of, Report(content)),
                blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest() if key else None,
                asyncio.get_running_loop().create_future(),
                self._remember,
            )
            return STOPPING if self._stopping else await self._answered(given)
        finally:
            await self._ctx.in_thread(self._spool.remove, content)

    async def _answered(self, given: Given) -> Said:
        self._given.add(given)
        self._waiting.put_nowait(given)
        try:
            await asyncio.wait((given.said,), timeout=self._params.timeout)
            if not given.taken and not given.said.done():
                given.withdrawn = True
                return Said(503, "nothing is taken at the moment")
            return await given.said
        finally:
            self._given.discard(given)


def _answer(said: Said) -> web.Response:
    """Return an answer; one that refuses is a problem document (RFC 9457)."""
    if said.status == ACCEPTED.status:
        return web.Response(status=said.status)
    response = web.Response(status=said.status, content_type="application/problem+json")
    document = {"type": "about:blank", "title": response.reason, "status": said.status, "detail": said.detail}
    response.body = orjson.dumps(document | ({"errors": list(said.errors)} if said.errors else {}))
    if said.status in (429, 503):
        response.headers["Retry-After"] = SOON
    if said.status == 401:  # noqa: PLR2004
        response.headers["WWW-Authenticate"] = "Bearer"
    if said.status == 405:  # noqa: PLR2004
        response.headers["Allow"] = "POST"
    return response
