"""Take what others post: reports, or events of the vocabulary."""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

import orjson
from pydantic import Field, PrivateAttr

from intelstream import sdk
from intelstream.errors import InvalidValue
from intelstream.ontology import STANDARD, Event, Ontology, Report
from intelstream.sdk.listener import Given, Listener, ListenerParams, Said

KEYS: Final = 500  # Idempotency-Keys that are remembered
MOST: Final = 20  # faults that are told


class Params(ListenerParams):
    accepts: Literal["report", "events"] = Field(
        "report", description="Whether a request is a report to be parsed, or events as JSON."
    )
    durable: Literal["commit", "fsync"] = Field(
        "fsync", description="Whether the answer waits for the commit, or until that is on the disk."
    )
    _ontology: Ontology = PrivateAttr(STANDARD)

    def model_post_init(self, context: Any) -> None:
        super().model_post_init(context)
        self._ontology = (context or {}).get("ontology", STANDARD)

    @property
    def ontology(self) -> Ontology:
        """The fields of the pipeline that the stage is in."""
        return self._ontology


class Api(sdk.Collector[Params]):
    """Take what others post: reports, or events of the vocabulary.

    The answer is 202 when what was posted is safe, so that the sender may delete it. What was answered otherwise,
    or not at all, may be sent again: with the same `Idempotency-Key` it is not taken twice, as long as the key is
    among the last 500. Events come as an object, an array, or one object per line; if one is wrong, all are
    refused. There is no TLS here: put a reverse proxy in front where the network is not yours.
    """

    mode = "listen"

    @classmethod
    def gives_of(cls, params: sdk.Params) -> Literal["reports", "events"]:
        return "events" if isinstance(params, Params) and params.accepts == "events" else "reports"

    def __init__(self, params: Params, ctx: sdk.StageContext) -> None:
        super().__init__(params, ctx)
        self.durable = params.durable == "fsync"
        self.listener = Listener(ctx, params)

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        async with self.listener.serving():
            yield

    async def collect(self, cursor: dict[str, list[str]] | None) -> AsyncIterator[sdk.Collected]:
        committed = deque((cursor or {}).get("keys", ()), maxlen=KEYS)
        async for given in self.listener.requests():
            if given.key in committed:
                await given.accept()
                continue
            events: list[Event] = []
            if self.params.accepts == "events":
                events, faults = await self.ctx.in_thread(_events, given, self.params.ontology)
                if faults:
                    given.refuse(Said(400, "nothing of it was taken", faults[:MOST]))
                    continue

            async def done(given: Given = given) -> None:
                if given.key:
                    committed.append(given.key)
                await given.accept()

            keys = {"keys": [*committed, given.key][-KEYS:]} if given.key else None
            if self.params.accepts == "report":
                yield Report(given.content, cursor=keys, after_commit=done)
                continue
            for event in events:
                yield event
            yield sdk.Commit(keys, done)


def _events(given: Given, ontology: Ontology) -> tuple[list[Event], list[dict[str, str]]]:
    """Return the events of a body, and what is wrong with any."""
    rows, faults = _rows(given.content.read_bytes() if isinstance(given.content, Path) else given.content)
    events: list[Event] = []
    for place, row in rows:
        if not isinstance(row, dict):
            faults.append(_fault(f"/{place}", "invalid_value", "expected an object of fields"))
            continue
        try:
            events.append(Event.from_dict(row, ontology))
        except InvalidValue as error:
            field = error.field.replace("~", "~0").replace("/", "~1")  # RFC 6901
            faults.append(_fault(f"/{place}/{field}", error.code, error.reason))
    return events, faults


def _rows(body: bytes) -> tuple[list[tuple[int, object]], list[dict[str, str]]]:
    """Read one JSON value, of which an array is a list of events, or else one per line."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        lines = [(place, line) for place, line in enumerate(body.splitlines()) if line.strip()]
        if len(lines) < 2:  # noqa: PLR2004
            return [], [_fault("", "invalid_json", str(error))]
    else:
        return list(enumerate(found if isinstance(found, list) else [found])), []
    rows: list[tuple[int, object]] = []
    faults: list[dict[str, str]] = []
    for place, line in lines:
        try:
            rows.append((place, orjson.loads(line)))
        except orjson.JSONDecodeError as error:
            faults.append(_fault(f"/{place}", "invalid_json", str(error)))
    return rows, faults


def _fault(pointer: str, code: str, message: str) -> dict[str, str]:
    return {"pointer": pointer, "code": code, "msg": message}
