"""What an editor is told: it takes what can be loaded, and marks what is plainly wrong."""

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from intelstream import catalog
from intelstream.config import schema
from intelstream.config.entries import Entry, TopKeys
from intelstream.formats import yaml

PIPELINE = Draft202012Validator(schema.pipeline_schema())
HOST = Draft202012Validator(schema.host_schema())
GOOD = """\
name: cert-demo
ontology: {org.case: Text, org.tags: [Text]}
include: stages.d/*.yaml
templates:
  shadow:
    for_each: [one, two]
    stages:
      "shadow-{item}": {feed: abuse_ch.feodotracker, to: dedup}
stages:
  feodo: {feed: abuse_ch.feodotracker, sample: true, every: 10m, parser: {set: {tlp: RED}}, to: dedup}
  mine: {feed: ours.bad_hosts, to: dedup}
  fetch:
    use: collectors.http
    with: {url: "https://x.example", token: "${env:TOKEN}", verify: "${env:VERIFY}", timeout: 1m, max_bytes: 1GiB}
    cron: "30 4 * * *"
    timezone: Europe/Vienna
    labels: {provider: Partner, accuracy: 80}
    to: rows
  rows:
    use: parsers.csv
    with: {columns: [time.source, source.ip, [source.port, ~], {to: comment, as: lower}, ~]}
    set: {classification.type: scanner}
    max_bad: 10 %
    to: dedup
  dedup: {use: experts.deduplicate, with: {ttl: 1d, ignore: [raw]}, retry: {attempts: 1}, to: {default: [files], error: files}}
  foreign: {use: "ours.stages:Mine", with: {anything: 1}, to: files}
  files: {use: outputs.file, with: {path: events.jsonl}, backlog: 1000}
"""  # noqa: E501 - as people write it


def told(validator: Draft202012Validator, text: str) -> Iterator[tuple[str, str]]:
    for error in validator.iter_errors(yaml.read(text, "x.yaml").value):
        yield ".".join(map(str, error.absolute_path)), error.message


def test_the_schemas_are_schemas() -> None:
    Draft202012Validator.check_schema(schema.pipeline_schema())
    Draft202012Validator.check_schema(schema.host_schema())


def test_what_can_be_loaded_is_not_marked() -> None:
    assert list(told(PIPELINE, GOOD)) == []


MARKED = {
    "a key": ("to: rows", "too: rows", "stages.fetch"),
    "a top key": ("name: cert", "nmae: cert", ""),
    "a stage": ("use: experts.deduplicate", "use: experts.dedup", "stages.dedup.use"),
    "a parameter": ("ttl: 1d", "tll: 1d", "stages.dedup.with"),
    "a value": ("timeout: 1m", "timeout: 1 minute", "stages.fetch.with.timeout"),
    "a missing parameter": ("path: events.jsonl", "", "stages.files.with"),
    "missing parameters": (", with: {path: events.jsonl}", "", "stages.files"),
    "a key of another kind": ("backlog: 1000", "every: 1h", "stages.files"),
    "a label": ("accuracy: 80", "accurcy: 80", "stages.fetch.labels"),
    "a type": ("org.case: Text", "org.case: Txt", "ontology.org.case"),
    "a name": ("rows:\n", "Rows:\n", "stages"),
    "both": ("use: outputs.file", "use: outputs.file, feed: abuse_ch.feodotracker", "stages.files"),
    "a column": ("as: lower", "ass: lower", "stages.rows.with.columns"),
    "a template": ("for_each:", "for_eac:", "templates.shadow"),
    "a key of feeds": ("backlog: 1000", "sample: true", "stages.files"),
}


@pytest.mark.parametrize(("before", "after", "place"), MARKED.values(), ids=MARKED)
def test_what_is_wrong_is_marked_at_its_place(before: str, after: str, place: str) -> None:
    assert before in GOOD
    assert place in [found for found, _ in told(PIPELINE, GOOD.replace(before, after, 1))]


def test_every_stage_and_every_feed_is_offered() -> None:
    entry: dict[str, Any] = schema.pipeline_schema()["$defs"]["entry"]["properties"]

    assert entry["use"]["anyOf"][0]["enum"] == list(catalog.names())
    assert entry["feed"]["anyOf"][0]["enum"] == sorted(catalog.feed_names())


def test_every_engine_key_is_described() -> None:
    whole = schema.pipeline_schema()

    for model, described in ((Entry, whole["$defs"]["entry"]), (TopKeys, whole)):
        names = {info.alias or name for name, info in model.model_fields.items()}
        assert set(described["properties"]) == names
        assert all(one.get("description") for one in described["properties"].values())


def test_the_same_schema_comes_each_time() -> None:
    assert schema.pipeline_schema() == schema.pipeline_schema()


def test_the_host_file_has_one_too() -> None:
    good = "memory: 1GiB\nserver: auto\nplugins: [ours]\nfiles: {read: [x], write: y, secrets: [z]}\n"

    assert list(told(HOST, good)) == []
    assert [place for place, _ in told(HOST, "memory: much\nfiles: {wirte: x}")] == ["memory", "files"]
