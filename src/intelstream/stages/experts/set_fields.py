"""Write fixed values into events."""

from collections.abc import AsyncIterator

from pydantic import Field

from intelstream import sdk
from intelstream.ontology import Event


class Params(sdk.Overwrite):
    fields: sdk.FieldMap = Field(description="Fields and the values to write.")


class SetFields(sdk.Expert[Params]):
    """Write fixed values into events.

    A field that an event has already is kept, unless `overwrite` says otherwise.
    """

    pure = True
    examples = (
        sdk.Example({"source.ip": "192.0.2.1"}, {"tlp": "GREEN"}, params={"fields": {"tlp": "GREEN"}}),
        sdk.Example({"tlp": "RED"}, {}, params={"fields": {"tlp": "GREEN"}}),
    )

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        fields, overwrite = self.params.fields, self.params.replaces
        for event in batch:
            for name, value in fields.items():
                event.add(name, value, overwrite=overwrite)
            yield event
