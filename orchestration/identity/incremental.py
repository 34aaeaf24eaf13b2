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
Narrow = npt.NDArray[np.int32]


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
    running = np.empty(len(links) + 1, dtype=np.uint64)
    running[0] = 0
    np.take(marks, links.ends[1], out=running[1:], mode="clip")  # in place: fresh memory costs as much as the sums
    running[1:][np.flatnonzero(~links.in_force)] *= np.uint64(3)  # odd, so that nothing is lost
    np.cumsum(running, out=running)
    total = running.take(start, mode="clip")
    np.subtract(total[1:], total[:-1], out=total[:-1])
    return Graph(nodes, links, start, total[:-1])


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
    new = np.flatnonzero(~is_known)
    new_of = _new_numbers(old_of, np.flatnonzero(is_known), len(old.graph.nodes))
    changes = _find_changes(old.graph, now, old_of, new_of, new)
    people = _carried(old.people, old_of, new_of, new)
    added = _attach_leaves(people, nodes, changes.added, old_of, *_count(people, nodes, changes.added))
    if added.size + len(changes.others):
        # six times as fast as `np.unique` where there are many
        touched = np.flatnonzero(_flags(np.concatenate([added.reshape(-1), changes.others]), len(nodes)))
        is_part = _flags(people.record[touched], len(nodes) + 1)
        parts = np.flatnonzero(is_part)
        part_of = np.full(len(nodes) + 1, NONE)
        part_of[parts] = np.arange(len(parts))
        joined = part_of[people.record[added]]
        whole = components(len(parts), joined)
        inside = np.flatnonzero(is_part.take(people.record, mode="clip"))  # bytes to go through, not words
        is_hard = _conflicts(people, nodes, touched, inside, part_of, whole)
        is_hard |= _joins_by_weak_only(nodes, parts, whole, joined[:, both(nodes.is_strong, added)])
        is_hard[whole[part_of[people.record[changes.others]]]] = True
        is_inside_hard = is_hard[whole[part_of[people.record[inside]]]]
        _rename(people, inside[~is_inside_hard], parts[whole], part_of)
        if is_inside_hard.any():
            _divide_again(people, now, inside[is_inside_hard], part_of)
    return people


def _new_numbers(old_of: Ints, known: Ints, count: int) -> Narrow:
    """In 32 bits, as what is remembered: half as much to read at random, which takes a quarter of the time.

    Of who is gone, a number past the end: a component lost the node that names it."""
    if len(known) == count:
        return known.astype(np.int32)  # nobody is gone: all, in their order
    new_of = np.full(count, len(old_of), dtype=np.int32)
    new_of[old_of[known]] = known
    return new_of


def _flags(chosen: Ints | Narrow, count: int) -> Bools:
    is_chosen = np.zeros(count, dtype=np.bool_)
    is_chosen[chosen] = True
    return is_chosen


def _find_changes(old: Graph, now: Graph, old_of: Ints, new_of: Narrow, new: Ints) -> Changes:
    """Compares the links of each node by their sums, and one by one where these differ."""
    n = len(now.nodes)
    gone = np.flatnonzero(new_of == n) if len(now.nodes) - len(new) < len(new_of) else new[:0]
    total_then = _then(old.total, old_of)
    total_then[new] = 0
    differing = np.flatnonzero(now.total != total_then)
    old_differing = old_of[differing]
    before, beside_lost = _keys_then(old, np.concatenate([old_differing[old_differing != NONE], gone]), new_of, n)
    rows, count = rows_of(now.start, differing)
    after = _keys(np.repeat(differing, count), now.links.ends[1].take(rows), now.links.in_force.take(rows), n)
    changed_before, changed = _apart(before, after)
    is_added = (changed & 1 == 1) & ~np.isin(changed >> 1, changed_before >> 1)
    rest = np.concatenate([changed[~is_added], changed_before]) >> 1
    others = np.concatenate([rest // n, rest % n, beside_lost])
    return Changes(np.stack(np.divmod(changed[is_added] >> 1, n)), others)


def _apart(before: Ints, after: Ints) -> tuple[Ints, Ints]:
    """What only one of the two holds. Each is sorted but for what is gone, so to sort both merges them."""
    told = np.concatenate([before * 2, after * 2 + 1])
    told.sort(kind="stable")
    differs = np.ones(len(told) + 1, dtype=np.bool_)
    np.greater(told[1:] ^ told[:-1], 1, out=differs[1:-1])  # not only in which of the two holds it
    alone = told[differs[1:] & differs[:-1]]
    is_after = alone & 1 == 1
    return alone[~is_after] >> 1, alone[is_after] >> 1


def _keys_then(old: Graph, chosen: Ints, new_of: Narrow, n: int) -> tuple[Ints, Ints]:
    """The links of the chosen old nodes in the numbering of today, and who is left of a link that lost an end."""
    rows, count = rows_of(old.start, chosen)
    first, second = np.repeat(new_of.take(chosen), count), new_of.take(old.links.ends[1].take(rows))
    in_force = old.links.in_force.take(rows)
    is_left, is_lost = (first < n) & (second < n), (first < n) != (second < n)
    if is_left.all():
        return _keys(first, second, in_force, n), rows[:0]
    return (
        _keys(first[is_left], second[is_left], in_force[is_left], n),
        np.minimum(first[is_lost], second[is_lost]),
    )


def _keys(first: Ints | Narrow, second: Ints | Narrow, in_force: Bools, n: int) -> Ints:
    """A number for each link: first end, second end, whether in force."""
    keys: Ints = (first * np.int64(n) + second) * 2 + in_force
    return keys


def _carried(old: People, old_of: Ints, new_of: Narrow, new: Ints) -> People:
    """What was resolved, in the numbering of today; a new node stands alone."""
    n = len(old_of)
    is_ambiguous = _flags(new_of.take(np.flatnonzero(old.is_ambiguous)), n + 1)  # few; those gone are past the end
    is_loose = _then(old.is_loose, old_of)
    is_loose[new] = False
    group: npt.NDArray[Any] = new_of.take(_then(old.group, old_of), mode="clip")
    degree = _then(old.degree, old_of)
    group[new], degree[new] = new, 0
    reach, record = group.copy(), group.copy()
    for label, before in ((reach, old.reach), (record, old.record)):
        other = np.flatnonzero(before != old.group)  # few: most people are one part of the graph
        here = new_of.take(other)
        other, here = other[here < n], here[here < n]
        label[here] = new_of.take(before.take(other))
    return People(group, reach, record, is_ambiguous[:n], is_loose, degree)


def _then(values: npt.NDArray[Any], old_of: Ints) -> npt.NDArray[Any]:
    """What each node had; a new one has anything."""
    return values.take(old_of, mode="clip")


def _count(people: People, nodes: Nodes, added: Ints) -> tuple[Bools, Bools]:
    """Counts the added links for `max_links`. Of each end: whether it had more than that, and has."""
    limit = nodes.max_links[added]
    was_shared = people.degree[added] > limit
    here, there = np.concatenate([added, added[::-1]], axis=1)
    counting = here[~nodes.is_strong[here] | nodes.is_strong[there]]
    np.add.at(people.degree, counting, people.degree.dtype.type(1))  # of another type it takes seven times as long
    return was_shared, people.degree[added] > limit


def _attach_leaves(
    people: People, nodes: Nodes, added: Ints, old_of: Ints, was_shared: Bools, is_shared: Bools
) -> Ints:
    """Settles each new identifier with one link where no rule can look at it: it is no anchor, names nobody, joins
    nobody, and leads nowhere. It gets the labels of the other end, or stays alone where that is ambiguous as it was
    before: then it takes only the name of what is on record. Returns the links that are left."""
    node, times = np.unique(added[old_of[added] == NONE], return_counts=True)
    first, second = _flags(node[(times == 1) & (nodes.anchor_class[node] == NONE)], len(nodes))[added]
    leaf, stem = np.where(first, added, added[::-1])
    group, reach, record = people.group[stem], people.reach[stem], people.record[stem]
    leads_nowhere = people.is_ambiguous[stem]
    name = np.where(leads_nowhere, record, np.maximum(np.maximum(group, reach), record))
    is_leaf = (first != second) & (leaf > name)
    is_leaf &= (~nodes.is_strong[leaf] | nodes.is_strong[stem]) & ~np.where(first, is_shared[0], is_shared[1])
    is_as_before = was_shared | ~is_shared
    is_leaf &= np.where(first, is_as_before[1], is_as_before[0])
    alone = is_leaf & leads_nowhere
    people.is_loose[leaf[alone]] = True  # the other end is already: nothing that is ambiguous joins
    joins = is_leaf & ~alone
    people.group[leaf[joins]], people.reach[leaf[joins]] = group[joins], reach[joins]
    people.record[leaf[is_leaf]] = record[is_leaf]
    return added[:, ~is_leaf]


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
    anchor_class = nodes.anchor_class[anchors]
    classes = int(anchor_class.max(initial=0)) + 1
    held = np.sort(whole[part_of[people.record[anchors]]] * classes + anchor_class)
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
    ends = local.take(now.links.ends.take(rows, axis=1))  # [:, rows] of millions takes 15 times as long
    found = resolve_people(now.nodes.take(inside), Links(ends, now.links.in_force.take(rows)))
    for label, new in ((people.group, found.group), (people.reach, found.reach), (people.record, found.record)):
        label[inside] = inside[new]
    people.is_ambiguous[inside], people.is_loose[inside] = found.is_ambiguous, found.is_loose
    people.degree[inside] = found.degree
