"""Drop events that repeat an earlier one within a time window."""

from collections.abc import AsyncIterator
from typing import Self

from pydantic import Field, model_validator

from intelstream import sdk
from intelstream.ontology import Event


class Params(sdk.Params):
    ignore: sdk.FieldList = Field((), description="Fields that may differ.")
    only: sdk.FieldList = Field((), description="The fields to compare, instead of all.")
    ttl: sdk.Duration = Field(sdk.Duration("1d"), description="How long an event keeps its twins out.")
    max_keys: int = Field(
        10_000_000, ge=1, description="How many events are remembered; beyond it the oldest are forgotten early."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.ignore and self.only:
            raise ValueError("give `ignore` or `only`, not both")
        return self


class Deduplicate(sdk.Expert[Params]):
    """Drop events that repeat an earlier one within a time window.

    `raw` and `time.observation` are never compared.
    """

    claiming = True
    examples = (sdk.Example({"source.ip": "192.0.2.1"}, {}),)

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        only, ignore = self.params.only, frozenset(self.params.ignore)
        claims = [(event.digest(only=only, ignore=ignore), event.owner) for event in batch]
        owners = await self.ctx.claims.claim_many(claims, self.params.ttl, self.params.max_keys)
        for event, (_, mine), owner in zip(batch, claims, owners, strict=True):
            if owner == mine or event.owns(owner):
                yield event
            else:
                batch.drop(event, "duplicate")
