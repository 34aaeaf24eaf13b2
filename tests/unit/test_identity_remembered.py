"""What a build remembers for the next one: it saves time, and never changes a result."""

from __future__ import annotations

import hashlib
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.home import Home
from orchestration.identity import changes, incremental
from orchestration.identity.graph import NONE, Links, Nodes, People, resolve_people
from orchestration.identity.keys import Keys
from orchestration.identity.remembered import Memory, Names, old_numbers
from orchestration.identity.resolve import resolve
from tests.identity_world import AS_OF, Link, Resolved, make_tables, read, record, run

KEYS = Keys.from_seed(7)
FIRST = [Link("member1", "phone1"), Link("phone1", "cookie1"), Link("member2", "phone2")]
SECOND = [*FIRST, Link("phone2", "cookie1"), Link("member2", "openid1")]


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    return make_tables()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home", demo_seed=7)


def token(name: str) -> str:
    """A token as ours are, 32 hex digits that look random; in another order than the names."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def as_tokens(con: duckdb.DuckDBPyConnection) -> None:
    con.create_function("token_of", token, ["VARCHAR"], "VARCHAR") if not _has_function(con) else None
    con.execute("UPDATE identity.links SET token_a = token_of(token_a), token_b = token_of(token_b)")
    con.execute("UPDATE lake.web SET subject_token = token_of(subject_token)")
    con.execute("UPDATE ledger.statuses SET token = token_of(token)")


def _has_function(con: duckdb.DuckDBPyConnection) -> bool:
    found = con.execute("SELECT count(*) FROM duckdb_functions() WHERE function_name = 'token_of'").fetchone()
    return found is not None and found[0] > 0


def night(
    con: duckdb.DuckDBPyConnection, memory: Memory | None, links: list[Link], also: list[str], erased: list[str]
) -> Resolved:
    record(con, links, also, erased)
    as_tokens(con)
    resolve(con, AS_OF, ["web"], memory)
    return read(con)


def memory_of(home: Home, code: str = "code") -> Memory:
    return Memory(home, KEYS, code)


@pytest.fixture
def divided(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many identifiers each pass over a part of the graph looked at: nothing where all was resolved anew."""
    sizes: list[int] = []

    def counting(nodes: Nodes, links: Links) -> People:
        sizes.append(len(nodes))
        return resolve_people(nodes, links)

    monkeypatch.setattr(incremental, "resolve_people", counting)
    return sizes


def test_second_night_divides_only_what_changed(con: duckdb.DuckDBPyConnection, home: Home, divided: list[int]) -> None:
    night(con, memory_of(home), [*FIRST, Link("member3", "phone3")], [], [])
    found = night(con, memory_of(home), [*SECOND, Link("member3", "phone3")], [], [])
    assert divided == [6]  # the two people and the cookie and openid between them, not the third
    assert found == night(con, None, [*SECOND, Link("member3", "phone3")], [], [])


def test_ids_have_the_same_type_whichever_way_they_were_found(con: duckdb.DuckDBPyConnection, home: Home) -> None:
    """What is brought up to date is held in 32 bits."""
    types = []
    for links, memory in ((FIRST, memory_of(home)), (SECOND, memory_of(home)), (SECOND, None)):
        night(con, memory, links, [], [])
        types.append([con.execute(f"DESCRIBE identity.{name}").fetchall() for name in ("identifiers", "denial_reach")])
    assert types[0] == types[1] == types[2]


HALVES = st.sets(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=8).map(sorted)


@settings(max_examples=300, deadline=None)
@given(before=HALVES, now=HALVES)
def test_numbers_of_before_are_found_or_cannot_be_compared(
    before: list[tuple[int, int]], now: list[tuple[int, int]]
) -> None:
    """Tokens whose first halves are equal, which no two of ours are, never take each other's number."""
    names = [
        Names((("member", len(tokens)),), (), *np.array(tokens, dtype=np.uint64).reshape(-1, 2).T.copy())
        for tokens in (before, now)
    ]
    found = old_numbers(*names)
    if len({high for high, _ in before + now}) == len({*before, *now}):
        assert found is not None
    if found is not None:
        assert found.tolist() == [before.index(token) if token in before else NONE for token in now]


def test_changed_rule_resolves_everyone_anew(con: duckdb.DuckDBPyConnection, home: Home, divided: list[int]) -> None:
    night(con, memory_of(home), FIRST, [], [])
    con.execute("BEGIN; UPDATE policy.identifier_kinds SET max_links = 0 WHERE kind = 'phone'")
    found = night(con, memory_of(home), SECOND, [], [])
    assert found.ambiguous >= {token("phone1"), token("phone2")}
    assert divided == []
    assert found == night(con, None, SECOND, [], [])
    con.execute("ROLLBACK")


NAMES = ["member1", "member2", "unionid1", "phone1", "phone2", "openid1", "cookie1", "cookie2", "device1"]
LINKS = st.lists(
    st.builds(
        Link,
        a=st.sampled_from(NAMES),
        b=st.sampled_from(NAMES),
        is_unlink=st.sampled_from([False, False, False, True]),
        days=st.sampled_from([-13, -8, -4, -2, -1, 0, 1]),
    ),
    max_size=8,
)


Night = tuple[list[Link], list[str], list[str]]
NIGHTS = st.lists(
    st.tuples(LINKS, st.lists(st.sampled_from(NAMES), max_size=2), st.lists(st.sampled_from(NAMES), max_size=1)),
    min_size=2,
    max_size=4,
)


@settings(max_examples=10, deadline=None)
@given(nights=NIGHTS)
def test_nights_that_remember_equal_nights_that_do_not(
    con: duckdb.DuckDBPyConnection, tmp_path_factory: pytest.TempPathFactory, nights: list[Night]
) -> None:
    """New links, unlinks, erasures, and what retention removes from the record (the first night's half)."""
    remember(con, Home.open(tmp_path_factory.mktemp("nights") / "home", demo_seed=7), nights)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(nights=NIGHTS)
def test_nights_that_remember_equal_nights_that_do_not_at_length(
    con: duckdb.DuckDBPyConnection, tmp_path_factory: pytest.TempPathFactory, nights: list[Night]
) -> None:
    remember(con, Home.open(tmp_path_factory.mktemp("nights") / "home", demo_seed=7), nights)


def remember(con: duckdb.DuckDBPyConnection, home: Home, nights: list[Night]) -> None:
    on_record: list[Link] = []
    for links, also, erased in nights:
        on_record = [*on_record[len(on_record) // 3 :], *links]
        assert night(con, memory_of(home), on_record, also, erased) == night(con, None, on_record, also, erased)


@pytest.mark.fault("A5")
@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "of_another_home", "of_other_code"])
def test_memory_that_is_not_sound_is_ignored(
    con: duckdb.DuckDBPyConnection, home: Home, divided: list[int], damage: str
) -> None:
    memory = memory_of(home)
    night(con, memory, FIRST, [], [])
    path = home.warehouse / "identity" / "resolution"
    data = path.read_bytes()
    if damage == "flipped":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage in ("cut", "emptied"):
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"")
    elif damage == "of_another_home":
        memory = Memory(home, Keys.from_seed(8), "code")
    else:
        memory = memory_of(home, "other code")
    assert memory.read() is None
    found = night(con, memory, SECOND, [], [])
    assert divided == []
    assert found == night(con, None, SECOND, [], [])
    assert memory.read() is not None  # replaced by what is sound


def test_memory_is_private_and_holds_no_identifier_that_left_the_record(
    con: duckdb.DuckDBPyConnection, home: Home
) -> None:
    path = home.warehouse / "identity" / "resolution"
    memory = memory_of(home)
    word = np.uint64(int(token("member2")[:16], 16)).tobytes()
    night(con, memory, FIRST, [], [])
    assert word in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    night(con, memory, FIRST[:2], [], [])
    assert word not in path.read_bytes()
    assert [file.name for file in path.parent.iterdir()] == ["resolution"]


def test_tokens_that_are_not_ours_are_resolved_anew_each_night(con: duckdb.DuckDBPyConnection, home: Home) -> None:
    record(con, FIRST)
    resolve(con, AS_OF, ["web"], memory_of(home))
    assert read(con) == run(con, FIRST)
    assert memory_of(home).read() is None


@settings(max_examples=25, deadline=None)
@given(links=LINKS, weak=LINKS, data=st.data())
def test_name_of_a_person_does_not_depend_on_what_is_weak(
    con: duckdb.DuckDBPyConnection, links: list[Link], weak: list[Link], data: st.DataObject
) -> None:
    """Weak identifiers join and leave, in any order: everyone with a strong identifier keeps the name."""
    keep_names(con, links, weak, data)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(links=LINKS, weak=LINKS, data=st.data())
def test_name_of_a_person_does_not_depend_on_what_is_weak_at_length(
    con: duckdb.DuckDBPyConnection, links: list[Link], weak: list[Link], data: st.DataObject
) -> None:
    keep_names(con, links, weak, data)


def keep_names(con: duckdb.DuckDBPyConnection, links: list[Link], weak: list[Link], data: st.DataObject) -> None:
    strong = [link for link in links if not {link.a[0], link.b[0]} & {"c", "d"}]
    joining = [link for link in weak if {link.a[0], link.b[0]} & {"c", "d"}]
    before = run(con, strong, NAMES)
    after = run(con, data.draw(st.permutations([*strong, *joining])), NAMES)
    strong_names = [name for name in NAMES if name[0] not in "cd"]
    assert {n: after.names[n] for n in strong_names} == {n: before.names[n] for n in strong_names}


def test_anchor_names_a_person_before_what_comes_first_by_token(con: duckdb.DuckDBPyConnection) -> None:
    found = run(con, [Link("unionid1", "phone1"), Link("phone1", "cookie1"), Link("openid1", "cookie2")])
    assert found.names["cookie1"] == "unionid1"
    assert found.names["cookie2"] == "openid1"


def test_changes_of_people_are_counted(con: duckdb.DuckDBPyConnection) -> None:
    night_one = [
        Link("member1", "phone1"), Link("member2", "phone2"), Link("member3", "phone3"), Link("unionid4", "phone4"),
        Link("member5", "openid5"), Link("phone5", "openid5"),
    ]  # fmt: skip
    run(con, [*night_one, Link("member6", "phone6")])
    con.execute("CREATE SCHEMA IF NOT EXISTS before")
    con.execute("CREATE OR REPLACE TABLE before.identifiers AS SELECT * FROM identity.identifiers")
    assert changes.compare(con, "before", "identity") == dict.fromkeys(NUMBERS, 0) | {"people_unchanged": 6}
    split = [Link("phone5", "openid5", is_unlink=True, days=0)]
    run(con, [*night_one, *split, Link("unionid4", "phone3"), Link("member2", "cookie2"), Link("member7", "phone7")])
    assert changes.compare(con, "before", "identity") == {
        "people_new": 1,  # member7
        "people_gone": 1,  # member6
        "people_joined": 1,  # member3 and unionid4
        "people_split": 1,  # member5
        "people_unchanged": 1,  # member1
        "people_changed": 3,  # member2 has a cookie more, member5 a phone less, that phone stands alone
        "people_renamed": 1,  # that phone
    }


NUMBERS = [f"people_{what}" for what in ("new", "gone", "joined", "split", "unchanged", "changed", "renamed")]
