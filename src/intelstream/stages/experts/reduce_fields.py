"""Remove fields from events, by the list of those to keep or of those to remove."""

from collections.abc import AsyncIterator
from typing import Self

from pydantic import Field, model_validator

from intelstream import sdk
from intelstream.ontology import Event


class Params(sdk.Params):
    keep: sdk.FieldList = Field((), description="The fields that stay; all others go.")
    remove: sdk.FieldList = Field((), description="The fields that go.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.keep) == bool(self.remove):
            raise ValueError("give `keep` or `remove`, one of them")
        return self


class ReduceFields(sdk.Expert[Params]):
    """Remove fields from events, by the list of those to keep or of those to remove.

    `extra` stands for all fields below it, `raw` for the text of the row.
    """

    pure = True
    examples = (
        sdk.Example({"source.ip": "192.0.2.1", "comment": "a"}, {"comment": None}, params={"remove": ["comment"]}),
        sdk.Example({"source.ip": "192.0.2.1", "extra.a": 1}, {"extra.a": None}, params={"keep": ["source.ip"]}),
    )

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        keeps, named = bool(self.params.keep), frozenset(self.params.keep or self.params.remove)
        extra = "extra" in named
        for event in batch:
            gone = [
                name for name in event.fields if (name in named or (extra and name.startswith("extra."))) is not keeps
            ]
            for name in gone:
                del event.fields[name]
            if ("raw" in named) is not keeps:
                event.raw = None
            yield event
