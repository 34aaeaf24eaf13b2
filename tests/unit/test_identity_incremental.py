"""What is brought up to date equals what is resolved anew, for any graph and any sequence of changes."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.identity import incremental
from orchestration.identity.graph import NONE, Ints, Links, Nodes, People, resolve_people
from orchestration.identity.incremental import Graph, Resolution, graph_of, update_people

UNIVERSE = 24  # what may be there: 6 anchors of two classes, 8 other strong, 10 weak; numbered in that order
STRONG, ANCHORS = 14, 6
ANCHOR_CLASS = np.where(np.arange(UNIVERSE) < ANCHORS, np.arange(UNIVERSE) % 2, NONE)
MARKS = np.random.default_rng(7).integers(0, 2**64, 3000, dtype=np.uint64)  # what tokens look like
Night = dict[tuple[int, int], bool]  # pair on record → in force

PAIRS = st.tuples(st.integers(0, UNIVERSE - 1), st.integers(0, UNIVERSE - 1)).filter(lambda pair: pair[0] < pair[1])
IN_FORCE = st.sampled_from([True, True, True, True, False])
NIGHTS = st.lists(
    st.tuples(
        st.dictionaries(PAIRS, IN_FORCE, max_size=8),  # links that are added, or end, or come back
        st.sets(PAIRS, max_size=2),  # links that leave the record
        st.sets(st.integers(0, UNIVERSE - 1), max_size=2),  # identifiers that appear without a link
        st.sets(st.integers(0, UNIVERSE - 1), max_size=1),  # identifiers of which nothing is left
    ),
    min_size=2,
    max_size=5,
)


def numbered(present: Ints, night: Night, most: Ints) -> Graph:
    """The numbering of a night: those present, in the universe's order."""
    number = {int(name): place for place, name in enumerate(present)}
    ends = np.array(sorted((number[a], number[b]) for a, b in night), dtype=np.int64).reshape(-1, 2).T
    in_force = np.array([night[int(present[a]), int(present[b])] for a, b in ends.T], dtype=np.bool_)
    nodes = Nodes(present < STRONG, ANCHOR_CLASS[present], most[present])
    return graph_of(nodes, Links(ends, in_force), MARKS[present])


def resolved(graph: Graph) -> Resolution:
    return Resolution(graph, resolve_people(graph.nodes, graph.links))


def assert_equal(found: People, expected: People) -> None:
    for field in fields(People):
        assert getattr(found, field.name).tolist() == getattr(expected, field.name).tolist(), field.name


@settings(max_examples=400, deadline=None)
@given(nights=NIGHTS, most=st.lists(st.sampled_from([2, 3, 9]), min_size=UNIVERSE, max_size=UNIVERSE))
def test_update_equals_resolving_anew(
    nights: list[tuple[Night, set[tuple[int, int]], set[int], set[int]]], most: list[int]
) -> None:
    links: Night = {}
    appeared: set[int] = set()
    present = np.zeros(0, dtype=np.int64)
    rules = np.array(most)
    state = resolved(numbered(present, links, rules))
    for changed, left, new, gone in nights:
        links = {pair: on for pair, on in (links | changed).items() if pair not in left and not gone & set(pair)}
        appeared = (appeared | new) - gone
        before, present = (
            present,
            np.array(sorted(appeared | {name for pair in links for name in pair}), dtype=np.int64),
        )
        graph = numbered(present, links, rules)
        place = {int(name): at for at, name in enumerate(before)}
        old_of = np.array([place.get(int(name), NONE) for name in present], dtype=np.int64)
        found = update_people(state, graph, old_of)
        assert_equal(found, resolve_people(graph.nodes, graph.links))
        state = Resolution(graph, found)


def chain_of_people(count: int) -> tuple[Nodes, Links]:
    """Member, phone and cookie of each, numbered by strength."""
    who = np.arange(count)
    ends = np.concatenate([np.stack([who, who + count]), np.stack([who + count, who + 2 * count])], axis=1)
    anchor_class = np.where(np.arange(3 * count) < count, 0, NONE)
    nodes = Nodes(np.arange(3 * count) < 2 * count, anchor_class, np.full(3 * count, 20))
    return nodes, Links(ends, np.ones(2 * count, dtype=np.bool_))


def test_only_what_a_change_touches_is_divided_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One cookie seen with a second phone: of 1,000 people two are looked at."""
    nodes, links = chain_of_people(1000)
    state = resolved(graph_of(nodes, links, MARKS))
    ends = np.concatenate([links.ends, [[1001], [2000]]], axis=1)
    ends = ends[:, np.lexsort((ends[1], ends[0]))]
    sizes: list[int] = []

    def counting(nodes: Nodes, links: Links) -> People:
        sizes.append(len(nodes))
        return resolve_people(nodes, links)

    monkeypatch.setattr(incremental, "resolve_people", counting)
    now = graph_of(nodes, Links(ends, np.ones(ends.shape[1], dtype=np.bool_)), MARKS)
    found = update_people(state, now, np.arange(3000))
    assert sizes == [6]
    assert found.is_ambiguous.nonzero()[0].tolist() == [2000]


def test_new_identifier_on_an_ambiguous_one_stands_alone() -> None:
    """Two members share phone 2; the new cookie 3 on it is nobody's."""
    kinds = np.array([0, 0, NONE, NONE]), np.full(4, 9)
    shared, seen = np.array([[0, 1], [2, 2]]), np.array([[0, 1, 2], [2, 2, 3]])
    before = Nodes(np.ones(3, dtype=np.bool_), kinds[0][:3], kinds[1][:3])
    now = Nodes(np.array([True, True, True, False]), *kinds)
    first = Links(shared, np.ones(2, dtype=np.bool_))
    second = Links(seen, np.ones(3, dtype=np.bool_))
    old = resolved(graph_of(before, first, MARKS[:3]))
    found = update_people(old, graph_of(now, second, MARKS[:4]), np.array([0, 1, 2, NONE]))
    assert_equal(found, resolve_people(now, second))
    assert found.group.tolist() == [0, 1, 2, 3]
    assert found.is_loose[3]


def test_new_identifier_before_an_ambiguous_one_touches_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two members share cookie 3; the new cookie 2 on it comes before it, and names no more than itself."""
    strong, anchors = np.array([True, True, False, False]), np.array([0, 0, NONE, NONE])
    known = np.array([0, 1, 3])
    before, now = (Nodes(strong[chosen], anchors[chosen], np.full(len(chosen), 9)) for chosen in (known, np.arange(4)))
    seen = np.array([[0, 1], [2, 2]]), np.array([[0, 1, 2], [3, 3, 3]])
    old = resolved(graph_of(before, Links(seen[0], np.ones(2, dtype=np.bool_)), MARKS[known]))
    second = Links(seen[1], np.ones(3, dtype=np.bool_))
    with monkeypatch.context() as patched:
        patched.setattr(incremental, "resolve_people", None)
        found = update_people(old, graph_of(now, second, MARKS[:4]), np.array([0, 1, NONE, 2]))
    assert_equal(found, resolve_people(now, second))
    assert found.group.tolist() == [0, 1, 2, 3]


def test_new_identifier_that_makes_an_ambiguous_one_shared_divides_anew() -> None:
    """Members 0 and 1, whose phones 2 and 3 were seen together: both phones are ambiguous. E-mail 4 is one link too
    many for phone 2: shared from the start, it no longer makes phone 3 ambiguous."""
    strong, anchors = np.ones(5, dtype=np.bool_), np.array([0, 0, NONE, NONE, NONE])
    most = np.array([9, 9, 2, 9, 9])
    seen = np.array([[0, 1, 2], [2, 3, 3]]), np.array([[0, 1, 2, 2], [2, 3, 3, 4]])
    before, now = Nodes(strong[:4], anchors[:4], most[:4]), Nodes(strong, anchors, most)
    old = resolved(graph_of(before, Links(seen[0], np.ones(3, dtype=np.bool_)), MARKS[:4]))
    assert old.people.is_ambiguous.tolist() == [False, False, True, True]
    second = Links(seen[1], np.ones(4, dtype=np.bool_))
    found = update_people(old, graph_of(now, second, MARKS[:5]), np.array([0, 1, 2, 3, NONE]))
    assert found.is_ambiguous.tolist() == [False, False, True, False, False]
    assert_equal(found, resolve_people(now, second))
