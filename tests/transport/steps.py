"""What tests of the transport do over and over: admit, read, commit, look at what is there."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson

from intelstream.ontology import Event, ids
from intelstream.transport.commit import Cause, Commit, Entry
from intelstream.transport.frames import decode, encode, pack, unpack
from intelstream.transport.letters import Outgoing
from intelstream.transport.link import Client
from intelstream.transport.names import GROUP, Lane
from intelstream.transport.reader import Reader
from intelstream.transport.shelf import Kept, about
from intelstream.transport.transport import Transport

PARENT = "00000000-0000-7000-8000-000000000000"


def body(*numbers: int) -> bytes:
    return encode([Event({"source.port": n}, id=ids.derived(PARENT, n)) for n in numbers])


def frame(*numbers: int) -> bytes:
    return pack(body(*numbers))


def numbers_of(packed: bytes) -> list[int]:
    return [event["source.port"] for event in decode(unpack(packed))]


def bury(commit: Commit, number: int, signature: str = "one") -> None:
    """Add the dead letter of a message to a commit of the stage `work`."""
    letter = {
        "number": number,
        "signature": signature,
        "time": f"t{number}",
        "error": "E",
        "field": None,
        "text": "x",
    } | {"message": {}}
    commit.bury("work", pack(orjson.dumps(letter)), Cause(signature=signature, time=f"t{number}", first=about(letter)))


def going(letters: Sequence[Kept]) -> list[Outgoing]:
    """Return the frames that letters of `bury` go back in."""
    return [Outgoing(frame(one.data["number"]), [one]) for one in letters]


async def put(transport: Transport, stage: str, *numbers: int) -> None:
    """Admit a frame, as a collector would."""
    version = (await transport.states("source", ()))[0]
    commit = Commit(transport.lane, "source", transport.consumer, version=version, operation="put")
    commit.send((stage,), frame(*numbers), len(numbers))
    assert (await transport.commit(commit, admits=True)).written


async def take(transport: Transport, stage: str) -> Entry:
    """Read the one entry that waits for a stage."""
    reader = Reader(transport, [stage])
    [found] = await reader.read(10)
    await reader.close()
    return found


async def ports(transport: Transport, stage: str) -> list[list[int]]:
    return [numbers_of(entry.frame) for entry in await transport.peek(stage, 1000)]


def step(transport: Transport, entry: Entry, *out: int, to: str | None = None, taken: int | None = None) -> Commit:
    """Begin a commit of the stage `work` that takes an entry, or a part of it, and sends to `left`."""
    commit = Commit(transport.lane, "work", transport.consumer)
    if out:
        commit.send(("left",), frame(*out), len(out))
    commit.take(entry, count=entry.count if taken is None else taken, to=to)
    return commit


@asynccontextmanager
async def worker(address: str, lane: Lane, name: str) -> AsyncGenerator[Transport]:
    """Give what another worker would have."""
    client = Client(address)
    try:
        yield Transport(client, lane, name)
    finally:
        await client.close()


async def everything(transport: Transport) -> dict[str, Any]:
    """Return all that the server keeps of a lane: keys without the lane, entries by their place instead of their id."""
    call, lane = transport.call, transport.lane
    start = lane.sizes.removesuffix("sizes")
    found: dict[str, Any] = {}
    pattern = re.sub(r"([\[\]*?\\])", r"\\\1", start) + "*"
    for key in sorted([name.decode() for name in await call("KEYS", pattern)]):
        name = key.removeprefix(start)
        match (await call("TYPE", key)).decode():
            case "string":
                found[name] = await call("GET", key)
            case "zset":
                found[name] = await call("ZRANGE", key, 0, -1, "WITHSCORES")
            case "stream":
                found[name] = [fields for _, fields in await call("XRANGE", key, "-", "+")]
                if name.startswith("in:"):
                    places = await _places(transport, key)
                    rows = await call("XPENDING", key, GROUP, "-", "+", 1000)
                    found[f"{name} pending"] = [(places.get(row[0]), row[1]) for row in rows]
            case "set":
                found[name.partition(":")[0]] = sorted(await call("SMEMBERS", key))
            case "hash" if name.startswith("edits:"):
                found[name] = await call("HVALS", key)
            case "hash":
                flat = await call("HGETALL", key)
                values = dict(zip(flat[::2], flat[1::2], strict=True))
                found[name] = await _named(transport, name, values) if name.startswith("stage:") else values
    return found


async def _places(transport: Transport, stream: str) -> dict[bytes, int]:
    return {id_: place for place, (id_, _) in enumerate(await transport.call("XRANGE", stream, "-", "+"))}


async def _named(transport: Transport, name: str, values: Mapping[bytes, bytes]) -> dict[str, str]:
    """Show the fields of a stage's hash with places of entries, and without the name of the last operation."""
    places = await _places(transport, transport.lane.stream(name.removeprefix("stage:")))
    shown: dict[str, str] = {}
    for field, value in values.items():
        kind, _, id_ = field.decode().partition(":")
        at = places.get(id_.encode())
        shown[f"{kind}:{at}" if at is not None else field.decode()] = value.decode()
    return {field: value for field, value in shown.items() if field != "op"}
