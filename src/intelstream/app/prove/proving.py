"""Runs a proof: releases events, does faults, waits until all is through, and compares."""

import asyncio
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from intelstream.app.prove.closing import Entry, acknowledged, open_gate, write_sources
from intelstream.app.prove.daemons import PATIENCE, ProofBroken, ServerUnderProof, UnderProof, cleared
from intelstream.app.prove.expected import Expected, letter_of
from intelstream.app.prove.faults import Blow, Kind, Victims, beside, planned
from intelstream.app.prove.ledger import Ledger
from intelstream.app.prove.oracle import foretold
from intelstream.app.prove.proof import Proof
from intelstream.app.prove.proxy import cutting_proxy
from intelstream.app.prove.report import Findings, counts_of
from intelstream.app.prove.underproof import second_dir
from intelstream.app.prove.verdict import judged, judged_sums
from intelstream.runtime.spec import PipelineSpec
from intelstream.transport.letters import EMPTY, DeadLetters
from intelstream.transport.link import Client
from intelstream.transport.names import Lane
from intelstream.transport.transport import Transport

STILL: Final = 2.0  # seconds in which nothing more comes, so that everything is out: several turns of a timer
LOOK: Final = 0.1
FLOWS_WITHIN: Final = 5.0
AHEAD: Final = 3  # shares of the events that are released before the first fault
STEPS: Final = 10  # parts of a share
DROPPED: Final = "dropped:"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a proof has come: events that are acknowledged, and faults done."""

    doing: str
    acknowledged: int
    events: int
    faults: int
    planned: int


class Proving:
    """One run of a proof."""

    def __init__(
        self,
        proof: Proof,
        kills: int,
        on_progress: Callable[[Progress], None] = lambda _: None,
        *,
        only: Collection[Kind] = (),
    ) -> None:
        self.proof = proof
        self.entries: list[Entry] = []
        self._kills = kills
        self._only = only
        self._blows: list[Blow] = []
        self._on_progress = on_progress
        self._done = 0

    async def run(self, events_file: Path | None = None) -> Findings:
        """Prove it.

        Raises:
            ConfigError: the pipeline or the file of events is wrong.
        """
        begun = time.monotonic()
        proof = self.proof
        proof.directory.mkdir(parents=True, exist_ok=True)
        proof.save()
        self.entries = proof.entries()
        spec, _ = proof.specs()
        self._tell("foretelling")
        await asyncio.to_thread(write_sources, self.entries, proof.directory, proof.seed, events_file)
        expected = await foretold(spec, self.entries, proof.directory)
        ledger = Ledger(spec, proof.directory)
        findings = Findings(
            pipeline=spec.name, seed=proof.seed, taken=expected.taken, unjudged=tuple(expected.unjudged)
        )
        async with cutting_proxy(lambda: proof.socket) as proxy:
            daemon, second = (UnderProof(proof, proxy.address, second=which) for which in (False, True))
            async with cleared(proof, daemon, second):
                try:
                    await daemon.start()
                    status = await daemon.ask("/status")
                    self._blows = planned(self._kills, proof.seed, workers=bool(beside(status)), only=self._only)
                    victims = Victims(daemon, second, ServerUnderProof(proof.socket), proxy)
                    await self._strike(victims, findings)
                    findings.faults["cut"] = proxy.cuts
                    counted = await self._drained(victims, expected, ledger)
                    await self._judge_letters(spec, expected, findings)
                    findings.dropped = counts_of(expected.dropped, counted, sure=not expected.twins)
                    await self._end(daemon)
                except ProofBroken as error:
                    findings.troubles.append(str(error))
        findings.acknowledged = self._acknowledged()
        _judge_sinks(expected, ledger, findings)
        findings.seconds = time.monotonic() - begun
        return findings

    async def _strike(self, victims: Victims, findings: Findings) -> None:
        """Release a share of the events up to each fault, the rest after the last one."""
        shares = len(self._blows) + AHEAD
        for place, blow in enumerate(self._blows):
            self._done = place
            await self._moment(victims.daemon, blow, (place + AHEAD) / shares, 1 / shares)
            self._tell(blow.kind)
            if await victims.strike(blow):
                findings.faults[blow.kind] += 1
            if not victims.daemon.running:
                raise ProofBroken(f"running the daemon: it ended by itself, see {victims.daemon.log}")
        self._done = len(self._blows)
        open_gate(self.proof.directory, 1.0)

    async def _moment(self, daemon: UnderProof, blow: Blow, upto: float, share: float) -> None:
        """Wait for the moment of a fault: while the daemon starts, or while messages flow, a few more at each step."""
        if blow.early:
            open_gate(self.proof.directory, upto)
            await asyncio.sleep(blow.after)
            return
        await daemon.ask("/status")
        before, deadline = self._acknowledged(), time.monotonic() + FLOWS_WITHIN
        for step in range(1, STEPS + 1):
            open_gate(self.proof.directory, upto - share + share * step / STEPS)
            while self._acknowledged() == before and time.monotonic() < deadline:  # noqa: ASYNC110 - in a file
                await asyncio.sleep(0.01)
            await asyncio.sleep(blow.after / STEPS)

    async def _drained(self, victims: Victims, expected: Expected, ledger: Ledger) -> Mapping[tuple[str, str], int]:
        """Wait until everything is through and nothing more comes; return what was dropped, by stage and reason.

        Raises:
            ProofBroken: nothing moves any more, but not everything is through.
        """
        last: Any = None
        since = time.monotonic()
        while True:
            queues = await victims.daemon.ask("/queues")
            now = (queues, self._acknowledged(), ledger.size())
            if now != last:
                last, since = now, time.monotonic()
            still = time.monotonic() - since
            waiting = {one["stage"]: one["messages"] + one["retrying"] for one in queues}
            through = self._acknowledged() == expected.taken and not any(waiting.values())
            if through and still > STILL:
                return {
                    (one["stage"], name.removeprefix(DROPPED)): number
                    for one in queues
                    for name, number in one["counters"].items()
                    if name.startswith(DROPPED) and number
                }
            if still > PATIENCE:
                stuck = {stage: number for stage, number in waiting.items() if number}
                raise ProofBroken(f"waiting for the rest: nothing has moved for {PATIENCE:g} s; it waits at {stuck}")
            self._tell("draining")
            await asyncio.sleep(LOOK)

    async def _judge_letters(self, spec: PipelineSpec, expected: Expected, findings: Findings) -> None:
        """Read all dead letters and compare them."""
        client = Client(f"unix://{self.proof.socket}")
        try:
            transport = Transport(client, Lane(spec.name), "prover")
            places = (self.proof.state_dir, second_dir(self.proof))  # each daemon has files of its own
            for stage in spec.stages:
                found: defaultdict[str, list[bytes]] = defaultdict(list)
                seen: set[str] = set()
                for letters in [DeadLetters(transport, place / "dead") for place in places]:
                    after = EMPTY
                    while after:
                        page, after = await letters.page(stage, after)
                        for letter in page:
                            if letter.id not in seen:
                                who, what = letter_of(letter.data)
                                found[who].append(what)
                        seen.update(letter.id for letter in page)
                wanted = expected.dead[stage]
                if found or wanted:
                    findings.dead.append(judged(stage, wanted, found, expected.rivalry(stage)))
        finally:
            await client.close()

    async def _end(self, daemon: UnderProof) -> None:
        """Stop the daemon as an operator would.

        Raises:
            ProofBroken: it does not end, or with an error.
        """
        daemon.signal(signal.SIGTERM)
        if code := await daemon.ended():
            raise ProofBroken(f"stopping the daemon: it ended with code {code}, see {daemon.log}")

    def _acknowledged(self) -> int:
        return sum(acknowledged(self.proof.directory, one.stage.name) for one in self.entries)

    def _tell(self, doing: str) -> None:
        self._on_progress(Progress(doing, self._acknowledged(), self.proof.events, self._done, len(self._blows)))


def _judge_sinks(expected: Expected, ledger: Ledger, findings: Findings) -> None:
    for sink, wanted in expected.sinks.items():
        findings.verdicts.append(judged(sink, wanted, ledger.contents(sink), expected.rivalry(sink)))
    for sink, sums in expected.sums.items():
        findings.verdicts.append(judged_sums(sink, sums, ledger.sums(sink)))
