"""The rules of identity word by word, on sets: the slow implementation that `resolve` must equal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from tests.identity_world import DAYS, KINDS, MOST, Link, Resolved, kind_of

ERASED_ON = -2
Pair = frozenset[str]


def is_strong(name: str) -> bool:
    return KINDS[kind_of(name)][0]


def is_anchor(name: str) -> bool:
    return KINDS[kind_of(name)][1]


def may_be_issued_anew(name: str) -> bool:
    return KINDS[kind_of(name)][3] is not None


@dataclass
class Tenure:
    """What a pair's records up to T say."""

    is_linked: bool
    began: int | None
    last: int | None
    ended: int | None


def slow(links: Sequence[Link], names: Sequence[str], erased: Collection[str] = ()) -> Resolved:
    ever = {frozenset({link.a, link.b}) for link in links if link.a != link.b}
    tenures = {pair: _tenure(pair, links, erased) for pair in ever}
    issued_anew = {name: since for name in names if (since := _issued_anew(name, tenures)) is not None}
    in_force = {pair for pair in ever if tenures[pair].is_linked and not _has_lapsed(pair, tenures, issued_anew)}

    ambiguous = {name for name in names if _others(name, in_force) > MOST}
    cut: set[Pair] = set()
    strong = {pair for pair in in_force if all(map(is_strong, pair))}
    people = _divide(names, strong, ambiguous, cut, lambda name: kind_of(name) if is_anchor(name) else None)
    person = {name: min(people[name]) for name in names}  # any one of the group, the same for all of it
    around = {
        frozenset({person[a], person[b]})
        for a, b in map(tuple, in_force - strong)
        if not {a, b} & ambiguous and person[a] != person[b]
    }
    of_person = {person[name] for name in names if is_strong(name)}
    merged = _divide(names, around, ambiguous, set(), lambda name: "person" if name in of_person else None)
    groups = {name: frozenset(n for n in names if merged[person[n]] == merged[person[name]]) for name in names}

    holding = {pair for pair in in_force - cut if not pair & ambiguous}
    loose = {name for pair in ever - holding for name in pair}
    given_up = {name: since for name in names if (since := _given_up(name, tenures)) is not None}
    held = {
        name: max(h[name] for h in (issued_anew, given_up) if name in h)
        for name in issued_anew.keys() | given_up.keys()
    }
    return Resolved(
        groups,
        ambiguous,
        {name for name in names if not groups[name] & loose},
        {name: _reached(name, ever, ambiguous, groups) for name in names},
        held,
        {name: min(groups[name], key=lambda n: (not is_anchor(n), not is_strong(n), n)) for name in names},
    )


def _tenure(pair: Pair, links: Sequence[Link], erased: Collection[str]) -> Tenure:
    said = [link for link in links if {link.a, link.b} == pair and link.days <= 0]
    joined = sorted(link.days for link in said if not link.is_unlink)
    parted = max((link.days for link in said if link.is_unlink), default=None)
    is_erased = bool(pair & set(erased))
    began = next((day for day in joined if parted is None or day > parted), joined[0] if joined else None)
    ends = [day for day in (parted, ERASED_ON if is_erased else None) if day is not None]
    return Tenure(
        bool(joined) and (parted is None or joined[-1] > parted) and not is_erased,
        began,
        joined[-1] if joined else None,
        max(ends, default=None),
    )


def _issued_anew(name: str, tenures: dict[Pair, Tenure]) -> int | None:
    """Since when, if the last of several anchors of a class began long after every other was last seen."""
    if is_anchor(name) or not may_be_issued_anew(name):
        return None
    found = []
    for kind in KINDS:
        holders = [
            t for pair, t in tenures.items() if name in pair and t.is_linked and _other(pair, name)[0] == kind[0]
        ]
        if not KINDS[kind][1] or len(holders) < 2:
            continue
        *older, latest = sorted(holders, key=lambda t: t.began or 0)
        if (latest.began or 0) - max(t.last or 0 for t in older) >= DAYS:
            found.append(latest.began or 0)
    return max(found, default=None)


def _given_up(name: str, tenures: dict[Pair, Tenure]) -> int | None:
    """Since when, if it was parted from somebody and then linked to somebody else."""
    if is_anchor(name):
        return None
    mine = {_other(pair, name): t for pair, t in tenures.items() if name in pair}
    found = []
    for other, tenure in mine.items():
        if tenure.is_linked or tenure.ended is None or not (is_anchor(other) or may_be_issued_anew(name)):
            continue
        later = [t.began for who, t in mine.items() if who != other and t.began is not None and t.began >= tenure.ended]
        found += [min(later)] if later else []
    return max(found, default=None)


def _has_lapsed(pair: Pair, tenures: dict[Pair, Tenure], issued_anew: dict[str, int]) -> bool:
    last = tenures[pair].last
    return any(name in issued_anew and last is not None and last < issued_anew[name] for name in pair)


def _other(pair: Pair, name: str) -> str:
    return next(n for n in pair if n != name)


def _others(name: str, in_force: set[Pair]) -> int:
    others = {_other(pair, name) for pair in in_force if name in pair}
    return sum(1 for other in others if is_strong(other) or not is_strong(name))


def _divide(
    names: Sequence[str],
    links: set[Pair],
    ambiguous: set[str],
    cut: set[Pair],
    class_of: Callable[[str], str | None],
) -> dict[str, frozenset[str]]:
    """Parts with at most one anchor of a class; what had to be cut is added to `ambiguous` and `cut`."""
    while True:
        live = {pair for pair in links - cut if not pair & ambiguous}
        groups = _parts(set(names), live)
        found: set[str] = set()
        crossing: set[Pair] = set()
        for group in set(groups.values()):
            for one in {class_of(name) for name in group} - {None}:
                anchors = sorted(name for name in group if class_of(name) == one and name not in ambiguous)
                if len(anchors) > 1:
                    shared, conflicting = _meet(anchors, live, class_of)
                    found |= shared
                    crossing |= conflicting
        if not found and not crossing:
            return groups
        ambiguous |= found
        cut |= crossing


def _parts(names: set[str], links: set[Pair]) -> dict[str, frozenset[str]]:
    part = {name: frozenset({name}) for name in names}
    for a, b in (tuple(link) for link in links):
        joined = part[a] | part[b]
        part |= dict.fromkeys(joined, joined)
    return part


def _meet(
    anchors: Sequence[str], links: set[Pair], class_of: Callable[[str], str | None]
) -> tuple[set[str], set[Pair]]:
    """Spreads the anchors' labels step by step: who is reached by two at once, and which links join two labels."""
    label = {anchor: anchor for anchor in anchors}
    shared: set[str] = set()
    while True:
        reached: dict[str, set[str]] = {}
        for a, b in (ends for link in links for ends in (tuple(link), tuple(link)[::-1])):
            if a in label and b not in label and b not in shared:
                reached.setdefault(b, set()).add(label[a])
        if not reached:
            break
        for name, labels in reached.items():
            if len(labels) == 1:
                label[name] = labels.pop()
            else:
                shared.add(name)
    crossing: set[Pair] = set()
    for link in links:
        a, b = link
        if a in label and b in label and label[a] != label[b]:
            ends = {name for name in link if class_of(name) is None}
            shared |= ends
            crossing |= set() if ends else {link}
    return shared, crossing


def _reached(
    start: str, ever: set[Pair], ambiguous: set[str], groups: dict[str, frozenset[str]]
) -> set[frozenset[str]]:
    """The groups at the end of every path of links ever on record whose inner identifiers are not ambiguous."""
    seen, frontier = {start}, [start]
    while frontier:
        name = frontier.pop()
        if name != start and name in ambiguous:
            continue
        new = {other for link in ever if name in link for other in link} - seen
        seen |= new
        frontier.extend(new)
    return {groups[name] for name in seen}
