import os
from collections.abc import Callable
from pathlib import Path

import pytest

from intelstream.config import Loaded

Load = Callable[..., Loaded]
Faults = Callable[..., list[str]]
ENV = {"TOKEN": "s3cret-of-the-environment"}
HOST = "files: {secrets: [keys]}"


def fetch(params: str, more: str = "") -> str:
    return f"""\
stages:
  fetch: {{use: collectors.http, with: {{url: "https://x.example", {params}}}, to: rows{more}}}
  rows: {{use: parsers.csv, with: {{columns: [source.ip]}}, to: files}}
  files: {{use: outputs.file, with: {{path: x}}}}
"""


def test_a_secret_of_the_environment_reaches_the_stage_and_is_shown_nowhere(load: Load) -> None:
    loaded = load(fetch('headers: {X-Key: "key ${env:TOKEN}"}, token: "${env:TOKEN}"'), env=ENV)
    params = loaded.pipeline.stages["fetch"].params

    assert getattr(params, "headers") == {"X-Key": f"key {ENV['TOKEN']}"}  # noqa: B009 - of the stage's own class
    assert loaded.secrets == {ENV["TOKEN"]}
    assert ENV["TOKEN"] not in repr(loaded) + str(params) + str(params.model_dump()) + params.model_dump_json()


def test_a_secret_that_stands_in_the_file_is_masked_too(load: Load) -> None:
    loaded = load(fetch("token: written-out"))

    assert loaded.secrets == {"written-out"}
    assert "written-out" not in repr(loaded)


def test_a_secret_of_a_file_is_read_without_its_last_line_break(load: Load) -> None:
    loaded = load(fetch('token: "${file:keys/partner}"'), files={"keys/partner": "from a file\n"}, host=HOST)

    assert loaded.secrets == {"from a file"}


def test_a_doubled_dollar_is_one(load: Load) -> None:
    loaded = load(fetch('headers: {X-Key: "$${env:TOKEN}"}'))

    assert getattr(loaded.pipeline.stages["fetch"].params, "headers") == {"X-Key": "${env:TOKEN}"}  # noqa: B009
    assert loaded.secrets == set()


def test_faults_do_not_quote_a_secret(faults: Faults) -> None:
    text = fetch('timeout: "${env:TOKEN}", method: "${env:TOKEN}", verify: "x ${env:TOKEN}"')
    found = faults(text, env=ENV)

    assert len(found) == 3
    assert ENV["TOKEN"] not in "".join(found)


OUTSIDE = "is outside the directories that the host file allows (files.secrets)"
WRONG = {
    "not set": ("${env:TOKN}", "TOKN is not set in the environment; did you mean 'TOKEN'?"),
    "no such kind": ("${vault:x}", "expected ${env:NAME} or ${file:/path}"),
    "no kind": ("${TOKEN}", "expected ${env:NAME} or ${file:/path}"),
    "no name": ("${env:}", "expected ${env:NAME} or ${file:/path}"),
    "no file": ("${file:keys/none}", "none: no such file or directory"),
    "outside": ("${file:/etc/hostname}", OUTSIDE),
    "up and out": ("${file:keys/../pipeline.yaml}", OUTSIDE),
    "a link that leads out": ("${file:keys/link}", OUTSIDE),
    "a directory": ("${file:keys/inner}", "inner is not a file"),
    "a pipe": ("${file:keys/pipe}", "pipe is not a file"),
    "no text": ("${file:keys/binary}", "binary is not text in UTF-8"),
    "too large": ("${file:keys/large}", "large is larger than 64 KiB"),
}


@pytest.mark.parametrize(("reference", "said"), WRONG.values(), ids=WRONG)
def test_a_secret_that_cannot_be_had_is_one_fault(reference: str, said: str, faults: Faults, here: Path) -> None:
    (here / "keys/inner").mkdir(parents=True)
    (here / "keys/link").symlink_to("/etc/hostname")
    (here / "keys/binary").write_bytes(b"\xff\xfe")
    (here / "keys/large").write_text("x" * 65_537, encoding="ascii")
    os.mkfifo(here / "keys/pipe")

    found = faults(fetch(f'verify: "{reference}"'), env=ENV, host=HOST)

    assert len(found) == 1
    assert found[0].lower().startswith("pipeline.yaml:2:")
    assert said.lower() in found[0].lower()


def test_no_directory_of_secrets_is_open_unless_the_host_file_opens_it(faults: Faults) -> None:
    found = faults(fetch('token: "${file:partner}"'), files={"partner": "x"})

    assert OUTSIDE in found[0]


ELSEWHERE = {
    "labels": ', labels: {name: "${env:TOKEN}"}',
    "tags": ', tags: ["${env:TOKEN}"]',
}


@pytest.mark.parametrize("more", ELSEWHERE.values(), ids=ELSEWHERE)
def test_secrets_stand_nowhere_but_in_with(more: str, faults: Faults) -> None:
    found = faults(fetch("token: x", more), env=ENV)

    assert any("secrets can only be in `with`" in fault for fault in found)
    assert ENV["TOKEN"] not in "".join(found)


def test_the_password_of_a_foreign_server_is_a_secret(load: Load) -> None:
    loaded = load(fetch("token: x"), host="redis: redis://:p%40ss-word@redis.example")

    assert loaded.secrets == {"x", "p@ss-word", "p%40ss-word"}
