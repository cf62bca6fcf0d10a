"""Which dead letters a command is about, and how they are gone through: page by page, from any place."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from intelstream.app.control.faults import NotFoundHere, Refused
from intelstream.app.control.instance import Instance
from intelstream.transport.letters import EMPTY, Group
from intelstream.transport.segments import position
from intelstream.transport.shelf import Kept

MOST_IDS: Final = 10_000
OTHER: Final = "other"  # what the server counts where there are too many causes

Text = Annotated[str, Field(max_length=256)]


class Selection(BaseModel):
    """Letters by `stage`, `group` (a signature), class of `error`, `field`, `ids` (`STAGE:ID`), or `all` of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    stage: Text | None = None
    group: Text | None = None
    error: Text | None = None
    field: Text | None = None
    ids: tuple[Text, ...] = Field((), max_length=MOST_IDS)
    all: bool = False

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Selection":
        """Read one from a query: nothing named means all."""
        given = {name: query[name] for name in ("stage", "group", "error", "field") if query.get(name)}
        ids = tuple(filter(None, query.get("ids", "").split(",")))
        return cls.model_validate(given | {"ids": ids, "all": not given and not ids})

    @property
    def empty(self) -> bool:
        return not (self.all or self.ids or self.stage or self.group or self.error or self.field)


@dataclass(frozen=True, slots=True)
class Page:
    """Some letters of one stage, and the cursor to go on from, "" at the end."""

    stage: str
    letters: Sequence[Kept]
    cursor: str


def split_id(reference: str) -> tuple[str, str]:
    """Return stage and id of `STAGE:ID`.

    Raises:
        Refused: it is none.
    """
    stage, _, id_ = reference.rpartition(":")
    time, _, number = id_.partition("-")
    if not (stage and time.isdecimal() and number.isdecimal() and len(id_) < len("18446744073709551615") * 2):
        raise Refused(f"{reference[:80]!r}: expected the id of a dead letter, as `intelstream dead ls` shows it")
    return stage, id_


async def groups_of(instance: Instance, selection: Selection) -> dict[str, list[Group]]:
    """Return the groups that a selection without ids means, by stage.

    Raises:
        NotFoundHere: the pipeline has no such stage.
        Refused: nothing is selected.
    """
    if selection.empty:
        raise Refused("say which letters: ids, --stage, --group, --error, --field, or --all")
    stages = [instance.stage(selection.stage).name] if selection.stage else list(instance.pipeline.stages)
    found: dict[str, list[Group]] = {}
    for stage in stages:
        fitting = [group for group in await instance.site.letters.groups(stage) if _fits(selection, group)]
        if fitting:
            found[stage] = fitting
    return found


async def pages(
    instance: Instance, selection: Selection, cursor: str = "", until: int | None = None
) -> AsyncIterator[Page]:
    """Yield the letters of a selection, page by page, stage by stage, oldest first.

    `until` is a time of the server in milliseconds: later ones are left out.

    Raises:
        NotFoundHere: the pipeline has no such stage.
        Refused: nothing is selected, or ids are none.
    """
    if selection.ids:
        async for page in _by_id(instance, selection.ids):
            yield page
        return
    found = await groups_of(instance, selection)
    begun, after = split_id(cursor) if cursor else ("", EMPTY)
    order = list(instance.pipeline.stages)
    if begun:
        started = order.index(instance.stage(begun).name)
        found = {stage: groups for stage, groups in found.items() if order.index(stage) >= started}
    everything = not (selection.group or selection.error or selection.field)
    for stage, following in pairwise([*found, ""]):
        place = after if stage == begun else EMPTY
        known = frozenset(group.signature for group in await instance.site.letters.groups(stage))
        causes = frozenset(group.signature for group in found[stage])
        pruned = frozenset[str]() if everything or OTHER in causes else causes
        while place:
            letters, place = await instance.site.letters.page(stage, place, pruned)
            wanted = letters if everything else [one for one in letters if _wanted(selection, known, one)]
            if until is not None and wanted and position(wanted[-1].id)[0] > until:
                wanted, place = [one for one in wanted if position(one.id)[0] <= until], ""
            yield Page(stage, wanted, f"{stage}:{place}" if place else following and f"{following}:{EMPTY}")


async def letter(instance: Instance, reference: str) -> tuple[str, Kept]:
    """Return one letter, with its stage.

    Raises:
        NotFoundHere: it is not there (any more).
    """
    stage, id_ = split_id(reference)
    instance.stage(stage)
    found = await instance.site.letters.find(stage, [id_])
    if not found:
        raise NotFoundHere(f"no dead letter {reference}: it was retried or dropped, or never was")
    return stage, found[0]


def shown(stage: str, kept: Kept) -> dict[str, Any]:
    """Return a letter as commands show it: its id names its stage."""
    return kept.data | {"id": f"{stage}:{kept.id}", "stage": stage}


async def _by_id(instance: Instance, references: Sequence[str]) -> AsyncIterator[Page]:
    by_stage: dict[str, list[str]] = {}
    for reference in references:
        stage, id_ = split_id(reference)
        by_stage.setdefault(instance.stage(stage).name, []).append(id_)
    for stage, ids in by_stage.items():
        yield Page(stage, await instance.site.letters.find(stage, ids), "")


def _fits(selection: Selection, group: Group) -> bool:
    if group.signature == OTHER and not selection.group:
        return True
    return (
        selection.group in (None, group.signature)
        and selection.error in (None, group.first["error"])
        and selection.field in (None, group.first["field"])
    )


def _wanted(selection: Selection, known: frozenset[str], kept: Kept) -> bool:
    data = kept.data
    if selection.group == OTHER:
        return data["signature"] not in known
    return (
        selection.group in (None, data["signature"])
        and selection.error in (None, data["error"])
        and selection.field in (None, data["field"])
    )
