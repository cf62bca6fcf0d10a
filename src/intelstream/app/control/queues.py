"""What waits for the stages."""

import base64
from typing import Any

from intelstream.app.control.instance import MOST, Instance
from intelstream.ontology import Event
from intelstream.runtime.plan import segments
from intelstream.transport.commit import Entry
from intelstream.transport.frames import FrameBroken, decode, decode_report, is_report, unpack


async def queues(instance: Instance) -> list[dict[str, Any]]:
    """Return the backlog of every stage: messages, bytes, what is put aside, dead letters, counters."""
    stages, transport = instance.pipeline.stages, instance.transport
    sizes = await transport.backlogs()
    member_of = {name: names for names in segments(stages) for name in names if len(names) > 1}
    rows: list[dict[str, Any]] = []
    for name, spec in stages.items():
        kept = await transport.kept(name)
        rows.append(
            {
                "stage": name,
                "use": spec.use,
                "messages": sizes.get(f"{name}:n", 0),
                "bytes": sizes.get(f"{name}:b", 0),
                "retrying": int(kept.get("retrying", 0)),
                "dead": await instance.site.letters.count(name),
                "in": int(kept.get("in", 0)),
                "counters": {key: int(value) for key, value in sorted(kept.items()) if _is_counter(key)},
                "segment": list(member_of.get(name, ())),
            }
        )
    return rows


async def peek(instance: Instance, stage: str, count: int = 10) -> list[dict[str, Any]]:
    """Return the oldest messages that wait for a stage; none is taken."""
    instance.stage(stage)
    shown: list[dict[str, Any]] = []
    for entry in await instance.transport.peek(stage, min(count, MOST)):
        shown += _messages(entry)[: count - len(shown)]
        if len(shown) >= count:
            break
    return shown


def _is_counter(key: str) -> bool:
    return not key.startswith(("s:", "at:", "tries:", "alone:")) and key not in ("version", "op", "lease")


def _messages(entry: Entry) -> list[dict[str, Any]]:
    """Show the messages of an entry as they look at every edge, with their ids and tags."""
    try:
        body = unpack(entry.frame)
        if is_report(body):
            wanted = decode_report(body)
            report, spooled = wanted.report, wanted.spooled
            raw = {"spooled": spooled.path} if spooled else {"raw": base64.b64encode(report.raw).decode()}
            return [{"__type": "Report", "__id": report.id, "__tags": sorted(report.tags), **report.fields, **raw}]
        start = int(entry.position.partition(".")[0] or 0)
        return [_shown(event) for event in decode(body)[start:]]
    except FrameBroken as error:
        return [{"__type": "Frame", "__id": entry.id, "error": str(error)}]


def _shown(event: Event) -> dict[str, Any]:
    own = {"__type": "Event", "__id": event.id, "__parents": list(event.parents), "__tags": sorted(event.tags)}
    return own | event.to_dict(raw=True)
