"""People as parts of a graph of identifiers, cut where an identifier would join two people (design §4).

Arrays only; what the nodes are, and where links come from, is in `numbering.py`. Nodes are numbered so that the
smallest of a group is the one that names it: anchors first, then other strong identifiers, then weak ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
NONE = -1


@dataclass(frozen=True)
class Nodes:
    """What policy says of each identifier; strong ones are numbered before weak ones."""

    is_strong: Bools
    anchor_class: Ints  # numbers the (kind, issuer) of an anchor, NONE for the rest
    max_links: Ints

    def __len__(self) -> int:
        return len(self.is_strong)

    def take(self, chosen: Ints) -> Nodes:
        return Nodes(self.is_strong[chosen], self.anchor_class[chosen], self.max_links[chosen])


@dataclass(frozen=True)
class Links:
    """Distinct pairs that a record ever named, smaller node first, as a (2, m) array; and which are in force."""

    ends: Ints
    in_force: Bools

    def __len__(self) -> int:
        return len(self.in_force)


@dataclass(frozen=True)
class People:
    """Who is one person. A label is a node, the smallest of what it names, whatever the order of arrival."""

    group: Ints  # an ambiguous node is a group of its own
    reach: Ints  # what a path of links ever on record leads to, through nobody ambiguous: denials travel along it
    record: Ints  # what any path of links ever on record leads to: no rule looks beyond
    is_ambiguous: Bools
    is_loose: Bools  # a link on record does not join it: not in force, cut, or to somebody ambiguous
    degree: Ints  # how many others in force count for `max_links`


def resolve_people(nodes: Nodes, links: Links) -> People:
    """Joins strong identifiers first, then lets each weak one belong to the only strong group that it leads to."""
    degree = count_links(nodes, links)
    is_strong = links.in_force & both(nodes.is_strong, links.ends)
    weak = links.ends[:, links.in_force & ~is_strong]
    people = partition(len(nodes), links.ends[:, is_strong], nodes.anchor_class, degree > nodes.max_links)

    # A strong group is one node by now, and any two of them conflict: what would join them is weak.
    is_name = nodes.is_strong & ~people.is_ambiguous & (people.group == np.arange(len(nodes)))
    contracted = people.group[weak[:, ~either(people.is_ambiguous, weak)]]
    around = partition(len(nodes), contracted, np.where(is_name, 0, NONE), people.is_ambiguous)
    group = around.group[people.group]

    loose = links.ends[:, ~links.in_force | (group[links.ends[0]] != group[links.ends[1]])]
    is_loose = np.zeros(len(nodes), dtype=np.bool_)
    is_loose[loose.reshape(-1)] = True
    passing = loose[:, ~either(around.is_ambiguous, loose)]  # a denial begins or ends at an ambiguous node
    reach = components(len(nodes), group[passing])[group]  # what joins is within a group already
    record = components(len(nodes), reach[loose])[reach]
    return People(group, reach, record, around.is_ambiguous, is_loose, degree)


def count_links(nodes: Nodes, links: Links) -> Ints:
    """The distinct others in force of each node; for a strong one only the strong."""
    a, b = links.ends[:, links.in_force]
    counts_a, counts_b = (~nodes.is_strong[x] | nodes.is_strong[y] for x, y in ((a, b), (b, a)))
    return np.bincount(a[counts_a], minlength=len(nodes)) + np.bincount(b[counts_b], minlength=len(nodes))


def either(flag: Bools, links: Ints) -> Bools:
    """Of each link: whether one of its ends is flagged."""
    found: Bools = flag[links[0]] | flag[links[1]]
    return found


def both(flag: Bools, links: Ints) -> Bools:
    """Of each link: whether both of its ends are flagged."""
    found: Bools = flag[links[0]] & flag[links[1]]
    return found


def components(nodes: int, links: Ints) -> Ints:
    """For each node the smallest node of its connected component. `links` is (2, m).

    Each round hangs every group below the smallest that it is linked with. What hangs below none has something below it
    after two rounds at most, so at most half of the groups are left then. Measured: 0.2 to 0.5 of scipy's time for two
    million people (1.6 where all are one chain in order), which takes 0.25 s to import besides."""
    group = np.arange(nodes)
    a, b = links
    while len(a):
        np.minimum.at(group, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(group, above := group.take(group)):
            group = above
        a, b = group.take(a), group.take(b)
        apart = np.flatnonzero(a != b)
        a, b = a.take(apart), b.take(apart)
    return group


@dataclass(frozen=True)
class Partition:
    """`group[i]` is the smallest node of i's group; an ambiguous node is a group of its own."""

    group: Ints
    is_ambiguous: Bools


def partition(nodes: int, links: Ints, anchor_class: Ints, is_shared: Bools) -> Partition:
    """Cuts the graph until no group holds two anchors of one class. `is_shared` nodes are ambiguous from the start.

    Each pass spreads, per class, the anchors of the groups that hold two of them. It ends: two anchors in one group
    always meet in something to cut."""
    is_ambiguous = is_shared.copy()
    is_cut = np.zeros(links.shape[1], dtype=np.bool_)
    open_links = np.flatnonzero(~either(is_ambiguous, links))
    while True:
        group = components(nodes, links[:, open_links])
        conflicting = _conflicting_anchors(group, anchor_class, is_ambiguous)
        if not len(conflicting):
            break
        in_conflict = np.zeros(nodes, dtype=np.bool_)
        in_conflict[group[conflicting]] = True
        among = open_links[in_conflict[group[links[0, open_links]]]]
        for one_class in np.unique(anchor_class[conflicting]):
            sources = conflicting[anchor_class[conflicting] == one_class]
            shared, crossing = _spread(nodes, links[:, among], sources, anchor_class != NONE)
            is_ambiguous[shared] = True
            is_cut[among[crossing]] = True
        open_links = open_links[~is_cut[open_links] & ~either(is_ambiguous, links[:, open_links])]
    return Partition(group, is_ambiguous)


def _conflicting_anchors(group: Ints, anchor_class: Ints, is_ambiguous: Bools) -> Ints:
    """The anchors that share a group with another of their class."""
    anchors = np.flatnonzero((anchor_class != NONE) & ~is_ambiguous)
    held = group[anchors] * (anchor_class.max(initial=0) + 1) + anchor_class[anchors]
    order = np.argsort(held, kind="stable")
    is_same = held[order[1:]] == held[order[:-1]]
    is_shared = np.zeros(len(anchors), dtype=np.bool_)
    is_shared[order[1:][is_same]] = is_shared[order[:-1][is_same]] = True
    return anchors[is_shared]


def _spread(nodes: int, links: Ints, sources: Ints, is_anchor: Bools) -> tuple[Ints, Ints]:
    """Spreads each source's label level by level. Returns what to cut: (ambiguous nodes, positions in `links`).

    A node that two labels reach at once is shared, and passes neither on. Where nodes of two labels are linked, the
    ends that are no anchors are shared; a link between two anchors is cut instead."""
    label = np.full(nodes, NONE, dtype=np.int64)
    label[sources] = sources
    is_tied = np.zeros(nodes, dtype=np.bool_)
    neighbours, start = _adjacency(nodes, links)
    frontier = sources
    while len(frontier):
        rows, degree = rows_of(start, frontier)
        reached = neighbours[rows]
        carried = np.repeat(label[frontier], degree)
        new = (label[reached] == NONE) & ~is_tied[reached]
        frontier, low, high = _extremes(reached[new], carried[new])
        is_tied[frontier[low != high]] = True
        frontier, low = frontier[low == high], low[low == high]
        label[frontier] = low
    ends = label[links]
    crossing = (ends[0] != NONE) & (ends[1] != NONE) & (ends[0] != ends[1])
    crossing_nodes = links[:, crossing].reshape(-1)
    shared = np.concatenate([np.flatnonzero(is_tied), crossing_nodes[~is_anchor[crossing_nodes]]])
    return shared, np.flatnonzero(crossing & both(is_anchor, links))


def _adjacency(nodes: int, links: Ints) -> tuple[Ints, Ints]:
    """Neighbours sorted by node, and where each node's begin."""
    here = np.concatenate([links[0], links[1]])
    there = np.concatenate([links[1], links[0]])
    order = np.argsort(here, kind="stable")
    start = np.searchsorted(here[order], np.arange(nodes + 1)).astype(np.int64)
    return there[order], start


def rows_of(start: Ints, nodes: Ints) -> tuple[Ints, Ints]:
    """The rows start[i] to start[i + 1] of each node, one after the other, and how many each has."""
    first = start.take(nodes)
    count = start.take(nodes + 1) - first
    rows: Ints = np.repeat(first - (np.cumsum(count) - count), count)
    rows += np.arange(len(rows))
    return rows, count


def _extremes(node: Ints, value: Ints) -> tuple[Ints, Ints, Ints]:
    """Distinct nodes with the smallest and the largest value that each was given."""
    order = np.lexsort((value, node))
    node, value = node[order], value[order]
    distinct, first = np.unique(node, return_index=True)
    last = np.append(first[1:], len(node)) - 1 if len(first) else first
    return distinct, value[first], value[last]
