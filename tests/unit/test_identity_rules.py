"""Each rule by which an identifier joins nobody, as people meet it: a tablet, a poster's code, a number issued anew."""

from __future__ import annotations

import duckdb
import pytest

from orchestration.policy.loader import load_policy
from tests.identity_world import DAYS, KINDS, MOST, Link, make_tables, run


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    return make_tables()


def alone(*names: str) -> set[frozenset[str]]:
    return {frozenset({name}) for name in names}


def test_cookie_never_joins_two_phones(con: duckdb.DuckDBPyConnection) -> None:
    found = run(con, [Link("phone1", "cookie1"), Link("phone2", "cookie1")])
    assert found.ambiguous == {"cookie1"}
    assert set(found.groups.values()) == alone("phone1", "phone2", "cookie1")
    assert found.reach["cookie1"] == alone("phone1", "phone2", "cookie1")
    assert found.reach["phone1"] == alone("phone1", "cookie1")  # never on to the other phone


def test_two_phones_of_one_member_share_their_cookie(con: duckdb.DuckDBPyConnection) -> None:
    found = run(
        con, [Link("member1", "phone1"), Link("member1", "phone2"), *(Link(f"phone{n}", "cookie1") for n in (1, 2))]
    )
    assert found.groups["cookie1"] == {"member1", "phone1", "phone2", "cookie1"}
    assert not found.ambiguous


def test_chain_of_weak_identifiers_joins_nobody_either(con: duckdb.DuckDBPyConnection) -> None:
    found = run(
        con,
        [Link("phone1", "cookie1"), Link("cookie1", "device1"), Link("device1", "cookie2"), Link("cookie2", "openid1")],
    )
    assert found.ambiguous == {"device1"}
    assert found.groups["cookie1"] == {"phone1", "cookie1"}
    assert found.groups["cookie2"] == {"openid1", "cookie2"}
    even = run(con, [Link("phone1", "cookie1"), Link("cookie1", "cookie2"), Link("cookie2", "openid1")])
    assert even.ambiguous == {"cookie1", "cookie2"}


def test_household_tablet_belongs_to_neither_account(con: duckdb.DuckDBPyConnection) -> None:
    found = run(con, [Link("member1", "device1"), Link("member2", "device1"), Link("member2", "phone2")])
    assert found.ambiguous == {"device1"}
    assert found.groups["phone2"] == {"member2", "phone2"}
    assert found.reach["device1"] == {*alone("device1", "member1"), frozenset({"member2", "phone2"})}


def test_shared_qr_code_belongs_to_none_of_those_who_scan_it(con: duckdb.DuckDBPyConnection) -> None:
    """A member code on a poster: openids without a unionid show no conflict, but there are too many of them."""
    scans = [Link("member1", f"openid{n}") for n in range(MOST + 1)]
    found = run(con, scans)
    assert found.ambiguous == {"member1"}
    assert found.groups["openid0"] == {"openid0"}
    assert len(found.reach["member1"]) == MOST + 2  # what the code's holder denies still reaches them all
    assert not run(con, scans[:MOST]).ambiguous


def test_super_node_of_weak_identifiers_is_ambiguous(con: duckdb.DuckDBPyConnection) -> None:
    kiosk = [Link("device1", f"cookie{n}") for n in range(MOST + 1)]
    assert run(con, [*kiosk, Link("phone1", "device1")]).ambiguous == {"device1"}


def test_browsers_of_one_person_do_not_count_against_a_strong_identifier(con: duckdb.DuckDBPyConnection) -> None:
    found = run(con, [Link("phone1", f"cookie{n}") for n in range(MOST * 3)])
    assert not found.ambiguous
    assert len(found.groups["phone1"]) == MOST * 3 + 1


def test_kind_that_policy_does_not_know_joins_nobody(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("DELETE FROM policy.identifier_kinds WHERE kind = 'device'")
    try:
        found = run(con, [Link("phone1", "device1")])
    finally:
        con.execute(
            "INSERT INTO policy.identifier_kinds BY NAME SELECT 'device' AS kind, false AS is_strong, "
            f"false AS is_anchor, {MOST} AS max_links"
        )
    assert found.ambiguous == {"device1"}


@pytest.mark.fault("H4")
def test_phone_issued_anew_goes_to_its_new_holder(con: duckdb.DuckDBPyConnection) -> None:
    old, new = Link("member1", "phone1", days=-9), Link("member2", "phone1", days=-9 + DAYS)
    found = run(con, [old, Link("phone1", "openid1", days=-9), new])
    assert found.groups["phone1"] == {"member2", "phone1"}
    assert found.groups["member1"] == {"member1"}
    assert found.groups["openid1"] == {"openid1"}  # last seen with the former holder
    assert found.held_since == {"phone1": -9 + DAYS}
    assert not found.ambiguous
    assert found.reach["member1"] == {frozenset({"member1"}), frozenset({"openid1"}), frozenset({"member2", "phone1"})}


def test_phone_seen_with_two_members_too_soon_is_ambiguous(con: duckdb.DuckDBPyConnection) -> None:
    old, new = Link("member1", "phone1", days=-9), Link("member2", "phone1", days=-9 + DAYS)
    nearly = [old, Link("member2", "phone1", days=-10 + DAYS)]
    again = [old, new, Link("member1", "phone1", days=-1)]  # the first holder still has it
    for links in (nearly, again):
        found = run(con, links)
        assert found.ambiguous == {"phone1"}
        assert found.held_since == {}


def test_openid_is_never_issued_anew(con: duckdb.DuckDBPyConnection) -> None:
    found = run(con, [Link("member1", "openid1", days=-40), Link("member2", "openid1", days=-2)])
    assert found.ambiguous == {"openid1"}


def test_third_holder_of_a_phone_is_the_only_one(con: duckdb.DuckDBPyConnection) -> None:
    found = run(con, [Link(f"member{n}", "phone1", days=days) for n, days in ((1, -30), (2, -28), (3, -2))])
    assert found.groups["phone1"] == {"member3", "phone1"}  # the first two were unclear, but both are gone
    assert found.held_since == {"phone1": -2}


@pytest.mark.fault("B14")
def test_identifier_given_up_and_taken_is_held_since_then(con: duckdb.DuckDBPyConnection) -> None:
    links = [Link("member1", "device1", days=-9), Link("member1", "device1", is_unlink=True, days=-8)]
    assert run(con, links).held_since == {}
    found = run(con, [*links, Link("member2", "device1", days=-8)])
    assert found.groups["device1"] == {"member2", "device1"}
    assert found.held_since == {"device1": -8}


def test_member_who_changes_the_phone_keeps_what_was_granted(con: duckdb.DuckDBPyConnection) -> None:
    unlinked = [Link("member1", "phone1", days=-9), Link("member1", "phone1", is_unlink=True, days=-3)]
    found = run(con, [*unlinked, Link("member1", "phone2", days=-2)])
    assert found.held_since == {}
    assert found.groups["member1"] == {"member1", "phone2"}


def test_same_holder_linked_again_is_no_other(con: duckdb.DuckDBPyConnection) -> None:
    away = [Link("member1", "phone1", days=-9), Link("member1", "phone1", is_unlink=True, days=-8)]
    found = run(con, [*away, Link("member1", "phone1", days=-2)])
    assert found.held_since == {}
    between = [Link("member2", "phone1", days=-7), Link("member2", "phone1", is_unlink=True, days=-6)]
    back = run(con, [*away, *between, Link("member1", "phone1", days=-2)])
    assert back.groups["phone1"] == {"member1", "phone1"}
    assert back.held_since == {"phone1": -2}  # somebody else had it meanwhile


def test_erased_identifier_joins_nobody_any_more_and_its_denials_still_reach(con: duckdb.DuckDBPyConnection) -> None:
    links = [Link("member1", "phone1"), Link("member1", "openid1"), Link("openid1", "cookie1")]
    found = run(con, links, erased=["member1"])
    assert found.groups["phone1"] == {"phone1"}
    assert found.groups["openid1"] == {"openid1", "cookie1"}
    assert found.reach["member1"] == {*alone("member1", "phone1"), frozenset({"openid1", "cookie1"})}
    assert not found.whole & {"phone1", "openid1", "cookie1"}


def test_erased_phone_linked_later_is_joined_to_nobody(con: duckdb.DuckDBPyConnection) -> None:
    found = run(con, [Link("member1", "phone1", days=-9), Link("member2", "phone1", days=-1)], erased=["phone1"])
    assert found.groups["phone1"] == {"phone1"}


def test_shipped_policy_has_a_rule_for_each_of_these() -> None:
    """What the tests above show holds for the policy of the house, not only for theirs."""
    organisation = load_policy().organisation
    kinds = {kind.name: kind for kind in organisation.identifier_kinds}
    assert KINDS.keys() <= kinds.keys()
    assert all(kinds[name].strength == ("strong" if rules[0] else "weak") for name, rules in KINDS.items())
    assert all(kinds[name].anchor is rules[1] for name, rules in KINDS.items())
    assert [kind.name for kind in kinds.values() if kind.reissued_after_days] == ["phone"]
    assert all(organisation.max_links_of(kind) <= 50 for kind in kinds.values())
    assert {"0", "unknown", "null"} <= organisation.placeholders_of(kinds["member"])
    assert "test@*" in organisation.placeholders_of(kinds["email"])
