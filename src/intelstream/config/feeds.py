"""Expands an entry with `feed` into its collector and its parser."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from intelstream import catalog
from intelstream.catalog import Feed
from intelstream.catalog import Part as FeedPart
from intelstream.config.entries import Entry
from intelstream.config.parts import Part, Reading, Ways
from intelstream.errors import ConfigError, UnknownName
from intelstream.formats.yaml import Place

OF_PARSER: Final = frozenset({"set", "max_bad", "backlog", "retry", "concurrency"})  # keys of the entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """One entry with `feed`: its collector takes the name and `with`, its parser sends on."""

    reading: Reading
    name: str
    entry: Entry
    keys: frozenset[str]
    place: Place
    ways: Ways | None

    @property
    def parser_name(self) -> str:
        return f"{self.name}.parser"

    @property
    def to_parser(self) -> Ways:
        return {"default": (self.parser_name,)}

    def parts(self) -> list[Part]:
        """Return the stages of the feed; none if there is no such feed, or its file is wrong."""
        feed = self._feed()
        if feed is None:
            return []
        if feed.parser is None:
            for key in (OF_PARSER | {"parser"}) & self.keys:
                self.reading.faults.add((*self.place, key), "this feed has no parser: its collector brings events")
            return [self._collector(feed)]
        return [self._collector(feed), self._parser(feed, feed.parser)]

    def _feed(self) -> Feed | None:
        faults, name, place = self.reading.faults, str(self.entry.feed), (*self.place, "feed")
        try:
            return catalog.feed(name, self.reading.folders)
        except UnknownName as error:
            faults.add(place, f"{name}: {error}")
        except ConfigError as error:
            faults.add(place, f"{name}: its own file is wrong")
            faults.merge(error.faults)
        return None

    def _collector(self, feed: Feed) -> Part:
        entry, place = self.entry, (*self.place, "with")
        use, given, readable = feed.collector.use, feed.collector.given, tuple[Path, ...]()
        if entry.sample:
            use, readable = "collectors.file", self._sample()
            given = {"path": str(readable[0])} if readable else {}
        else:
            given = given | self.reading.secrets.resolved(entry.given, place)
            self._place_marks(feed, "collector", entry.given, place)
        return Part(
            name=self.name,
            use=use,
            entry=entry,
            keys=self.keys - OF_PARSER,
            given=given,
            place=self.place,
            use_place=(*self.place, "feed"),
            with_place=place,
            ways=self.to_parser if feed.parser else self.ways,
            labels=feed.labels | entry.labels,
            tags=frozenset(feed.tags) | entry.tags,
            every=feed.every,
            was=entry.was,
            readable=readable,
        )

    def _parser(self, feed: Feed, theirs: FeedPart) -> Part:
        mine, place = self.entry.parser, (*self.place, "parser", "with")
        own = theirs.given if mine.use in (None, theirs.use) else {}
        self._place_marks(feed, "parser", mine.given, place)
        for name in mine.set:  # on top of the entry's own
            inner = (*self.place, "parser", "set", name)
            self.reading.faults.marks[*self.place, "set", name] = self.reading.faults.marks[inner]
        return Part(
            name=self.parser_name,
            use=mine.use or theirs.use,
            entry=self.entry,
            keys=self.keys & OF_PARSER,
            given=own | self.reading.secrets.resolved(mine.given, place),
            place=self.place,
            use_place=(*self.place, "parser", "use"),
            with_place=place,
            ways=self.ways,
            set=theirs.set | self.entry.set | mine.set,
            was=f"{self.entry.was}.parser" if self.entry.was else None,
        )

    def _sample(self) -> tuple[Path, ...]:
        """Return where the feed's sample is; it may be read wherever that is."""
        folder = catalog.feed_folder(str(self.entry.feed), self.reading.folders)
        found = [Path(str(file)) for file in folder.iterdir() if file.name.startswith("sample.")]
        if len(found) != 1:
            self.reading.faults.add((*self.place, "sample"), f"{self.entry.feed} has no sample")
            self.reading.faults.unread.add((*self.place, "with"))
        return tuple(found[:1])

    def _place_marks(self, feed: Feed, part: str, mine: Mapping[str, Any], place: Place) -> None:
        """Let faults of what the feed's own file says stand there."""
        marks = self.reading.faults.marks
        for inner, mark in feed.marks.items():
            match inner:
                case (str() as one, "with", name, *rest) if one == part and name not in mine:
                    marks[*place, name, *rest] = mark
                case ("parser", "set", name, *rest) if part == "parser":
                    marks.setdefault((*self.place, "set", name, *rest), mark)
                case _:
                    pass
