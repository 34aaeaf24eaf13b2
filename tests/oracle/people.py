"""Who is one person, who is shared by several, and whom a denial reaches (design §1 and §4). Slow and plain."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestration.policy.schema import IdentifierKind
from tests.oracle.facts import Node, World

Pair = frozenset[Node]


@dataclass(frozen=True)
class People:
    """`group` names each identifier's person by one of its identifiers; a shared identifier is a group of its own."""

    group: dict[Node, Node]
    shared: frozenset[Node]
    reach: dict[Node, frozenset[Node]]  # identifier → the groups that its denials block
    held_since: dict[Node, datetime]  # of an identifier that passed to another holder; what was before is a stranger's

    def members(self, group: Node) -> set[Node]:
        return {node for node, its in self.group.items() if its == group}

    def reaching(self, group: Node) -> set[Node]:
        return {node for node, groups in self.reach.items() if group in groups}


@dataclass(frozen=True)
class Tenure:
    """What the records up to T say of a pair: since when, until when, and whether it is linked now."""

    is_linked: bool
    began: datetime | None
    last: datetime | None
    ended: datetime | None


def resolve(world: World) -> People:
    """The people of the world at its `as_of`."""
    if "people" not in world.known:
        world.known["people"] = _resolve(world)
    found: People = world.known["people"]
    return found


def _resolve(world: World) -> People:
    """Strong identifiers are joined first; then each weak one belongs to the only strong person that it leads to."""
    ever = {link.ends for link in world.links if len(link.ends) == 2}
    tenures = {pair: _tenure(world, pair) for pair in ever}
    anew = {node: since for node in world.kinds if (since := _issued_anew(world, node, tenures)) is not None}
    in_force = {pair for pair, tenure in tenures.items() if tenure.is_linked and not _is_strangers(pair, tenure, anew)}

    shared = {node for node in world.kinds if _others(world, node, in_force) > _most(world, node)}
    strong = {pair for pair in in_force if all(map(world.is_strong, pair))}
    people = _divide(world.kinds, strong, shared, lambda n: world.kinds[n] if world.is_anchor(n) else None)
    names = {people[node] for node in world.kinds if world.is_strong(node) and node not in shared}
    weak = {frozenset(people[node] for node in pair) for pair in in_force - strong if not pair & shared}
    around = {pair for pair in weak if len(pair) == 2}
    merged = _divide(set(people.values()), around, shared, lambda n: "a person" if n in names else None)
    group = {node: merged[people[node]] for node in world.kinds}

    reach = {node: frozenset(group[n] for n in _reached(node, ever, shared)) for node in world.kinds}
    given_up = {node: since for node in world.kinds if (since := _given_up(world, node, tenures)) is not None}
    held = {node: max(h[node] for h in (anew, given_up) if node in h) for node in anew.keys() | given_up.keys()}
    return People(group, frozenset(shared), reach, held)


def _rule(world: World, node: Node) -> IdentifierKind:
    return next(k for k in world.policy.organisation.identifier_kinds if k.name == world.kinds[node][0])


def _most(world: World, node: Node) -> int:
    return world.policy.organisation.max_links_of(_rule(world, node))


def _tenure(world: World, pair: Pair) -> Tenure:
    """The last record holds; of two at one instant, unlinking wins; who is erased is linked to nobody any more."""
    told = [link for link in world.links if link.ends == pair and link.effective_at <= world.as_of]
    joined = sorted(link.effective_at for link in told if not link.is_unlink)
    parted = max((link.effective_at for link in told if link.is_unlink), default=None)
    gone = [at for node in pair if (at := _erased_at(world, node)) is not None]
    later = [at for at in joined if parted is None or at > parted]
    began = later[0] if later else joined[0] if joined else None
    ends = [at for at in (parted, min(gone, default=None)) if at is not None]
    return Tenure(bool(later) and not gone, began, joined[-1] if joined else None, max(ends, default=None))


def _erased_at(world: World, node: Node) -> datetime | None:
    if not world.is_on(node, "erased"):
        return None
    return min(s.effective_at for s in world.statuses if s.node == node and (s.status, s.state) == ("erased", "on"))


def _issued_anew(world: World, node: Node, tenures: dict[Pair, Tenure]) -> datetime | None:
    """Since when: the links to one anchor began long after the last to any other of its class."""
    days = _rule(world, node).reissued_after_days
    if world.is_anchor(node) or days is None:
        return None
    found = []
    holders = [(_other(pair, node), t) for pair, t in tenures.items() if node in pair and t.is_linked]
    for one in {world.kinds[other] for other, _ in holders if world.is_anchor(other)}:
        mine = sorted((t.began, t.last) for other, t in holders if world.kinds[other] == one and t.began and t.last)
        *older, (since, _) = mine
        if older and since - max(last for _, last in older) >= timedelta(days=days):
            found.append(since)
    return max(found, default=None)


def _given_up(world: World, node: Node, tenures: dict[Pair, Tenure]) -> datetime | None:
    """Since when: it was parted from somebody, and then linked to somebody else."""
    if world.is_anchor(node):
        return None
    mine = {_other(pair, node): tenure for pair, tenure in tenures.items() if node in pair}
    found = []
    for other, tenure in mine.items():
        may_pass = world.is_anchor(other) or _rule(world, node).reissued_after_days is not None
        if tenure.is_linked or tenure.ended is None or not may_pass:
            continue
        later = [t.began for who, t in mine.items() if who != other and t.began and t.began >= tenure.ended]
        found += [min(later)] if later else []
    return max(found, default=None)


def _is_strangers(pair: Pair, tenure: Tenure, anew: dict[Node, datetime]) -> bool:
    return any(node in anew and tenure.last is not None and tenure.last < anew[node] for node in pair)


def _other(pair: Pair, node: Node) -> Node:
    return next(n for n in pair if n != node)


def _others(world: World, node: Node, in_force: set[Pair]) -> int:
    """With how many others it is linked; of a strong one only the strong count: browsers come and go."""
    others = [_other(pair, node) for pair in in_force if node in pair]
    return sum(1 for other in others if world.is_strong(other) or not world.is_strong(node))


def _divide(
    nodes: Collection[Node], pairs: set[Pair], shared: set[Node], class_of: Callable[[Node], Hashable]
) -> dict[Node, Node]:
    """The parts that hold at most one node of a class. Where two would meet, what they share is added to `shared`; a
    link straight between them is cut."""
    cut: set[Pair] = set()
    while True:
        usable = {pair for pair in pairs - cut if not pair & shared}
        part = _components(nodes, usable)
        found: set[Node] = set()
        for one in {class_of(node) for node in nodes if node not in shared} - {None}:
            anchors = [node for node in nodes if class_of(node) == one and node not in shared]
            meeting = {a for a in anchors for b in anchors if a != b and part[a] == part[b]}
            between, crossing = _meeting(usable, meeting, class_of)
            found |= between
            cut |= crossing
        if not found and not cut & usable:
            return part
        shared |= found


def _components(nodes: Iterable[Node], pairs: Iterable[Pair]) -> dict[Node, Node]:
    part = {node: node for node in nodes}
    for pair in pairs:
        a, b = (part[node] for node in pair)
        part = {node: min(a, b) if its in (a, b) else its for node, its in part.items()}
    return part


def _meeting(pairs: set[Pair], anchors: set[Node], class_of: Callable[[Node], Hashable]) -> tuple[set[Node], set[Pair]]:
    """Where parts grown from the anchors step by step meet: the identifiers shared there, and the links to cut.

    An identifier that two parts reach at once is shared. Where two parts are linked, the ends that are no anchors are
    shared; a link between two anchors is cut instead."""
    owner = {anchor: anchor for anchor in anchors}
    shared: set[Node] = set()
    edge = set(anchors)
    while edge:
        claims: dict[Node, set[Node]] = {}
        for pair in pairs:
            for here in pair & edge:
                there = _other(pair, here)
                if there not in owner and there not in shared:
                    claims.setdefault(there, set()).add(owner[here])
        shared |= {node for node, owners in claims.items() if len(owners) > 1}
        edge = {node for node, owners in claims.items() if len(owners) == 1}
        owner |= {node: min(claims[node]) for node in edge}
    crossing = {pair for pair in pairs if pair <= owner.keys() and len({owner[node] for node in pair}) == 2}
    shared |= {node for pair in crossing for node in pair if class_of(node) is None}
    return shared, {pair for pair in crossing if all(class_of(node) is not None for node in pair)}


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
