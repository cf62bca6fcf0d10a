"""What a proof makes of what it finds: what is missing is lost, what is there too often doubled, else altered."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from intelstream.app.prove.closing import closed, entries
from intelstream.app.prove.expected import Rivalry, content_of
from intelstream.app.prove.faults import planned
from intelstream.app.prove.ledger import Ledger
from intelstream.app.prove.stages import NUMBER
from intelstream.app.prove.verdict import Verdict, judged, judged_sums
from pipelines import pipeline, stage

A, B, C = b"a", b"b", b"c"
CASES: Mapping[str, tuple[dict[str, tuple[bytes, ...]], dict[str, list[bytes]], tuple[int, int, int]]] = {
    "all is there": ({"1": (A, B), "2": (A,)}, {"1": [B, A], "2": [A]}, (0, 0, 0)),
    "one is missing": ({"1": (A, B)}, {"1": [A]}, (1, 0, 0)),
    "one event is missing": ({"1": (A, B), "2": (C,)}, {"2": [C]}, (2, 0, 0)),
    "one is there twice": ({"1": (A, B)}, {"1": [A, B, B]}, (0, 1, 0)),
    "one is another one": ({"1": (A, B)}, {"1": [A, C]}, (0, 0, 1)),
    "one is another one and there twice": ({"1": (A,)}, {"1": [C, C]}, (0, 1, 1)),
    "two that may be equal": ({"1": (A, A)}, {"1": [A, A]}, (0, 0, 0)),
    "one of two equal is missing": ({"1": (A, A)}, {"1": [A]}, (1, 0, 0)),
    "what nobody sent": ({}, {"9": [A]}, (0, 1, 0)),
    "without a number by content": ({"": (A, B)}, {"": [A, A]}, (1, 1, 0)),
}
RIVALS: Mapping[str, tuple[dict[str, list[bytes]], tuple[int, int, int]]] = {
    "one of two": ({"1": [A]}, (0, 0, 0)),
    "the other one": ({"2": [B]}, (0, 0, 0)),
    "both": ({"1": [A], "2": [B]}, (0, 1, 0)),
    "none": ({}, (1, 0, 0)),
    "one twice": ({"1": [A, A]}, (0, 1, 0)),
    "one as another": ({"1": [B]}, (0, 0, 1)),
}

MINE: Sequence[Any] = (
    stage("list", "collectors.http", "rows", {"url": "http://127.0.0.1:1/"}, tags=frozenset({"partner"})),
    stage("rows", "parsers.csv", "seen", {"columns": ["source.ip"]}, set={"classification.type": "scanner"}),
    stage("push", "collectors.api", "seen", {"accepts": "events", "listen": "127.0.0.1:1"}),
    stage("seen", "experts.deduplicate", "far"),
    stage("far", "outputs.http", None, {"url": "http://127.0.0.1:1/"}),
)


def numbers(verdict: Verdict) -> tuple[int, int, int]:
    return verdict.lost, verdict.doubled, verdict.altered


@pytest.mark.parametrize(("expected", "found", "wrong"), CASES.values(), ids=CASES)
def test_what_is_wrong_is_counted(
    expected: dict[str, tuple[bytes, ...]], found: dict[str, list[bytes]], wrong: tuple[int, int, int]
) -> None:
    verdict = judged("sink", expected, found)

    assert numbers(verdict) == wrong
    assert bool(verdict.named) is not verdict.good


@pytest.mark.parametrize(("found", "wrong"), RIVALS.values(), ids=RIVALS)
def test_of_rivals_exactly_one_has_to_be_there(found: dict[str, list[bytes]], wrong: tuple[int, int, int]) -> None:
    verdict = judged("sink", {"1": (A,), "2": (B,)}, found, Rivalry([frozenset({"1", "2"})]))

    assert numbers(verdict) == wrong


def test_counts_are_compared_by_group() -> None:
    verdict = judged_sums("sums", Counter(spam=5, scanner=3), Counter(spam=4, scanner=5))

    assert numbers(verdict) == (1, 2, 0)


def test_a_torn_line_is_no_event(tmp_path: Path) -> None:
    fields = {NUMBER: "1", "source.ip": "192.0.2.1"}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "far.jsonl").write_bytes(orjson.dumps(fields) + b'\n{"extra.proof": "2", "sour')

    assert Ledger(pipeline(*MINE), tmp_path).contents("far") == {"1": [content_of(fields)]}


def test_faults_and_their_moments_follow_from_the_seed() -> None:
    once, again, other = planned(20, 1, workers=False), planned(20, 1, workers=False), planned(20, 2, workers=False)

    assert once == again != other
    assert Counter(one.kind for one in once) == {"daemon": 20, "server": 4, "cut": 4, "fill": 1, "stop": 1}
    assert Counter(one.kind for one in planned(20, 1, workers=True))["worker"] == 10


def test_a_closed_pipeline_has_our_sources_at_the_exits_of_parsers_and_only_records(tmp_path: Path) -> None:
    spec = pipeline(*MINE)
    made = entries(spec, 11, parses=False)
    found = closed(spec, tmp_path, 11, 0, parses=False)

    assert [(one.stage.name, one.first, one.lines) for one in made] == [("rows", 0, 6), ("push", 6, 5)]
    assert made[0].tags == {"partner"}
    assert {name: one.use.rpartition(":")[2] for name, one in found.stages.items()} == {
        "rows": "Source",
        "push": "Source",
        "seen": "experts.deduplicate",
        "far": "outputs.file",
    }
    assert found.stages["far"].params.model_dump()["path"] == tmp_path / "out" / "far.jsonl"
