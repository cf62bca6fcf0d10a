"""What stages gave up, to be looked at: groups, letters, exports."""

import base64
from pathlib import Path
from typing import Any, Final

from intelstream.app.control.instance import MOST, Instance
from intelstream.app.control.selecting import Selection, groups_of, letter, pages, shown

INLINE: Final = 16 * 1024 * 1024  # bytes of a spooled report that an export has in it
EXPORTED: Final = 8 * 1024 * 1024  # bytes of letters in one step


async def groups(instance: Instance, selection: Selection) -> list[dict[str, Any]]:
    """Return letters by cause: stage, error class, field, number, first and last time, an example. Reads no letter."""
    rows = [
        {
            "group": group.signature,
            "stage": stage,
            "error": group.first["error"],
            "field": group.first["field"],
            "count": group.count,
            "first": group.first["time"],
            "last": group.last,
            "example": group.first["text"],
        }
        for stage, found in (await groups_of(instance, selection)).items()
        for group in found
    ]
    return sorted(rows, key=lambda row: -row["count"])


async def dead(instance: Instance, selection: Selection, count: int = 10) -> list[dict[str, Any]]:
    """Return the oldest letters of a selection."""
    found: list[dict[str, Any]] = []
    async for page in pages(instance, selection):
        found += [shown(page.stage, one) for one in page.letters[: count - len(found)]]
        if len(found) >= min(count, MOST):
            break
    return found


async def show(instance: Instance, reference: str) -> dict[str, Any]:
    """Return one letter, whole."""
    return shown(*await letter(instance, reference))


async def number(instance: Instance, selection: Selection) -> int:
    """Return how many letters a selection means."""
    if not selection.ids:
        return sum(group.count for found in (await groups_of(instance, selection)).values() for group in found)
    return sum([len(page.letters) async for page in pages(instance, selection)])


async def export(instance: Instance, selection: Selection, cursor: str = "") -> dict[str, Any]:
    """Return letters as they are brought back by an import, and the cursor to go on from, "" at the end.

    Reports that lie in a file are in it up to 16 MiB; larger ones are named by their path.
    """
    found: list[dict[str, Any]] = []
    size = 0
    async for page in pages(instance, selection, cursor):
        for one in page.letters:
            data = _portable(shown(page.stage, one))
            size += len(str(data["message"]))
            found.append(data)
        cursor = page.cursor
        if not cursor or size > EXPORTED:
            break
    return {"letters": found, "cursor": cursor if found or cursor else ""}


def _portable(data: dict[str, Any]) -> dict[str, Any]:
    message = data["message"]
    if path := message.get("spooled"):
        file = Path(path)
        if file.is_file() and file.stat().st_size <= INLINE:
            kept = {name: value for name, value in message.items() if name != "spooled"}
            return data | {"message": kept | {"raw": base64.b64encode(file.read_bytes()).decode()}}
    return data
