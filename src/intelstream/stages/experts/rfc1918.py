"""Remove addresses, names, URLs and AS numbers that are private, reserved or for documentation."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from intelstream import sdk
from intelstream.formats.special import SPECIAL
from intelstream.ontology import Event, keys


def _of_a_kind(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name.rpartition(".")[2] not in SPECIAL:
            raise ValueError(f"{name}: expected a field that ends in {', '.join(SPECIAL)}")
    return names


class Params(sdk.Params):
    fields: Annotated[sdk.FieldList, AfterValidator(_of_a_kind)] = Field(
        ("destination.ip", "source.ip", "source.url"),
        description="Fields to examine: addresses, networks, names, URLs and AS numbers.",
    )
    action: Literal["remove_field", "drop"] = Field(
        "drop", description="Whether to remove such a field, or to drop the event that has one."
    )


class Rfc1918(sdk.Expert[Params]):
    """Remove addresses, names, URLs and AS numbers that are private, reserved or for documentation.

    Every field is examined, whatever the others hold. A network counts if all of it is special. Dropped events are
    counted as `special`.
    """

    pure = True
    reads = (keys.DESTINATION_IP, keys.SOURCE_IP, keys.SOURCE_URL)
    examples = (
        sdk.Example({"source.url": "http://[fd00::1]:8080/"}),
        sdk.Example({"source.ip": "9.9.9.9"}, {}),
        sdk.Example({"source.ip": "10.0.0.1"}, {"source.ip": None}, params={"action": "remove_field"}),
    )

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        tests = [(name, SPECIAL[name.rpartition(".")[2]]) for name in self.params.fields]
        drops = self.params.action == "drop"
        for event in batch:
            fields = event.fields
            found = [name for name, special in tests if name in fields and special(fields[name])]
            if found and drops:
                batch.drop(event, "special")
                continue
            for name in found:
                del event[name]
            yield event
