"""What no editor writes: files that are no YAML, or made to do harm."""

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intelstream import config
from intelstream.errors import ConfigError

Faults = Callable[..., list[str]]
BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in pairwise("abcdefgh")
)
TEXTS: dict[str, tuple[str | bytes, str]] = {
    "a bracket": ("stages: {a: [1}", "pipeline.yaml:1:15: expected ',' or ']', but got '}'"),
    "a tab": ("stages:\n\ta: 1\n", "pipeline.yaml:2:1: found a tab; YAML is indented with spaces"),
    "two of a key": (
        "name: a\nname: b\nstages: {}",
        "pipeline.yaml:2:1: name: there are two of this name, the first in line 1",
    ),
    "not UTF-8": (b"name: caf\xe9\nstages: {}", "pipeline.yaml:1:10: byte 0xe9 is not UTF-8"),
    "UTF-16": ("stages: {}".encode("utf-16"), "is not UTF-8"),
    "a null byte": ("stages: {a\0b: 1}", "is not allowed"),
    "a cycle of aliases": ("stages: &x {a: *x}", "'*x' stands for something that it is a part of"),
    "an alias of nothing": ("stages: *x", "no anchor '&x' before this alias"),
    "a bomb": (f"{BOMB}stages: {{}}", "too much once its aliases are expanded"),
    "too deep": ("stages: " + "[" * 200 + "]" * 200, "nested deeper than 32 levels"),
    "too large": (b"#" * 1_048_577, "larger than 1024 KiB"),
    "an object of a language": ("stages: !!python/object/apply:os.system [id]", "tags such as"),
    "a list as a name": ("? [a]\n: b\nstages: {}", "expected a name"),
    "a colon for a stage": ("stages: {a: {use: ':', to: a}}", "not allowed by the host file's `plugins`"),
    "two documents": ("stages: {}\n---\nstages: {}", "expected one document"),
    "a merge": ("stages: {a: &a {use: x}, b: {<<: *a}}", "merging is not supported"),
    "a number beyond all": (f"stages: {{a: {'9' * 5000}}}", "expected a mapping"),
}


@pytest.mark.parametrize(("text", "said"), TEXTS.values(), ids=TEXTS)
def test_what_is_hostile_or_broken_is_a_fault(text: str | bytes, said: str, faults: Faults) -> None:
    assert any(said in fault for fault in faults(text)), faults(text)


def test_a_pipe_for_a_file_is_a_fault(here: Path, faults: Faults) -> None:
    os.mkfifo(here / "more.yaml")

    assert any("there is no such file" in fault for fault in faults("include: more.yaml\nstages: {}"))


def test_a_template_that_is_a_bomb_is_a_fault(faults: Faults) -> None:
    items = ", ".join(["{n: 1}"] * 2_000)
    stages = ", ".join(f"'s{n}-{{n}}': {{use: experts.taxonomy, to: x}}" for n in range(1_000))

    found = faults(f"templates:\n  many:\n    for_each: [{items}]\n    stages: {{{stages}}}\nstages: {{}}")

    assert "pipeline.yaml:3:5: templates.many.for_each: too much once it is made for each item" in found


WHOLE = """\
name: cert-demo
ontology: {org.case: Text}
templates:
  lists:
    for_each: [{name: one, port: 80}, {name: two, port: 22}]
    stages:
      "{name}": {feed: abuse_ch.feodotracker, every: 10m, set: {source.port: "{port}"}, to: dedup}
stages:
  fetch:
    use: collectors.http
    with: {url: "https://x.example", token: "${env:TOKEN}", headers: {X-Key: "a ${env:TOKEN}"}, timeout: 1m}
    labels: {provider: Partner, accuracy: 80}
    cron: "30 4 * * *"
    to: rows
  rows: {use: parsers.csv, with: {columns: [time.source, {to: source.ip}, ~]}, max_bad: 10 %, to: dedup}
  dedup: {use: experts.deduplicate, with: {ttl: 1d}, retry: {attempts: 1}, to: {default: [files], error: files}}
  files: {use: outputs.file, with: {path: events.jsonl}}
"""
TOKEN = "s3cret-of-the-environment"  # noqa: S105 - stands for one
PIECES = st.sampled_from(
    [
        *("~[]{}'\"*&:-?|>@%!,\0\t\né"),
        *("\n  ", ": ", "- ", "null", "true", "-1", "1e999", "9" * 40, "..", "/", "{name}", "source.ip", "rows"),
        *("${env:TOKEN}", "${env:NO}", "${file:/etc/passwd}", "$${", "*a", "&a ", "<<: ", "!!int ", "---\n"),
        *("with: ", "to: ", "use: ", "feed: ", "stages:\n", "for_each: ", "include: ", "feeds: "),
    ]
)
EDITS = st.lists(st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 12), PIECES | st.just("")), max_size=6)


@settings(max_examples=300, deadline=None)
@given(EDITS)
def test_whatever_the_text_there_are_specs_or_faults_and_no_secret_is_told(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "pipeline.yaml"
    text = WHOLE
    for place, length, piece in edits:
        text = text[:place] + piece + text[place + length :]
    try:
        host = config.load_host(None, path, state_dir=None, env={})
        told = repr(config.load(path, host, env={"TOKEN": TOKEN}, text=text))
    except ConfigError as error:
        told = str(error)
        faults = error.faults
    else:
        faults = ()

    assert TOKEN not in told
    assert all(fault.line > 0 and fault.column > 0 and fault.text for fault in faults)
