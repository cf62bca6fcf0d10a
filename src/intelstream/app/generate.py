"""Writes every generated file of the repository, or with `--check` tells which are stale: `make generate`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import orjson

from intelstream import docs
from intelstream.config.schema import host_schema, pipeline_schema
from intelstream.ontology import fields, generate, keys

TOP: Final = Path(__file__).parents[3]


def files() -> Mapping[Path, str]:
    """Return the content of each generated file by its path."""
    return {
        Path(keys.__file__): generate.source(),
        TOP / "docs/schema/pipeline.schema.json": _json(pipeline_schema()),
        TOP / "docs/schema/host.schema.json": _json(host_schema()),
        TOP / "docs/schema/event.schema.json": _json(fields.event_schema()),
    } | {TOP / path: text for path, text in docs.pages().items()}


def main(*, check: bool) -> int:
    """Write what has changed; or only name it, and return 1 if there is any."""
    stale = [path for path, text in files().items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(TOP)}: {'stale, run `make generate`' if check else 'written'}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files()[path], encoding="utf-8")
    return int(check and bool(stale))


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n"


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv))
