"""A stage that some events bring down: by computing for ever, by memory, or by ending the interpreter."""

import os
from collections.abc import AsyncIterator

from intelstream import sdk
from intelstream.ontology import Event


class Poisonous(sdk.Expert[sdk.Params]):
    """Does what an event's comment says."""

    async def process(self, batch: sdk.Batch) -> AsyncIterator[Event]:
        for event in batch:
            match event.get("comment"):
                case "compute":
                    while True:
                        pass
                case "memory":
                    event["comment"] = "x" * (2 * 2**30)
                case "crash":
                    os.abort()
            yield event
