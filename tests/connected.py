"""Connected components by scipy: what ours are compared with, and measured against."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from orchestration.identity.graph import Ints


def by_scipy(nodes: int, links: Ints) -> Ints:
    """For each node the smallest node of its component. `links` is (2, m)."""
    ones = np.ones(links.shape[1], dtype=np.int32)  # int8 would add up to nothing where 256 links join the same two
    _, labels = connected_components(coo_array((ones, (links[0], links[1])), shape=(nodes, nodes)), directed=False)
    smallest: Ints = np.unique(labels, return_index=True)[1][labels]
    return smallest
