"""Who is one person, who is ambiguous, and whom a denial reaches; also against a plain slow implementation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.identity.resolve import LEDGER_TABLES, resolve
from orchestration.warehouse.relations import DECLARED

AS_OF = datetime.fromisoformat("2026-11-01T00:00:00+00:00")
KINDS = {"member": (True, True), "unionid": (True, True), "phone": (True, False), "cookie": (False, False)}


@dataclass(frozen=True)
class Link:
    """A record about two identifiers, `days` after T; the kind is the name's first letter."""

    a: str
    b: str
    is_unlink: bool = False
    days: int = -1
    controller: str = "shop"


@dataclass(frozen=True)
class Resolved:
    groups: dict[str, frozenset[str]]
    ambiguous: set[str]
    whole: set[str]
    reach: dict[str, set[frozenset[str]]]


def kind_of(name: str) -> str:
    return next(kind for kind in KINDS if kind[0] == name[0])


def _row(link: Link) -> list[Any]:
    at = (AS_OF + timedelta(days=link.days)).replace(tzinfo=None)
    ends = [link.a, kind_of(link.a), "i", link.b, kind_of(link.b), "i"]
    return [link.controller, *ends, "login", at, at, link.is_unlink]


def _insert(con: duckdb.DuckDBPyConnection, table: str, rows: list[list[Any]]) -> None:
    if rows:
        one = f"({', '.join('?' * len(rows[0]))})"
        con.execute(
            f"INSERT INTO {table} VALUES {', '.join([one] * len(rows))}", [cell for row in rows for cell in row]
        )


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    for schema in ("lake", "identity", "ledger", "policy"):
        con.execute(f"CREATE SCHEMA {schema}")
    for schema, table in [("identity", "links"), *(("ledger", table) for table in LEDGER_TABLES)]:
        columns = ", ".join(f"{name} {kind}" for name, kind in DECLARED[schema][table].items())
        con.execute(f"CREATE TABLE {schema}.{table} ({columns})")
    con.execute("CREATE TABLE lake.web (controller TEXT, subject_token TEXT, subject_kind TEXT, subject_issuer TEXT)")
    con.execute("CREATE TABLE policy.identifier_kinds (kind VARCHAR, is_strong BOOLEAN, is_anchor BOOLEAN)")
    con.executemany("INSERT INTO policy.identifier_kinds VALUES (?, ?, ?)", [(k, *v) for k, v in KINDS.items()])
    return con


def run(con: duckdb.DuckDBPyConnection, links: Sequence[Link], also: Sequence[str] = ()) -> Resolved:
    """Resolves the links, and identifiers that appear `also`; names stand for tokens, groups for their members."""
    con.execute("DELETE FROM identity.links")
    con.execute("DELETE FROM lake.web")
    _insert(con, "identity.links", [_row(link) for link in links])
    _insert(con, "lake.web", [["shop", name, kind_of(name), "i"] for name in also])
    resolve(con, AS_OF, ["web"])
    rows = con.execute(
        "SELECT token, group_id, is_ambiguous, is_whole, controller FROM identity.identifiers"
    ).fetchall()
    members: dict[int, set[str]] = {}
    for token, group, *_ in rows:
        members.setdefault(group, set()).add(token)
    reach: dict[str, set[frozenset[str]]] = {}
    for token, group in con.execute(
        "SELECT token, r.group_id FROM identity.denial_reach AS r JOIN identity.identifiers USING (identifier_id)"
    ).fetchall():
        reach.setdefault(token, set()).add(frozenset(members[group]))
    return Resolved(
        {token: frozenset(members[group]) for token, group, *_ in rows},
        {token for token, _, is_ambiguous, *_ in rows if is_ambiguous},
        {token for token, _, _, is_whole, _ in rows if is_whole},
        reach,
    )


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
        "SELECT controller, is_ambiguous, group_size, identifier_id FROM identity.identifiers ORDER BY identifier_id"
    ).fetchall()
    assert rows == [("clinic", False, 2, 1), ("clinic", False, 2, 2), ("shop", False, 2, 3), ("shop", False, 2, 4)]


def test_nothing_on_record_gives_empty_tables(con: duckdb.DuckDBPyConnection) -> None:
    assert run(con, []) == Resolved({}, set(), set(), {})


def test_long_chain_of_shared_identifiers_ends(con: duckdb.DuckDBPyConnection) -> None:
    names = [f"member{i:03}" if i % 3 == 0 else f"phone{i:03}" for i in range(61)]
    found = run(con, [Link(a, b) for a, b in pairwise(names)])
    assert all(len({name for name in group if name[0] == "m"}) <= 1 for group in found.groups.values())
    assert found.ambiguous == {name for name in names if name[0] == "p"}  # each meets the other member's


NAMES = ["member1", "member2", "member3", "unionid1", "unionid2", "phone1", "phone2", "phone3", "cookie1", "cookie2"]
LINKS = st.lists(
    st.builds(
        Link,
        a=st.sampled_from(NAMES),
        b=st.sampled_from(NAMES),
        is_unlink=st.sampled_from([False, False, False, True]),
        days=st.sampled_from([-3, -2, -1, 0, 1]),
    ),
    max_size=14,
)


@settings(max_examples=80, deadline=None)
@given(links=LINKS)
def test_resolution_equals_the_slow_implementation(con: duckdb.DuckDBPyConnection, links: list[Link]) -> None:
    assert run(con, links, also=NAMES) == slow(links)


@settings(max_examples=20, deadline=None)
@given(links=LINKS, data=st.data())
def test_order_of_records_does_not_matter(
    con: duckdb.DuckDBPyConnection, links: list[Link], data: st.DataObject
) -> None:
    assert run(con, links, also=NAMES) == run(con, data.draw(st.permutations(links)), also=NAMES)


def slow(links: Sequence[Link]) -> Resolved:
    """The rules word by word, on sets."""
    ever = {frozenset({link.a, link.b}) for link in links if link.a != link.b}
    in_force = {pair for pair in ever if _last_says_linked(pair, links)}
    ambiguous: set[str] = set()
    cut: set[frozenset[str]] = set()
    while True:
        live = {pair for pair in in_force - cut if not pair & ambiguous}
        groups = _parts(set(NAMES), live)
        found: set[str] = set()
        crossing: set[frozenset[str]] = set()
        for group in set(groups.values()):
            for kind in ("member", "unionid"):
                anchors = sorted(name for name in group if kind_of(name) == kind and name not in ambiguous)
                if len(anchors) > 1:
                    shared, conflicting = _meet(anchors, live)
                    found |= shared
                    crossing |= conflicting
        if not found and not crossing:
            break
        ambiguous |= found
        cut |= crossing
    holding = {pair for pair in in_force - cut if not pair & ambiguous}
    loose = {name for pair in ever - holding for name in pair}
    whole = {name for name in NAMES if not groups[name] & loose}
    return Resolved(groups, ambiguous, whole, {name: _reached(name, ever, ambiguous, groups) for name in NAMES})


def _last_says_linked(pair: frozenset[str], links: Sequence[Link]) -> bool:
    said = [link for link in links if {link.a, link.b} == pair and link.days <= 0]
    return bool(said) and not max(said, key=lambda link: (link.days, link.is_unlink)).is_unlink


def _parts(names: set[str], links: set[frozenset[str]]) -> dict[str, frozenset[str]]:
    part = {name: frozenset({name}) for name in names}
    for a, b in (tuple(link) for link in links):
        joined = part[a] | part[b]
        part |= dict.fromkeys(joined, joined)
    return part


def _meet(anchors: Sequence[str], links: set[frozenset[str]]) -> tuple[set[str], set[frozenset[str]]]:
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
    crossing: set[frozenset[str]] = set()
    for link in links:
        a, b = link
        if a in label and b in label and label[a] != label[b]:
            ends = {name for name in link if kind_of(name) not in ("member", "unionid")}
            shared |= ends
            crossing |= set() if ends else {link}
    return shared, crossing


def _reached(
    start: str, ever: set[frozenset[str]], ambiguous: set[str], groups: dict[str, frozenset[str]]
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
