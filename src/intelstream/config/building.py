"""Turns the entries of a pipeline into checked stages; each check adds to the faults and goes on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import RootModel

from intelstream import catalog
from intelstream.catalog import AnyStage, Feed
from intelstream.config import secrets
from intelstream.config.entries import FEED_ONLY, KINDS, LABELS, Entry, ParserKeys
from intelstream.config.secrets import Secrets
from intelstream.errors import ConfigError, InvalidValue, UnknownName
from intelstream.formats.faults import Faults, near
from intelstream.formats.yaml import Place
from intelstream.ontology import Event, Ontology
from intelstream.runtime.spec import HostSpec, Kind, Retry, StageSpec, kind_of
from intelstream.sdk import Collector, Duration, Params
from intelstream.sdk.types import FieldMap

KEYS: Final = frozenset(info.alias or name for name, info in Entry.model_fields.items())
SENDING: Final = frozenset({"set", "max_bad", "backlog", "retry", "concurrency"})  # of a feed's entry: for its parser
ARTICLE: Final[Mapping[Kind, str]] = {
    "collector": "a collector",
    "parser": "a parser",
    "expert": "an expert",
    "output": "an output",
}
Ways = Mapping[str, tuple[str, ...]]


class Values(RootModel[FieldMap]):
    """Values of fields, as the ontology keeps them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A stage as far as it is known; `spec` is missing where something of it is wrong, `ways` where that is `to`."""

    name: str
    place: Place
    way: Place
    ways: Ways | None
    stage: AnyStage | None = None
    spec: StageSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One stage to be: an entry is one, a feed two."""

    name: str
    use: str
    given: dict[str, Any]
    values: dict[str, Any]
    entry: Entry
    keys: frozenset[str]  # of the entry, those that speak of this stage
    place: Place
    with_place: Place
    ways: Ways | None
    labels: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tags: frozenset[str] = frozenset()
    every: float | None = None
    readable: tuple[Path, ...] = ()


@dataclass(slots=True)
class Builder:
    """Builds the stages of one pipeline. `folders` are the user's directories of feeds."""

    faults: Faults
    secrets: Secrets
    host: HostSpec
    directory: Path
    ontology: Ontology
    folders: Sequence[Path]
    nodes: dict[str, Node] = field(default_factory=dict[str, Node])

    def build(self, name: str, given: Any) -> None:
        """Add what one entry stands for: a stage, or the two of a feed."""
        place: Place = ("stages", name)
        if not isinstance(given, dict):
            self.faults.add(place, "expected a mapping, such as {use: experts.taxonomy}")
            self.nodes[name] = Node(name=name, place=place, way=place, ways=None)
            return
        entry, broken = self.faults.salvage(Entry, given, place)
        broken |= {meant for key in broken - KEYS for meant in get_close_matches(key, KEYS, n=1)}
        self._secrets_elsewhere(given, place)
        ways = None if "to" in broken else entry.to
        if entry.feed and not entry.use:
            self._feed(name, entry, frozenset(given) - broken, place, ways)
        elif entry.use and not entry.feed:
            for key in FEED_ONLY & given.keys():
                self.faults.add((*place, key), "goes with `feed`, not with `use`")
            self._stage(
                _Part(
                    name=name,
                    use=entry.use,
                    given=self.secrets.resolved(entry.given, (*place, "with")),
                    values=entry.set,
                    entry=entry,
                    keys=frozenset(given) - broken,
                    place=place,
                    with_place=(*place, "with"),
                    ways=ways,
                    labels=entry.labels,
                    tags=entry.tags,
                )
            )
        else:
            if not broken & {"use", "feed"}:
                self.faults.add(place, "expected `use` or `feed`, one of them")
            self.nodes[name] = Node(name=name, place=place, way=(*place, "to"), ways=ways)

    def _feed(self, name: str, entry: Entry, keys: frozenset[str], place: Place, ways: Ways | None) -> None:
        """Expand a feed: the collector has the name and `with`, its parser sends on."""
        feed = self._found(entry, place)
        inner = f"{name}.parser"
        to_parser: Ways = {"default": (inner,)}
        with_parser = feed is None or feed.parser is not None
        if feed is None:
            self.nodes[name] = Node(name=name, place=place, way=(*place, "feed"), ways=to_parser)
            self.nodes[inner] = Node(name=inner, place=place, way=(*place, "to"), ways=ways)
            return
        self._stage(self._collector(name, entry, keys, feed, place, to_parser if with_parser else ways))
        if feed.parser:
            self._stage(self._parser(inner, entry, keys, feed, place, ways))
        else:
            for key in {"set", "parser", "max_bad"} & keys:
                self.faults.add((*place, key), "this feed has no parser: its collector brings events")

    def _found(self, entry: Entry, place: Place) -> Feed | None:
        try:
            return catalog.feed(str(entry.feed), self.folders)
        except UnknownName as error:
            self.faults.add((*place, "feed"), f"{entry.feed}: {error}")
        except ConfigError as error:
            self.faults.add((*place, "feed"), f"{entry.feed}: its file is wrong, see there")
            self.faults.merge(error.faults)
        return None

    def _collector(
        self, name: str, entry: Entry, keys: frozenset[str], feed: Feed, place: Place, ways: Ways | None
    ) -> _Part:
        readable: tuple[Path, ...] = ()
        if entry.sample:
            use, readable = "collectors.file", self._sample(entry, place)
            given: dict[str, Any] = {"path": str(readable[0])} if readable else {}
        else:
            use = feed.collector.use
            given = feed.collector.given | self.secrets.resolved(entry.given, (*place, "with"))
            self._place_feeds(feed, "collector", entry.given, (*place, "with"))
        return _Part(
            name=name,
            use=use,
            given=given,
            values={},
            entry=entry,
            keys=keys - SENDING,
            place=place,
            with_place=(*place, "with"),
            ways=ways,
            labels=feed.labels | entry.labels,
            tags=frozenset(feed.tags) | entry.tags,
            every=feed.every if entry.cron is None else None,
            readable=readable,
        )

    def _parser(
        self, name: str, entry: Entry, keys: frozenset[str], feed: Feed, place: Place, ways: Ways | None
    ) -> _Part:
        theirs, mine = feed.parser, entry.parser
        if theirs is None:
            raise AssertionError(feed)
        below = (*place, "parser")
        own = theirs.given if mine.use in (None, theirs.use) else {}
        self._place_feeds(feed, "parser", mine.given, (*below, "with"))
        more = self._values(mine, below)
        return _Part(
            name=name,
            use=mine.use or theirs.use,
            given=own | self.secrets.resolved(mine.given, (*below, "with")),
            values=theirs.set | entry.set | more,
            entry=entry,
            keys=keys & SENDING,
            place=place,
            with_place=(*below, "with"),
            ways=ways,
        )

    def _values(self, mine: ParserKeys, place: Place) -> dict[str, Any]:
        context = {"ontology": self.ontology}
        checked = self.faults.check(Values, mine.set, (*place, "set"), context)
        return checked.root if checked else {}

    def _sample(self, entry: Entry, place: Place) -> tuple[Path, ...]:
        """Return where the feed's sample is; it may be read wherever that is."""
        folder = catalog.feed_folder(str(entry.feed), self.folders)
        found = [Path(str(file)) for file in folder.iterdir() if file.name.startswith("sample.")]
        if len(found) != 1:
            self.faults.add((*place, "sample"), f"{entry.feed} has no sample")
        return tuple(found[:1])

    def _place_feeds(self, feed: Feed, part: str, mine: Mapping[str, Any], place: Place) -> None:
        """Let faults of what the feed's own file says stand there."""
        for inner, mark in feed.marks.items():
            match inner:
                case (str() as one, "with", name, *rest) if one == part and name not in mine:
                    self.faults.marks[*place, name, *rest] = mark
                    self.faults.files.setdefault(mark.file)
                case ("parser", "set", name, *rest):
                    self.faults.marks.setdefault((*place[:2], "set", name, *rest), mark)
                case _:
                    pass

    def _stage(self, part: _Part) -> None:
        stage = self._loaded(part)
        spec = self._spec(part, stage) if stage else None
        self.nodes[part.name] = Node(
            name=part.name, place=part.place, way=(*part.place, "to"), ways=part.ways, stage=stage, spec=spec
        )

    def _loaded(self, part: _Part) -> AnyStage | None:
        key = "feed" if part.entry.feed else "use"
        place = (*part.place, *(("parser", "use") if part.with_place[-2] == "parser" else (key,)))
        try:
            stage = catalog.load(part.use, self.host.plugins)
        except UnknownName as error:
            hint = f"; it is a feed: write `feed: {part.use}`" if part.use in catalog.feed_names(self.folders) else ""
            self.faults.add(place, f"{part.use}: {error}{hint}")
            return None
        if line := catalog.missing(stage):
            self.faults.add(place, f"{part.use} needs a library that is not installed: {line}")
        return stage

    def _spec(self, part: _Part, stage: AnyStage) -> StageSpec | None:
        entry, kind = part.entry, kind_of(stage)
        for key in sorted(part.keys & KINDS.keys()):
            if kind not in KINDS[key]:
                self.faults.add((*part.place, key), f"only for {_listed(KINDS[key])}; {part.use} is {ARTICLE[kind]}")
        params = self._params(part, stage)
        values = self.faults.check(Values, part.values, (*part.place, "set"), {"ontology": self.ontology})
        labels = self._labels(part)
        every = self._every(part, stage)
        if params is None or values is None:
            return None
        return StageSpec(
            name=part.name,
            use=part.use,
            stage=stage,
            params=params,
            to=part.ways or {},
            labels=labels,
            set=values.root,
            tags=part.tags,
            every=every,
            cron=entry.cron if kind == "collector" else None,
            timezone=entry.timezone,
            jitter=entry.jitter,
            missed=entry.missed,
            timeout=entry.timeout,
            enabled=entry.enabled,
            priority=entry.priority,
            backlog=entry.backlog,
            retry=Retry(attempts=entry.retry.attempts, delay=entry.retry.delay),
            concurrency=entry.concurrency,
            fuse=entry.fuse,
            was=_was(part),
            max_bad=entry.max_bad,
            description=entry.description,
        )

    def _params(self, part: _Part, stage: AnyStage) -> Params | None:
        context = {
            "ontology": self.ontology,
            "directory": self.directory,
            "readable": (*self.host.readable, *part.readable),
            "writable": self.host.writable,
            "hidden": self.secrets.hidden(part.with_place),
        }
        return self.faults.check(stage.Params, part.given, part.with_place, context)

    def _labels(self, part: _Part) -> dict[str, Any]:
        """Return the labels as the ontology keeps `feed.*`."""
        kept = Event({}, self.ontology, id="")
        for name, value in part.labels.items():
            place = (*part.place, "labels", name)
            if name not in LABELS:
                self.faults.add(place, near("no such label", name, LABELS))
                continue
            try:
                kept[f"feed.{name}"] = value
            except InvalidValue as error:
                self.faults.add(place, error.reason)
        return {name.removeprefix("feed."): value for name, value in kept.fields.items()}

    def _every(self, part: _Part, stage: AnyStage) -> float | None:
        """Return the seconds between two runs of a collector that is asked again and again."""
        entry, place = part.entry, part.place
        if not issubclass(stage, Collector):
            return None
        if stage.mode != "poll":
            for key in sorted(part.keys & {"every", "cron", "jitter", "missed", "timezone", "timeout"}):
                self.faults.add((*place, key), f"{part.use} runs all the time, not at times")
            return None
        if entry.every and entry.cron:
            self.faults.add((*place, "cron"), "give `every` or `cron`, not both")
        if "timezone" in part.keys and "cron" not in part.keys:
            self.faults.add((*place, "timezone"), "goes with `cron`, which is not there")
        if entry.cron:
            return None
        return float(entry.every or part.every or Duration("1h" if stage.network else "1m"))

    def _secrets_elsewhere(self, given: Mapping[str, Any], place: Place) -> None:
        """Refuse secrets where they would be shown."""
        for key, value in given.items():
            if key in ("with", "description"):
                continue
            for found in secrets.references(value, (*place, key)):
                if found[len(place) : len(place) + 2] != ("parser", "with"):
                    self.faults.add(found, "secrets can only be in `with`: elsewhere they would be shown")


def _was(part: _Part) -> str | None:
    if part.entry.was is None:
        return None
    return f"{part.entry.was}.parser" if part.with_place[-2] == "parser" else part.entry.was


def _listed(kinds: frozenset[Kind]) -> str:
    return " and ".join(f"{kind}s" for kind in sorted(kinds))
