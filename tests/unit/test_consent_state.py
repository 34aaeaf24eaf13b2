"""What stood at T as known at K: against a slow and plain evaluation of random histories, and case by case."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.consent.answers import state as answers
from orchestration.consent.answers.standing import Limits, standings
from orchestration.consent.ledger import open_ledger
from orchestration.consent.models import Record, Subject, microseconds
from orchestration.policy.loader import load_policy
from tests.unit.test_consent_import import NOW, PHONE, Desk, desk, invoke, row

__all__ = ["desk"]  # a fixture
POLICY = load_policy()
RESTRICTING = ("deny", "withdraw", "object", "opt_out", "presumed_denial")
DAY = timedelta(days=1)
PARTS = ("purpose", "category", "channel")


def made(seq: int, day: int, learned: int, **values: Any) -> dict[str, Any]:
    """A row as the ledger has it; days count from 1970, as do the tests' T and K."""
    micro = 86_400_000_000
    row = dict.fromkeys(
        (*("subject_ref", "controller", "purpose", "category", "recipient", "channel", "basis", "method", "fact"),
         *("state", "object_ref", "until_at", "notice_id", "notice_version", "decision"))
    )  # fmt: skip
    row |= {"seq": seq, "type": "consent", "controller": "shop", "effective_at": day * micro}
    until = values.pop("until", None)
    return row | {"recorded_at": learned * micro, "until_at": None if until is None else until * micro, **values}


ROWS = st.lists(
    st.tuples(
        st.integers(0, 6),  # decided on this day
        st.integers(0, 6),  # recorded on this day, by a clock that jumps
        st.sampled_from(("grant", "grant", "grant", "withdraw", "deny", "presumed_denial")),
        st.sampled_from(("sms_marketing", "email_marketing", None)),
        st.sampled_from((None, None, "behaviour", "sensitive")),
        st.sampled_from((None, None, "sms", "email")),
        st.sampled_from((None, None, 2, 4)),  # valid until this day
    ),
    max_size=7,
)


def rows_of(drawn: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    rows = []
    for seq, (day, learned, decision, purpose, category, channel, until) in enumerate(drawn, start=1):
        is_grant = decision == "grant"
        named = purpose or ("sms_marketing" if is_grant else None)
        ends = until if is_grant else None
        rows.append(
            made(seq, day, learned, decision=decision, purpose=named, category=category, channel=channel, until=ends)
        )
    return rows


def plainly(rows: Sequence[dict[str, Any]], at: int, known: int) -> dict[tuple[Any, ...], tuple[bool, str | None]]:
    """The answer for each scope, spelled out: slow, and without a word of the code under test."""
    micro = 86_400_000_000
    prefix_known = max((r["seq"] for r in rows if r["recorded_at"] <= known * micro), default=0)
    prefix_at_t = max((r["seq"] for r in rows if r["recorded_at"] <= at * micro), default=0)
    seen = [r for r in rows if r["seq"] <= prefix_known]
    answer: dict[tuple[Any, ...], tuple[bool, str | None]] = {}
    for scope in {tuple(r[p] for p in PARTS) for r in seen}:
        best = None
        for r in seen:
            refuses = r["decision"] in RESTRICTING
            acts = r["effective_at"] <= at * micro or (refuses and r["seq"] <= prefix_at_t)
            if acts and tuple(r[p] for p in PARTS) == scope:
                rank = (r["effective_at"], refuses, r["seq"])
                if best is None or rank > best[0]:
                    best = (rank, r)
        if best is None:
            mine = [r for r in seen if tuple(r[p] for p in PARTS) == scope]
            if any(r["decision"] == "grant" for r in mine):
                answer[scope] = (False, "waits")
            continue
        rank, last = best
        if last["decision"] in RESTRICTING:
            answer[scope] = (False, "restricted")
            continue
        refused = False
        for r in seen:
            acts = r["effective_at"] <= at * micro or r["seq"] <= prefix_at_t
            wider = all(r[p] is None or r[p] == last[p] for p in PARTS)
            if r["decision"] in RESTRICTING and acts and wider and (r["effective_at"], True, r["seq"]) > rank:
                refused = True
        expired = last["until_at"] is not None and last["until_at"] <= at * micro
        answer[scope] = (False, "restricted") if refused else (False, "expired") if expired else (True, None)
    return answer


@pytest.mark.fault("B3", "B6", "B8")
@given(ROWS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_t_and_k_agrees_with_the_plain_evaluation(drawn: list[tuple[Any, ...]]) -> None:
    rows = rows_of(drawn)
    micro = 86_400_000_000
    for at, known in itertools.product(range(-1, 8), repeat=2):
        through = max((r["seq"] for r in rows if r["recorded_at"] <= known * micro), default=0)
        learned = max((r["seq"] for r in rows if r["recorded_at"] <= at * micro), default=0)
        found = standings([r for r in rows if r["seq"] <= through], at * micro, learned, Limits(POLICY))
        said = {tuple(s.row[p] for p in PARTS): (s.in_force, s.why) for s in found}
        assert said == plainly(rows, at, known)


@given(ROWS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_order_of_arrival_changes_nothing(drawn: list[tuple[Any, ...]], random: Any) -> None:
    """The same events in any order, all known: the same scopes are in force, for the same reason (B5)."""
    micro, shuffled = 86_400_000_000, list(drawn)
    random.shuffle(shuffled)
    for at in range(8):
        answers_of = [
            {
                tuple(s.row[p] for p in PARTS): (s.in_force, s.why)
                for s in standings(rows_of(order), at * micro, len(order), Limits(POLICY))
                if not any(r["until_at"] for r in rows_of(order))  # two equal grants with different ends: the last said
            }
            for order in (drawn, shuffled)
        ]
        assert answers_of[0] == answers_of[1]


def subject() -> Subject:
    return Subject("token-1", "phone", "e164")


def record(number: int, at: datetime, **changes: Any) -> Record:
    values: dict[str, Any] = {"controller": "shop", "purpose": "sms_marketing", "decision": "grant", **changes}
    return Record(event_id=str(number), type="consent", feed="t", effective_at=at, subject=subject(), **values)


@pytest.mark.fault("B8")
def test_what_we_knew_is_a_prefix_of_the_ledger_whatever_the_clocks_said(desk: Desk) -> None:
    """The second record came by a host whose clock was a year ahead; the third shows that it was known by then."""
    with open_ledger(desk.home, desk.keys) as (ledger, _):
        ledger.append([record(1, NOW - 3 * DAY)], NOW - 2 * DAY)
        ledger.append([record(2, NOW - 2 * DAY, decision="withdraw")], NOW + 365 * DAY)
        ledger.append([record(3, NOW, purpose="email_marketing")], NOW)
        with ledger.reading() as connection:
            through = [answers.known_through(connection, at) for at in (NOW - 3 * DAY, NOW - DAY, NOW, None)]
    assert through == [0, 1, 3, answers.LAST]


def ask(desk: Desk, *arguments: str) -> list[dict[str, Any]]:
    result, output = invoke(desk, "state", "--identifier-file", "-", "--json", *arguments, stdin=f"phone:e164:{PHONE}")
    assert result.exit_code == 0, output
    found: list[dict[str, Any]] = json.loads(output)["subjects"][0]["records"]
    return found


@pytest.mark.fault("B3", "B4")
def test_late_withdrawal_changes_what_was_in_force_but_not_what_was_known(desk: Desk) -> None:
    desk.deliver(row(effective_at="2026-11-01T00:00:00Z"), now=NOW - 15 * DAY)
    desk.deliver(row(event_id="e2", decision="withdraw", effective_at="2026-11-08T00:00:00Z"), name="2", now=NOW)
    at = ("--as-of", "2026-11-10T00:00:00Z")
    (then,) = ask(desk, *at, "--known-at", "2026-11-10T00:00:00Z")
    (now,) = ask(desk, *at)
    (before,) = ask(desk, "--as-of", "2026-11-07T00:00:00Z")
    assert (then["in_force"], then["decision"]) == (True, "grant")
    assert (now["in_force"], now["why"], now["seq"]) == (False, "restricted", 3)
    assert before["in_force"]  # what was done before the withdrawal stays lawful, and provably so
    assert then["recorded_at"].startswith("2026-11-05") and then["effective_at"].startswith("2026-11-01")


def test_withdrawal_dated_ahead_acts_from_when_we_learned_of_it(desk: Desk) -> None:
    desk.deliver(row(), now=NOW - DAY)
    desk.deliver(row(event_id="e2", decision="withdraw", effective_at="2099-01-01T00:00:00Z"), name="2")
    assert [r["in_force"] for r in ask(desk, "--as-of", NOW.isoformat())] == [False]
    assert [r["in_force"] for r in ask(desk, "--as-of", (NOW - DAY).isoformat())] == [True]


def test_answer_says_why_and_on_what_it_rests(desk: Desk) -> None:
    sensitive = {"category": "sensitive", "separate": True}
    clinic = {"controller": "clinic", "notice": {"id": "clinic-separate", "version": "1", "language": "zh-CN"}}
    desk.deliver(
        row(event_id="1", valid_until="2026-11-10T00:00:00Z"),
        row(event_id="2", purpose="email_marketing"),
        row(event_id="3", purpose="personalisation", effective_at="2026-11-20T12:03:00Z"),
        row(event_id="4", purpose="follow_up", effective_at="2026-08-01T00:00:00Z", **sensitive, **clinic),
        row(event_id="5", purpose="mass_content", effective_at="2026-03-02T00:00:00Z"),
        row(event_id="6", purpose="email_marketing", decision="withdraw", channel="email"),
        row(event_id="7", purpose="identity", effective_at="2026-10-31T00:00:00Z"),
        row(event_id="8", purpose=None, decision="object", method=None, effective_at="2026-10-31T12:00:00Z"),
    )
    said = {r.get("purpose"): r for r in ask(desk, "--as-of", NOW.isoformat()) if r["decision"] == "grant"}
    assert {purpose: (r["in_force"], r.get("why")) for purpose, r in said.items()} == {
        "sms_marketing": (False, "expired"),
        "email_marketing": (True, None),
        "personalisation": (False, "waits"),
        "follow_up": (False, "notice_superseded"),
        "mass_content": (False, "restricted"),
        "identity": (False, "restricted"),
    }
    assert (said["identity"]["restricted_by"], said["email_marketing"]["narrowed_by"]) == (8, [6])
    texts = POLICY.notices.notices[0].versions[0]
    assert said["sms_marketing"]["notice_text_sha256"] == texts.hashes["zh-CN"]
    later = ask(desk, "--as-of", "2026-12-01T00:00:00Z", "--purpose", "personalisation", "--controller", "shop")
    assert [(r["in_force"], r["seq"]) for r in later if r["decision"] == "grant"] == [(True, 3)]
    assert [r["seq"] for r in ask(desk, "--controller", "clinic")] == [4]


def test_facts_stand_until_they_end(desk: Desk) -> None:
    bare = dict.fromkeys(("purpose", "decision", "method", "notice", "jurisdiction"))
    desk.deliver(
        row(**bare, event_id="1") | {"type": "permission", "channel": "sms", "state": "closed"},
        row(**bare, event_id="2") | {"type": "contract", "fact": "membership", "valid_until": "2026-11-19T00:00:00Z"},
        row(**bare, event_id="3") | {"type": "age", "minor_until": "2030-01-01T00:00:00+08:00"},
        row(**bare, event_id="4") | {"type": "status", "status": "restricted", "state": "off"},
    )
    said = {r["type"]: (r["in_force"], r.get("why")) for r in ask(desk, "--as-of", NOW.isoformat())}
    assert said == {
        "permission": (False, "restricted"),
        "contract": (False, "expired"),
        "age": (True, None),
        "status": (False, "ended"),
    }


@pytest.mark.fault("B10")
@pytest.mark.parametrize("day", ["2024-02-29", "2023-02-28", "2024-12-31", "2025-01-31", "2025-03-30"])
def test_a_consent_of_a_year_ends_after_365_days_in_the_answer_as_in_the_build(day: str) -> None:
    """Policy counts days of 24 hours, never calendar years: 29 February and a year is 28 February, and no clock change
    keeps anything longer."""
    given = datetime.fromisoformat(f"{day}T08:00:00+00:00")
    yearly = next(p for p in POLICY.purposes.purposes if p.max_consent_age_days == 365)
    row = made(1, 0, 0, decision="grant", purpose=yearly.name) | {"effective_at": microseconds(given)}
    (in_build,) = duckdb.execute("select $1::timestamp + to_days(365)", [given.replace(tzinfo=None)]).fetchall()[0]
    assert Limits(POLICY).end(row) == (microseconds(given + 365 * DAY), "expired")
    assert in_build == (given + 365 * DAY).replace(tzinfo=None)
    for after, in_force in ((-1, True), (0, False)):
        (found,) = standings([row], microseconds(given + 365 * DAY) + after, 1, Limits(POLICY))
        assert found.in_force is in_force


@pytest.mark.parametrize(
    ("status", "state", "in_force"),
    [("erased", "on", False), ("restricted", "on", False), ("legal_hold", "on", False), ("suppressed", "on", True),
     ("restricted", "off", True)],
)  # fmt: skip
def test_status_that_blocks_use_leaves_no_consent_in_force(status: str, state: str, in_force: bool) -> None:
    rows = [
        made(1, 1, 1, type="status", fact=status, state="on"),
        made(2, 2, 2, decision="grant", purpose="sms_marketing"),
        made(3, 2, 2, type="status", fact=status, state=state),
        made(4, 2, 2, decision="grant", purpose="sms_marketing", controller="clinic"),
    ]
    found = {s.row["seq"]: (s.in_force, s.by) for s in standings(rows, 3 * 86_400_000_000, 4, Limits(POLICY))}
    assert found[2] == ((True, None) if in_force else (False, 3))
    assert found[4] == (True, None), "said to another controller"


def test_history_is_cut_at_known_at_and_marks_purposes_of_one_act(desk: Desk) -> None:
    tick = {"evidence": "form-9", "effective_at": "2026-11-01T00:00:00Z"}
    desk.deliver(row(**tick), row(event_id="e2", purpose="email_marketing", **tick), now=NOW - DAY)
    desk.deliver(row(event_id="e3", purpose="personalisation"), name="2")
    asked = ("history", "--identifier-file", "-", "--json")
    _, output = invoke(desk, *asked, "--known-at", (NOW - DAY).isoformat(), stdin=f"phone:e164:{PHONE}")
    records = json.loads(output)["subjects"][0]["records"]
    assert [r["event_id"] for r in records] == ["e1", "e2"]
    assert all(r["one_act_for"] == ["email_marketing", "sms_marketing"] for r in records)
    _, output = invoke(desk, *asked, stdin=f"phone:e164:{PHONE}")
    assert "one_act_for" not in json.loads(output)["subjects"][0]["records"][-1]


@pytest.mark.parametrize("option", ["--controller", "--purpose"])
@pytest.mark.parametrize("command", ["state", "history"])
def test_slip_of_the_pen_is_not_nothing_on_record(desk: Desk, command: str, option: str) -> None:
    asked = (command, "--identifier-file", "-", option, "shopp")
    result, _ = invoke(desk, *asked, stdin=f"phone:e164:{PHONE}")
    assert "There are: " in str(result.exception)


def test_identifiers_that_are_no_text_are_refused_unquoted(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "ids").write_bytes(b"phone:e164:\xff\n")
    result, _ = invoke(desk, "state", "--identifier-file", str(tmp_path / "ids"))
    assert "not UTF-8" in str(result.exception)
    assert "xff" not in str(result.exception)


@pytest.mark.parametrize("option", ["--as-of", "--known-at"])
def test_time_without_an_offset_is_refused(desk: Desk, option: str) -> None:
    result, _ = invoke(desk, "state", "--identifier-file", "-", option, "2026-11-10", stdin=f"phone:e164:{PHONE}")
    assert option in str(result.exception)
