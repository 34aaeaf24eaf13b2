"""Connected components: the same as scipy's, whatever the graph and the order of its links."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.identity.graph import Ints, components
from tests.connected import by_scipy

GRAPHS = st.integers(1, 30).flatmap(
    lambda nodes: st.tuples(
        st.just(nodes), st.lists(st.tuples(*[st.integers(0, nodes - 1)] * 2), max_size=40).map(list)
    )
)
LONG = 5_000


def links_of(pairs: list[tuple[int, int]]) -> Ints:
    return np.array(pairs, dtype=np.int64).reshape(-1, 2).T


@given(GRAPHS)
def test_any_graph(graph: tuple[int, list[tuple[int, int]]]) -> None:
    nodes, pairs = graph
    links = links_of(pairs)
    before = links.copy()
    np.testing.assert_array_equal(components(nodes, links), by_scipy(nodes, links))
    np.testing.assert_array_equal(links, before)  # its caller's, and not written


@pytest.mark.parametrize("order", ["up", "down", "any"])
def test_long_chain_is_one(order: str) -> None:
    chain = {"up": np.arange(LONG), "down": np.arange(LONG)[::-1], "any": np.random.default_rng(7).permutation(LONG)}
    links = np.stack([chain[order][:-1], chain[order][1:]])
    assert not components(LONG, links).any()
    halves = np.split(chain[order], 2)
    cut = np.arange(LONG - 1) != LONG // 2 - 1
    assert {*components(LONG, links[:, cut]).tolist()} == {int(half.min()) for half in halves}


def test_nodes_without_links_and_nothing_at_all() -> None:
    assert components(3, links_of([])).tolist() == [0, 1, 2]
    assert components(0, links_of([])).tolist() == []
    assert components(3, links_of([(2, 2)])).tolist() == [0, 1, 2]
    assert components(4, links_of([(3, 1), (1, 3)])).tolist() == [0, 1, 2, 1]
