"""How the daemon logs: events with facts, as JSON or for people, secrets masked, repetitions counted."""

import logging
import re
import sys
import time
from collections.abc import Callable, Collection, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Final, TextIO, cast

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

SECRET: Final = re.compile(r"(?i)password|passwd|secret|token|authorization|api_?key")
MASK: Final = "***"
QUIET: Final = 60.0  # seconds in which the same event of the same stage is shown once
REMEMBERED: Final = 1000
SHOWN: Final = 200
STRANGE: Final = (HttpProcessingError, web.RequestPayloadError, ConnectionError)  # caused by who asks


def configure(*, json: bool, level: str = "info", secrets: Collection[str] = (), file: TextIO | None = None) -> None:
    """Set up logging for the process. `secrets` are values that must not appear in any text."""
    shown: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if json else "%Y-%m-%d %H:%M:%SZ", utc=True),
        Repetitions(),
        structlog.processors.format_exc_info,
        Masked(secrets),
    ]
    target = _Lasting(file or sys.stderr)
    if json:
        shown.append(structlog.processors.JSONRenderer())
    else:
        shown.append(structlog.dev.ConsoleRenderer(colors=target.isatty()))
    structlog.configure(
        processors=shown,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", target)),
        cache_logger_on_first_use=False,
    )
    _hear_libraries()


def forward(send: Callable[[MutableMapping[str, Any]], None], *, level: str) -> None:
    """Have all that this process logs sent away, to be shown by another one."""

    def sent(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        send(event)
        raise structlog.DropEvent

    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.format_exc_info, sent],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=False,
    )
    _hear_libraries()


def again(event: Mapping[str, Any], **facts: object) -> None:
    """Show what another process has sent."""
    rest = {name: value for name, value in event.items() if name not in ("event", "level")}
    structlog.get_logger().log(logging.getLevelNamesMapping()[event["level"].upper()], event["event"], **rest, **facts)


def _hear_libraries() -> None:
    """Have what libraries log shown as ours is."""
    logging.basicConfig(handlers=[_Libraries()], level=logging.WARNING, force=True)


class _Libraries(logging.Handler):
    """Passes on what libraries log. What strangers send that is no HTTP is no fault of ours: it shows no stack."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, STRANGE):
            reason = error.message if isinstance(error, HttpProcessingError) else str(error)
            log.warning("request_not_understood", reason=" ".join(reason.split())[:SHOWN])
        else:
            text = record.getMessage()
            log.log(record.levelno, "library_told", library=record.name, error=text, exc_info=error)


class _Lasting:
    """Writes while there is somebody to read: a terminal that is gone, or a disk that is full, stops no stage."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.isatty = file.isatty

    def write(self, text: str) -> int:
        with suppress(OSError):  # there is nowhere else to tell it; `intelstream status` still answers
            return self._file.write(text)
        return 0

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()


class Masked:
    """Hides what is secret by its name or by its value, and line breaks that would forge a line."""

    def __init__(self, secrets: Collection[str]) -> None:
        values = sorted((value for value in secrets if len(value) > 3), key=len, reverse=True)  # noqa: PLR2004
        self._values = re.compile("|".join(map(re.escape, values))) if values else None

    def __call__(self, _logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for key, value in event.items():
            if SECRET.search(key):
                event[key] = MASK
            elif isinstance(value, str):
                text = self._values.sub(MASK, value) if self._values else value
                event[key] = text if key == "exception" else text.replace("\n", "\\n").replace("\r", "\\r")
        return event


class Repetitions:
    """Lets the same event of the same stage through once a minute, with the number held back meanwhile."""

    def __init__(self) -> None:
        self._seen: dict[tuple[Any, ...], tuple[float, int]] = {}

    def __call__(self, _logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if event["level"] not in ("warning", "error"):
            return event
        key = (event.get("event"), event.get("stage"), str(event.get("error", ""))[:200], event.get("path"))
        first, held = self._seen.get(key, (0.0, 0))
        now = time.monotonic()
        if first and now - first < QUIET:
            self._seen[key] = (first, held + 1)
            raise structlog.DropEvent
        if len(self._seen) >= REMEMBERED:
            self._seen.pop(next(iter(self._seen)))
        self._seen.pop(key, None)
        self._seen[key] = (now, 0)
        if held:
            event["repeated"] = held
        return event
