"""The ledger itself: chained, idempotent, and the same state whatever the order of arrival, on both engines."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.consent.chain import row_hash
from orchestration.consent.ledger import Ledger, open_ledger
from orchestration.consent.models import COLUMNS, AppendReport, Record, Subject
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.rotation import rotate_keys
from orchestration.policy.loader import load_policy
from tests.ledger_places import ANNE, BEA, NOW, Opened, Place, five, grant, make_place

POLICY = load_policy()


def consents(opened: Opened) -> list[dict[str, Any]]:
    ledger, registry = opened
    rows: list[dict[str, Any]] = ledger.staged(registry, POLICY)["consent_events"].to_pylist()
    return rows


@pytest.mark.fault("D1")
def test_verify_finds_a_row_that_was_rewritten_with_its_hash(place: Place, opened: Opened) -> None:
    five(opened)
    stored = list(place.sql("SELECT * FROM events WHERE seq = 3")[0])
    stored[COLUMNS.index("decision")] = "deny"
    place.tamper(f"UPDATE events SET decision = 'deny', hash = '{row_hash(stored[:-1])}' WHERE seq = 3")
    assert opened[0].verify() == 4  # the row is consistent in itself; its successor tells


def test_altered_detail_is_found_and_never_taken_for_a_duplicate(place: Place, opened: Opened) -> None:
    """By somebody who has the keys: sealed again, but not what the chain committed to."""
    five(opened)
    ((key,),) = place.sql("SELECT event_key FROM events WHERE seq = 4")
    payload, _ = opened[0].sealer.seal(key, "e4", "body", '{"actor":"somebody else"}')
    place.tamper(f"UPDATE details SET payload = {place.blob(payload)} WHERE seq = 4")
    assert opened[0].verify() == 4
    report = opened[0].append([grant("e4")], NOW)
    assert (report.duplicates, report.conflicts) == (0, 1)


INSERTED = ", ".join({"seq": "5", "event_key": "'new'"}.get(name, name) for name in COLUMNS)


@pytest.mark.fault("D1")
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
        (
            (
                "UPDATE events SET seq = 6 WHERE seq = 5",
                f"INSERT INTO events SELECT {INSERTED} FROM events WHERE seq = 4",
            ),
            5,
        ),
        (("UPDATE details SET payload = (SELECT payload FROM details WHERE seq = 1) WHERE seq = 4",), 4),
    ],
)
def test_verify_names_first_bad_record(
    place: Place, opened: Opened, statements: tuple[str, ...], first_bad: int
) -> None:
    """Edited, removed, reordered, inserted."""
    five(opened)
    assert opened[0].verify() is None
    place.tamper(*statements)
    assert opened[0].verify() == first_bad
    assert place.verdicts() == {"hash chain": False, "append-only": True}


def test_chain_holds_after_detail_is_erased(place: Place, opened: Opened) -> None:
    five(opened)
    place.sql("DELETE FROM details WHERE seq = 3")
    assert opened[0].verify() is None
    again = opened[0].append([grant("e3", purpose="email_marketing")], NOW)  # cannot be compared any more: still known
    assert (again.appended, again.duplicates, again.conflicts) == (0, 1, 0)


@pytest.mark.fault("D8")
def test_ledger_goes_on_under_rotated_keys(place: Place, tmp_path: Path) -> None:
    home = Home.open(tmp_path / "company")
    old = Keys.open(home)
    with open_ledger(home, old, place.at) as opened:
        five(opened)
        refs = opened[1].refs([ANNE])
    new, _ = rotate_keys(home)
    with open_ledger(home, new, place.at) as (ledger, registry):
        report = ledger.append([grant("e1"), grant("e6")], NOW)  # what was sealed before is compared all the same
        assert (report.appended, report.duplicates, report.conflicts) == (1, 1, 0)
        assert registry.refs([ANNE]) == refs
        assert ledger.verify() is None
    assert Ledger.open(place.at.url or home.ledger_db, old).verify() == 6, "the old key opens nothing new"


@pytest.mark.fault("B1")
def test_same_event_twice_is_a_counted_no_op(opened: Opened) -> None:
    ledger = opened[0]
    assert ledger.append([grant("e1"), grant("e1"), grant("e2")], NOW) == AppendReport(2, 1, 0)
    head = ledger.head()
    assert ledger.append([grant("e2"), grant("e1")], NOW + timedelta(days=1)) == AppendReport(0, 2, 0)
    assert ledger.head() == head
    assert ledger.append([grant("e1", feed="paper_forms")], NOW).appended == 1  # ids are the feed's own


@pytest.mark.fault("B2")
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


def test_no_detail_or_event_id_in_plain(place: Place, opened: Opened) -> None:
    ledger = opened[0]
    canary = "canary_5e1f@example.invalid"
    ledger.append([grant(canary, purpose="sms_marketing", detail={"place": canary, "actor": canary})], NOW)
    stored = place.stored()
    assert b"sms_marketing" in stored  # the control: what is kept in plain is found
    assert canary.encode() not in stored
    assert ANNE.token.encode() not in stored  # subjects by random reference only
    (row,) = ledger.subject_rows([registry_ref(opened, ANNE)])
    assert row["detail"].rest == {"place": canary, "actor": canary}


def registry_ref(opened: Opened, subject: Subject) -> str:
    ref = opened[1].lookup(subject.token)
    assert ref is not None
    return ref


def test_feeds_are_known_without_reading_the_ledger(place: Place, opened: Opened) -> None:
    ledger, registry = opened
    five(opened)
    for delivery, state in (("d1", "incomplete"), ("d2", "complete"), ("d1", "complete"), ("d3", "incomplete")):
        report = grant(f"{delivery} {state}", subject=None, type="feed", batch=delivery, state=state)
        ledger.append([report], NOW)
    assert ledger.feeds(POLICY).equals(ledger.staged(registry, POLICY)["feeds"])
    assert {row["feed"]: row["is_incomplete"] for row in ledger.feeds(POLICY).to_pylist()}["consent_center"]
    assert ledger.last_of_delivery("consent_center", "d1") == (8, "complete")
    plan = ["EXPLAIN QUERY PLAN"] if place.engine == "sqlite" else ["SET enable_seqscan = off", "EXPLAIN"]
    told = place.sql(*plan[:-1], f"{plan[-1]} SELECT seq, state FROM events WHERE type = 'feed'")
    assert "events_of_feeds" in str(told)


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


QUICK = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
SLOWER = settings(QUICK, max_examples=5)  # each example needs databases of its own
ORDERS = given(events=EVENTS, data=st.data())
BODIES = given(first=EVENTS, second=EVENTS)
Request, Folders = pytest.FixtureRequest, pytest.TempPathFactory


@pytest.mark.fault("B5")
@QUICK
@ORDERS
def test_any_order_and_batching_stages_the_same_state(
    request: Request, tmp_path_factory: Folders, events: list[Record], data: st.DataObject
) -> None:
    _check_order("sqlite", request, tmp_path_factory, events, data)


@pytest.mark.fault("B5")
@SLOWER
@ORDERS
def test_any_order_and_batching_stages_the_same_state_on_postgresql(
    request: Request, tmp_path_factory: Folders, events: list[Record], data: st.DataObject
) -> None:
    _check_order("postgresql", request, tmp_path_factory, events, data)


def _check_order(engine: str, request: Request, folders: Folders, events: list[Record], data: st.DataObject) -> None:
    again = data.draw(st.permutations([*events, *events[:2]]))
    cut = data.draw(st.integers(0, len(again)))
    states = []
    for batches in ([events], [again[:cut], again[cut:]]):
        place = make_place(engine, folders.mktemp("p"), request)
        with open_ledger(place.home, Keys.open(place.home), place.at) as opened:
            for batch in batches:
                opened[0].append(batch, NOW)
            states.append(_state(consents(opened)))
            assert opened[0].verify() is None
    assert states[0] == states[1]


@pytest.mark.fault("B2")
@QUICK
@BODIES
def test_conflicts_bind_whichever_body_came_first(
    request: Request, tmp_path_factory: Folders, first: list[Record], second: list[Record]
) -> None:
    _check_conflicts("sqlite", request, tmp_path_factory, first, second)


@pytest.mark.fault("B2")
@SLOWER
@BODIES
def test_conflicts_bind_whichever_body_came_first_on_postgresql(
    request: Request, tmp_path_factory: Folders, first: list[Record], second: list[Record]
) -> None:
    _check_conflicts("postgresql", request, tmp_path_factory, first, second)


def _check_conflicts(
    engine: str, request: Request, folders: Folders, first: list[Record], second: list[Record]
) -> None:
    """Whatever either body touched is not granted afterwards by one of the two, in either order."""
    bodies = {record.event_id: record for record in first}
    conflicting = [r for r in second if r.event_id in bodies and bodies[r.event_id] != r]
    for batches in ([first, conflicting], [conflicting, first]):
        place = make_place(engine, folders.mktemp("c"), request)
        with open_ledger(place.home, Keys.open(place.home), place.at) as opened:
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
