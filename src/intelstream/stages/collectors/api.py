"""Take what others post: reports, or events of the vocabulary."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final, Literal, Self

from pydantic import Field, PrivateAttr, ValidationInfo, model_validator

from intelstream import sdk
from intelstream.ontology import STANDARD, Ontology, Report
from intelstream.sdk.incoming import read_events
from intelstream.sdk.listener import Cursor, Listener, ListenerParams, Said
from intelstream.sdk.types import ontology_of

PART: Final = 1000  # events read at a time


class Params(ListenerParams):
    accepts: Literal["report", "events"] = Field(
        "report", description="Whether a request is a report to be parsed, or events as JSON."
    )
    durable: Literal["commit", "fsync"] = Field(
        "fsync", description="Whether the answer waits for the commit, or until that is on the disk."
    )
    _ontology: Ontology = PrivateAttr(STANDARD)

    @model_validator(mode="after")
    def _knows_its_fields(self, info: ValidationInfo) -> Self:
        self._ontology = ontology_of(info)
        return self

    @property
    def ontology(self) -> Ontology:
        """The fields of the pipeline that the stage is in."""
        return self._ontology


class Api(sdk.Collector[Params]):
    """Take what others post: reports, or events of the vocabulary.

    The answer is 202 when what was posted is safe, so that the sender may delete it. What was answered otherwise,
    or not at all, may be sent again: with the same `Idempotency-Key` it is not taken twice, as long as the key is
    among the last 500. Other content with such a key is refused with 422; while there is no room for more the answer
    is 429. Events come as an object, an array, or one object per line; if one is wrong, all are refused, and the first
    20 faults told. There is no TLS here: put a reverse proxy in front where the network is not yours.
    """

    mode = "listen"

    def __init__(self, params: Params, ctx: sdk.StageContext) -> None:
        super().__init__(params, ctx)
        self.durable = params.durable == "fsync"
        self.listener = Listener(ctx, params)

    @classmethod
    def gives_of(cls, params: sdk.Params) -> Literal["reports", "events"]:
        return "events" if isinstance(params, Params) and params.accepts == "events" else "reports"

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        async with self.listener.serving():
            yield

    async def collect(self, cursor: Cursor | None) -> AsyncIterator[sdk.Collected]:
        async for given in self.listener.requests(cursor):
            if self.params.accepts == "report":
                yield sdk.Begin(given.digest)
                yield Report(given.content, cursor=given.cursor, after_commit=given.accept)
                continue
            events, wrong = await self.ctx.in_thread(read_events, given.content, self.params.ontology)
            if wrong:
                given.answer(Said(400, "nothing of it was taken", [one._asdict() for one in wrong]))
                continue
            yield sdk.Begin(given.digest)
            following = iter(events)
            while part := await self.ctx.in_thread(list, islice(following, PART)):
                for event in part:
                    yield event
            yield sdk.Commit(given.cursor, given.accept)
