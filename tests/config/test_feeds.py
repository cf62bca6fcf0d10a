"""Entries with `feed`: the built-in feeds, those of the user, and their samples."""

from collections.abc import Callable
from typing import Any

import pytest

from intelstream import testing
from intelstream.config import Loaded

Load = Callable[..., Loaded]
Faults = Callable[..., list[str]]
FILES = "files: {use: outputs.file, with: {path: x}}"
FEED = """\
name: Bad hosts
provider: Ours
summary: What we have seen.
documentation: https://ours.example/
terms: internal
auth: none
verified: never
every: 5m
tags: [ours]
collector: {use: collectors.http, with: {url: "https://ours.example/list.csv"}}
parser:
  use: parsers.csv
  with: {columns: [source.ip], delimiter: ";"}
  set: {classification.type: blacklist, tlp: GREEN}
"""
OWN = {"feeds/ours/bad_hosts/feed.yaml": FEED, "feeds/ours/bad_hosts/sample.csv": "192.0.2.1\n"}


def pipeline(entry: str) -> str:
    return f"feeds: feeds\nstages:\n  mine: {{feed: ours.bad_hosts, to: files{entry}}}\n  {FILES}\n"


def test_a_feed_of_the_user_is_one_like_any_other(load: Load) -> None:
    stages = load(pipeline(""), files=OWN).pipeline.stages

    assert (stages["mine"].every, set(stages["mine"].tags)) == (300, {"ours"})
    assert dict(stages["mine"].labels) == {
        "provider": "Ours",
        "name": "Bad hosts",
        "documentation": "https://ours.example/",
    }
    assert stages["mine.parser"].set == {"classification.type": "blacklist", "tlp": "GREEN"}


def test_what_an_entry_says_comes_before_what_its_feed_says(load: Load) -> None:
    entry = ", every: 1h, labels: {name: Ours}, with: {timeout: 1m}, set: {tlp: RED}, max_bad: 1 %, was: old"
    parser = ", parser: {with: {delimiter: ','}, set: {classification.type: scanner}}"
    stages = load(pipeline(entry + parser), files=OWN).pipeline.stages
    first, second = stages["mine"], stages["mine.parser"]

    assert (first.every, first.labels["name"], first.was) == (3600, "Ours", "old")
    assert first.params.model_dump(include={"url", "timeout"}) == {
        "url": "https://ours.example/list.csv",
        "timeout": 60.0,
    }
    assert second.params.model_dump(include={"delimiter"}) == {"delimiter": ","}
    assert second.set == {"classification.type": "scanner", "tlp": "RED"}
    assert (second.max_bad, second.was) == (0.01, "old.parser")


def test_another_parser_has_none_of_the_parameters_of_the_feed_s(load: Load) -> None:
    other = ", parser: {use: parsers.json_lines, with: {columns: {ip: source.ip}}}"
    parser = load(pipeline(other), files=OWN).pipeline.stages["mine.parser"]

    assert parser.use == "parsers.json_lines"
    assert parser.set["classification.type"] == "blacklist"


async def test_a_sample_is_read_instead_of_the_feed(load: Load) -> None:
    text = f"stages:\n  feodo: {{feed: abuse_ch.feodotracker, sample: true, to: files}}\n  {FILES}\n"
    stages = load(text).pipeline.stages
    first, second = stages["feodo"], stages["feodo.parser"]

    read = await testing.run_stage(first.stage, first.params.model_dump())
    parsed = await testing.run_stage(second.stage, second.params.model_dump(by_alias=True), read.messages["default"])

    assert first.use == "collectors.file"
    assert len(parsed.outputs["default"]) > 0


def test_with_a_sample_the_parameters_of_the_collector_are_not_used(load: Load) -> None:
    entry = ', sample: true, with: {token: "${env:NOT_SET}"}'

    assert load(pipeline(entry), files=OWN).pipeline.stages["mine"].use == "collectors.file"


def test_nothing_in_a_feed_reads_the_environment(load: Load) -> None:
    feed = FEED.replace("list.csv", "${env:HOME}")
    collector: Any = load(pipeline(""), files=OWN | {"feeds/ours/bad_hosts/feed.yaml": feed}).pipeline.stages["mine"]

    assert collector.params.url == "https://ours.example/${env:HOME}"


NEAR = "unknown name; did you mean"
WRONG = {
    "a parameter of the collector": (", with: {tiemout: 1m}", f"with.tiemout: {NEAR} 'timeout'?"),
    "a parameter of the parser": (", parser: {with: {delimter: x}}", f"parser.with.delimter: {NEAR} 'delimiter'?"),
    "a key of the parser": (", parser: {wiht: {}}", f"parser.wiht: {NEAR} 'with'?"),
    "a value of a field": (", set: {tlp: PINK}", "pipeline.yaml:3:49: stages.mine.set.tlp: not in the vocabulary"),
    "a value of a field, of the parser": (
        ", parser: {set: {tlp: PINK}}",
        "pipeline.yaml:3:58: stages.mine.parser.set.tlp: not in the vocabulary",
    ),
}


@pytest.mark.parametrize(("entry", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_the_entry_of_a_feed_is_told(entry: str, said: str, faults: Faults) -> None:
    [found] = faults(pipeline(entry), files=OWN)

    assert said in found


BROKEN = {
    "a parameter": ("source.ip", "source.ipp", "bad_hosts/feed.yaml:13:20: parser.with.columns.0: no such field"),
    "a value": ("GREEN", "PINK", "bad_hosts/feed.yaml:14:41: parser.set.tlp: not in the vocabulary"),
    "its form": ("auth: none", "auth: nothing", "bad_hosts/feed.yaml:6:1: auth: "),
}


@pytest.mark.parametrize(("before", "after", "said"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_in_the_file_of_a_feed_stands_there(before: str, after: str, said: str, faults: Faults) -> None:
    found = faults(pipeline(""), files=OWN | {"feeds/ours/bad_hosts/feed.yaml": FEED.replace(before, after)})

    assert any(said in fault for fault in found), found


def test_a_feed_that_is_not_there_is_a_fault(faults: Faults) -> None:
    [wrong] = faults(pipeline("").replace("ours.bad_hosts", "ours.bad_host"), files=OWN)

    assert wrong == "pipeline.yaml:3:10: stages.mine.feed: ours.bad_host: no such feed; did you mean 'ours.bad_hosts'?"


def test_a_sample_that_is_not_there_is_a_fault(faults: Faults) -> None:
    found = faults(pipeline(", sample: true"), files={"feeds/ours/bad_hosts/feed.yaml": FEED})

    assert found == ["pipeline.yaml:3:43: stages.mine.sample: ours.bad_hosts has no sample"]
