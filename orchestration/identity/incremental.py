"""Brings what the last build resolved up to date with what changed, giving exactly what `resolve_people` would.

Every rule of `graph.py` looks at one component of links on record, so only the components that a change touches are
divided again. Those that new links merely join, without a conflict, are renamed. Not here: where the state is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestration.identity.graph import (
    NONE,
    Bools,
    Ints,
    Links,
    Nodes,
    People,
    both,
    components,
    resolve_people,
    rows_of,
)

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Graph:
    """What there is to resolve: links sorted; which of them have each node as their first end, and a sum over these
    that tells whether they changed."""

    nodes: Nodes
    links: Links
    start: Ints  # (n + 1,): the links of node i are start[i] to start[i + 1]
    total: Words  # (n,)


@dataclass(frozen=True)
class Resolution:
    """A graph as it was, and what was resolved of it."""

    graph: Graph
    people: People


def graph_of(nodes: Nodes, links: Links, marks: Words) -> Graph:
    """`marks` stand for the identifiers whatever their numbers are: 64 bits that look random, as those of tokens do.

    So two different sets of links have one sum by a chance of 2⁻⁶⁴, and nobody can choose them without the key."""
    start = np.zeros(len(nodes) + 1, dtype=np.int64)
    np.cumsum(np.bincount(links.ends[0], minlength=len(nodes)), out=start[1:])
    running = np.zeros(len(links) + 1, dtype=np.uint64)
    np.take(marks, links.ends[1], out=running[1:], mode="clip")  # in place: fresh memory costs as much as the sums
    running[1:][np.flatnonzero(~links.in_force)] *= np.uint64(3)  # odd, so that nothing is lost
    np.cumsum(running, out=running)
    total = np.diff(running[start])
    return Graph(nodes, links, start, total)


@dataclass(frozen=True)
class Changes:
    """What differs from the last time, in the numbering of today."""

    added: Ints  # (2, k) links in force, of two nodes that no record had named together
    others: Ints  # nodes at which anything else changed


def update_people(old: Resolution, now: Graph, old_of: Ints) -> People:
    """`resolve_people` of `now`, from `old`. `old_of[i]` is the old number of node i, NONE where it is new.

    Both times the order is the same: of nodes that were there before, `old_of` grows. So are the rules of each."""
    nodes = now.nodes
    if not len(old.graph.nodes):
        return resolve_people(nodes, now.links)
    is_known = old_of != NONE
    known, new = np.flatnonzero(is_known), np.flatnonzero(~is_known)
    new_of = known  # nobody is gone: all, in their order
    if len(known) < len(old.graph.nodes):
        new_of = np.full(len(old.graph.nodes), len(nodes))  # past the end: its component lost the node that names it
        new_of[old_of[known]] = known
    changes = _find_changes(old.graph, now, old_of, new_of, new)
    people = _carried(old.people, old_of, new_of, new)
    was_shared = people.degree[changes.added] > nodes.max_links[changes.added]
    np.add.at(people.degree, *_counted(nodes, changes.added))
    added = _attach_leaves(people, nodes, changes.added, old_of, was_shared)
    if added.size + len(changes.others):
        touched = _distinct(np.concatenate([added.reshape(-1), changes.others]), len(nodes))
        parts = _distinct(people.record[touched], len(nodes) + 1)
        part_of = np.full(len(nodes) + 1, NONE)
        part_of[parts] = np.arange(len(parts))
        joined = part_of[people.record[added]]
        whole = components(len(parts), joined)
        inside = np.flatnonzero((part_of != NONE)[people.record])  # bytes to go through, not words
        is_hard = _conflicts(people, nodes, touched, inside, part_of, whole)
        is_hard |= _joins_by_weak_only(nodes, parts, whole, joined[:, both(nodes.is_strong, added)])
        is_hard[whole[part_of[people.record[changes.others]]]] = True
        is_inside_hard = is_hard[whole[part_of[people.record[inside]]]]
        _rename(people, inside[~is_inside_hard], parts[whole], part_of)
        if is_inside_hard.any():
            _divide_again(people, now, inside[is_inside_hard], part_of)
    return people


def _distinct(values: Ints, below: int) -> Ints:
    """The values, sorted, each once: six times as fast as `np.unique` where there are many."""
    is_there = np.zeros(below, dtype=np.bool_)
    is_there[values] = True
    return np.flatnonzero(is_there)


def _find_changes(old: Graph, now: Graph, old_of: Ints, new_of: Ints, new: Ints) -> Changes:
    """Compares the links of each node by their sums, and one by one where these differ."""
    n = len(now.nodes)
    gone = np.flatnonzero(new_of == n) if len(now.nodes) - len(new) < len(new_of) else new[:0]
    total_then = _then(old.total, old_of)
    total_then[new] = 0
    differing = np.flatnonzero(now.total != total_then)
    old_differing = old_of[differing]
    rows, _ = rows_of(old.start, np.concatenate([old_differing[old_differing != NONE], gone]))
    ends = new_of.take(old.links.ends.take(rows, axis=1))
    is_lost = (ends[0] == n) | (ends[1] == n)
    beside_lost = ends[:, is_lost].reshape(-1)
    before = _keys(ends[:, ~is_lost], old.links.in_force[rows[~is_lost]], n)
    rows, _ = rows_of(now.start, differing)
    after = _keys(now.links.ends.take(rows, axis=1), now.links.in_force[rows], n)
    changed_before, changed = _apart(before, after)
    is_added = (changed & 1 == 1) & ~np.isin(changed >> 1, changed_before >> 1)
    rest = np.concatenate([changed[~is_added], changed_before]) >> 1
    others = np.concatenate([rest // n, rest % n, beside_lost[beside_lost != n]])
    return Changes(np.stack(np.divmod(changed[is_added] >> 1, n)), others)


def _apart(before: Ints, after: Ints) -> tuple[Ints, Ints]:
    """What only one of the two holds. Each is sorted but for what is gone, so to sort both merges them."""
    told = np.concatenate([before * 2, after * 2 + 1])
    told.sort(kind="stable")
    differs = np.ones(len(told) + 1, dtype=np.bool_)
    np.not_equal(told[1:] >> 1, told[:-1] >> 1, out=differs[1:-1])
    alone = told[differs[1:] & differs[:-1]]
    is_after = alone & 1 == 1
    return alone[~is_after] >> 1, alone[is_after] >> 1


def _keys(ends: Ints, in_force: Bools, n: int) -> Ints:
    """A number for each link: first end, second end, whether in force."""
    keys: Ints = (ends[0] * np.int64(n) + ends[1]) * 2 + in_force
    return keys


def _carried(old: People, old_of: Ints, new_of: Ints, new: Ints) -> People:
    """What was resolved, in the numbering of today; a new node stands alone."""
    n = len(old_of)
    is_ambiguous, is_loose = (_scattered(flag, n, new_of) for flag in (old.is_ambiguous, old.is_loose))
    group, degree = new_of.take(_then(old.group, old_of)), _then(old.degree, old_of).astype(np.int64, copy=False)
    group[new], degree[new] = new, 0
    reach, record = group.copy(), group.copy()
    for label, before in ((reach, old.reach), (record, old.record)):
        other = np.flatnonzero(before != old.group)  # few: most people are one part of the graph
        here = new_of[other]
        other, here = other[here < n], here[here < n]
        label[here] = new_of[before[other]]
    return People(group, reach, record, is_ambiguous, is_loose, degree)


def _then(values: npt.NDArray[Any], old_of: Ints) -> npt.NDArray[Any]:
    """What each node had; a new one has anything."""
    return values.take(old_of, mode="clip")


def _scattered(flag: Bools, n: int, new_of: Ints) -> Bools:
    """The few that are set."""
    moved = np.zeros(n + 1, dtype=np.bool_)
    moved[new_of[np.flatnonzero(flag)]] = True
    return moved[:n]


def _attach_leaves(people: People, nodes: Nodes, added: Ints, old_of: Ints, was_shared: Bools) -> Ints:
    """Settles each new identifier with one link where no rule can look at it: it is no anchor, names nobody, joins
    nobody, and leads nowhere. It gets the labels of the other end, or stays alone where that is ambiguous as it was
    before. Returns the links that are left."""
    node, times = np.unique(added[old_of[added] == NONE], return_counts=True)
    may_be_leaf = np.zeros(len(nodes), dtype=np.bool_)
    may_be_leaf[node[(times == 1) & (nodes.anchor_class[node] == NONE)]] = True
    first, second = may_be_leaf[added]
    leaf, stem = np.where(first, added[0], added[1]), np.where(first, added[1], added[0])
    label = np.maximum(np.maximum(people.group[stem], people.reach[stem]), people.record[stem])
    is_leaf = (first != second) & (leaf > label) & (~nodes.is_strong[leaf] | nodes.is_strong[stem])
    is_leaf &= people.degree[leaf] <= nodes.max_links[leaf]
    is_leaf &= (people.degree[stem] <= nodes.max_links[stem]) | np.where(first, was_shared[1], was_shared[0])
    alone = is_leaf & people.is_ambiguous[stem]
    people.is_loose[leaf[alone]] = True  # the other end is already: nothing that is ambiguous joins
    for labels in (people.group, people.reach):
        labels[leaf[is_leaf & ~alone]] = labels[stem[is_leaf & ~alone]]
    people.record[leaf[is_leaf]] = people.record[stem[is_leaf]]
    return added[:, ~is_leaf]


def _counted(nodes: Nodes, added: Ints) -> tuple[Ints, int]:
    """The nodes at which an added link counts for `max_links`, once for each link."""
    here, there = np.concatenate([added, added[::-1]], axis=1)
    return here[~nodes.is_strong[here] | nodes.is_strong[there]], 1


def _conflicts(people: People, nodes: Nodes, touched: Ints, inside: Ints, part_of: Ints, whole: Ints) -> Bools:
    """Which wholes are more than one person, or were before: two anchors of a class, a super-node, a loose link, a
    component that lost the node that named it."""
    is_hard = np.zeros(len(whole), dtype=np.bool_)
    loose = part_of[people.record[inside[people.is_loose[inside]]]]
    many = part_of[people.record[touched[people.degree[touched] > nodes.max_links[touched]]]]
    nameless = part_of[-1:]
    for part in (loose, many, nameless):
        is_hard[whole[part[part != NONE]]] = True
    anchors = inside[nodes.anchor_class[inside] != NONE]
    classes = int(nodes.anchor_class.max(initial=0)) + 1
    held = np.sort(whole[part_of[people.record[anchors]]] * classes + nodes.anchor_class[anchors])
    is_hard[held[1:][held[1:] == held[:-1]] // classes] = True
    return is_hard


def _joins_by_weak_only(nodes: Nodes, parts: Ints, whole: Ints, strongly_joined: Ints) -> Bools:
    """Which wholes hold two strong persons that no link between strong identifiers joins."""
    is_hard = np.zeros(len(whole), dtype=np.bool_)
    person = components(len(parts), strongly_joined)
    # strong nodes come first, so a part with one is named by one
    bears = np.flatnonzero(nodes.is_strong[np.minimum(parts, len(nodes) - 1)])
    persons = np.unique(whole[bears] * len(parts) + person[bears]) // max(len(parts), 1)
    is_hard[persons[1:][persons[1:] == persons[:-1]]] = True
    return is_hard


def _rename(people: People, inside: Ints, name_of: Ints, part_of: Ints) -> None:
    """Joins parts each of which is one person, all of whose links hold."""
    for label in (people.group, people.reach, people.record):
        label[inside] = name_of[part_of[label[inside]]]


def _divide_again(people: People, now: Graph, inside: Ints, local: Ints) -> None:
    """`local` is of all nodes, and written over: fresh memory of that size takes as long as a tenth of the work."""
    rows, _ = rows_of(now.start, inside)
    local[inside] = np.arange(len(inside))
    found = resolve_people(now.nodes.take(inside), Links(local[now.links.ends[:, rows]], now.links.in_force[rows]))
    for label, new in ((people.group, found.group), (people.reach, found.reach), (people.record, found.record)):
        label[inside] = inside[new]
    people.is_ambiguous[inside], people.is_loose[inside] = found.is_ambiguous, found.is_loose
    people.degree[inside] = found.degree
