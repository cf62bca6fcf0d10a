import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from typing import Any

import orjson
import pytest

SCRIPT = """
import asyncio, json, sys
from intelstream import testing

async def main(params, count, size, stops):
    async with testing.open_stage("outputs.stdout", params) as run:
        for line in sys.stdin:
            sending = asyncio.create_task(
                run.send(*({"comment": f"{line.strip()}{n}" + "x" * size} for n in range(count)))
            )
            if stops:
                await asyncio.wait((sending,), timeout=0.1)  # by then the pipe is full
                sending.cancel()
                await asyncio.wait((sending,))
                print("stopped", file=sys.stderr, flush=True)
                return
            result = await sending
            print(len(result.pending), len(result.dead), file=sys.stderr, flush=True)

asyncio.run(main(*json.loads(sys.argv[1])))
"""


async def started(
    params: dict[str, Any], count: int = 2, size: int = 0, stdout: int = PIPE, *, stops: bool = False
) -> Process:
    arguments = json.dumps([params, count, size, stops])
    command = (sys.executable, "-c", SCRIPT, arguments)
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=stdout, stderr=PIPE)


FORMS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "all": ({}, [{"comment": "a0"}, {"comment": "a1"}]),
    "some": ({"fields": "source.ip"}, [{}, {}]),
}


@pytest.mark.parametrize(("params", "expected"), FORMS.values(), ids=FORMS)
async def test_events_are_lines(params: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    process = await started(params)
    out, errors = await process.communicate(b"a\n")

    assert [orjson.loads(line) for line in out.splitlines()] == expected
    assert errors == b"0 0\n"


async def test_a_reader_that_is_slow_gets_all_in_order() -> None:
    process = await started({}, count=256, size=2000)
    out, errors = await process.communicate(b"a\nb\n")

    comments = [orjson.loads(line)["comment"].rstrip("x") for line in out.splitlines()]
    assert comments == [f"{turn}{number}" for turn in "ab" for number in range(256)]
    assert errors == b"0 0\n0 0\n"


async def test_a_reader_that_has_gone_loses_nothing() -> None:
    reads, writes = os.pipe()
    process = await started({}, stdout=writes)
    os.close(writes)
    assert process.stdin
    process.stdin.write(b"a\n")
    out = await asyncio.to_thread(os.read, reads, 1000)
    os.close(reads)
    _, errors = await process.communicate(b"b\n")

    assert out == b'{"comment":"a0"}\n{"comment":"a1"}\n'
    assert errors == b"0 0\n2 0\n"
    assert process.returncode == 0


async def test_a_reader_that_does_not_read_does_not_hold_up_the_end() -> None:
    reads, writes = os.pipe()
    process = await started({}, count=256, size=2000, stdout=writes, stops=True)
    os.close(writes)
    _, errors = await process.communicate(b"a\n")
    os.close(reads)

    assert errors == b"stopped\n"
    assert process.returncode == 0
