"""Checks how the stages of a pipeline are connected: who sends to whom, by which path, and whether that can work."""

from collections.abc import Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from itertools import combinations
from typing import Any, Final

from intelstream.config.building import Node
from intelstream.config.entries import Target, targets
from intelstream.formats.faults import Faults, near
from intelstream.formats.yaml import Place
from intelstream.runtime.plan import cycle
from intelstream.runtime.spec import ERROR, kind_of
from intelstream.sdk import Collector, Expert, Output, Parser

DEFAULT: Final = "default"
MERGING: Final = "experts.deduplicate"
MOST_CYCLES: Final = 20  # that are named
Ways = Mapping[str, Sequence[str]]


def check(nodes: Mapping[str, Node], entries: Mapping[str, Any], faults: Faults) -> None:
    """Add what is wrong with the ways between the stages; `entries` are what the files say of them."""
    graph = _Graph(nodes, entries, faults)
    for node in nodes.values():
        graph.ends(node)
        graph.receivers(node)
    graph.lonely()
    if graph.cycles():
        graph.doubled()


class _Graph:
    def __init__(self, nodes: Mapping[str, Node], entries: Mapping[str, Any], faults: Faults) -> None:
        self.nodes = nodes
        self.entries = entries
        self.faults = faults
        self.uses = {name: node.spec.use for name, node in nodes.items() if node.spec}
        self.unknown = False  # whether somebody sends to a stage that is not there
        self.sound = {
            name: {path: list(way) for path, way in (node.ways or {}).items()} for name, node in nodes.items()
        }

    def targets(self, node: Node) -> Iterator[tuple[Target, Place]]:
        """Yield whom a stage sends to, each with where the file says so."""
        entry = self.entries.get(str(node.place[-1]))
        if (
            node.ways
            and isinstance(entry, dict)
            and node.way[-1:] == ("to",)
            and "to" in entry
            and node.ways is not None
        ):
            for target in targets(entry["to"]):
                if target.name in node.ways.get(target.path, ()):
                    yield target, (*node.way, *target.place)
        else:
            for path, names in (node.ways or {}).items():
                yield from ((Target(path, name, ()), node.way) for name in names)

    def ends(self, node: Node) -> None:
        """Compare the ways out that a stage declares with those that the file connects."""
        stage, ways = node.stage, node.ways
        if stage is None or ways is None:
            return
        if issubclass(stage, Output):
            for path in ways.keys() - {ERROR}:
                place = node.way if path == DEFAULT else (*node.way, path)
                self.faults.add(place, f"{node.name!r} is an output: nothing leaves it, but by `error`")
            return
        declared = stage.paths_of(node.spec.params) if node.spec else stage.paths
        if node.spec or declared == stage.paths:
            for path in ways.keys() - {DEFAULT, ERROR, *declared, *stage.paths}:
                known = [*declared, DEFAULT, ERROR]
                hint = near("no such path", path, known)
                self.faults.add((*node.way, path), hint if "?" in hint else f"{hint}; there are {', '.join(known)}")
        if not ways:
            self.faults.add(node.place, "expected `to`: where its messages go")
            return
        for path in (DEFAULT, *declared):
            if path not in ways and path not in stage.optional and node.spec:
                text = f"path {path!r} is not connected: what takes it is dropped"
                self.faults.add(node.place, text, level="warning")

    def receivers(self, node: Node) -> None:
        """Check that what a stage sends is what the receivers take."""
        seen: set[tuple[str, str]] = set()
        for target, place in self.targets(node):
            if (target.path, target.name) in seen:
                self.faults.add(place, f"{target.name!r} is named twice")
            seen.add((target.path, target.name))
            if (far := self.nodes.get(target.name)) is None:
                self.unknown = True
                self.faults.add(place, near(f"no stage {target.name!r}", target.name, self.nodes))
            elif text := _misfit(node, target, far):
                self.faults.add(place, text)
                self.drop(node.name, target.name)

    def drop(self, name: str, target: str) -> None:
        """Leave a way out of what follows: one that cannot be says nothing of the rest."""
        for way in self.sound[name].values():
            way[:] = [other for other in way if other != target]

    def followers(self, name: str, *, errors: bool = True) -> list[str]:
        """Return whom a stage sends to, by ways that can be."""
        ways = self.sound[name].items()
        found = (target for path, way in ways if errors or path != ERROR for target in way if target in self.nodes)
        return list(dict.fromkeys(found))

    def cycles(self) -> bool:
        """Name the cycles, each at the way that closes it; say whether there are no more than were named."""
        order = list(self.nodes)
        for _ in range(MOST_CYCLES):
            if not (around := cycle({name: self.followers(name) for name in order})):
                return True
            ring = around[:-1]
            first = min(range(len(ring)), key=lambda n: order.index(ring[n]))
            ring = ring[first:] + ring[:first]
            last = self.nodes[ring[-1]]
            place = next((place for target, place in self.targets(last) if target.name == ring[0]), last.way)
            self.faults.add(place, f"a cycle: {' -> '.join((*ring, ring[0]))}; take one of these ways out")
            self.drop(ring[-1], ring[0])
        return False

    def lonely(self) -> None:
        """Warn of stages that nobody sends to, unless it is not known who was meant."""
        if any(node.ways is None for node in self.nodes.values()) or self.unknown:
            return
        sent_to = {name for node in self.nodes.values() for way in (node.ways or {}).values() for name in way}
        for name, node in self.nodes.items():
            if node.stage and not issubclass(node.stage, Collector) and name not in sent_to:
                self.faults.add(node.place, "nobody sends to it: it never gets anything", level="warning")

    def doubled(self) -> None:
        """Warn where an event that is sent to several stages can reach an output more than once."""
        far = {name: self.followers(name, errors=False) for name in self.nodes}
        reached = _reached(far)
        for node in self.nodes.values():
            for path, way in self.sound[node.name].items():
                for one, other in combinations(dict.fromkeys(name for name in way if name in reached), 2):
                    for output in self.twice(one, other, far, reached):
                        place = next(
                            (at for target, at in self.targets(node) if (target.path, target.name) == (path, other)),
                            node.way,
                        )
                        text = f"an event can reach {output!r} by two routes: through {one!r} and through {other!r}"
                        cure = f"; {MERGING} behind where they meet would keep one"
                        self.faults.add(place, text + cure, level="warning")

    def twice(self, one: str, other: str, far: Ways, reached: Mapping[str, frozenset[str]]) -> list[str]:
        """Return the outputs that both routes lead to without a stage that keeps only one of two events."""
        both = reached[one] & reached[other]
        before = {one, other} | reached[one] ^ reached[other]
        todo = [*({one, other} & both), *(target for name in before for target in far[name] if target in both)]
        seen: set[str] = set()
        while todo:
            name = todo.pop()
            if name not in seen and self.uses.get(name) != MERGING:
                seen.add(name)
                todo += far[name]
        return sorted(name for name in seen if self.is_output(name))

    def is_output(self, name: str) -> bool:
        stage = self.nodes[name].stage
        return stage is not None and issubclass(stage, Output)


def _reached(far: Ways) -> dict[str, frozenset[str]]:
    """Return for each stage all that an event can reach from it, itself included."""
    found: dict[str, frozenset[str]] = {}
    for name in TopologicalSorter(far).static_order():
        found[name] = frozenset({name}).union(*(found[target] for target in far[name]))
    return found


def _misfit(node: Node, target: Target, far: Node) -> str | None:
    """Say why a stage cannot take what another one sends."""
    if far.stage is None:
        return None
    if issubclass(far.stage, Collector):
        return f"{far.name!r} is a collector: nothing goes in"
    if node.stage is None or node.spec is None or target.path == ERROR:
        return None
    gives = node.stage.gives_of(node.spec.params) if issubclass(node.stage, Collector) else "events"
    if issubclass(far.stage, Parser) and gives == "events":
        return f"{far.name!r} is a parser and takes reports, which only collectors give; {node.name!r} gives events"
    if issubclass(far.stage, Expert | Output) and gives == "reports":
        kind = kind_of(far.stage)
        return f"{far.name!r} is an {kind} and takes events; {node.name!r} gives reports: put a parser between"
    return None
