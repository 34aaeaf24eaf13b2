"""Who is one person, who is ambiguous, and whom a denial reaches; also against a plain slow implementation."""

from __future__ import annotations

from itertools import pairwise

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.identity_world import Link, Resolved, make_tables, run
from tests.slow_identity import slow


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    return make_tables()


def test_links_join_and_an_identifier_without_links_stands_alone(con: duckdb.DuckDBPyConnection) -> None:
    found = run(con, [Link("member1", "phone1"), Link("phone1", "cookie1")], also=["cookie2"])
    assert found.groups["cookie1"] == {"member1", "phone1", "cookie1"}
    assert found.groups["cookie2"] == {"cookie2"}
    assert not found.ambiguous
    assert found.whole == set(found.groups)


@pytest.mark.fault("H4")
def test_shared_phone_is_cut_and_its_denial_reaches_both(con: duckdb.DuckDBPyConnection) -> None:
    found = run(con, [Link("member1", "phone1"), Link("member2", "phone1"), Link("member2", "cookie1")])
    assert found.ambiguous == {"phone1"}
    assert found.groups["cookie1"] == {"member2", "cookie1"}
    assert found.reach["phone1"] == {frozenset({"phone1"}), frozenset({"member1"}), frozenset({"member2", "cookie1"})}
    assert found.reach["member1"] == {frozenset({"member1"}), frozenset({"phone1"})}  # never through the shared phone
    assert not found.whole


def test_what_hangs_on_a_shared_identifier_only_is_not_itself_shared(con: duckdb.DuckDBPyConnection) -> None:
    found = run(con, [Link("member1", "cookie1"), Link("member2", "cookie1"), Link("cookie1", "phone1")])
    assert found.ambiguous == {"cookie1"}
    assert found.groups["phone1"] == {"phone1"}
    assert "phone1" not in found.whole


def test_link_between_two_members_is_cut(con: duckdb.DuckDBPyConnection) -> None:
    found = run(con, [Link("member1", "member2"), Link("member1", "phone1")])
    assert not found.ambiguous
    assert found.groups["phone1"] == {"member1", "phone1"}
    assert found.reach["phone1"] == {frozenset({"member1", "phone1"}), frozenset({"member2"})}
    assert not found.whole


def test_chain_between_two_members_cuts_where_they_meet(con: duckdb.DuckDBPyConnection) -> None:
    chain = ["member1", "unionid1", "phone1", "phone2", "member2"]
    found = run(con, [Link(a, b) for a, b in pairwise(chain)])
    assert found.ambiguous == {"phone1"}
    assert found.groups["unionid1"] == {"member1", "unionid1"}
    assert found.groups["phone2"] == {"member2", "phone2"}


@pytest.mark.fault("B14")
def test_unlinked_identifiers_split_but_denials_still_spread(con: duckdb.DuckDBPyConnection) -> None:
    found = run(con, [Link("member1", "phone1", days=-9), Link("member1", "phone1", is_unlink=True, days=-2)])
    assert found.groups["phone1"] == {"phone1"}
    assert found.reach["phone1"] == {frozenset({"phone1"}), frozenset({"member1"})}
    assert not found.whole


def test_unlinking_wins_at_the_same_instant_and_a_later_link_joins_again(con: duckdb.DuckDBPyConnection) -> None:
    tie = [Link("member1", "phone1", is_unlink=True), Link("member1", "phone1")]
    assert run(con, tie).groups["phone1"] == {"phone1"}
    assert run(con, [*tie, Link("phone1", "member1", days=0)]).groups["phone1"] == {"member1", "phone1"}


def test_link_of_the_future_joins_nobody_yet_but_its_denials_count(con: duckdb.DuckDBPyConnection) -> None:
    found = run(con, [Link("member1", "phone1", days=3)])
    assert found.groups["phone1"] == {"phone1"}
    assert frozenset({"member1"}) in found.reach["phone1"]


def test_same_token_under_two_controllers_is_two_identifiers(con: duckdb.DuckDBPyConnection) -> None:
    run(con, [Link("member1", "phone1"), Link("member2", "phone1", controller="clinic")])
    rows = con.execute(
        "SELECT controller, is_ambiguous, group_size, group_id FROM identity.identifiers ORDER BY identifier_id"
    ).fetchall()
    assert rows == [("clinic", False, 2, 1), ("shop", False, 2, 2), ("clinic", False, 2, 1), ("shop", False, 2, 2)]


def test_nothing_on_record_gives_empty_tables(con: duckdb.DuckDBPyConnection) -> None:
    assert run(con, []) == Resolved({}, set(), set(), {})


def test_long_chain_of_shared_identifiers_ends(con: duckdb.DuckDBPyConnection) -> None:
    names = [f"member{i:03}" if i % 3 == 0 else f"phone{i:03}" for i in range(61)]
    found = run(con, [Link(a, b) for a, b in pairwise(names)])
    assert all(len({name for name in group if name[0] == "m"}) <= 1 for group in found.groups.values())
    assert found.ambiguous == {name for name in names if name[0] == "p"}  # each meets the other member's


NAMES = [
    "member1", "member2", "member3", "unionid1", "unionid2", "phone1", "phone2", "phone3", "openid1",
    "cookie1", "cookie2", "device1",
]  # fmt: skip
LINKS = st.lists(
    st.builds(
        Link,
        a=st.sampled_from(NAMES),
        b=st.sampled_from(NAMES),
        is_unlink=st.sampled_from([False, False, False, True]),
        days=st.sampled_from([-13, -9, -8, -4, -3, -2, -1, 0, 1]),
    ),
    max_size=16,
)
ERASED = st.lists(st.sampled_from(NAMES), max_size=1)


@settings(max_examples=60, deadline=None)
@given(links=LINKS, erased=ERASED)
def test_resolution_equals_the_slow_implementation(
    con: duckdb.DuckDBPyConnection, links: list[Link], erased: list[str]
) -> None:
    assert run(con, links, NAMES, erased) == slow(links, NAMES, erased)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(links=LINKS, erased=ERASED)
def test_resolution_equals_the_slow_implementation_at_length(
    con: duckdb.DuckDBPyConnection, links: list[Link], erased: list[str]
) -> None:
    assert run(con, links, NAMES, erased) == slow(links, NAMES, erased)


@settings(max_examples=20, deadline=None)
@given(links=LINKS, data=st.data())
def test_order_of_records_does_not_matter(
    con: duckdb.DuckDBPyConnection, links: list[Link], data: st.DataObject
) -> None:
    assert run(con, links, also=NAMES) == run(con, data.draw(st.permutations(links)), also=NAMES)
