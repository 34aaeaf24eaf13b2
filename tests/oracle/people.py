"""Who is one person, who is shared by several, and whom a denial reaches (design §1 and §4). Slow and plain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.oracle.facts import Node, World

Pair = frozenset[Node]


@dataclass(frozen=True)
class People:
    """`group` names each identifier's person by its first identifier; a shared identifier is a group of its own."""

    group: dict[Node, Node]
    shared: frozenset[Node]
    reach: dict[Node, frozenset[Node]]  # identifier → the groups that its denials block

    def members(self, group: Node) -> set[Node]:
        return {node for node, its in self.group.items() if its == group}

    def reaching(self, group: Node) -> set[Node]:
        return {node for node, groups in self.reach.items() if group in groups}


def resolve(world: World) -> People:
    """The people of the world at its `as_of`."""
    if "people" not in world.known:
        world.known["people"] = _resolve(world)
    found: People = world.known["people"]
    return found


def _resolve(world: World) -> People:
    ever = {link.ends for link in world.links if len(link.ends) == 2}
    in_force = {pair for pair in ever if _is_in_force(world, pair)}
    shared: set[Node] = set()
    cut: set[Pair] = set()
    while True:
        usable = {pair for pair in in_force - cut if not pair & shared}
        group = _components(world.kinds, usable)
        conflicts = _conflicts(world, group, shared)
        if not conflicts:
            break
        for anchors in conflicts.values():
            found, crossing = _meeting(world, usable, anchors)
            shared |= found
            cut |= crossing
    reach = {node: frozenset(group[n] for n in _reached(node, ever, shared)) for node in world.kinds}
    return People(group, frozenset(shared), reach)


def _is_in_force(world: World, pair: Pair) -> bool:
    """The last record up to T links; of two at one instant, unlinking wins."""
    told = [(link.effective_at, link.is_unlink) for link in world.links if link.ends == pair]
    told = [record for record in told if record[0] <= world.as_of]
    return bool(told) and not max(told)[1]


def _components(nodes: Iterable[Node], pairs: Iterable[Pair]) -> dict[Node, Node]:
    group = {node: node for node in nodes}
    for pair in pairs:
        a, b = (group[node] for node in pair)
        group = {node: min(a, b) if its in (a, b) else its for node, its in group.items()}
    return group


def _conflicts(world: World, group: dict[Node, Node], shared: set[Node]) -> dict[tuple[str, str], set[Node]]:
    """Per kind and issuer of anchor: those of which one person holds two. A person has at most one."""
    anchors = [node for node in group if world.is_anchor(node) and node not in shared]
    conflicts: dict[tuple[str, str], set[Node]] = {}
    for node in anchors:
        if any(n != node and group[n] == group[node] and world.kinds[n] == world.kinds[node] for n in anchors):
            conflicts.setdefault(world.kinds[node], set()).add(node)
    return conflicts


def _meeting(world: World, pairs: set[Pair], anchors: set[Node]) -> tuple[set[Node], set[Pair]]:
    """Where people grown from the anchors step by step meet: the identifiers shared there, and the links to cut.

    An identifier that two people reach at once is shared. Where two people's identifiers are linked, the ends that
    are no anchors are shared; a link between two anchors is cut instead."""
    owner = {anchor: anchor for anchor in anchors}
    shared: set[Node] = set()
    edge = set(anchors)
    while edge:
        claims: dict[Node, set[Node]] = {}
        for pair in pairs:
            for here in pair & edge:
                (there,) = pair - {here}
                if there not in owner and there not in shared:
                    claims.setdefault(there, set()).add(owner[here])
        shared |= {node for node, owners in claims.items() if len(owners) > 1}
        edge = {node for node, owners in claims.items() if len(owners) == 1}
        owner |= {node: min(claims[node]) for node in edge}
    crossing = {pair for pair in pairs if len({owner.get(node) for node in pair}) == 2 and pair <= owner.keys()}
    shared |= {node for pair in crossing for node in pair if not world.is_anchor(node)}
    return shared, {pair for pair in crossing if all(map(world.is_anchor, pair))}


def _reached(start: Node, ever: set[Pair], shared: set[Node]) -> set[Node]:
    """Every identifier on a path of links ever on record that passes through no shared one: it would spread a
    stranger's denial. A path may begin or end at one."""
    found, edge = {start}, [start]
    while edge:
        here = edge.pop()
        if here in shared and here != start:
            continue
        for pair in ever:
            if here in pair:
                new = pair - found
                found |= new
                edge += new
    return found
