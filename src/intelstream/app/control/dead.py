"""What stages gave up."""

from typing import Any

from intelstream.app.control.instance import MOST, Instance
from intelstream.transport.letters import DeadLetters


async def dead(instance: Instance, stage: str, count: int = 10) -> list[dict[str, Any]]:
    """Return the oldest dead letters of a stage."""
    instance.stage(stage)
    return await DeadLetters(instance.transport).list(stage, min(count, MOST))
