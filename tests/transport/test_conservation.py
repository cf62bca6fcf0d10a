"""Whatever happens in whatever order, every message is in exactly one place, and the books agree.

More and longer runs: `pytest tests/transport/test_conservation.py --hypothesis-profile=thorough --timeout=0`.
"""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from hypothesis.stateful import run_state_machine_as_test as run_machine

from intelstream.transport import segments
from intelstream.transport.commit import Answer, Commit, Entry
from intelstream.transport.frames import OVERHEAD
from intelstream.transport.keeper import Keeper
from intelstream.transport.letters import DeadLetters
from intelstream.transport.link import Client
from intelstream.transport.names import GROUP, Lane
from intelstream.transport.shelf import Kept
from intelstream.transport.transport import Transport, entry
from services.servers import RunningServer
from transport.steps import bury, frame, going, numbers_of, put

T = TypeVar("T")
WORKERS = ("a", "b", "c")
FOR_EVER = 10_000_000
ROOM = 1_000_000_000
workers = st.sampled_from(WORKERS)


@dataclass(frozen=True)
class Held:
    """What a worker remembers of an entry that it was given; it may be long out of date."""

    worker: str
    entry: Entry


@dataclass(frozen=True)
class Plan:
    """What a commit does: one message or all, where to, with state or without; `lost` has it sent twice."""

    fate: str
    part: bool
    writes: bool
    due: int
    lost: bool


@dataclass(frozen=True)
class Place:
    """Where an entry is, as the server knows it."""

    owner: str | None
    position: str


plans = st.builds(
    Plan,
    fate=st.sampled_from(("onward", "later", "dead")),
    part=st.booleans(),
    writes=st.booleans(),
    due=st.integers(0, 9),
    lost=st.booleans(),
)


async def unheard(_: str) -> None:
    """Nobody reads what comes back: the rules do."""


class Messages(RuleBasedStateMachine):
    """Workers that read, commit, die, wake, take over, and put aside, on one lane of a real server."""

    held = Bundle("held")

    address: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.client = Client(self.address)
        self.lane = Lane(f"test-{secrets.token_hex(6)}")
        self.workers = {name: Transport(self.client, self.lane, name) for name in WORKERS}
        self.any = self.workers["a"]
        self.place = Path(tempfile.mkdtemp())
        self.letters = DeadLetters(self.any, self.place, most=0)
        self.admitted = 0
        self.added = 0  # to the state, by commits that were done
        self.known: dict[str, tuple[str, int]] = dict.fromkeys(WORKERS, ("0", 0))  # version and sum that each has read

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize(target=held)
    def begin(self) -> Any:
        """Have every worker hold something."""
        self.do(self.any.open(["work", "left"]))
        given: list[Held] = []
        for name in WORKERS:
            self.do(self._alive(name))
            self._admit(3)
            given += self._given(name, ">")
        return multiple(*given)

    async def _alive(self, name: str) -> None:
        await self.any.run("alive", [self.lane.alive(name)], "1", FOR_EVER)

    @rule(count=st.integers(1, 4))
    def admit(self, count: int) -> None:
        self._admit(count)

    def _admit(self, count: int) -> None:
        self.do(put(self.any, "work", *range(self.admitted, self.admitted + count)))
        self.admitted += count

    @rule(target=held, name=workers, start=st.sampled_from("0>"))
    def read(self, name: str, start: str) -> Any:
        return multiple(*self._given(name, start))

    def _given(self, name: str, start: str) -> list[Held]:
        return [Held(name, one) for one in self.do(self._read(name, start))]

    async def _read(self, name: str, start: str) -> list[Entry]:
        stream = self.lane.stream("work")
        found = await self.any.call("XREADGROUP", "GROUP", GROUP, name, "COUNT", 2, "STREAMS", stream, start)
        rows = [entry("work", row) for _, rows in found or () for row in rows]
        at = await self.any.positions("work", [row.id for row in rows])
        return [replace(row, position=place) for row, place in zip(rows, at, strict=True)]

    @rule(name=workers)
    def look_at_the_state(self, name: str) -> None:
        version, [total] = self.do(self.any.states("work", ["sum"]))
        self.known[name] = version, total or 0

    @rule(target=held, some=st.lists(st.tuples(held, plans), min_size=1, max_size=4))
    def commit(self, some: list[tuple[Held, Plan]]) -> Any:
        """Commit what workers remember, be it their own or not, and, if the answer is lost, again."""
        return multiple(*[rest for one, plan in some if (rest := self._commit(one, plan))])

    @rule(target=held, one=consumes(held), plan=plans)
    def commit_and_forget(self, one: Held, plan: Plan) -> Any:
        rest = self._commit(one, plan)
        return rest or multiple()

    def _commit(self, one: Held, plan: Plan) -> Held | None:
        """Return what the worker remembers then, if there is a rest."""
        start = int(one.entry.position or 0)
        left = numbers_of(one.entry.frame)[start:]
        ends = not plan.part or len(left) == 1
        taken = left if ends else left[:1]
        to = None if ends else str(start + 1)
        commit = self._step(one, plan, taken, to)
        expected = self._expected(one, to, commit.version)
        answer = self.do(self.workers[one.worker].commit(commit))
        assert answer is expected
        if plan.lost:
            again = self.do(self.workers[one.worker].commit(commit))
            assert again is (Answer.BEFORE if answer is Answer.DONE else answer)
        if answer is not Answer.DONE:
            return None
        self.added += len(taken) if plan.writes else 0
        return Held(one.worker, replace(one.entry, position=to)) if to else None

    def _step(self, one: Held, plan: Plan, taken: list[int], to: str | None) -> Commit:
        commit = Commit(self.lane, "work", one.worker)
        if plan.writes:
            commit.version, total = self.known[one.worker]
            commit.write("s:sum", total + len(taken))
        if plan.fate == "onward":
            commit.send(("left",), frame(*taken), len(taken))
        for number in taken:
            if plan.fate == "later":
                commit.delay("work", frame(number), plan.due)
            elif plan.fate == "dead":
                bury(commit, number)
        commit.take(one.entry, count=len(taken), to=to)
        return commit

    def _expected(self, one: Held, to: str | None, version: str) -> Answer:
        place = self.do(self._places()).get(one.entry.id)
        if place is None:
            return Answer.BEFORE
        if place.owner is None:
            return Answer.STRANDED
        if place.owner != one.worker:
            return Answer.FENCED
        if place.position != one.entry.position:
            return Answer.BEFORE if to == place.position else Answer.MOVED
        if version and version != self.do(self.any.states("work", ()))[0]:
            return Answer.STALE
        return Answer.DONE

    async def _places(self) -> dict[str, Place]:
        stream = self.lane.stream("work")
        owners = {row[0]: row[1].decode() for row in await self.any.call("XPENDING", stream, GROUP, "-", "+", 10_000)}
        ids = [id_ for id_, _ in await self.any.call("XRANGE", stream, "-", "+")]
        at = await self.any.positions("work", [id_.decode() for id_ in ids])
        return {id_.decode(): Place(owners.get(id_), place) for id_, place in zip(ids, at, strict=True)}

    @rule(name=workers)
    def wake(self, name: str) -> None:
        self.do(self._alive(name))

    @rule(by=workers, of=workers, dies=st.booleans(), lost=st.booleans())
    def take_over(self, by: str, of: str, dies: bool, lost: bool) -> None:  # noqa: FBT001 - choices
        if dies:
            self.do(self.any.call("DEL", self.lane.alive(of)))
        if by != of:
            keeper = Keeper(self.workers[by], ["work"], unheard, print)
            taken = [self.do(keeper.takeover("work", of)) for _ in range(2 if lost else 1)]
            assert sum(taken[1:]) == 0

    @rule(name=workers, by=workers)
    def delete_a_consumer_or_scrub(self, name: str, by: str) -> None:
        if name == by:
            self.do(self.any.call("XGROUP", "DELCONSUMER", self.lane.stream("work"), GROUP, name))
        else:
            self.do(Keeper(self.workers[by], ["work"], unheard, lambda *_: None).scrub())

    @rule(now=st.integers(0, 9), count=st.integers(1, 3))
    def due(self, now: int, count: int) -> None:
        self.do(self.any.run("due", [self.lane.later("work"), self.lane.stream("work")], now, count))

    @precondition(lambda self: self.admitted)
    @rule(count=st.integers(1, 3), lost=st.booleans(), drawn=st.data())
    def revive(self, count: int, lost: bool, drawn: st.DataObject) -> None:  # noqa: FBT001 - a choice
        found, _ = self.do(self.letters.page("work"))
        if found:
            some = drawn.draw(st.lists(st.sampled_from(found), max_size=count, unique_by=lambda one: one.id))
            self.do(self._revive(some, twice=lost))

    async def _revive(self, some: list[Kept], *, twice: bool = False) -> None:
        assert await self.letters.revive("work", going(some), "work", ROOM) == len(some)
        if twice:
            assert await self.letters.revive("work", going(some), "work", ROOM) == 0

    @rule(crash=st.booleans())
    def move_letters_to_a_file(self, crash: bool) -> None:  # noqa: FBT001 - a choice
        self.do(self._move(crash=crash))

    async def _move(self, *, crash: bool) -> None:
        """Have all letters lie in files; where the daemon is killed between file and script, the next one goes on."""
        letters = self.letters
        if crash:
            rows = await self.any.call("XRANGE", self.lane.dead("work"), "-", "+")
            if rows:
                found, _ = await letters.page("work")
                kept = [one.data for one in found if one.segment is None]
                segments.write(letters.directory / "work", kept, moved=True)
            self.letters = DeadLetters(self.any, self.place, most=0)
        else:
            await letters.relieve("work")

    @rule(lost=st.booleans())
    def bring_letters_back_that_are_there(self, lost: bool) -> None:  # noqa: FBT001 - a choice
        found, _ = self.do(self.letters.page("work"))
        for _ in range(2 if lost else 1):
            assert self.do(self.letters.adopt("work", [one.data for one in found])) == 0

    @invariant()
    def letters_are_counted(self) -> None:
        found, _ = self.do(self.letters.page("work", count=10_000))

        assert self.do(self.letters.count("work")) == len(found)

    @invariant()
    def every_message_is_in_one_place(self) -> None:
        waiting, later, dead, onward = self.do(self._everywhere())

        assert sorted(waiting + later + dead + onward) == list(range(self.admitted))

    async def _everywhere(self) -> tuple[list[int], list[int], list[int], list[int]]:
        call, lane = self.any.call, self.lane
        places = await self._places()
        waiting: list[int] = []
        size = 0
        for one in await self.any.peek("work", 10_000):
            waiting += numbers_of(one.frame)[int(places[one.id].position or 0) :]
            size += one.size
        bodies = await call("ZRANGE", lane.later("work"), 0, -1)
        later = [number for packed in bodies for number in numbers_of(packed)]
        size += sum(len(packed) + OVERHEAD for packed in bodies)
        dead = [one.data["number"] for one in (await self.letters.page("work", count=10_000))[0]]
        sent = await self.any.peek("left", 10_000)
        onward = [number for one in sent for number in numbers_of(one.frame)]
        sizes = await self.any.backlogs()
        expected = {
            "work:n": len(waiting) + len(later),
            "work:b": size,
            "left:n": len(onward),
            "left:b": sum(one.size for one in sent),
            "total": size + sum(one.size for one in sent),
        }
        assert {name: sizes.get(name, 0) for name in expected} == expected
        return waiting, later, dead, onward

    @invariant()
    def state_is_the_sum_of_what_was_done(self) -> None:
        assert (self.do(self.any.states("work", ["sum"]))[1][0] or 0) == self.added

    def teardown(self) -> None:
        """Let one worker finish everything: then all of it is onward, and nothing is left behind."""
        try:
            self.do(self._finish())
        finally:
            shutil.rmtree(self.place)
            self.do(self.client.close())
            self.runner.close()

    async def _finish(self) -> None:
        last = Transport(self.client, self.lane, "last")
        keeper = Keeper(last, ["work"], unheard, lambda *_: None)
        await self.any.call("DEL", *map(self.lane.alive, WORKERS))
        await self.any.run("due", [self.lane.later("work"), self.lane.stream("work")], FOR_EVER, 10_000)
        await self._revive((await self.letters.page("work", count=10_000))[0])
        await keeper.scrub()
        for name in WORKERS:
            await keeper.takeover("work", name)
        for start in ("0", ">"):
            while entries := await self._read("last", start):
                for one in entries:
                    rest = numbers_of(one.frame)[int(one.position or 0) :]
                    commit = Commit(self.lane, "work", "last")
                    commit.send(("left",), frame(*rest), len(rest))
                    commit.take(one, count=len(rest))
                    assert await last.commit(commit) is Answer.DONE
        _, _, _, onward = await self._everywhere()
        kept = await self.any.kept("work")
        assert sorted(onward) == list(range(self.admitted))
        assert not [name for name in kept if name.startswith(("at:", "tries:"))]


def test_every_message_is_in_one_place_whatever_happens(server: RunningServer) -> None:
    class OnThisServer(Messages):
        address = server.address

    thorough = settings.get_current_profile_name() == "thorough"
    # What fails is told as it was found: to make it smaller takes minutes, and the thorough profile does.
    phases = (Phase.reuse, Phase.generate)
    few = settings(max_examples=12, stateful_step_count=30, deadline=None, phases=phases)
    run_machine(OnThisServer, settings=settings() if thorough else few)
