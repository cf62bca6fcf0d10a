"""Parse lines by a regular expression whose named groups are the columns."""

from collections.abc import Iterable, Sequence
from typing import Any, Self

from pydantic import Field, model_validator

from intelstream import sdk
from intelstream.errors import InvalidValue
from intelstream.sdk.columns import Column, ColumnMap
from intelstream.sdk.linetable import LineParams, LineTable
from intelstream.sdk.patterns import Expression, Pattern


class Params(LineParams):
    pattern: Expression = Field(description="What a line looks like from its start; its named groups are columns.")
    columns: ColumnMap = Field(description="Name of a group: a field, `~`, a list or a mapping.")

    @model_validator(mode="after")
    def _groups_exist(self) -> Self:
        known = Pattern(self.pattern).groups
        if missing := [name for name in self.columns if name not in known]:
            raise ValueError(f"`pattern` has no group {missing[0]!r}; it has {', '.join(known) or 'none'}")
        return self


class Regex(LineTable[Params]):
    """Parse lines by a regular expression whose named groups are the columns.

    A line that does not look so is an error; `only_rows` and `not_rows` leave out lines that are no rows.
    """

    def __init__(self, params: Params, ctx: sdk.StageContext) -> None:
        super().__init__(params, ctx)
        self._pattern = Pattern(self.params.pattern)
        self._groups = [self._pattern.groups[name] for name in self.sources]

    def columns(self) -> Iterable[tuple[str, Column | None]]:
        return self.params.columns.items()

    def cells(self, text: str) -> Sequence[Any]:
        try:
            found = self._pattern.match(text)
        except ValueError as error:
            raise InvalidValue("row", text[:80], str(error)) from error
        if found is None:
            raise InvalidValue("row", text[:80], "expected what `pattern` describes")
        return [found[group] for group in self._groups]
