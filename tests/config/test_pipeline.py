import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from intelstream import config
from intelstream.config import Loaded
from intelstream.errors import ConfigError
from intelstream.sdk import Extra
from intelstream.stages.parsers import html_table as parsers_html

Load = Callable[..., Loaded]
Faults = Callable[..., list[str]]
ROWS = "rows: {use: parsers.csv, with: {columns: [source.ip]}, to: files}"
FILES = "files: {use: outputs.file, with: {path: x}}"
INBOX = "inbox: {use: collectors.file, with: {path: x}, to: rows"
GOOD = """\
name: cert-demo
description: What a CERT begins with.
raw: off
ontology: {org.case: Text, org.tags: [Text]}
stages:
  feodo:    {feed: abuse_ch.feodotracker, every: 10m, to: dedup}
  inbox:
    use: collectors.file
    with: {path: "inbox/*.csv"}
    labels: {provider: Partner, accuracy: 80}
    tags: [partner]
    cron: "30 4 * * mon"
    timezone: Europe/Vienna
    jitter: 5m
    missed: skip
    timeout: 1h
    priority: bulk
    to: rows
  rows:
    use: parsers.csv
    with: {columns: [time.source, source.ip, source.port, org.case, ~]}
    set: {classification.type: scanner, org.tags: [a, b]}
    max_bad: 10 %
    to: dedup
  dedup:    {use: experts.deduplicate, with: {ttl: 1d}, retry: {attempts: 5, delay: 1m}, was: twins, to: taxonomy}
  taxonomy: {use: experts.taxonomy, fuse: false, to: {default: [files, more], error: review}}
  files:    {use: outputs.file, with: {path: events.jsonl}, backlog: 1000, concurrency: 2}
  more:     {use: outputs.file, with: {path: more.jsonl}, enabled: false, description: Kept for the analysts.}
  review:   {use: outputs.file, with: {path: review.jsonl}}
"""

NAMES = ("feodo", "feodo.parser", "inbox", "rows", "dedup", "taxonomy", "files", "more", "review")

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
  mine: {use: experts.deduplicate, with: {ttl: 0s, only: source.asm}, to: {default: files, othr: files}}
  fetch: {use: collectors.http, with: {url: "https://x.example", token: "${env:PARTNER_TOKEN}"}, to: rows}
  files: {use: outputs.file, with: {path: /etc/events.jsonl}}
  files: {use: outputs.file, with: {path: x}}
  feodo: {feed: abuse_ch.feodotraker, to: around}
  around: {use: experts.taxonomy, to: again}
  again: {use: experts.taxonomy, to: around}
  foreign: {use: "os:system", to: files}
"""

SEEN = """\
pipeline.yaml:5:33: stages.inbox.with.max_bytes: expected a size such as 256MiB
pipeline.yaml:10:30: stages.rows.with.columns.1: no such field; did you mean 'source.ip'?
pipeline.yaml:11:11: stages.rows.set.classification.type: not in the vocabulary, got 'scaner'
pipeline.yaml:12:17: stages.rows.to.1: no stage 'taxonmy'; did you mean 'taxonomy'?
pipeline.yaml:13:11: stages.dedup.use: experts.deduplicat: no such stage; did you mean 'experts.deduplicate'?
pipeline.yaml:16:12: stages.taxonomy.with.overwrit: unknown name; did you mean 'overwrite'?
pipeline.yaml:17:5: stages.taxonomy.too: unknown name; did you mean 'to'?
pipeline.yaml:18:43: stages.mine.with.ttl: expected more than nothing
pipeline.yaml:18:52: stages.mine.with.only: no such field; did you mean 'source.asn'?
pipeline.yaml:18:92: stages.mine.to.othr: no such path; there are default, error
pipeline.yaml:19:66: stages.fetch.with.token: PARTNER_TOKEN is not set in the environment; did you mean 'PARTNR_TOKEN'?
pipeline.yaml:20:37: stages.files.with.path: outside the directories that the host file allows (files.write)
pipeline.yaml:21:3: stages.files: there are two of this name, the first in line 20
pipeline.yaml:22:11: stages.feodo.feed: abuse_ch.feodotraker: no such feed; did you mean 'abuse_ch.feodotracker'?
pipeline.yaml:24:34: stages.again.to: a cycle: around -> again -> around; take one of these ways out
pipeline.yaml:25:13: stages.foreign.use: os:system: package 'os' is not allowed by the host file's `plugins`"""


def test_a_good_file_becomes_stages(load: Load, here: Path) -> None:
    loaded = load(GOOD)
    pipeline = loaded.pipeline

    assert loaded.warnings == ()
    assert (pipeline.name, pipeline.description, pipeline.raw) == ("cert-demo", "What a CERT begins with.", "off")
    assert list(pipeline.stages) == [*NAMES]
    inbox, rows, dedup = (pipeline.stages[name] for name in ("inbox", "rows", "dedup"))
    assert (inbox.cron, inbox.timezone, inbox.every) == ("30 4 * * mon", "Europe/Vienna", None)
    assert (inbox.jitter, inbox.missed, inbox.timeout, inbox.priority) == (300, "skip", 3600, "bulk")
    assert (dict(inbox.labels), set(inbox.tags)) == ({"provider": "Partner", "accuracy": 80.0}, {"partner"})
    assert getattr(inbox.params, "path") == here / "inbox/*.csv"  # noqa: B009 - of the stage's own class
    assert rows.set == {"classification.type": "scanner", "org.tags": ["a", "b"]}
    assert rows.max_bad == 0.1
    assert (dedup.retry.attempts, dedup.retry.delay, dedup.was) == (5, 60, "twins")
    assert pipeline.stages["taxonomy"].to == {"default": ("files", "more"), "error": ("review",)}
    assert not pipeline.stages["taxonomy"].fuse
    files, more = pipeline.stages["files"], pipeline.stages["more"]
    assert (files.backlog, files.concurrency) == (1000, 2)
    assert (more.enabled, more.description) == (False, "Kept for the analysts.")


def test_a_feed_becomes_a_collector_and_a_parser(load: Load) -> None:
    stages = load(GOOD).pipeline.stages
    first, second = stages["feodo"], stages["feodo.parser"]

    assert (first.use, first.every, first.to) == ("collectors.http", 600, {"default": ("feodo.parser",)})
    assert first.labels["name"] == "Feodo Tracker"
    assert (second.use, second.to) == ("parsers.json", {"default": ("dedup",)})
    assert second.set == {"classification.type": "c2-server"}


def test_all_faults_come_at_once_in_the_order_of_the_file(faults: Faults) -> None:
    assert "\n".join(faults(BAD, env={"PARTNR_TOKEN": "x"})) == SEEN


PROGRAM = """\
import sys
from pathlib import Path
from intelstream import config
path = Path("pipeline.yaml")
loaded = config.load(path, config.load_host(None, path, state_dir=None, env={}), env={})
print(*sorted(name for name in sys.modules if name.startswith("intelstream.stages.") and name.count(".") > 2))
"""


def test_loading_imports_only_what_is_used_and_writes_nothing(here: Path) -> None:
    Path("pipeline.yaml").write_text(f"stages:\n  {INBOX}}}\n  {ROWS}\n  {FILES}\n", encoding="utf-8")

    told = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)  # noqa: S603

    used = ("collectors.file", "outputs.file", "parsers.csv")
    assert told.stdout.split() == [f"intelstream.stages.{name}" for name in used]
    assert [path.name for path in here.iterdir()] == ["pipeline.yaml"]


def test_a_draft_is_checked_where_it_is_to_stand(load: Load) -> None:
    load(GOOD)
    path = Path("pipeline.yaml")
    host = config.load_host(None, path, state_dir=None, env={})
    with pytest.raises(ConfigError, match=r"pipeline\.yaml:1:1: stagse: unknown name"):
        config.load(path, host, env={}, text="stagse: {}")

    assert config.load(path, host, env={}, text=GOOD.replace("cert-demo", "draft")).pipeline.name == "draft"
    assert config.load(path, host, env={}).pipeline.name == "cert-demo"


def test_stages_need_memory_for_a_commit_each(faults: Faults) -> None:
    deep = "".join(f"  t{n}: {{use: experts.taxonomy, to: t{n + 1}}}\n" for n in range(40))
    last = FILES.replace("files", "t40")
    text = f"stages:\n  {INBOX}}}\n  {ROWS.replace('files', 't0')}\n{deep}  {last}\n"

    [told] = faults(text, host="memory: 32MiB")

    said = "32MiB for backlogs is too little for stages so deep: `memory` in the host file must be 83MiB at least"
    assert told == f"pipeline.yaml:1:1: stages: {said}"
    assert faults(text, host="memory: 83MiB") == []


def test_collectors_that_say_nothing_run_now_and_then(load: Load) -> None:
    text = """\
stages:
  near: {use: collectors.file, with: {path: x}, to: rows}
  far: {use: collectors.http, with: {url: "https://x.example"}, to: rows}
  posted: {use: collectors.api, with: {token: x}, to: rows}
  rows: {use: parsers.csv, with: {columns: [source.ip]}, to: files}
  files: {use: outputs.file, with: {path: x}}
"""
    stages = load(text).pipeline.stages

    assert (stages["near"].every, stages["far"].every, stages["posted"].every) == (60, 3600, None)


ENTRIES = {
    "no such key": (f"{INBOX}, isolate: true}}", "isolate: expected 'no' or 'process'"),
    "no such label": (f"{INBOX}, labels: {{provder: x}}}}", "labels.provder: no such label; did you mean 'provider'?"),
    "a label that is no value": (f"{INBOX}, labels: {{accuracy: 200}}}}", "labels.accuracy: "),
    "no duration": (f"{INBOX}, every: 10 minutes}}", "every: expected a duration such as 15s or 1d"),
    "both times": (f"{INBOX}, every: 1h, cron: '0 0 * * *'}}", "cron: give `every` or `cron`, not both"),
    "no cron": (f"{INBOX}, cron: '61 * * * *'}}", "cron: expected five fields such as `30 4 * * *`"),
    "never": (f"{INBOX}, cron: '0 0 30 2 *'}}", "cron: "),
    "no time zone": (f"{INBOX}, cron: '0 0 * * *', timezone: Europe/Wien}}", "did you mean 'Europe/"),
    "a time zone of nothing": (f"{INBOX}, timezone: Europe/Vienna}}", "timezone: goes with `cron`"),
    "a path as a time zone": (f"{INBOX}, timezone: ../../etc/passwd}}", "timezone: no such time zone"),
    "no choice": (f"{INBOX}, missed: jump}}", "missed: expected 'run' or 'skip'"),
    "no tag": (f"{INBOX}, tags: ['a b']}}", "tags"),
    "no share": (
        "rows: {use: parsers.csv, with: {columns: [source.ip]}, max_bad: 200 %, to: files}",
        "max_bad: expected a share such as 50 %",
    ),
    "no number": ("files: {use: outputs.file, with: {path: x}, backlog: many}", "backlog: expected a whole number"),
    "nested": (
        "rows: {use: parsers.csv, with: {columns: [source.ip]}, retry: {attempt: 1}, to: files}",
        "retry.attempt: unknown name; did you mean 'attempts'?",
    ),
    "not of its kind": (
        "files: {use: outputs.file, with: {path: x}, every: 1h}",
        "every: only for collectors; outputs.file is an output",
    ),
    "set of an expert": (
        "tax: {use: experts.taxonomy, set: {tlp: RED}, to: files}",
        "set: only for parsers; experts.taxonomy is an expert",
    ),
    "a listener has no times": (
        "api: {use: collectors.api, with: {token: x}, every: 1h, to: rows}",
        "every: collectors.api runs all the time",
    ),
    "neither": ("tax: {to: files}", "stages.tax: expected `use` or `feed`, one of them"),
    "both": (
        "tax: {use: experts.taxonomy, feed: abuse_ch.feodotracker, to: files}",
        "stages.tax: expected `use` or `feed`, one of them",
    ),
    "no mapping": ("tax: experts.taxonomy", "stages.tax: expected a mapping, such as {use: experts.taxonomy}"),
    "no name": (
        "Tax: {use: experts.taxonomy, to: files}",
        "stages.Tax: expected a name of small letters, digits and dashes",
    ),
    "the dot is ours": ("feodo.parser: {use: experts.taxonomy, to: files}", "expected a name of small letters"),
    "only the last part": (
        "tax: {use: taxonomy, to: files}",
        "taxonomy: no such stage; did you mean 'experts.taxonomy'?",
    ),
    "a feed for a stage": (
        "x: {use: abuse_ch.feodotracker, to: files}",
        "it is a feed: write `feed: abuse_ch.feodotracker`",
    ),
    "a key of feeds": (
        "tax: {use: experts.taxonomy, sample: true, to: files}",
        "sample: goes with `feed`, not with `use`",
    ),
    "a way that is none": (
        "tax: {use: experts.taxonomy, to: {default: 1}}",
        "to: expected a stage, a list of stages, or a mapping of paths to such",
    ),
    "with that is none": ("tax: {use: experts.taxonomy, with: 5, to: files}", "with: expected a mapping"),
    "a missing parameter": ("x: {use: collectors.file, to: rows}", "with.path: is missing"),
    "a former name still in use": (
        "tax: {use: experts.taxonomy, was: files, to: files}",
        "was: 'files' is still the name of a stage",
    ),
    "to nobody": ("tax: {use: experts.taxonomy}", "stages.tax: expected `to`: where its messages go"),
}


@pytest.mark.parametrize(("entry", "said"), ENTRIES.values(), ids=ENTRIES)
def test_an_entry_that_is_wrong_is_told_at_its_place(entry: str, said: str, faults: Faults) -> None:
    others = [line for line in (f"{INBOX}}}", ROWS, FILES) if line.partition(":")[0] != entry.partition(":")[0]]
    found = [
        fault for fault in faults("stages:\n  " + "\n  ".join([entry, *others]) + "\n") if "warning: " not in fault
    ]

    assert len(found) == 1, found
    assert found[0].startswith("pipeline.yaml:2:")
    assert said in found[0]


TOPS = {
    "no such key": ("stagse: {}\nstages: {}", "stagse: unknown name; did you mean 'stages'?"),
    "no stages": ("name: x", "stages: expected a mapping of stages"),
    "no mapping of stages": ("stages: [a]", "stages: expected a mapping"),
    "a list": ("[1]", "expected a mapping with `stages`"),
    "nothing": ("", "expected a mapping with `stages`"),
    "a type that is none": (
        "ontology: {org.case: Txt}\nstages: {}",
        "ontology.org.case: no such type 'Txt'; did you mean 'Text'?",
    ),
    "a field that is there": (
        "ontology: {source.ip: Text}\nstages: {}",
        "ontology.source.ip: there is such a field already",
    ),
    "no feeds": ("feeds: mine\nstages: {}", "feeds: no such directory: "),
    "feeds out of bounds": (
        "feeds: [/etc]\nstages: {}",
        "feeds.0: /etc is outside the directories that the host file allows",
    ),
}


@pytest.mark.parametrize(("text", "said"), TOPS.values(), ids=TOPS)
def test_what_is_wrong_at_the_top_is_told(text: str, said: str, faults: Faults) -> None:
    assert any(said in fault for fault in faults(text))


def test_a_library_that_is_not_there_is_named_with_the_line_that_installs_it(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsers_html.HtmlTable, "requires", Extra("html", "no_such_library"))
    rows = "rows: {use: parsers.html_table, with: {columns: [source.ip]}, to: files}"

    found = faults(f"stages:\n  {rows}\n  {FILES}\n  {INBOX}}}\n")

    said = "parsers.html_table needs a library that is not installed: pip install 'intelstream[html]'"
    assert found == [f"pipeline.yaml:2:10: stages.rows.use: {said}"]


def test_a_library_that_only_some_parameters_ask_for_is_named_where_they_stand(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    rows = "rows: {use: parsers.csv, with: {columns: [source.ip]}, to: [one, two]}"
    one, two = (f"use: outputs.sql, with: {{{place}}}" for place in ("path: a.db", 'url: "postgresql:///a"'))

    found = faults(f"stages:\n  {rows}\n  one: {{{one}}}\n  two: {{{two}}}\n  {INBOX}}}\n")

    said = "outputs.sql needs a library that is not installed: pip install 'intelstream[postgres]'"
    assert found == [f"pipeline.yaml:4:9: stages.two.use: {said}"]


@pytest.mark.usefixtures("here")
def test_a_file_that_is_not_there_is_a_fault() -> None:
    path = Path("nowhere.yaml")
    host = config.load_host(None, path, state_dir=None, env={})
    with pytest.raises(ConfigError) as caught:
        config.load(path, host, env={})

    assert str(caught.value) == "nowhere.yaml:1:1: reading the file: no such file or directory"


FOREIGN = """\
from intelstream import sdk

class Mine(sdk.Expert[sdk.Overwrite]):
    async def process(self, batch):
        for event in batch:
            yield event
"""


def test_a_foreign_stage_comes_from_an_allowed_package(load: Load, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(here)
    rows, mine = ROWS.replace("to: files", "to: mine"), "mine: {use: 'allowed_stages:Mine', to: files}"
    text = f"stages:\n  {INBOX}}}\n  {rows}\n  {mine}\n  {FILES}\n"

    loaded = load(text, files={"allowed_stages.py": FOREIGN}, host="plugins: [allowed_stages]")

    assert loaded.pipeline.stages["mine"].stage.__name__ == "Mine"
