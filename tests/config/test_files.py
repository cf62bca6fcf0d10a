"""Included files and templates: where stages come from beside the pipeline file itself."""

from collections.abc import Callable
from pathlib import Path

import pytest

from intelstream.config import Loaded

Load = Callable[..., Loaded]
Faults = Callable[..., list[str]]
MAIN = """\
include: stages.d/*.yaml
stages:
  files: {use: outputs.file, with: {path: x}}
"""
PARTNER = """\
stages:
  inbox: {use: collectors.file, with: {path: inbox}, to: rows}
  rows: {use: parsers.csv, with: {columns: [source.ip]}, to: files}
"""
TEMPLATE = """\
templates:
  shadow:
    for_each:
      - {report: scan-http, port: 80, field: source.ip}
      - {report: scan-ssh, port: 22, field: source.ip}
    stages:
      "{report}":
        use: collectors.http
        with: {url: "https://x.example/{report}/{now:%Y}.csv", expand_url: true}
        to: "{report}-rows"
      "{report}-rows":
        use: parsers.csv
        with: {columns: ["{field}"]}
        set: {source.port: "{port}", classification.type: scanner}
        to: files
stages:
  files: {use: outputs.file, with: {path: x}}
"""


def test_stages_come_from_included_files_too(load: Load) -> None:
    loaded = load(MAIN, files={"stages.d/partner.yaml": PARTNER})

    assert list(loaded.pipeline.stages) == ["files", "inbox", "rows"]


def test_faults_of_an_included_file_stand_there_behind_those_of_the_first(faults: Faults) -> None:
    partner = PARTNER.replace("source.ip", "source.ipp").replace("to: files", "to: fils")

    assert faults(MAIN.replace("path", "pth"), files={"stages.d/partner.yaml": partner}) == [
        "pipeline.yaml:3:30: stages.files.with.path: is missing",
        "pipeline.yaml:3:37: stages.files.with.pth: unknown name; did you mean 'path'?",
        "stages.d/partner.yaml:3:45: stages.rows.with.columns.0: no such field; did you mean 'source.ip'?",
        "stages.d/partner.yaml:3:59: stages.rows.to: no stage 'fils'; did you mean 'files'?",
    ]


def test_two_stages_of_one_name_are_a_fault_across_files(faults: Faults) -> None:
    more = PARTNER + "  files: {use: outputs.file, with: {path: y}}\n"
    found = faults(MAIN, files={"stages.d/partner.yaml": more})

    said = "there are two of this name, 'files', the first in pipeline.yaml, line 3"
    assert found == [f"stages.d/partner.yaml:4:3: stages.files: {said}"]


WRONG = {
    "no stages": ("name: x\n", "stages.d/a.yaml:1:1: expected `stages`, a mapping"),
    "more than stages": (
        "name: x\nstages: {}\n",
        "stages.d/a.yaml:1:1: name: only `stages` may be in a file that is included",
    ),
    "no YAML": ("stages: [", "stages.d/a.yaml:1:10: "),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_an_included_file_has_stages_only(text: str, said: str, faults: Faults) -> None:
    assert any(fault.startswith(said) for fault in faults(MAIN, files={"stages.d/a.yaml": text}))


PATTERNS = {
    "up": ("../*.yaml", "expected a pattern of files below the directory of this one"),
    "absolute": ("/etc/*.yaml", "expected a pattern of files below the directory of this one"),
    "no such file": ("partner.yaml", "there is no such file"),
    "no match": ("none.d/*.yaml", "warning: include: there is no such file"),
    "a link that leads out": ("out/*", "leads out of the directory of this file"),
}


@pytest.mark.parametrize(("pattern", "said"), PATTERNS.values(), ids=PATTERNS)
def test_what_is_included_lies_below(pattern: str, said: str, faults: Faults, here: Path) -> None:
    (here / "out").symlink_to("/etc")

    assert any(said in fault for fault in faults(MAIN.replace("stages.d/*.yaml", pattern)))


def test_a_template_makes_its_stages_for_each_item(load: Load) -> None:
    stages = load(TEMPLATE).pipeline.stages

    assert list(stages) == ["files", "scan-http", "scan-http-rows", "scan-ssh", "scan-ssh-rows"]
    assert getattr(stages["scan-ssh"].params, "url") == "https://x.example/scan-ssh/{now:%Y}.csv"  # noqa: B009
    assert stages["scan-ssh-rows"].set["source.port"] == 22
    assert stages["scan-http"].to == {"default": ("scan-http-rows",)}


def test_plain_items_are_called_item(load: Load) -> None:
    text = """\
templates:
  feeds:
    for_each: [one, two]
    stages:
      "feodo-{item}": {feed: abuse_ch.feodotracker, labels: {code: "{item}"}, to: files}
stages:
  files: {use: outputs.file, with: {path: x}}
"""
    stages = load(text).pipeline.stages

    assert stages["feodo-two"].labels["code"] == "two"
    assert "feodo-two.parser" in stages


HERE = "templates.shadow"
MENDED = {
    "in the template": (
        "expand_url: true",
        "expand_ur: true",
        f"pipeline.yaml:9:64: {HERE}.stages.{{report}}.with.expand_ur: unknown name",
    ),
    "in an item": (
        "port: 22, field: source.ip",
        "port: 22, field: source.ipp",
        f"pipeline.yaml:5:38: {HERE}.for_each.1.field: no such field; did you mean 'source.ip'?",
    ),
    "a value of an item": ("port: 22", "port: 222222", f"pipeline.yaml:5:28: {HERE}.for_each.1.port: "),
    "a name that is none": (
        "report: scan-ssh",
        "report: Scan",
        f"pipeline.yaml:5:10: {HERE}.for_each.1.report: expected a name of small letters",
    ),
    "two of one name": (
        "report: scan-ssh",
        "report: scan-http",
        "there are two of this name, 'scan-http', the first in pipeline.yaml, line 4",
    ),
    "a placeholder of nothing": (
        "port: 22",
        "port: 22, prot: tcp",
        f"warning: {HERE}.for_each.1.prot: no stage of the template has {{prot}}",
    ),
    "a value that one item lacks": (
        "port: 22, field: source.ip",
        "field: source.ip",
        f"pipeline.yaml:5:9: {HERE}.for_each.1: has no value for {{port}}, which other items have",
    ),
    "a value that no item has": (
        "{report}/{now",
        "{reprt}/{now",
        "pipeline.yaml:9:16: warning: templates.shadow.stages.{report}.with.url: "
        "no item has a value for {reprt}; did you mean 'report'?",
    ),
    "a list within a text": (
        "report: scan-ssh",
        "report: [a]",
        f"{HERE}.stages.{{report}}: {{report}} is a mapping or a list, which can only stand alone",
    ),
    "no items": ("for_each:", "for_eac:", f"{HERE}.for_eac: unknown name; did you mean 'for_each'?"),
}


@pytest.mark.parametrize(("before", "after", "said"), MENDED.values(), ids=MENDED)
def test_a_fault_in_a_template_stands_where_it_comes_from(before: str, after: str, said: str, faults: Faults) -> None:
    found = faults(TEMPLATE.replace(before, after))

    assert any(said in fault for fault in found), found


def test_a_fault_of_a_template_is_told_once(faults: Faults) -> None:
    assert len(faults(TEMPLATE.replace("to: files", "to: fils"))) == 1
