"""Post events to a URL as JSON."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal, Self

import orjson
from pydantic import Field, model_validator

from intelstream import sdk
from intelstream.errors import PartialWrite, Rejected, StageError, Unavailable
from intelstream.ontology import Event
from intelstream.sdk.edge import Form
from intelstream.sdk.http import Client, HttpParams


class Params(HttpParams, Form):
    method: Literal["GET", "POST", "PUT", "PATCH"] = Field("POST", description="HTTP method; GET carries nothing.")
    batch: int = Field(1, ge=1, le=4096, description="Most events of one write; as `json` each has its own request.")
    format: Literal["json", "json_lines", "array"] = Field("json", description="What a request carries.")
    repeatable: bool = Field(
        False, description="Whether the receiver takes a second request with the same `Idempotency-Key` for the first."
    )

    @model_validator(mode="after")
    def _carries(self) -> Self:
        if self.method == "GET":
            raise ValueError("a GET carries no events: use POST, PUT or PATCH")
        return self


class Http(sdk.Output[Params]):
    """Post events to a URL as JSON.

    Each request has an `Idempotency-Key`: the id of its event, or a digest of the ids of its events. Where it does
    not become clear whether the receiver has taken a request (no answer, status 500, 502 or 504), its events become
    dead letters, so that nothing is taken twice unasked; with `repeatable` they are sent again instead. With a
    `batch` of several events as `json` the requests go out side by side, in no order.
    """

    network = True

    def __init__(self, params: Params, ctx: sdk.StageContext) -> None:
        super().__init__(params, ctx)
        self.batch = params.batch
        self.client = Client(ctx, params)

    async def write(self, batch: sdk.Batch) -> None:
        if self.params.format == "json":
            await self._each(batch)
        elif self.params.format == "json_lines":
            await self._send(batch.events, bytes(self.params.lines(batch)), "application/x-ndjson")
        else:
            body = orjson.dumps([self.params.shape(event) for event in batch])
            await self._send(batch.events, body, "application/json")

    async def _each(self, batch: sdk.Batch) -> None:
        if len(batch) == 1:
            await self._one(batch.events[0])
            return
        failures: dict[int, StageError] = {}

        async def attempt(item: tuple[int, Event]) -> None:
            place, event = item
            try:
                await self._one(event)
            except (Unavailable, Rejected) as error:
                failures[place] = error
            except StageError as error:
                failures[place] = Rejected(str(error))  # taken or not: it is not to be tried again

        await self.ctx.concurrently(attempt, enumerate(batch), limit=10)
        if len(failures) == len(batch) and all(isinstance(error, Unavailable) for error in failures.values()):
            raise failures[0]  # the stage waits, as it would with one
        if failures:
            raise PartialWrite(failures)

    async def _one(self, event: Event) -> None:
        await self._send([event], self.params.encode(event), "application/json")

    async def _send(self, events: Sequence[Event], body: bytes, content_type: str) -> None:
        ids = [event.id for event in events]
        key = ids[0] if len(ids) == 1 else blake2b("\n".join(ids).encode(), digest_size=16).hexdigest()
        headers = {"Content-Type": content_type, "Idempotency-Key": key}
        sending = self.client.stream(self.params.method, headers=headers, body=body, repeatable=self.params.repeatable)
        async with sending as answer:
            await answer.skim()
