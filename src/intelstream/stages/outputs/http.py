"""Post events to a URL as JSON."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal, Self

import orjson
from pydantic import Field, model_validator

from intelstream import sdk
from intelstream.ontology import Event
from intelstream.sdk.delivering import each
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
            await each(self.ctx, batch, self._one)
        elif self.params.format == "json_lines":
            await self._send(batch.events, bytes(self.params.lines(batch)), "application/x-ndjson")
        else:
            body = orjson.dumps([self.params.shape(event) for event in batch])
            await self._send(batch.events, body, "application/json")

    async def _one(self, event: Event) -> None:
        await self._send([event], self.params.encode(event), "application/json")

    async def _send(self, events: Sequence[Event], body: bytes, content_type: str) -> None:
        ids = [event.id for event in events]
        key = ids[0] if len(ids) == 1 else blake2b("\n".join(ids).encode(), digest_size=16).hexdigest()
        headers = {"Content-Type": content_type, "Idempotency-Key": key}
        sending = self.client.stream(self.params.method, headers=headers, body=body, repeatable=self.params.repeatable)
        async with sending as answer:
            await answer.skim()
