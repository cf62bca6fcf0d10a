"""State directories that cannot be used: one line with the cure, and a warning of `check`, which writes nothing."""

import subprocess
from pathlib import Path

import pytest

from programs import PROGRAM, without_privileges

PIPELINE = """\
stages:
  inbox: {use: collectors.file, with: {path: in}, to: rows}
  rows:  {use: parsers.csv, with: {columns: [source.ip]}, to: out}
  out:   {use: outputs.stdout}
"""
CURE = "name another with --state-dir or `state_dir` in the host file, or let the user of the daemon write there"
CASES = {
    "below a file": ("pipeline.yaml/var", "Not a directory", "pipeline.yaml is no directory"),
    "below one that is closed": ("closed/var", "Permission denied", "closed cannot be written"),
    "one that is closed": ("closed", "Permission denied", "closed cannot be written"),
}


def command(place: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    whole = (*without_privileges(), *PROGRAM, *words)
    return subprocess.run(whole, cwd=place, capture_output=True, text=True, check=False)  # noqa: S603 - our own


@pytest.mark.parametrize(("state_dir", "reason", "warned"), CASES.values(), ids=CASES)
def test_a_state_directory_that_cannot_be_used_is_told_with_its_cure(
    state_dir: str, reason: str, warned: str, tmp_path: Path
) -> None:
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    (tmp_path / "closed").mkdir(mode=0o500)
    checked = command(tmp_path, "check", "pipeline.yaml", "--state-dir", state_dir)
    ran = command(tmp_path, "run", "pipeline.yaml", "--state-dir", state_dir)

    assert checked.returncode == 0
    assert f"warning: the state directory {tmp_path / state_dir}: {tmp_path}/{warned}; {CURE}" in checked.stdout
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == (
        f"intelstream: using {tmp_path / state_dir} as state directory: {reason}; {CURE}"
    )
    assert "Traceback" not in ran.stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["closed", "pipeline.yaml"]
