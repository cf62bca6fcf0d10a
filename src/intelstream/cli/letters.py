"""What commands on dead letters share: orders step by step, lines of files, letters for people."""

import asyncio
import base64
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import typer

from intelstream.app.control import Refused, ask, tell
from intelstream.cli.output import BAD_STATE, printable, show_json

WAIT: Final = 1.0  # seconds before what found no room is tried again
NAMED: Final = 5  # letters that are named where something could not be done
LETTERS: Final = 500  # brought in at once
BYTES: Final = 8 * 1024 * 1024


def orders(directory: Path, path: str, order: Mapping[str, Any]) -> dict[str, Any]:
    """Give an order, step by step, until all of it is done; say what holds it up."""

    async def go() -> dict[str, Any]:
        done, left, told = 0, 0, ""
        refused: list[dict[str, str]] = []
        step: dict[str, Any] = {"cursor": "", "until": None}
        while True:
            step = await tell(directory, path, {**order, "cursor": step["cursor"], "until": step["until"]})
            done += step["done"]
            left += step["left"]
            refused += step["refused"]
            if not step["held"]:
                if not step["cursor"]:
                    return {"done": done, "left": left, "refused": refused}
                continue
            if step["held"] != told:
                told = step["held"]
                print(f"waiting: {told} ({done} so far; Ctrl-C stops, the rest stays)", file=sys.stderr)
            await asyncio.sleep(WAIT)

    return asyncio.run(go())


def finish(answer: dict[str, Any], did: str, *, json: bool) -> None:
    """Print what was done; exit code 1 where something could not be."""
    if json:
        show_json(answer)
    else:
        print(f"{answer['done']} {did}")
        reasons: dict[str, list[str]] = {}
        for one in answer["refused"]:
            reasons.setdefault(one["reason"], []).append(one["id"])
        for reason, ids in reasons.items():
            print(f"not {did}: {printable(reason)}\n  {' '.join(ids[:NAMED])}{' …' if len(ids) > NAMED else ''}")
        if answer["left"]:
            print(f"{answer['left']} left as they were")
    if answer["left"]:
        raise typer.Exit(BAD_STATE)


def exported(directory: Path, query: Mapping[str, str]) -> Iterator[bytes]:
    """Yield dead letters as lines of JSON."""
    cursor = ""
    while True:
        answer = asyncio.run(ask(directory, "/dead-export", cursor=cursor, **query))
        for one in answer["letters"]:
            yield orjson.dumps(one) + b"\n"
        cursor = answer["cursor"]
        if not cursor:
            return


def chunks(source: Any) -> Iterator[list[dict[str, Any]]]:
    """Cut a file into lists of letters that one request carries."""
    some: list[dict[str, Any]] = []
    size = 0
    for number, line in enumerate(source, 1):
        if not line.strip():
            continue
        try:
            some.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise Refused(f"line {number}: expected JSON: {error}") from error
        size += len(line)
        if len(some) >= LETTERS or size > BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a message for people: no type, the text of a row as text."""
    shown = {name: value for name, value in message.items() if not name.startswith("__")}
    if "raw" in shown:
        shown["raw"] = base64.b64decode(shown["raw"]).decode(errors="replace")
    if message.get("__raw") is not None:
        shown["raw"] = message["__raw"]
    return shown


def short(time: str) -> str:
    """Return a time to the second."""
    return time[:19].replace("T", " ") + "Z"
