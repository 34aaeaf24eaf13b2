"""Brings what the last build resolved up to date with what changed, giving exactly what `resolve_people` would.

Every rule of `graph.py` looks at one component of links on record, so only the components that a change touches are
divided again. Those that new links merely join, without a conflict, are renamed. Not here: where the state is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestration.identity.graph import NONE, Bools, Ints, Links, Nodes, People, components, resolve_people


@dataclass(frozen=True)
class Resolution:
    """Nodes and links as they were, links sorted, and what was resolved of them."""

    nodes: Nodes
    links: Links
    people: People


@dataclass(frozen=True)
class Changes:
    """What differs from the last time, in the numbering of today."""

    added: Ints  # (2, k) links in force, of two nodes that no record had named together
    others: Ints  # nodes at which anything else changed


def update_people(old: Resolution, nodes: Nodes, links: Links, old_of: Ints) -> People:
    """`resolve_people(nodes, links)`, from `old`. `old_of[i]` is the old number of node i, NONE where it is new.

    Both times the order is the same: of nodes that were there before, `old_of` grows. Links must be sorted."""
    if not len(old.nodes):
        return resolve_people(nodes, links)
    new_of = np.full(len(old.nodes), len(nodes))  # a label past the end: its component lost the node that names it
    is_known = old_of != NONE
    new_of[old_of[is_known]] = np.flatnonzero(is_known)
    changes = _find_changes(old, nodes, links, old_of, new_of)
    people = _carried(old.people, old_of, new_of)
    np.add.at(people.degree, *_counted(nodes, changes.added))
    added = _attach_leaves(people, nodes, changes.added, old_of == NONE)
    if added.size + len(changes.others):
        touched = _distinct(np.concatenate([added.reshape(-1), changes.others]), len(nodes))
        parts = _distinct(people.record[touched], len(nodes) + 1)
        part_of = np.full(len(nodes) + 1, NONE)
        part_of[parts] = np.arange(len(parts))
        joined = part_of[people.record[added]]
        whole = components(len(parts), joined)
        is_hard = _conflicts(people, nodes, touched, part_of, whole)
        is_hard |= _joins_by_weak_only(nodes, parts, whole, joined[:, nodes.is_strong[added].all(axis=0)])
        is_hard[whole[part_of[people.record[changes.others]]]] = True
        is_hard = is_hard[whole]
        _rename(people, parts[~is_hard], parts[whole[~is_hard]])
        if is_hard.any():
            _divide_again(people, nodes, links, parts[is_hard])
    return people


def _distinct(values: Ints, below: int) -> Ints:
    """The values, sorted, each once: six times as fast as `np.unique` where there are many."""
    is_there = np.zeros(below, dtype=np.bool_)
    is_there[values] = True
    return np.flatnonzero(is_there)


def _find_changes(old: Resolution, nodes: Nodes, links: Links, old_of: Ints, new_of: Ints) -> Changes:
    """Compares the two sorted lists of links by one merge."""
    n = len(nodes)
    ends = new_of.astype(np.int32)[old.links.ends]  # half the memory to go through
    is_lost = (ends[0] == n) | (ends[1] == n)
    beside_lost = ends[:, is_lost].reshape(-1).astype(np.int64)
    before, now = _keys(ends, old.links.in_force, n), _keys(links.ends, links.in_force, n)
    merged = np.concatenate([before[~is_lost] if len(beside_lost) else before, now])
    merged.sort(kind="stable")  # two sorted runs, so it only merges them
    differs = np.ones(len(merged) + 1, dtype=np.bool_)
    np.not_equal(merged[1:], merged[:-1], out=differs[1:-1])
    changed = merged[differs[1:] & differs[:-1]]
    pair = changed >> 1
    is_now = _are_among(now, changed)
    is_added = is_now & (changed & 1 == 1) & ~np.isin(pair, pair[~is_now])
    known = np.flatnonzero(old_of != NONE)
    differing = known[_differ(old.nodes, nodes, old_of[known], known)]
    rest = pair[~is_added]
    others = np.concatenate([rest // n, rest % n, beside_lost[beside_lost != n], differing])
    return Changes(np.stack(np.divmod(pair[is_added], n)), others)


def _keys(ends: npt.NDArray[np.integer[Any]], in_force: Bools, n: int) -> Ints:
    """A number for each link, in the order of links: first end, second end, whether in force."""
    keys: Ints = ends[0] * np.int64(2 * n)
    keys += ends[1]
    keys += ends[1]
    keys += in_force
    return keys


def _are_among(ordered: Ints, wanted: Ints) -> Bools:
    place = np.searchsorted(ordered, wanted)
    found = np.zeros(len(wanted), dtype=np.bool_)
    is_within = place < len(ordered)
    found[is_within] = ordered[place[is_within]] == wanted[is_within]
    return found


def _differ(before: Nodes, now: Nodes, old: Ints, new: Ints) -> Bools:
    return np.asarray(
        (before.is_strong[old] != now.is_strong[new])
        | (before.anchor_class[old] != now.anchor_class[new])
        | (before.max_links[old] != now.max_links[new])
    )


def _carried(old: People, old_of: Ints, new_of: Ints) -> People:
    """What was resolved, in the numbering of today; a new node stands alone."""
    alone = np.flatnonzero(old_of == NONE)
    old_of = np.where(old_of == NONE, 0, old_of)
    group, reach, record = (new_of[label[old_of]] for label in (old.group, old.reach, old.record))
    is_ambiguous, is_loose, degree = old.is_ambiguous[old_of], old.is_loose[old_of], old.degree[old_of]
    group[alone] = reach[alone] = record[alone] = alone
    is_ambiguous[alone] = is_loose[alone] = False
    degree[alone] = 0
    return People(group, reach, record, is_ambiguous, is_loose, degree)


def _attach_leaves(people: People, nodes: Nodes, added: Ints, is_new: Bools) -> Ints:
    """Gives each new identifier with one link the labels of the other end, where no rule can look at it: it is no
    anchor, names nobody, joins nobody, and leads nowhere. Returns the links that are left."""
    times = np.bincount(added.reshape(-1), minlength=len(nodes))
    may_be_leaf = is_new & (times == 1) & (nodes.anchor_class == NONE)
    first, second = may_be_leaf[added]
    leaf, stem = np.where(first, added[0], added[1]), np.where(first, added[1], added[0])
    label = np.maximum(np.maximum(people.group[stem], people.reach[stem]), people.record[stem])
    is_leaf = (first != second) & ~people.is_ambiguous[stem] & (leaf > label)
    is_leaf &= ~nodes.is_strong[leaf] | nodes.is_strong[stem]
    for end in (leaf, stem):
        is_leaf &= people.degree[end] <= nodes.max_links[end]
    leaf, stem = leaf[is_leaf], stem[is_leaf]
    for labels in (people.group, people.reach, people.record):
        labels[leaf] = labels[stem]
    return added[:, ~is_leaf]


def _counted(nodes: Nodes, added: Ints) -> tuple[Ints, int]:
    """The nodes at which an added link counts for `max_links`, once for each link."""
    here, there = np.concatenate([added, added[::-1]], axis=1)
    return here[~nodes.is_strong[here] | nodes.is_strong[there]], 1


def _conflicts(people: People, nodes: Nodes, touched: Ints, part_of: Ints, whole: Ints) -> Bools:
    """Which wholes are more than one person, or were before: two anchors of a class, a super-node, a loose link, a
    component that lost the node that named it."""
    is_hard = np.zeros(len(whole), dtype=np.bool_)
    loose = part_of[people.record[people.is_loose]]
    many = part_of[people.record[touched[people.degree[touched] > nodes.max_links[touched]]]]
    nameless = part_of[-1:]
    for part in (loose, many, nameless):
        is_hard[whole[part[part != NONE]]] = True
    anchors = np.flatnonzero(nodes.anchor_class != NONE)
    part = part_of[people.record[anchors]]
    anchors, part = anchors[part != NONE], part[part != NONE]
    classes = int(nodes.anchor_class.max(initial=0)) + 1
    held = np.sort(whole[part] * classes + nodes.anchor_class[anchors])
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


def _rename(people: People, parts: Ints, names: Ints) -> None:
    """Joins parts each of which is one person, all of whose links hold."""
    named = np.arange(len(people.group) + 1)
    named[parts] = names
    for label in (people.group, people.reach, people.record):
        label[:] = named[label]


def _divide_again(people: People, nodes: Nodes, links: Links, parts: Ints) -> None:
    is_part = np.zeros(len(nodes) + 1, dtype=np.bool_)
    is_part[parts] = True
    is_inside = is_part[people.record]
    inside = np.flatnonzero(is_inside)
    local = np.cumsum(is_inside) - 1
    among = is_inside[links.ends[0]]
    found = resolve_people(nodes.take(inside), Links(local[links.ends[:, among]], links.in_force[among]))
    for label, new in ((people.group, found.group), (people.reach, found.reach), (people.record, found.record)):
        label[inside] = inside[new]
    people.is_ambiguous[inside], people.is_loose[inside] = found.is_ambiguous, found.is_loose
    people.degree[inside] = found.degree
