from itertools import pairwise

import pytest

from intelstream.config.pipeline import load
from intelstream.errors import ConfigError

GOOD = """\
name: cert-demo
stages:
  feodo:    {feed: abuse_ch.feodotracker, every: 10m, to: dedup}
  inbox:    {use: collectors.file, with: {path: "inbox/*.csv"}, labels: {provider: Partner}, to: rows}
  rows:
    use: parsers.csv
    with: {columns: [time.source, source.ip, source.port, ~]}
    set: {classification.type: scanner}
    to: dedup
  dedup:    {use: experts.deduplicate, with: {ttl: 1d}, to: taxonomy}
  taxonomy: {use: experts.taxonomy, to: {default: [files, search], error: review}}
  files:    {use: outputs.file, with: {path: events.jsonl}}
  search:   {use: outputs.elasticsearch, with: {url: "https://es.example", token: "${env:ES_TOKEN}"}}
  review:   {use: outputs.file, with: {path: review.jsonl}}
"""

BAD = """\
name: cert-demo
stages:
  inbox:
    use: collectors.file
    with: {path: "inbox/*.csv", max_bytes: 256MB}
    to: rows
  rows:
    use: parsers.csv
    with:
      columns: [time.source, source.ipp]
    set: {classification.type: scaner}
    to: [dedup, taxonmy]
  dedup: {use: experts.deduplicat, to: taxonomy}
  taxonomy:
    use: experts.taxonomy
    with: {overwrit: always}
    too: files
  mine: {use: experts.filter, with: {keep: "source.asn:1"}, to: {default: files, othr: files}}
  files: {use: outputs.elasticsearch, with: {url: "https://es.example", token: "${env:ES_TOKEN}"}}
  files: {use: outputs.file, with: {path: x}}
"""

SEEN = """\
pipeline.yaml:5:33: stages.inbox.with.max_bytes: expected a size such as 256MiB
pipeline.yaml:10:30: stages.rows.with.columns.1: no such field; did you mean 'source.ip'?
pipeline.yaml:11:11: stages.rows.set.classification.type: not in the vocabulary, got 'scaner'
pipeline.yaml:12:5: stages.rows.to: no stage 'taxonmy'; did you mean 'taxonomy'?
pipeline.yaml:13:11: stages.dedup.use: experts.deduplicat: no such stage; did you mean 'experts.deduplicate'?
pipeline.yaml:16:12: stages.taxonomy.with.overwrit: unknown name; did you mean 'overwrite'?
pipeline.yaml:17:5: stages.taxonomy.too: unknown name; did you mean 'to'?
pipeline.yaml:18:3: warning: stages.mine: path 'match' is not connected: what takes it is dropped
pipeline.yaml:18:3: warning: stages.mine: path 'other' is not connected: what takes it is dropped
pipeline.yaml:18:82: stages.mine.to.othr: no such path; did you mean 'other'?
pipeline.yaml:19:73: stages.files.with.token: ES_TOKEN is not set in the environment
pipeline.yaml:20:3: stages.files: there are two of this name"""


def faults(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, env={})
    return str(caught.value)


def test_a_good_file_becomes_stages() -> None:
    pipeline: PipelineSpec = load(GOOD, env={"ES_TOKEN": "secret"})

    assert pipeline.warnings == ()
    assert list(pipeline.stages)[:2] == ["feodo", "feodo.parser"]
    assert pipeline.stages["feodo"].every == 600
    assert pipeline.stages["feodo"].labels["name"] == "Feodo Tracker"
    assert pipeline.stages["feodo.parser"].to == {"default": ("dedup",)}
    assert pipeline.stages["feodo.parser"].set == {"classification.type": "c2-server"}
    assert "secret" not in repr(pipeline)


def test_all_faults_come_at_once_with_their_places() -> None:
    assert faults(BAD) == SEEN


def test_yaml_that_cannot_be_read_has_a_place_too() -> None:
    assert faults("stages: {a: [1}") == "pipeline.yaml:1:15: expected ',' or ']', but got '}'"


HOSTILE = {
    "a cycle of aliases": ("stages: &x {a: *x}", "does an alias stand for itself?"),
    "a bomb": (
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in pairwise("abcdefgh"))
        + "stages: {}",
        "too large",
    ),
    "a list as a name": ("? [a]\n: b\nstages: {}", "expected a name"),
    "a colon for a stage": ("stages: {a: {use: ':', to: a}}", "no such stage"),
    "nothing": ("", "expected a mapping of stages"),
}


@pytest.mark.parametrize(("text", "said"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_hostile_is_a_fault_too(text: str, said: str) -> None:
    assert said in faults(text)


def test_a_cycle_is_named() -> None:
    text = "stages:\n  a: {use: experts.taxonomy, to: b}\n  b: {use: experts.taxonomy, to: a}\n"

    assert "a cycle: a -> b -> a" in faults(text) or "a cycle: b -> a -> b" in faults(text)


def test_classes_come_only_from_allowed_packages() -> None:
    assert "not allowed by the host file's `plugins`" in faults("stages: {a: {use: 'os:system', to: a}}")
