"""What operators ask of a running instance, one function per command, and the socket that carries it.

The daemon listens on `control.sock` in its state directory (mode 0600): JSON over HTTP; GET changes nothing, POST
does. Commands of the CLI use `ask`.
"""

import base64
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
import structlog
from aiohttp import web

from intelstream.errors import CannotApply, ConfigError, Fault, IntelstreamError
from intelstream.ontology import Event
from intelstream.runtime.plan import segments
from intelstream.runtime.spec import PipelineSpec
from intelstream.runtime.status import StageStatus
from intelstream.runtime.worker import Change
from intelstream.transport.commit import Entry
from intelstream.transport.frames import FrameBroken, decode, decode_report, is_report, unpack
from intelstream.transport.letters import DeadLetters
from intelstream.transport.transport import Transport

SOCKET: Final = "control.sock"
MOST: Final = 1000
LONGEST_PATH: Final = 100  # bytes of a socket's path that the system takes, less a margin


class NotRunning(IntelstreamError):
    """No daemon answers in the state directory."""


class NotFoundHere(IntelstreamError):
    """The running pipeline has nothing of this name."""


class Control:
    """What is asked of a running pipeline."""

    def __init__(
        self,
        pipeline: PipelineSpec,
        transport: Transport,
        statuses: Mapping[str, StageStatus],
        server_pid: Callable[[], int | None] = lambda: None,
        crew: Callable[[], list[dict[str, Any]]] = list,
        reload: Callable[[], Awaitable[Change]] | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._transport = transport
        self._statuses = statuses
        self._server_pid = server_pid
        self._crew = crew
        self._reload = reload

    def become(self, pipeline: PipelineSpec) -> None:
        """Tell of another pipeline from now on."""
        self._pipeline = pipeline

    async def status(self) -> dict[str, Any]:
        """Return the state of every stage, and of the server."""
        trouble = self._transport.trouble
        return {
            "pipeline": self._pipeline.name,
            "server": {"pid": self._server_pid(), "trouble": str(trouble) if trouble else None},
            "workers": [{"name": "main", "pid": os.getpid(), "restarts": 0}, *self._crew()],
            "stages": [
                _stage(status, self._pipeline.stages[name].use)
                for name, status in self._statuses.items()
                if name in self._pipeline.stages
            ],
        }

    async def reload(self) -> dict[str, Any]:
        """Go over to the pipeline file as it is now; return what was started, stopped and left alone.

        Raises:
            ConfigError: the file has faults, and nothing has changed.
            CannotApply: only a new start can do it.
        """
        if self._reload is None:
            raise CannotApply("reading the pipeline file again: this daemon cannot")
        change = await self._reload()
        return {"started": change.started, "stopped": change.stopped, "kept": change.kept}

    async def queues(self) -> list[dict[str, Any]]:
        """Return the backlog of every stage: messages, bytes, what is put aside, dead letters, counters."""
        sizes = await self._transport.backlogs()
        letters = DeadLetters(self._transport)
        member_of = {name: names for names in segments(self._pipeline.stages) for name in names if len(names) > 1}
        rows: list[dict[str, Any]] = []
        for name, spec in self._pipeline.stages.items():
            kept = await self._transport.kept(name)
            rows.append(
                {
                    "stage": name,
                    "use": spec.use,
                    "messages": sizes.get(f"{name}:n", 0),
                    "bytes": sizes.get(f"{name}:b", 0),
                    "retrying": int(kept.get("retrying", 0)),
                    "dead": await letters.count(name),
                    "in": int(kept.get("in", 0)),
                    "counters": {key: int(value) for key, value in sorted(kept.items()) if _is_counter(key)},
                    "segment": list(member_of.get(name, ())),
                }
            )
        return rows

    async def peek(self, stage: str, count: int = 10) -> list[dict[str, Any]]:
        """Return the oldest messages that wait for a stage; none is taken."""
        self._known(stage)
        shown: list[dict[str, Any]] = []
        for entry in await self._transport.peek(stage, min(count, MOST)):
            shown += _messages(entry)[: count - len(shown)]
            if len(shown) >= count:
                break
        return shown

    async def dead(self, stage: str, count: int = 10) -> list[dict[str, Any]]:
        """Return the oldest dead letters of a stage."""
        self._known(stage)
        return await DeadLetters(self._transport).list(stage, min(count, MOST))

    @asynccontextmanager
    async def listening(self, directory: Path) -> AsyncGenerator[None]:
        """Answer on the state directory's socket while the context lasts."""
        app = web.Application(middlewares=[_faults])
        app.router.add_get("/status", self._get(lambda _: self.status()))
        app.router.add_post("/reload", self._get(lambda _: self.reload()))
        app.router.add_get("/queues", self._get(lambda _: self.queues()))
        app.router.add_get("/queues/{stage}", self._get(lambda r: self.peek(r.match_info["stage"], _count(r))))
        app.router.add_get("/dead/{stage}", self._get(lambda r: self.dead(r.match_info["stage"], _count(r))))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        path = directory / SOCKET
        path.unlink(missing_ok=True)
        try:
            with _reachable(path) as place:
                await web.UnixSite(runner, place).start()
            path.chmod(0o600)
            yield
        finally:
            await runner.cleanup()
            path.unlink(missing_ok=True)

    @staticmethod
    def _get(answer: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
        async def handler(request: web.Request) -> web.Response:
            return web.Response(body=orjson.dumps(await answer(request)), content_type="application/json")

        return handler

    def _known(self, stage: str) -> None:
        if stage not in self._pipeline.stages:
            raise NotFoundHere(f"no stage {stage!r} in the running pipeline {self._pipeline.name!r}")


async def ask(directory: Path, path: str, *, change: bool = False, **query: Any) -> Any:
    """Ask the daemon of a state directory; `change` says that it is to do something.

    Raises:
        NotRunning: none answers there.
        CannotApply: a change was asked for that is refused.
        ConfigError: the daemon was to read files that have faults.
        NotFoundHere: what was asked for is not there.
    """
    target = directory / SOCKET
    try:
        with _reachable(target) as place:
            connector = aiohttp.UnixConnector(place)
            async with (
                aiohttp.ClientSession(connector=connector) as http,
                http.request("POST" if change else "GET", f"http://daemon{path}", params=query) as response,
            ):
                found = orjson.loads(await response.read())
    except (aiohttp.ClientError, OSError) as error:
        raise NotRunning(
            f"asking the daemon in {directory}: none answers; start it with `intelstream run PIPELINE`, or name its "
            f"directory with --state-dir"
        ) from error
    if response.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        raise ConfigError([Fault(**fault) for fault in found["faults"]])
    if response.status == HTTPStatus.CONFLICT:
        raise CannotApply(found["detail"])
    if not response.ok:
        raise NotFoundHere(found["detail"])
    return found


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """Give a name for a socket that is short enough: where its path is not, one through its open directory."""
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


@web.middleware
async def _faults(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
    except NotFoundHere as error:
        return web.json_response({"title": "not found", "detail": str(error)}, status=404)
    except CannotApply as error:
        return web.json_response({"title": "not applied", "detail": str(error)}, status=HTTPStatus.CONFLICT)
    except ConfigError as error:
        faults = [asdict(fault) for fault in error.faults]
        return web.json_response({"title": "faults", "faults": faults}, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    except ValueError as error:
        return web.json_response({"title": "bad request", "detail": str(error)}, status=400)
    except Exception as error:  # noqa: BLE001 - logged whole; whoever asked is told
        structlog.get_logger().exception("command_failed", path=request.path)
        return web.json_response({"title": "failed", "detail": f"{type(error).__name__}: {error}"}, status=500)
    return answer


def _count(request: web.Request) -> int:
    count = int(request.query.get("n", "10"))
    if not 1 <= count <= MOST:
        raise ValueError(f"n: expected 1 to {MOST}")
    return count


def _stage(status: StageStatus, use: str) -> dict[str, Any]:
    return {"stage": status.name, "use": use, **status.shown()}


def _is_counter(key: str) -> bool:
    return not key.startswith(("s:", "at:", "tries:", "alone:")) and key not in ("version", "op", "lease")


def _messages(entry: Entry) -> list[dict[str, Any]]:
    """Show the messages of an entry as they look at every edge, with their ids and tags."""
    try:
        body = unpack(entry.frame)
        if is_report(body):
            report, spooled, _ = decode_report(body)
            raw = {"spooled": spooled.path} if spooled else {"raw": base64.b64encode(report.raw).decode()}
            return [{"__type": "Report", "__id": report.id, "__tags": sorted(report.tags), **report.fields, **raw}]
        start = int(entry.position.partition(".")[0] or 0)
        return [_shown(event) for event in decode(body)[start:]]
    except FrameBroken as error:
        return [{"__type": "Frame", "__id": entry.id, "error": str(error)}]


def _shown(event: Event) -> dict[str, Any]:
    own = {"__type": "Event", "__id": event.id, "__parents": list(event.parents), "__tags": sorted(event.tags)}
    return own | event.to_dict(raw=True)
