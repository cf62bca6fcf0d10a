"""What came of messages that a stage was given under test."""

import base64
from dataclasses import dataclass, field
from typing import Any

from intelstream.app.doubles import Exchange, Query
from intelstream.errors import ConfigError, InvalidValue, Unavailable
from intelstream.ontology import Event, Report
from intelstream.ontology.fields import reason
from intelstream.runtime.drain import Outcome

Message = Event | Report


@dataclass(frozen=True, slots=True)
class Dead:
    """A message that was given up, and why."""

    message: dict[str, Any]
    error: str
    field: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Drop:
    """A message that ended here, and under which reason it is counted."""

    message: dict[str, Any]
    reason: str


@dataclass(slots=True)
class Result:
    """What came of the messages. `outputs` has the form that IntelMQ knows: per path, fields with `__type`.

    `refused` are the faults of parameters or start-up, `pending` what waits for a far side that is away.
    """

    outputs: dict[str, list[dict[str, Any]]] = field(default_factory=dict[str, list[dict[str, Any]]])
    messages: dict[str, list[Message]] = field(default_factory=dict[str, list[Message]])
    dead: list[Dead] = field(default_factory=list[Dead])
    dropped: list[Drop] = field(default_factory=list[Drop])
    pending: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    refused: ConfigError | None = None
    requests: list[Exchange] = field(default_factory=list[Exchange])
    queries: list[Query] = field(default_factory=list[Query])
    log: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def put(self, path: str, message: Message) -> None:
        """Note a message that leaves by a path."""
        self.outputs.setdefault(path, []).append(shown(message))
        self.messages.setdefault(path, []).append(message)

    def bury(self, message: dict[str, Any], error: Exception) -> None:
        """Note a dead letter."""
        name = error.field if isinstance(error, InvalidValue) else None
        self.dead.append(Dead(message, type(error).__name__, name, reason(error)))

    def settle(self, outcome: Outcome) -> None:
        """Note what the engine makes of an outcome, but for the delays of its retries: a bug is dead at once."""
        for (_, path), events in outcome.sent.items():
            for event in events:
                self.put(path, event)
        self.dropped += [Drop(shown(one.event), one.reason) for one in outcome.dropped]
        for failed in outcome.failed:
            if isinstance(failed.error, Unavailable):
                self.pending.append(shown(failed.event))
            else:
                self.bury(shown(failed.event), failed.error)


def shown(message: Message) -> dict[str, Any]:
    """Return a message as it looks at every edge: `raw` is base64."""
    if isinstance(message, Event):
        return message.to_dict(raw=True) | {"__type": "Event"}
    return message.fields | {"raw": base64.b64encode(message.raw).decode(), "__type": "Report"}
