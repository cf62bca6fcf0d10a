"""Parse lines of `key=value` pairs, one event per line."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import Field

from intelstream import sdk
from intelstream.sdk.columns import Column, ColumnMap
from intelstream.sdk.linetable import LineParams, LineTable


class Params(LineParams):
    columns: ColumnMap = Field(description="Key: a field, `~`, a list or a mapping.")
    pair_separator: str = Field(" ", min_length=1, description="What stands between pairs.")
    separator: str = Field("=", min_length=1, description="What stands between a key and its value.")
    quote: str = Field('"', max_length=1, description="What stands around a value that holds separators.")


class KeyValue(LineTable[Params]):
    """Parse lines of `key=value` pairs, one event per line.

    What is no pair is left out, such as the head of a syslog line. Of a key that comes twice the first counts.
    """

    def __init__(self, params: Params, ctx: sdk.StageContext) -> None:
        super().__init__(params, ctx)
        pair, separator, quote = (re.escape(text) for text in self._marks())
        self._next = re.compile(f"{pair}|{separator}")
        self._quoted = re.compile(rf"{quote}((?:[^{quote}\\]|\\.)*+){quote}(?={pair}|$)") if quote else None

    def columns(self) -> Iterable[tuple[str, Column | None]]:
        return self.params.columns.items()

    def cells(self, text: str) -> Sequence[Any]:
        found: dict[str, str] = {}
        for key, value in self._pairs(text):
            found.setdefault(key, value)
        return [found.get(source) for source in self.sources]

    def _marks(self) -> tuple[str, str, str]:
        return self.params.pair_separator, self.params.separator, self.params.quote

    def _pairs(self, text: str) -> Iterator[tuple[str, str]]:
        pair, _, quote = self._marks()
        place = 0
        while found := self._next.search(text, place):
            if found[0] == pair:  # a word that is no pair
                place = found.end()
                continue
            key, start = text[place : found.start()].strip(), found.end()
            if self._quoted and (quoted := self._quoted.match(text, start)):
                value, place = quoted[1].replace(f"\\{quote}", quote), quoted.end() + len(pair)
            else:
                end = text.find(pair, start)
                end = len(text) if end < 0 else end
                value, place = text[start:end], end + len(pair)
            if key:
                yield key, value
