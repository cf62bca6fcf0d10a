import asyncio
import os
import sys
import tempfile
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import orjson
import pytest

from inboxes import MIB, opened, told
from intelstream import sdk
from intelstream.ontology import Report


async def test_links_are_followed_within_the_directory_alone(inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"hush")
    (inbox / "real").write_bytes(b"one")
    (inbox / "out").symlink_to(tmp_path / "secret")
    (inbox / "up").symlink_to("../secret")
    (inbox / "circle").symlink_to("circle")
    (inbox / "within").symlink_to("real")
    (inbox / "directory").symlink_to(tmp_path)
    async with opened(inbox) as run:
        result = await run.collect()
        await run.collect()

    assert sorted(report["extra.file_name"] for report in result.outputs["default"]) == ["real", "within"]
    assert sorted(told(result)) == [("link_not_followed", name) for name in ("directory", "out", "up")]


async def test_a_large_file_is_handed_over_where_it_lies_whatever_has_its_name_by_then(
    inbox: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"hush")
    (inbox / "large").write_bytes(bytes(2 * MIB))
    (inbox / "small").write_bytes(bytes(MIB))
    found: dict[str, int] = {}
    async with opened(inbox) as run:
        assert isinstance(run.stage, sdk.Collector)
        async for report in run.stage.collect(None):
            assert isinstance(report, Report)
            name = report.given["extra.file_name"]
            (inbox / name).unlink()
            (inbox / name).symlink_to(tmp_path / "secret")
            found[name] = report.size
            assert report.raw == bytes(found[name])
        copies = list(run.stage.ctx.directory.rglob("*"))

    assert found == {"large": 2 * MIB, "small": MIB}
    assert copies == []
    assert not [one for one in Path("/proc/self/fd").iterdir() if "large" in os.fspath(one.resolve())]


async def test_a_directory_that_has_become_a_link_meanwhile_leads_nowhere(inbox: Path, tmp_path: Path) -> None:
    for directory in (inbox / "deep", tmp_path / "secret"):
        directory.mkdir()
        (directory / "a").write_bytes(b"one")
        os.utime(directory / "a", (1, 1))
    (inbox / "first").mkdir()
    (inbox / "first" / "a").write_bytes(b"one")
    os.utime(inbox / "first" / "a", (0, 0))
    names: list[str] = []
    async with opened(inbox / "*" / "a") as run:
        assert isinstance(run.stage, sdk.Collector)
        async for report in run.stage.collect(None):
            assert isinstance(report, Report)
            names.append(report.given["feed.url"])
            (inbox / "deep").rename(tmp_path / "away")
            (tmp_path / "secret" / "a").unlink()
            os.link(tmp_path / "away" / "a", tmp_path / "secret" / "a")  # the very file, elsewhere
            (inbox / "deep").symlink_to(tmp_path / "secret")

    assert names == [f"file://localhost{inbox}/first/a"]


UNPRIVILEGED = """
import asyncio, json, os, sys
from intelstream import testing

async def main(path, **params):
    async with testing.open_stage("collectors.file", {"path": path} | params) as run:
        first, second = await run.collect(), await run.collect()
    reports = [[report["extra.file_name"] for report in one.outputs.get("default", [])] for one in (first, second)]
    return reports, [(entry["event"], entry["cure"]) for entry in second.log]

asyncio.run(main(sys.argv[1] + "/open"))  # what is imported late is imported before
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
print(json.dumps(asyncio.run(main(sys.argv[1], **json.loads(sys.argv[2])))))
"""


@pytest.mark.parametrize("params", [{"after": "delete"}, {"follow": True}], ids=["read", "followed"])
async def test_what_must_not_be_read_or_deleted_is_told_once_with_its_cure(params: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        inbox = Path(name)
        (inbox / "open").write_bytes(b"one\n")
        (inbox / "closed").write_bytes(b"hush\n")
        (inbox / "closed").chmod(0)
        inbox.chmod(0o555)
        command = (sys.executable, "-c", UNPRIVILEGED, name, orjson.dumps(params))
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
        said, errors = await process.communicate()
        inbox.chmod(0o755)

    assert errors == b""
    reports, log = orjson.loads(said)
    assert reports == [["open"], []]
    deleted = [["file_not_deleted", "let the user of the daemon write to its directory"]] if "after" in params else []
    assert sorted(log) == [*deleted, ["file_not_readable", "let the user of the daemon read it"]]
