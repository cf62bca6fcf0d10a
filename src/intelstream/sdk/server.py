"""An HTTP server for strangers: few connections, and those give way first that say nothing for longest."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

MOST: Final = 200  # connections at a time
HEADER: Final = 10.0  # seconds for the whole header of a request to come, and between two requests
LINGERING: Final = 1.0  # seconds for a sender to notice that it is refused


class BoundedServer(web.Server):
    """Answers requests with `handler`.

    Of more than `MOST` connections the oldest on which no request is being answered is closed.
    """

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(self._answer, access_log=None, keepalive_timeout=HEADER, lingering_time=LINGERING)
        self._handler = handler
        self._busy: set[asyncio.BaseProtocol] = set()
        self._quiet: dict[web.RequestHandler, None] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._quiet[handler] = None
        if len(self._quiet) + len(self._busy) > MOST:
            oldest = next(iter(self._quiet))
            del self._quiet[oldest]
            oldest.force_close()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._quiet.pop(handler, None)
        self._busy.discard(handler)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        self._quiet.pop(connection, None)
        self._busy.add(connection)
        try:
            return await self._handler(request)
        finally:
            if connection in self._busy:  # else it is lost
                self._busy.remove(connection)
                self._quiet[connection] = None
