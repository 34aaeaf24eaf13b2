"""The ledger itself: append-only, chained, idempotent, and the same state whatever the order of arrival."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.consent.chain import GENESIS, row_hash
from orchestration.consent.ledger import Ledger, open_ledger
from orchestration.consent.models import COLUMNS, AppendReport, Record, Subject
from orchestration.consent.verify import verify_ledger
from orchestration.errors import HomeError
from orchestration.home import Home
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.policy.loader import load_policy
from orchestration.settings import Settings

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
POLICY = load_policy()
ANNE, BEA = Subject("a" * 32, "phone", "e164"), Subject("b" * 32, "phone", "e164")
Opened = tuple[Ledger, SubjectRegistry]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture
def opened(home: Home) -> Iterator[Opened]:
    with open_ledger(home, Keys.open(home)) as opened:
        yield opened


def grant(event_id: str, subject: Subject = ANNE, **changes: Any) -> Record:
    record = Record(
        event_id=event_id,
        type="consent",
        feed="consent_center",
        subject=subject,
        controller="shop",
        purpose="sms_marketing",
        decision="grant",
        effective_at=NOW - timedelta(days=1),
        detail={"surface": "checkout", "actor": "till-7"},
    )
    return replace(record, **changes)


def consents(opened: Opened) -> list[dict[str, Any]]:
    ledger, registry = opened
    rows: list[dict[str, Any]] = ledger.staged(registry, POLICY)["consent_events"].to_pylist()
    return rows


def tamper(home: Home, *statements: str) -> None:
    """What an administrator with the file could do: drop the triggers, alter, put the triggers back."""
    with closing(sqlite3.connect(home.ledger_db)) as connection, connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        for _, sql in triggers:
            connection.execute(sql)


def five(opened: Opened) -> None:
    opened[0].append([grant(f"e{i}") for i in range(1, 6)], NOW)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET decision = 'grant'",
        "DELETE FROM events WHERE seq = 2",
        "UPDATE details SET payload = x'00'",
        "INSERT OR REPLACE INTO events SELECT * FROM events WHERE seq = 2",
        "REPLACE INTO events SELECT 6, event_key, type, subject_ref, controller, purpose, category, recipient, channel,"
        " decision, basis, method, is_separate, is_guardian, notice_id, notice_version, notice_language, locale,"
        " jurisdiction, fact, state, object_ref, until_at, effective_at, recorded_at, feed, batch, detail_commitment,"
        " (SELECT hash FROM events WHERE seq = 5), hash FROM events WHERE seq = 2",
    ],
)
def test_ledger_refuses_alteration_by_sql(home: Home, opened: Opened, statement: str) -> None:
    five(opened)
    before = opened[0].head()
    refusal = pytest.raises(sqlite3.DatabaseError, match=r"append-only|never altered")
    with closing(sqlite3.connect(home.ledger_db)) as connection, refusal:
        connection.execute(statement)
    assert opened[0].head() == before
    assert opened[0].verify() is None


@pytest.mark.parametrize("seq", [2, 99])
def test_ledger_refuses_a_row_out_of_sequence(home: Home, opened: Opened, seq: int) -> None:
    """Even one with a new key and the right predecessor: in place of another, or after a gap."""
    five(opened)
    columns = {name: name for name in COLUMNS}
    previous = f"coalesce((SELECT hash FROM events WHERE seq = {seq} - 1), '{GENESIS}')"
    columns |= {"seq": str(seq), "event_key": "'new'", "prev_hash": previous}
    refusal = pytest.raises(sqlite3.DatabaseError, match="append-only")
    with closing(sqlite3.connect(home.ledger_db)) as connection, refusal:
        connection.execute(f"REPLACE INTO events SELECT {', '.join(columns.values())} FROM events WHERE seq = 2")
    assert opened[0].verify() is None


def test_verify_finds_a_row_that_was_rewritten_with_its_hash(home: Home, opened: Opened) -> None:
    five(opened)
    with closing(sqlite3.connect(home.ledger_db)) as connection:
        stored = list(connection.execute("SELECT * FROM events WHERE seq = 3").fetchone())
    stored[COLUMNS.index("decision")] = "deny"
    tamper(home, f"UPDATE events SET decision = 'deny', hash = '{row_hash(stored[:-1])}' WHERE seq = 3")
    assert opened[0].verify() == 4  # the row is consistent in itself; its successor tells


def test_altered_detail_is_found_and_never_taken_for_a_duplicate(home: Home, opened: Opened) -> None:
    """By somebody who has the keys: sealed again, but not what the chain committed to."""
    five(opened)
    with closing(sqlite3.connect(home.ledger_db)) as connection:
        (key,) = connection.execute("SELECT event_key FROM events WHERE seq = 4").fetchone()
    payload, _ = opened[0].sealer.seal(key, "e4", opened[0].sealer.body(grant("e4")), {"actor": "somebody else"})
    tamper(home, f"UPDATE details SET payload = x'{payload.hex()}' WHERE seq = 4")
    assert opened[0].verify() == 4
    report = opened[0].append([grant("e4")], NOW)
    assert (report.duplicates, report.conflicts) == (0, 1)


@pytest.mark.parametrize(
    ("statements", "first_bad"),
    [
        (("UPDATE events SET decision = 'deny' WHERE seq = 3",), 3),
        (("DELETE FROM events WHERE seq = 2",), 2),
        (("DELETE FROM details WHERE seq = 1", "DELETE FROM events WHERE seq = 1"), 1),
        (
            (
                "UPDATE events SET seq = 99 WHERE seq = 4",
                "UPDATE events SET seq = 4 WHERE seq = 5",
                "UPDATE events SET seq = 5 WHERE seq = 99",
            ),
            4,
        ),
        (("UPDATE events SET hash = prev_hash WHERE seq = 5",), 5),
        (("UPDATE details SET payload = (SELECT payload FROM details WHERE seq = 1) WHERE seq = 4",), 4),
    ],
)
def test_verify_names_first_bad_record(home: Home, opened: Opened, statements: tuple[str, ...], first_bad: int) -> None:
    five(opened)
    assert opened[0].verify() is None
    tamper(home, *statements)
    assert opened[0].verify() == first_bad
    found = verify_ledger(home, Settings(home=home.root))
    assert (found["is_good"], found["first_bad_seq"], found["is_append_only"]) == (False, first_bad, True)


def test_verify_tells_of_missing_trigger(home: Home, opened: Opened) -> None:
    five(opened)
    assert verify_ledger(home, Settings(home=home.root))["is_good"]
    with closing(sqlite3.connect(home.ledger_db)) as connection, connection:
        connection.execute("DROP TRIGGER events_refuse_delete")
    found = verify_ledger(home, Settings(home=home.root))
    assert (found["is_good"], found["first_bad_seq"], found["is_append_only"]) == (False, None, False)


def test_chain_holds_after_detail_is_erased(home: Home, opened: Opened) -> None:
    five(opened)
    with closing(sqlite3.connect(home.ledger_db)) as connection, connection:
        connection.execute("DELETE FROM details WHERE seq = 3")
    assert opened[0].verify() is None
    again = opened[0].append([grant("e3", purpose="email_marketing")], NOW)  # cannot be compared any more: still known
    assert (again.appended, again.duplicates, again.conflicts) == (0, 1, 0)


def test_same_event_twice_is_a_counted_no_op(opened: Opened) -> None:
    ledger = opened[0]
    assert ledger.append([grant("e1"), grant("e1"), grant("e2")], NOW) == AppendReport(2, 1, 0)
    head = ledger.head()
    assert ledger.append([grant("e2"), grant("e1")], NOW + timedelta(days=1)) == AppendReport(0, 2, 0)
    assert ledger.head() == head
    assert ledger.append([grant("e1", feed="paper_forms")], NOW).appended == 1  # ids are the feed's own


def test_conflict_presumes_denial_of_either_body(opened: Opened) -> None:
    ledger = opened[0]
    ledger.append([grant("e1")], NOW)
    later = NOW - timedelta(hours=1)
    report = ledger.append([grant("e1", BEA, purpose="email_marketing", effective_at=later)], NOW)
    assert (report.appended, report.conflicts, report.conflict_positions, report.presumed_denials) == (0, 1, (0,), 2)
    denials = {
        (row["token"], row["purpose"], row["effective_at"])
        for row in consents(opened)
        if row["decision"] == "presumed_denial"
    }
    at = later.replace(tzinfo=None)
    assert denials == {(ANNE.token, "sms_marketing", at), (BEA.token, "email_marketing", at)}
    head = ledger.head()
    ledger.append([grant("e1", BEA, purpose="email_marketing", effective_at=later)], NOW + timedelta(days=3))
    assert ledger.head() == head  # the same conflict again denies nothing new


def test_conflicting_permission_closes_its_contact_point_only(opened: Opened) -> None:
    ledger, registry = opened
    follow = grant("p1", type="permission", purpose=None, decision=None, channel="wechat_oa", state="open")
    ledger.append([follow, replace(follow, effective_at=NOW)], NOW)
    staged = ledger.staged(registry, POLICY)
    assert staged["consent_events"].num_rows == 0
    assert [(row["channel"], row["state"]) for row in staged["permissions"].to_pylist()] == [
        ("wechat_oa", "open"),
        ("wechat_oa", "closed"),
    ]


def test_once_ignores_what_a_later_record_says(opened: Opened) -> None:
    ledger = opened[0]
    assert ledger.append([], NOW, once=[grant("x", decision="presumed_denial")]).presumed_denials == 1
    head = ledger.head()
    later = grant("x", decision="presumed_denial", effective_at=NOW)
    assert ledger.append([], NOW, once=[later]).presumed_denials == 0
    assert ledger.head() == head


def test_staged_tables_have_tokens_and_typed_columns(opened: Opened) -> None:
    ledger, registry = opened
    link = grant("l", type="link", purpose=None, decision=None, other=BEA, method="login", state="off")
    age = grant("a", type="age", purpose=None, decision=None, until=NOW)
    ledger.append([link, age, grant("s", type="status", decision=None, fact="erased", state="on")], NOW)
    staged = ledger.staged(registry, POLICY)
    (link_row,) = staged["links"].to_pylist()
    assert list(link_row) == [
        *("seq", "token_a", "kind_a", "issuer_a", "controller", "token_b", "kind_b", "issuer_b"),
        *("method", "is_unlink", "effective_at", "recorded_at"),
    ]
    assert (link_row["token_a"], link_row["token_b"], link_row["is_unlink"]) == (ANNE.token, BEA.token, True)
    assert staged["ages"].to_pylist()[0]["minor_until"] == NOW.replace(tzinfo=None)
    assert staged["statuses"].to_pylist()[0]["status"] == "erased"
    assert not any("subject_ref" in table.column_names for table in staged.values())


def test_staged_stops_at_a_head(opened: Opened) -> None:
    five(opened)
    ledger, registry = opened
    assert ledger.staged(registry, POLICY, until=2)["consent_events"]["seq"].to_pylist() == [1, 2]
    assert ledger.staged(registry, POLICY, since=3)["consent_events"]["seq"].to_pylist() == [4, 5]


def test_no_detail_or_event_id_in_plain(home: Home, opened: Opened) -> None:
    ledger = opened[0]
    canary = "canary_5e1f@example.invalid"
    ledger.append([grant(canary, purpose="sms_marketing", detail={"place": canary, "actor": canary})], NOW)
    stored = b"".join(path.read_bytes() for path in home.root.glob("ledger.sqlite*"))
    assert b"sms_marketing" in stored  # the control: what is kept in plain is found
    assert canary.encode() not in stored
    assert ANNE.token.encode() not in stored  # subjects by random reference only
    (row,) = ledger.subject_rows([registry_ref(opened, ANNE)])
    assert row["detail"].rest == {"place": canary, "actor": canary}


def registry_ref(opened: Opened, subject: Subject) -> str:
    ref = opened[1].lookup(subject.token)
    assert ref is not None
    return ref


def test_two_writers_never_fork_the_chain(home: Home) -> None:
    keys = Keys.open(home)
    failures: list[BaseException] = []

    def write(name: str) -> None:
        try:
            with open_ledger(home, keys) as (ledger, _):
                for i in range(15):
                    ledger.append([grant(f"{name}{i}")], NOW)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("x", "y", "z")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with open_ledger(home, keys) as (ledger, _):
        assert ledger.head()[0] == 45
        assert ledger.verify() is None


def test_engines_without_triggers_are_refused_without_naming_the_url() -> None:
    with pytest.raises(HomeError) as raised:
        Ledger.open("postgresql+psycopg://user:secret@db/ledger")
    assert "secret" not in str(raised.value)


EVENTS = st.lists(
    st.builds(
        grant,
        event_id=st.sampled_from(["e1", "e2", "e3", "e4", "e5"]),
        subject=st.sampled_from([ANNE, BEA]),
        purpose=st.sampled_from(["sms_marketing", "email_marketing"]),
        decision=st.sampled_from(["grant", "withdraw", "deny"]),
        effective_at=st.integers(0, 3).map(lambda hours: NOW - timedelta(hours=hours)),
    ),
    max_size=6,
    unique_by=lambda record: record.event_id,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=EVENTS, data=st.data())
def test_any_order_and_batching_stages_the_same_state(
    tmp_path_factory: pytest.TempPathFactory, events: list[Record], data: st.DataObject
) -> None:
    again = data.draw(st.permutations([*events, *events[:2]]))
    cut = data.draw(st.integers(0, len(again)))
    states = []
    for batches in ([events], [again[:cut], again[cut:]]):
        home = Home.open(tmp_path_factory.mktemp("p") / "home", demo_seed=1)
        with open_ledger(home, Keys.open(home)) as opened:
            for batch in batches:
                opened[0].append(batch, NOW)
            states.append(_state(consents(opened)))
            assert opened[0].verify() is None
    assert states[0] == states[1]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=EVENTS, second=EVENTS)
def test_conflicts_bind_whichever_body_came_first(
    tmp_path_factory: pytest.TempPathFactory, first: list[Record], second: list[Record]
) -> None:
    """Whatever either body touched is not granted afterwards by one of the two, in either order."""
    bodies = {record.event_id: record for record in first}
    conflicting = [r for r in second if r.event_id in bodies and bodies[r.event_id] != r]
    for batches in ([first, conflicting], [conflicting, first]):
        home = Home.open(tmp_path_factory.mktemp("c") / "home", demo_seed=1)
        with open_ledger(home, Keys.open(home)) as opened:
            for batch in batches:
                opened[0].append(batch, NOW)
            denied = {
                (row["token"], row["purpose"]): row["effective_at"].replace(tzinfo=UTC)
                for row in sorted(consents(opened), key=lambda row: row["effective_at"])
                if row["decision"] == "presumed_denial"
            }
        for record in (body for r in conflicting for body in (r, bodies[r.event_id])):
            assert record.subject is not None
            assert denied[record.subject.token, record.purpose] >= record.effective_at


def _state(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((r["token"], r["purpose"], r["decision"], r["effective_at"], r["recorded_at"]) for r in rows)
