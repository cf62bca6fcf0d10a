"""The daemon's side of the socket: JSON over HTTP, mode 0600. GET changes nothing, POST does."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson
import structlog
from aiohttp import web

from intelstream.app.control import dead, deadwork
from intelstream.app.control.asking import SOCKET, reachable
from intelstream.app.control.deadwork import Order
from intelstream.app.control.faults import NotFoundHere, Refused
from intelstream.app.control.instance import MOST, Instance
from intelstream.app.control.queues import peek, queues
from intelstream.app.control.reloading import reload
from intelstream.app.control.selecting import Selection
from intelstream.app.control.status import status
from intelstream.errors import CannotApply, ConfigError

LARGEST = 64 * 1024 * 1024  # bytes of one request
Answer = Callable[[Instance, web.Request], Awaitable[Any]]


async def _ordered(work: Callable[[Instance, Order], Awaitable[Any]], instance: Instance, request: web.Request) -> Any:
    return await work(instance, Order.model_validate_json(await request.read()))


async def _import(instance: Instance, request: web.Request) -> Any:
    given = orjson.loads(await request.read())
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise Refused("expected a list of letters")
    return await deadwork.bring(instance, given)


def _count(request: web.Request) -> int:
    count = int(request.query.get("n", "10"))
    if not 1 <= count <= MOST:
        raise ValueError(f"n: expected 1 to {MOST}")
    return count


ROUTES: tuple[tuple[str, str, Answer], ...] = (
    ("GET", "/status", lambda instance, _: status(instance)),
    ("POST", "/reload", lambda instance, _: reload(instance)),
    ("GET", "/queues", lambda instance, _: queues(instance)),
    ("GET", "/queues/{stage}", lambda instance, r: peek(instance, r.match_info["stage"], _count(r))),
    ("GET", "/dead", lambda instance, r: dead.dead(instance, Selection.of(r.query), _count(r))),
    ("GET", "/dead-groups", lambda instance, r: dead.groups(instance, Selection.of(r.query))),
    ("GET", "/dead-number", lambda instance, r: dead.number(instance, Selection.of(r.query))),
    (
        "GET",
        "/dead-export",
        lambda instance, r: dead.export(instance, Selection.of(r.query), r.query.get("cursor", "")),
    ),
    ("GET", "/dead/{id}", lambda instance, r: dead.show(instance, r.match_info["id"])),
    ("POST", "/dead:retry", lambda instance, r: _ordered(deadwork.retry, instance, r)),
    ("POST", "/dead:edit", lambda instance, r: _ordered(deadwork.edit, instance, r)),
    ("POST", "/dead:drop", lambda instance, r: _ordered(deadwork.drop, instance, r)),
    ("POST", "/dead:import", _import),
)


@asynccontextmanager
async def listening(instance: Instance, directory: Path) -> AsyncGenerator[None]:
    """Answer on the state directory's socket while the context lasts."""
    app = web.Application(middlewares=[_faults], client_max_size=LARGEST)
    for method, route, answer in ROUTES:
        app.router.add_route(method, route, _handler(instance, answer))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    path = directory / SOCKET
    path.unlink(missing_ok=True)
    try:
        with reachable(path) as place:
            await web.UnixSite(runner, place).start()
        path.chmod(0o600)
        yield
    finally:
        await runner.cleanup()
        path.unlink(missing_ok=True)


def _handler(instance: Instance, answer: Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(await answer(instance, request)), content_type="application/json")

    return handler


@web.middleware
async def _faults(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except NotFoundHere as error:
        return web.json_response({"title": "not found", "detail": str(error)}, status=404)
    except CannotApply as error:
        return web.json_response({"title": "not applied", "detail": str(error)}, status=HTTPStatus.CONFLICT)
    except ConfigError as error:
        faults = [asdict(fault) for fault in error.faults]
        return web.json_response({"title": "faults", "faults": faults}, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    except (Refused, ValueError) as error:
        return web.json_response({"title": "bad request", "detail": str(error)}, status=400)
    except Exception as error:  # noqa: BLE001 - logged whole; whoever asked is told
        structlog.get_logger().exception("command_failed", path=request.path)
        return web.json_response({"title": "failed", "detail": f"{type(error).__name__}: {error}"}, status=500)
