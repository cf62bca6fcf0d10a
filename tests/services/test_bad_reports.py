"""Reports that are damaged, huge or hostile: the daemon tells of each with place and cure, the others go on."""

import base64
import gzip
import json
import os
import zipfile
from pathlib import Path

import pytest

import programs
from pipelines import lines
from programs import finished, running, told, until

pytestmark = [pytest.mark.xdist_group("daemon"), pytest.mark.timeout(180)]
PIPELINE = """\
name: bad-reports
stages:
  inbox: {use: collectors.file, with: {path: "in/*", max_bytes: 256KiB, settle: 1ms}, every: 1s, to: rows}
  rows:
    use: parsers.csv
    with: {columns: [{to: source.ip, required: true}, {to: source.port, required: true}, comment]}
    to: files
  strict: {use: collectors.file, with: {path: "strict/*", settle: 1ms}, every: 1s, to: strictly}
  strictly: {use: parsers.csv, with: {columns: [source.ip, source.port, comment], undecodable: reject}, to: files}
  objects: {use: collectors.file, with: {path: "objects/*", settle: 1ms}, every: 1s, to: parsed}
  parsed: {use: parsers.json, with: {columns: {ip: source.ip}}, to: files}
  files: {use: outputs.file, with: {path: out.jsonl}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("in", "strict", "objects"):
        (tmp_path / name).mkdir()
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    return tmp_path


def comments(place: Path) -> list[str]:
    return sorted(event.get("comment", "") for event in lines(place / "out.jsonl"))


async def dead(place: Path, stage: str) -> list[tuple[str, int, str]]:
    """Return field, row and text of the row of a stage's dead letters, as the command gives them."""
    code, said = await programs.command(place, "dead", "ls", stage, "--json")
    assert code == 0
    return [
        (one["field"], one["row"], base64.b64decode(one["message"]["raw"]).decode(errors="surrogateescape"))
        for one in json.loads(said)
    ]


async def test_a_bad_row_costs_only_itself(place: Path) -> None:
    (place / "in/rows.csv").write_bytes(
        b"10.0.0.1,1,first\n"
        b"10.0.0.2\n"
        b"10.0.0.3,3,caf\xe9\n"
        b"10.0.0.4,4,n\0u\0l\n"
        b"10.0.0.5,not a port,x\n"
        b"not an address,6,x\n"
        b"10.0.0.7,7,last\n"
    )
    (place / "strict/rows.csv").write_bytes(b"10.0.0.8,8,strict\n10.0.0.9,9,caf\xe9\n")
    async with running(place):
        await until(lambda: len(lines(place / "out.jsonl")) == 5)
        await finished(place)
        rows, strictly = await dead(place, "rows"), await dead(place, "strictly")
        _, shown = await programs.command(place, "dead", "ls", "rows")

    assert comments(place) == ["caf\N{REPLACEMENT CHARACTER}", "first", "last", "nul", "strict"]
    assert rows == [
        ("source.port", 1, "10.0.0.2"),
        ("source.port", 4, "10.0.0.5,not a port,x"),
        ("source.ip", 5, "not an address,6,x"),
    ]
    assert [(field, row) for field, row, _ in strictly] == [("row", 1)]
    assert "source.port: expected a valid integer, unable to parse string as an integer, got 'not a port'" in shown


async def test_files_that_cannot_be_taken_are_told_with_their_cure_and_cost_the_others_nothing(place: Path) -> None:
    (place / "in/good.csv").write_text("10.0.0.1,1,good\n")
    (place / "in/huge.csv").write_text("10.0.0.2,2,huge\n" * 50_000)
    (place / "in/damaged.gz").write_bytes(gzip.compress(os.urandom(5000))[:2000])
    with zipfile.ZipFile(place / "in/bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("a.csv", bytes(100_000_000))
    (place / "in/closed.csv").write_text("10.0.0.3,3,opened\n")
    (place / "in/closed.csv").chmod(0)
    async with running(place, *programs.without_privileges()):
        await until(lambda: comments(place) == ["good"] and told(place, "file_not_readable"))
        await finished(place)
        (place / "in/closed.csv").chmod(0o600)
        await until(lambda: comments(place) == ["good", "opened"])

    [huge] = told(place, "file_too_large")
    assert (Path(huge["path"]).name, huge["size"], huge["limit"]) == ("huge.csv", 800_000, "256KiB")
    assert "raise `max_bytes`" in huge["cure"]
    [closed] = told(place, "file_not_readable")
    assert (Path(closed["path"]).name, closed["reason"]) == ("closed.csv", "Permission denied")
    assert closed["cure"] == "let the user of the daemon read it"
    reasons = {Path(one["path"]).name: one["reason"] for one in told(place, "file_not_unpacked")}
    assert set(reasons) == {"bomb.zip", "damaged.gz"}
    assert "a.csv: more than 256KiB unpacked; if that is right, raise `max_bytes`" in reasons["bomb.zip"]
    assert "damaged: Compressed file ended" in reasons["damaged.gz"]
    assert len([*(place / "in").iterdir()]) == 5


async def test_a_report_that_cannot_be_read_is_told_and_kept_in_its_dead_letter(place: Path) -> None:
    torn = '[{"ip": "10.0.0.1"}, {"ip": "10.0.'
    (place / "objects/torn.json").write_text(torn)
    (place / "objects/whole.json").write_text('[{"ip": "10.0.0.2"}]')
    async with running(place):
        await until(lambda: lines(place / "out.jsonl") and told(place, "report_not_read"))
        letters = await dead(place, "parsed")

    assert [event["source.ip"] for event in lines(place / "out.jsonl")] == ["10.0.0.2"]
    assert letters == [("report", 0, torn)]
    [error] = told(place, "report_not_read")
    assert error["report"].endswith("/objects/torn.json")
    assert "expected JSON: unexpected end of data" in error["error"]
