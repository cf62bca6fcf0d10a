"""Checks how the stages of a pipeline are connected: who sends to whom, by which path, and whether that can work."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, Final

from intelstream.config.building import Node
from intelstream.config.entries import Target, targets
from intelstream.config.parts import Ways
from intelstream.formats.faults import Faults, near
from intelstream.formats.yaml import Place
from intelstream.runtime.plan import cycle
from intelstream.runtime.spec import ERROR, kind_of
from intelstream.sdk import Collector, Expert, Output, Parser

DEFAULT: Final = "default"


def check(nodes: Mapping[str, Node], entries: Mapping[str, Any], faults: Faults) -> None:
    """Add what is wrong with the ways between the stages; `entries` are what the files say of them."""
    graph = _Graph(nodes, entries, faults)
    for node in nodes.values():
        graph.ends(node)
        graph.receivers(node)
    graph.cycles()
    graph.lonely()
    graph.doubled()


class _Graph:
    def __init__(self, nodes: Mapping[str, Node], entries: Mapping[str, Any], faults: Faults) -> None:
        self.nodes = nodes
        self.entries = entries
        self.faults = faults
        self.unknown = False  # whether somebody sends to a stage that is not there
        self.senders = {name: list(self._senders(name)) for name in nodes}

    def _senders(self, name: str) -> Iterator[str]:
        for node in self.nodes.values():
            if any(name in way for way in (node.ways or {}).values()):
                yield node.name

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
            elif far.stage and (text := _misfit(node, target, far)):
                self.faults.add(place, text)

    def cycles(self) -> None:
        """Name every cycle, each at the way that closes it."""
        ways = {
            name: dict.fromkeys(t for way in (node.ways or {}).values() for t in way)
            for name, node in self.nodes.items()
        }
        order = list(self.nodes)
        while around := [name for name in cycle(ways) if name in self.nodes]:
            ring = around[:-1]
            first = min(range(len(ring)), key=lambda n: order.index(ring[n]))
            ring = ring[first:] + ring[:first]
            last = self.nodes[ring[-1]]
            place = next((place for target, place in self.targets(last) if target.name == ring[0]), last.way)
            self.faults.add(place, f"a cycle: {' -> '.join((*ring, ring[0]))}")
            del ways[ring[-1]][ring[0]]

    def lonely(self) -> None:
        """Warn of stages that nobody sends to, unless it is not known who was meant."""
        if any(node.ways is None for node in self.nodes.values()) or self.unknown:
            return
        for name, node in self.nodes.items():
            if node.stage and not issubclass(node.stage, Collector) and not self.senders[name]:
                self.faults.add(node.place, "nobody sends to it: it never gets anything", level="warning")

    def doubled(self) -> None:
        """Warn where an event that is sent to several stages can reach an output more than once."""
        reached = {name: self._outputs(name, frozenset()) for name in self.nodes}
        for node in self.nodes.values():
            for path, way in (node.ways or {}).items():
                for one, other in combinations(dict.fromkeys(name for name in way if name in reached), 2):
                    for output in sorted(reached[one] & reached[other]):
                        place = next(
                            (at for target, at in self.targets(node) if (target.path, target.name) == (path, other)),
                            node.way,
                        )
                        text = f"an event can reach {output!r} by two routes: through {one!r} and through {other!r}"
                        self.faults.add(place, text, level="warning")

    def _outputs(self, name: str, behind: frozenset[str]) -> frozenset[str]:
        """Return the outputs that an event can reach from a stage, if nothing goes wrong."""
        node = self.nodes.get(name)
        if node is None or name in behind:
            return frozenset()
        if node.stage and issubclass(node.stage, Output):
            return frozenset((name,))
        ways: Ways = node.ways or {}
        found = (
            self._outputs(target, behind | {name}) for path, way in ways.items() if path != ERROR for target in way
        )
        return frozenset[str]().union(*found)


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
