"""Hostile and careless consent records: whatever they are, nobody is permitted by them, and no refusal is lost."""

from __future__ import annotations

import itertools
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from orchestration.home import Home
from orchestration.identity.keys import Keys
from tests.unit.test_consent_import import NOW, Desk, desk, row

__all__ = ["desk"]  # a fixture


@pytest.mark.parametrize("name", ["category", "recipient", "channel", "valid_until"])
@pytest.mark.parametrize("blank", ["", "  ", "\u3000"])
def test_blank_part_never_widens_a_grant(desk: Desk, name: str, blank: str) -> None:
    report = desk.deliver(row(**{name: blank}))
    assert (report.quarantined_by_reason, report.presumed_denials) == ({"bad_value": 1}, 0)
    assert desk.staged() == []


def test_blank_part_leaves_a_refusal_as_wide_as_it_can_be(desk: Desk) -> None:
    desk.deliver(row(decision="withdraw", purpose=" ", channel=""))
    (staged,) = desk.staged()
    assert (staged["decision"], staged["purpose"], staged["channel"]) == ("withdraw", None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "permission", "channel": "sms", "state": "open", "decision": "withdraw"},
        {"type": "contract", "fact": "membership", "decision": "withdraw"},
        {"type": "contract", "fact": "membership", "decision": None, "status": "erased"},
        {"type": "status", "status": "restricted", "state": "off", "decision": "object"},
        {"type": "consent", "decision": "grant", "state": "closed"},
        {"type": "consent", "decision": "grant", "status": "erased"},
        {"type": "consent", "decision": "grant", "minor_until": "2030-01-01T00:00:00Z"},
    ],
)
def test_record_that_contradicts_itself_restricts(desk: Desk, changes: dict[str, Any]) -> None:
    """An opened permission that withdraws: read as what it calls itself, the refusal in it would be lost."""
    report = desk.deliver(row(**changes))
    assert (report.accepted, report.quarantined_by_reason) == (0, {"bad_value": 1})
    assert report.presumed_denials == 1
    (staged,) = desk.staged()
    assert staged["decision"] == "presumed_denial"


@pytest.mark.parametrize("decision", ["Grant", "GRANT", "\uff47rant", "gr\u0430nt", "grant\u200b", "true", "yes"])
def test_lookalike_of_a_grant_is_a_refusal(desk: Desk, decision: str) -> None:
    report = desk.deliver(row(decision=decision))
    assert (report.accepted, report.presumed_denials) == (0, 1)


@pytest.mark.parametrize("offset", ["+14:01", "+23:59", "-15:00", "-23:59:59"])
def test_offset_that_no_zone_has_dates_nothing(desk: Desk, offset: str) -> None:
    assert desk.deliver(row(effective_at=f"2026-11-01T10:00:00{offset}")).quarantined_by_reason == {"bad_timestamp": 1}
    desk.deliver(row(event_id="e2", decision="withdraw", effective_at=f"2026-11-01T10:00:00{offset}"), name="2.jsonl")
    (staged,) = desk.staged()
    assert (staged["decision"], staged["effective_at"]) == ("presumed_denial", NOW.replace(tzinfo=None))


@pytest.mark.parametrize(
    "at", ["NaN", "Infinity", "-Infinity", "1e999", "20261101", "0", '"9999-12-31T23:59:59-14:00"']
)
def test_time_that_is_none_leaves_a_withdrawal_in_force_now(desk: Desk, at: str) -> None:
    line = json.dumps(row(decision="withdraw", effective_at="AT")).replace('"AT"', at)
    report = desk.deliver(line)
    assert report.accepted == 0
    assert {(s["decision"], s["effective_at"]) for s in desk.staged()} == {
        ("presumed_denial", NOW.replace(tzinfo=None))
    }


@pytest.mark.fault("B7")
def test_withdrawal_dated_far_ahead_is_kept(desk: Desk) -> None:
    desk.deliver(row(decision="withdraw", effective_at="9998-01-01T00:00:00Z"))
    (staged,) = desk.staged()
    assert (staged["decision"], staged["effective_at"]) == ("withdraw", datetime(9998, 1, 1))


@pytest.mark.fault("B1", "B2")
def test_same_id_twice_in_one_file_and_in_another_feed(desk: Desk) -> None:
    """Another body under the same id restricts; another feed's ids are its own."""
    report = desk.deliver(row(), row(decision="withdraw"), row())
    assert (report.accepted, report.duplicates, report.quarantined_by_reason) == (1, 1, {"conflict": 1})
    assert {staged["decision"] for staged in desk.staged()} == {"grant", "presumed_denial"}


def test_line_without_id_and_time_denies_each_time_it_is_delivered(desk: Desk) -> None:
    """Between two such refusals the person agreed again: the second one is no repetition of the first."""
    line = json.dumps(row(decision="withdraw", event_id=None, effective_at=None))
    assert desk.deliver(line, name="1.jsonl").presumed_denials == 1
    later = NOW + timedelta(days=3)
    assert desk.deliver(line, row(event_id="other"), name="2.jsonl", now=later).presumed_denials == 1
    assert max(s["effective_at"] for s in desk.staged() if s["decision"] != "grant") == later.replace(tzinfo=None)


@pytest.mark.fault("H2")
def test_second_subject_behind_escapes_is_not_overlooked(desk: Desk) -> None:
    """Salvaging the subject that is plain to see would let the other one's withdrawal pass (H2)."""
    other = '"\\u0073ubject": {"kind": "phone", "issuer": "e164", "value": "13912345678"}'
    report = desk.deliver(json.dumps(row(decision="withdraw"))[:-1] + f", {other}}}")
    assert report.quarantined_by_reason == {"malformed": 1}
    assert report.is_incomplete
    assert desk.feed()["is_incomplete"]


def test_file_refused_a_second_time_after_a_good_one_makes_the_feed_incomplete_again(desk: Desk) -> None:
    """A feed that writes the same file name every night: empty, good, and empty again."""
    states = []
    for day, rows in enumerate(([], [row()], [], [])):
        desk.deliver(*rows, name="nightly.jsonl", now=NOW + timedelta(days=day))
        states.append(desk.feed()["is_incomplete"])
    assert states == [True, False, True, True]


def test_file_that_stays_refused_adds_no_record_each_night(desk: Desk) -> None:
    from orchestration.consent.ledger import open_ledger

    heads = []
    for day in range(3):
        desk.deliver(name="empty.jsonl", now=NOW + timedelta(days=day))
        with open_ledger(desk.home, desk.keys) as (ledger, _):
            heads.append(ledger.head()[0])
    assert heads == [1, 1, 1]


@pytest.mark.fault("H2")
@pytest.mark.parametrize(
    "value", ["null", "undefined", " ", "0000", "00000000-0000-0000", "o\u200bx", "a\u202eb", "***"]
)
def test_placeholder_identifies_nobody(desk: Desk, value: str) -> None:
    report = desk.deliver(row(subject={"kind": "account", "issuer": "shop", "value": value}))
    assert report.accepted == 0
    report = desk.deliver(
        row(event_id="w", decision="withdraw", subject={"kind": "account", "issuer": "shop", "value": value}),
        name="w.jsonl",
    )
    assert report.is_incomplete, "whose refusal it was cannot be told"


@pytest.mark.fault("B7")
def test_grant_dated_ahead_of_tolerance_is_quarantined_and_one_within_it_waits(desk: Desk) -> None:
    early, waiting = "2026-11-20T12:05:01Z", "2026-11-20T12:05:00Z"
    report = desk.deliver(row(effective_at=early), row(event_id="e2", effective_at=waiting))
    assert (report.accepted, report.quarantined_by_reason, report.presumed_denials) == (1, {"future_dated": 1}, 0)
    (staged,) = desk.staged()
    assert staged["effective_at"] == datetime(2026, 11, 20, 12, 5)


@pytest.mark.fault("B9")
@pytest.mark.parametrize(
    ("at", "utc"),
    [
        ("2026-03-29T01:30:00+00:00", datetime(2026, 3, 29, 1, 30)),  # in London's gap: the offset says which instant
        ("2026-03-29T02:30:00+01:00", datetime(2026, 3, 29, 1, 30)),
        ("2026-10-25T01:30:00+01:00", datetime(2026, 10, 25, 0, 30)),  # the first of the two
        ("2026-10-25T01:30:00+00:00", datetime(2026, 10, 25, 1, 30)),  # and the second
        ("2026-03-29T01:30:00", None),
        ("2026-10-25T01:30:00", None),
        ("2026-10-25T01:30:00 Europe/London", None),
    ],
)
def test_time_around_a_change_of_clocks_is_stored_in_utc_or_not_at_all(
    desk: Desk, at: str, utc: datetime | None
) -> None:
    report = desk.deliver(row(effective_at=at))
    assert report.quarantined_by_reason == ({} if utc else {"bad_timestamp": 1})
    assert [staged["effective_at"] for staged in desk.staged()] == ([utc] if utc else [])


@pytest.mark.fault("B5")
def test_order_of_lines_and_files_is_no_matter(desk: Desk) -> None:
    """Every way to deliver the same lines leaves the same records: restrictions at equal times included."""
    same = {"effective_at": "2026-11-02T00:00:00Z"}
    lines = [
        row(),
        row(event_id="e2", decision="withdraw", **same),
        row(event_id="e3", **same),
        row(event_id="e4", decision="witdraw", **same),
        row(event_id="e1"),
    ]
    told = set()
    for number, order in enumerate(itertools.permutations(lines)):
        judged = Desk(Home.open(desk.folder / str(number), demo_seed=7), Keys.from_seed(7), desk.folder)
        if number % 2:
            judged.deliver(*order, name=f"{number}.jsonl")
        else:
            judged.deliver(*order[:2], name=f"{number}-1.jsonl")
            judged.deliver(*order[2:], name=f"{number}-2.jsonl")
        told.add(frozenset((s["token"], s["purpose"], s["decision"], s["effective_at"]) for s in judged.staged()))
        if number == 23:
            break
    assert len(told) == 1


def test_half_of_a_surrogate_pair_is_no_text(desk: Desk) -> None:
    """It has no UTF-8, so nothing could be hashed or sealed of it: the import would end in the middle."""
    report = desk.deliver(row(event_id="\ud800"), row(event_id="w", decision="withdraw", surface="\udfff"))
    assert (report.read, report.quarantined_by_reason) == (2, {"bad_value": 2})
    assert [staged["decision"] for staged in desk.staged()] == ["presumed_denial"]
