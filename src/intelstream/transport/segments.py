"""Dead letters in files: some hundred of one stage in each, compressed, written once, durable before it has its name.

A segment is two zstd frames: a line of JSON that says what is in it, and a line of JSON for each letter, by id.
"""

import os
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import zstandard

SUFFIX: Final = ".jsonl.zst"
REMOVED: Final = ".removed"
LETTERS: Final = 500  # in one segment; a set of so few small numbers takes two bytes for each on the server
HEADER: Final = 1024 * 1024  # bytes of a header unpacked; that of 500 letters is below

Position = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Segment:
    """What is known of a file without reading its letters. `moved` ones came from the stream, others from outside."""

    token: str
    path: Path
    moved: bool
    count: int
    first: Position
    last: Position
    groups: dict[str, int]
    size: int


def position(id_: str) -> Position:
    """Return what ids are ordered by.

    Raises:
        ValueError: it is none.
    """
    time, _, number = id_.partition("-")
    return int(time), int(number)


def write(directory: Path, letters: Sequence[dict[str, Any]], *, moved: bool) -> Segment:
    """Write letters, each with its `id` and in their order, to a new segment."""
    token = secrets.token_hex(8)
    groups = dict(Counter(letter["signature"] for letter in letters))
    header = {
        "token": token,
        "moved": moved,
        "count": len(letters),
        "first": letters[0]["id"],
        "last": letters[-1]["id"],
        "groups": groups,
    }
    compressor = zstandard.ZstdCompressor(level=3)
    lines = b"".join(orjson.dumps(letter) + b"\n" for letter in letters)
    whole = compressor.compress(orjson.dumps(header) + b"\n") + compressor.compress(lines)
    path = directory / f"{letters[0]['id']}.{token}{SUFFIX}"
    save(path, [whole])
    return Segment(
        token, path, moved, len(letters), position(header["first"]), position(header["last"]), groups, len(whole)
    )


def save(path: Path, blocks: Iterable[bytes]) -> None:
    """Write a file that is whole and durable once it has its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.writelines(blocks)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync(path.parent)


def sync(directory: Path) -> None:
    """Have the names in a directory on the disk."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def header(path: Path) -> Segment:
    """Read what a segment says of itself."""
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        head = orjson.loads(reader.read(HEADER))
    ends = position(head["first"]), position(head["last"])
    return Segment(head["token"], path, head["moved"], head["count"], *ends, head["groups"], path.stat().st_size)


def read(segment: Segment) -> list[dict[str, Any]]:
    """Read all letters of a segment."""
    with (
        segment.path.open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as reader,
    ):
        lines = reader.read().split(b"\n")
    return [orjson.loads(line) for line in lines[1:-1]]
