"""The server has done it and nobody knows: asked again, it leaves what it would have left the first time."""

import asyncio
import importlib.resources
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from intelstream.app.prove.proxy import cutting_proxy
from intelstream.transport import keeper
from intelstream.transport.commit import Commit
from intelstream.transport.keeper import Keeper
from intelstream.transport.letters import DeadLetters
from intelstream.transport.link import BLOCK
from intelstream.transport.marks import StageCache, StageMarks
from intelstream.transport.names import GROUP, Lane
from intelstream.transport.reader import Reader
from intelstream.transport.shelf import Kept
from intelstream.transport.transport import Transport
from services.servers import RunningServer
from transport.steps import bury, everything, frame, going, numbers_of, put, step, take, worker

STAGES = ("work", "left")
NOON = datetime(2024, 3, 6, 12, tzinfo=UTC)
DUE = 1_000
ROOM = 1_000_000
NOWHERE = Path("/nonexistent")


class Asker:
    """Runs one case. `lose` has the answer to the next such command lost, in the run that is to lose it."""

    def __init__(self, transport: Transport, lose: Callable[[str], None]) -> None:
        self.transport = transport
        self.lose = lose
        self.rechecked: list[str] = []
        self.stranded: list[int] = []

    def keeper(self) -> Keeper:
        async def recheck(stage: str) -> None:
            self.rechecked.append(stage)

        return Keeper(self.transport, ["work"], recheck, lambda _, count: self.stranded.append(count))


async def whole_entry(asker: Asker) -> Any:
    await put(asker.transport, "work", 1, 2)
    commit = step(asker.transport, await take(asker.transport, "work"), 1, 2)
    asker.lose("EVALSHA")
    return (await asker.transport.commit(commit)).written


async def part_of_an_entry(asker: Asker) -> Any:
    await put(asker.transport, "work", 1, 2)
    commit = step(asker.transport, await take(asker.transport, "work"), 1, to="1", taken=1)
    asker.lose("EVALSHA")
    return (await asker.transport.commit(commit)).written


async def everything_a_step_may_write(asker: Asker) -> Any:
    await put(asker.transport, "work", 1, 2, 3)
    commit = step(asker.transport, await take(asker.transport, "work"), 1)
    commit.version = (await asker.transport.states("work", ()))[0]
    commit.delay("work", frame(2), DUE)
    bury(commit, 9)
    commit.write("s:seen", [3])
    commit.count("work", "in", 3)
    asker.lose("EVALSHA")
    written = (await asker.transport.commit(commit)).written
    return written, commit.version


async def admission(asker: Asker) -> Any:
    await put(asker.transport, "work", 1)
    asker.lose("EVALSHA")
    await put(asker.transport, "work", 2)


async def commit_that_waits_for_room(asker: Asker) -> Any:
    await put(asker.transport, "left", 7)
    await put(asker.transport, "work", 1)
    commit = step(asker.transport, await take(asker.transport, "work"), 1)
    commit.room = [("left", 1)]
    last = Commit(asker.transport.lane, "left", "me")
    last.take(await take(asker.transport, "left"), count=1)

    def held(full: str | None) -> None:
        if full == "left":
            asker.lose("EVALSHA")  # whichever of the two comes first
            freeing.append(asyncio.create_task(asker.transport.commit(last)))

    freeing: list[Awaitable[Any]] = []
    written = (await asker.transport.commit(commit, on_hold=held)).written
    return written, [(await one).written for one in freeing[:1]]


async def lease(asker: Asker) -> Any:
    asker.lose("EVALSHA")
    first = await asker.transport.lease("work")
    return first, await asker.transport.lease("work")


async def lease_of_one_that_is_gone(asker: Asker) -> Any:
    async with worker(asker.transport.client.address, asker.transport.lane, "gone") as gone:
        await gone.lease("work")
    asker.lose("EVALSHA")
    return await asker.transport.lease("work")


async def release(asker: Asker) -> Any:
    await asker.transport.lease("work")
    asker.lose("EVALSHA")
    await asker.transport.release("work")


async def sign_of_life(asker: Asker) -> Any:
    asker.lose("EVALSHA")
    return await asker.transport.run("alive", [asker.transport.lane.alive("me")], "1", 60_000)


async def due(asker: Asker) -> Any:
    await put(asker.transport, "work", 1, 2, 3)
    commit = step(asker.transport, await take(asker.transport, "work"))
    for number in (1, 2, 3):
        commit.delay("work", frame(number), DUE + number)
    await asker.transport.commit(commit)
    keys = [asker.transport.lane.later("work"), asker.transport.lane.stream("work")]
    asker.lose("EVALSHA")
    for _ in range(2):
        await asker.transport.run("due", keys, DUE + 2, 100)


async def takeover(asker: Asker) -> Any:
    async with worker(asker.transport.client.address, asker.transport.lane, "gone") as gone:
        for number in (1, 2):
            await put(gone, "work", number)
        reader = Reader(gone, ["work"])
        await reader.read(10)
        await reader.close()
    asker.lose("EVALSHA")
    for _ in range(2):
        await asker.keeper().sweep()
    names = await asker.transport.call("XINFO", "CONSUMERS", asker.transport.lane.stream("work"), GROUP)
    return asker.rechecked, [row[1] for row in names]


async def scrub(asker: Asker) -> Any:
    for number in (1, 2):
        await put(asker.transport, "work", number)
    reader = Reader(asker.transport, ["work"])
    await reader.read(10)
    await reader.close()
    await asker.transport.call("XGROUP", "DELCONSUMER", asker.transport.lane.stream("work"), GROUP, "me")
    asker.lose("EVALSHA")
    for _ in range(2):
        await asker.keeper().scrub()
    return asker.rechecked


async def marks(asker: Asker) -> Any:
    one = StageMarks(asker.transport, "work", lambda: NOON, print)
    await one.claim_many([("a", "1" * 32)], 1e9)
    asker.lose("EVALSHA")
    return [await one.claim_many([("a", owner * 32), ("b", owner * 32)], 1e9) for owner in ("2", "3")]


async def marks_that_are_too_many(asker: Asker) -> Any:
    times = iter((NOON, NOON + timedelta(days=5_000)))
    one = StageMarks(asker.transport, "work", lambda: next(times), print)
    await one.claim_many([("a", "1" * 32)], 1e9, most=1)
    asker.lose("EVALSHA")
    return await one.claim_many([("b", "2" * 32)], 1e9, most=1)


async def dead(asker: Asker, count: int, directory: Path = NOWHERE) -> tuple[DeadLetters, list[Kept]]:
    """Have so many events end as dead letters."""
    await put(asker.transport, "work", *range(count))
    commit = step(asker.transport, await take(asker.transport, "work"))
    for number in range(count):
        bury(commit, number)
    commit.count("work", "dead", count)
    await asker.transport.commit(commit)
    letters = DeadLetters(asker.transport, directory)
    return letters, (await letters.page("work"))[0]


async def revived_letters(asker: Asker) -> Any:
    letters, found = await dead(asker, 3)
    asker.lose("EVALSHA")
    await letters.revive("work", going(found[:2]), "left", ROOM)


async def dropped_letters(asker: Asker) -> Any:
    letters, found = await dead(asker, 3)
    asker.lose("EVALSHA")
    await letters.drop("work", found[:2])


async def changed_letters(asker: Asker) -> Any:
    letters, found = await dead(asker, 1)
    asker.lose("EVALSHA")
    await letters.amend("work", [(one.changed({}), {}) for one in found])
    return len(await asker.transport.call("HKEYS", asker.transport.lane.edits("work")))


async def letters_that_move_to_a_file(asker: Asker) -> Any:
    with tempfile.TemporaryDirectory() as place:
        await dead(asker, 3)
        letters = DeadLetters(asker.transport, Path(place), most=2)
        asker.lose("EVALSHA")
        await letters.relieve("work")
        return await letters.count("work"), [one.data["number"] for one in (await letters.page("work"))[0]]


async def rename(asker: Asker) -> Any:
    await dead(asker, 2)
    await put(asker.transport, "work", 7)
    asker.lose("EVALSHA")
    await asker.transport.rename("work", "labour")


async def script_that_the_server_forgot(asker: Asker) -> Any:
    await put(asker.transport, "work", 1)
    await asker.transport.call("SCRIPT", "FLUSH")
    asker.lose("EVAL")
    await put(asker.transport, "work", 2)


async def read(asker: Asker) -> Any:
    await put(asker.transport, "work", 1)
    await put(asker.transport, "work", 2)
    reader = Reader(asker.transport, ["work"])
    await reader.recheck()
    assert await reader.read(1)  # from here on it knows of nothing that is pending
    asker.lose("XREADGROUP")
    async with asyncio.timeout(BLOCK / 2):  # what was delivered unseen is looked for before anything new
        while not (found := await reader.read(1)):
            pass
    await reader.close()
    return [numbers_of(one.frame) for one in found]


async def read_of_what_is_pending(asker: Asker) -> Any:
    await put(asker.transport, "work", 1)
    await take(asker.transport, "work")
    asker.lose("XREADGROUP")
    return numbers_of((await take(asker.transport, "work")).frame)


async def positions(asker: Asker) -> Any:
    await part_of_an_entry(asker)
    asker.lose("HMGET")
    return (await take(asker.transport, "work")).position


async def handed_on(asker: Asker) -> Any:
    await put(asker.transport, "work", 1)
    entry = await take(asker.transport, "work")
    asker.lose("EVALSHA")
    return await asker.transport.hand_on(entry, "quarantine.work")


async def tried_alone(asker: Asker) -> Any:
    await put(asker.transport, "work", 1)
    entry = await take(asker.transport, "work")
    await asker.transport.alone("work", entry.id, "")
    asker.lose("HGET")
    return await asker.transport.alone("work", entry.id, "")


async def opening(asker: Asker) -> Any:
    asker.lose("EVALSHA")
    await asker.transport.open(["new", "other"])


async def burial_of_predecessors(asker: Asker) -> Any:
    transport = asker.transport
    await transport.run("alive", [transport.lane.alive("mine.1")], "1", 60_000)
    async with worker(transport.client.address, transport.lane, "mine.1") as before:
        await before.lease("work")
    asker.lose("DEL")
    await transport.bury_predecessors("mine.", ["work"])
    return transport.buried


async def consumers(asker: Asker) -> Any:
    await put(asker.transport, "work", 1)
    await take(asker.transport, "work")
    asker.lose("XINFO")
    return await asker.transport.consumers("work")


async def looks(asker: Asker) -> Any:
    letters, _ = await dead(asker, 2)
    asker.lose("HGETALL")
    count = await letters.count("work")
    asker.lose("HGETALL")
    sizes = await asker.transport.backlogs()
    asker.lose("XRANGE")
    return count, sizes, await asker.transport.peek("work", 10)


async def cache(asker: Asker) -> Any:
    asker.lose("SET")  # what is not known to be kept may be set again
    one = StageCache(asker.transport, "work")
    await one.set_many({"a": b"1"}, 1e6)
    await one.set_many({"a": b"1"}, 1e6)
    return await one.get_many(["a"])


class Case(NamedTuple):
    run: Callable[[Asker], Awaitable[Any]]
    script: str = ""
    losses: int = 1


LOST = {
    "a commit": Case(whole_entry, "commit"),
    "a commit of a part": Case(part_of_an_entry, "commit"),
    "a commit of all kinds of things": Case(everything_a_step_may_write, "commit"),
    "a commit that waited": Case(commit_that_waits_for_room, "commit"),
    "an admission": Case(admission, "commit"),
    "a lease": Case(lease, "lease"),
    "a lease of one that is gone": Case(lease_of_one_that_is_gone, "lease"),
    "giving a lease back": Case(release, "release"),
    "a sign of life": Case(sign_of_life, "alive"),
    "moving what is due": Case(due, "due"),
    "a takeover": Case(takeover, "takeover"),
    "a scrub": Case(scrub, "scrub"),
    "marks": Case(marks, "claim"),
    "marks that are too many": Case(marks_that_are_too_many, "claim"),
    "reviving letters": Case(revived_letters, "leave"),
    "dropping letters": Case(dropped_letters, "leave"),
    "changing letters": Case(changed_letters, "amend"),
    "letters that move to a file": Case(letters_that_move_to_a_file, "shelve"),
    "a new name": Case(rename, "rename"),
    "a script that the server forgot": Case(script_that_the_server_forgot, "commit"),
    "a read": Case(read),
    "a read of what is pending": Case(read_of_what_is_pending),
    "positions": Case(positions, losses=2),
    "handing an entry on": Case(handed_on, "hand_on"),
    "trying alone": Case(tried_alone),
    "opening": Case(opening, "open"),
    "burying predecessors": Case(burial_of_predecessors),
    "asking who reads": Case(consumers),
    "looking": Case(looks, losses=3),
    "the cache": Case(cache),
}


async def result(case: Case, address: str, lane: Lane, lose: Callable[[str], None]) -> tuple[Any, dict[str, Any]]:
    async with worker(address, lane, "me") as transport:
        await transport.open(STAGES)
        said = await case.run(Asker(transport, lose))
        return said, await everything(transport)


@pytest.mark.parametrize("case", LOST.values(), ids=LOST)
async def test_a_lost_answer_leaves_what_an_answer_would_have_left(
    server: RunningServer, lane: Lane, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LIFETIME", 0.0)  # who is silent is gone at once
    answered = await result(case, server.address, lane, lambda _: None)
    async with cutting_proxy(server.socket) as proxy:
        lost = await result(case, proxy.address, Lane(f"{lane.pipeline}-cut"), proxy.cut)

    assert proxy.cuts == case.losses
    assert lost == answered


def test_every_script_is_in_the_table() -> None:
    folder = importlib.resources.files("intelstream.transport.scripts")
    scripts = {file.name.removesuffix(".lua") for file in folder.iterdir() if file.name.endswith(".lua")}

    assert {case.script for case in LOST.values()} - {""} == scripts
