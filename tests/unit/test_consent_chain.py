"""The chain's quick encoding is its definition, whatever the rows hold, and no value takes the place of another."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.consent.chain import GENESIS, REPEATING, SCANNED, VARYING, Chain, first_bad, row_hash
from orchestration.consent.models import CHAINED

NUMBERS = ("effective_at", "recorded_at", "seq", "until_at", "is_separate", "is_guardian")
NULLABLE = frozenset(CHAINED) - {"seq", "event_key", "effective_at", "recorded_at", "detail_commitment", "prev_hash"}
TEXT = st.sampled_from(("", "a", "%s", "%", "{", "店", "\ud800", 'x","seq":1', "\x00"))


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    row = {name: draw(st.integers(0, 2) if name in NUMBERS else TEXT) for name in CHAINED}
    return row | dict.fromkeys(draw(st.sets(st.sampled_from(sorted(NULLABLE)))))


def quick(chain: Chain, row: dict[str, Any]) -> str:
    return chain.hash(tuple(row[name] for name in REPEATING), [row[name] for name in VARYING])


@given(st.lists(rows(), max_size=5))
def test_hash_is_that_of_the_canonical_encoding(several: list[dict[str, Any]]) -> None:
    chain = Chain()
    for row in several + several:
        assert quick(chain, row) == row_hash([row[name] for name in CHAINED])


def good() -> dict[str, Any]:
    row = {name: 1 if name in NUMBERS else name for name in CHAINED} | {"prev_hash": GENESIS}
    return row | {"hash": row_hash([row[name] for name in CHAINED])}


@pytest.mark.fault("D1")
@pytest.mark.parametrize("value", [None, "1", 1.5, b"1", '1,"seq":1', "\ud800", 2])
@pytest.mark.parametrize("name", [name for name in SCANNED if name != "seq"])
def test_value_of_any_other_kind_is_the_first_bad_row(name: str, value: Any) -> None:
    row = good()
    assert first_bad([tuple(row[name] for name in SCANNED)]) is None
    row[name] = value
    assert first_bad([tuple(row[name] for name in SCANNED)]) == 1
