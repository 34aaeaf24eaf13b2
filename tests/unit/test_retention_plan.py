"""What is due: to the second, by its own time, never by a clock that runs ahead; and what needs a second look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.policy.schema import Policy
from orchestration.retention.plan import (
    BY_SOURCE,
    DATASETS,
    UNGUARDED,
    Item,
    Plan,
    days_of,
    is_due,
    longest_days,
    plan_deletions,
)

NOW = datetime(2026, 6, 1, 2, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PLAIN = [name for name in DATASETS if name not in BY_SOURCE]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(SHIPPED)


def changed(policy: Policy, **changes: object) -> Policy:
    return policy.model_copy(update={"retention": policy.retention.model_copy(update=changes)})


def planned(policy: Policy, items: list[Item], *, as_of: datetime = NOW, now: datetime = NOW) -> Plan:
    return plan_deletions(policy, items, as_of=as_of, now=now, policy_hash="h")


def aged(dataset: str, *ages: timedelta, units: int = 1, source: str | None = None) -> list[Item]:
    return [Item(dataset, f"{dataset}-{n}", NOW - age, units, source) for n, age in enumerate(ages)]


@pytest.mark.fault("F11")
@pytest.mark.parametrize("dataset", PLAIN)
def test_item_goes_at_its_last_second_and_not_before(policy: Policy, dataset: str) -> None:
    days = timedelta(days=days_of(policy, dataset) or 0)
    items = aged(dataset, days - SECOND, days, days + SECOND)
    (part,) = planned(policy, items).parts
    assert [item.name for item in part.goes] == [f"{dataset}-1", f"{dataset}-2"]


@pytest.mark.fault("F11")
def test_touchpoints_and_archived_files_go_by_the_days_of_their_source(policy: Policy) -> None:
    web = timedelta(days=longest_days(policy, "web") or 0)
    dated = [
        Item(dataset, f"{dataset[0]}{n}", NOW + n * SECOND, 1, "wechat")  # they carry the instant at which they go
        for dataset in ("archive", "settled")
        for n in (-1, 0, 1)
    ]
    plan = planned(policy, [*aged("touchpoints", web - SECOND, web, source="web"), *dated])
    assert {part.name: [item.name for item in part.goes] for part in plan.parts} == {
        "touchpoints:web": ["touchpoints-1"],
        "settled:wechat": ["s-1", "s0"],
        "archive:wechat": ["a-1", "a0"],
    }


@pytest.mark.fault("H8")
@pytest.mark.parametrize("dataset", ["touchpoints", "settled"])
def test_rows_of_one_source_are_no_small_share_of_all(policy: Policy, dataset: str) -> None:
    old, young = NOW - timedelta(days=4000), NOW + SECOND
    items = [
        Item(dataset, "a", old, 21, "web"),
        Item(dataset, "b", young, 79, "web"),
        Item(dataset, "c", young, 10**6, "app"),
    ]
    assert [part.name for part in planned(policy, items).stopped] == [f"{dataset}:web"]
    demo = plan_deletions(policy, items, as_of=NOW, now=NOW, policy_hash="h", is_demo=True)
    assert demo.stopped == ()


@pytest.mark.fault("B10")
@pytest.mark.parametrize(
    ("event", "days", "last"),
    [
        ("2028-02-29", 365, "2029-02-28"),  # a leap day: 365 days are not "a year", which would end a day later
        ("2027-02-28", 365, "2028-02-28"),
        ("2027-03-01", 366, "2028-03-01"),  # over a leap day
        ("2026-01-31", 30, "2026-03-02"),  # "a month" of February would end two days before or with it
        ("2028-01-31", 30, "2028-03-01"),
        ("2026-12-31", 1, "2027-01-01"),
    ],
)
def test_days_are_of_24_hours_through_leap_days_and_short_months(event: str, days: int, last: str) -> None:
    at = datetime.fromisoformat(f"{event}T13:14:15+00:00")
    end = datetime.fromisoformat(f"{last}T13:14:15+00:00")
    assert not is_due(at, days, end - SECOND)
    assert is_due(at, days, end)


@pytest.mark.fault("B10")
def test_clock_of_another_zone_changes_nothing(policy: Policy) -> None:
    """A day in which the clocks change has 23 or 25 hours on the wall, and 24 here."""
    at = datetime.fromisoformat("2026-10-24T12:00:00+02:00")
    assert is_due(at, 1, datetime.fromisoformat("2026-10-25T11:00:00+01:00"))
    assert not is_due(at, 1, datetime.fromisoformat("2026-10-25T10:59:59+01:00"))


@pytest.mark.fault("H7")
@pytest.mark.parametrize("dataset", PLAIN)
def test_t_in_the_future_or_a_clock_that_runs_ahead_deletes_nothing_more(policy: Policy, dataset: str) -> None:
    items = aged(dataset, timedelta(days=(days_of(policy, dataset) or 0)) - SECOND)
    future = datetime(2100, 1, 1, tzinfo=UTC)
    for clocks in ({"as_of": future}, {"now": future}):
        assert planned(policy, items, **clocks).parts[0].goes == ()
    assert planned(policy, items, as_of=future, now=future).parts[0].goes == tuple(items)


@pytest.mark.fault("F10")
def test_source_under_legal_hold_keeps_what_is_due_and_is_told(policy: Policy) -> None:
    old = timedelta(days=4000)
    items = [
        *aged("touchpoints", old, source="web"),
        *aged("links", old, source="web"),
        *aged("quarantine", old, source="web"),
        Item("archive", "a", NOW - old, 1, "wechat"),
        Item("quarantine", "other", NOW - old, 1, "app"),
    ]
    plan = planned(changed(policy, legal_holds=("web", "wechat"), max_share=1.0), items)
    assert {part.name: [item.name for item in part.deferred] for part in plan.parts} == {
        "touchpoints:web": ["touchpoints-0"],
        "links": ["links-0"],
        "quarantine": ["quarantine-0"],
        "archive:wechat": ["a"],
    }
    assert [item.name for part in plan.going(None) for item in part.goes] == ["other"]


@pytest.mark.fault("F10")
def test_item_with_somebody_under_legal_hold_stays(policy: Policy) -> None:
    held = Item("touchpoints", "day", NOW - timedelta(days=4000), 3, "web", keep="legal_hold")
    (part,) = planned(policy, [held, *aged("touchpoints", timedelta(0), units=97, source="web")]).parts
    assert (part.goes, part.deferred) == ((), (held,))


@pytest.mark.fault("H8")
def test_typo_in_the_days_stops_and_says_what_it_would_delete(policy: Policy) -> None:
    """3 for 300."""
    days = policy.retention.datasets.model_copy(update={"quarantine": 3})
    items = aged("quarantine", *(timedelta(days=n) for n in range(300)))
    plan = planned(changed(policy, datasets=days), items)
    (part,) = plan.stopped
    assert (part.units, part.total, plan.going(None)) == (297, 300, ())
    assert plan.id is not None
    assert plan.going(plan.id) == (part,)
    assert plan.going("0" * 12) == ()


@pytest.mark.fault("H8")
@pytest.mark.parametrize("dataset", [name for name in PLAIN if name not in UNGUARDED])
def test_share_is_of_units_and_exact_at_its_limit(policy: Policy, dataset: str) -> None:
    """The guard counts rows, not files: one big file of ten is most of it."""
    days = timedelta(days=days_of(policy, dataset) or 0)
    for rows, is_stopped in ((20, False), (21, True)):
        items = [*aged(dataset, days, units=rows), Item(dataset, "rest", NOW, 100 - rows)]
        (part,) = planned(policy, items).parts
        assert (part.share, part.is_stopped) == (rows / 100, is_stopped)


def test_rule_of_few_days_is_not_stopped_by_what_each_night_takes(policy: Policy) -> None:
    """Of 3 days kept, each night takes a quarter: up to half goes, as after a night or two that failed."""
    days = policy.retention.datasets.model_copy(update={"quarantine": 3})
    short = changed(policy, datasets=days)
    for nights in (1, 2, 3, 4):
        (part,) = planned(short, aged("quarantine", *(timedelta(days=n) for n in range(3 + nights)))).parts
        assert len(part.goes) == nights
        assert part.is_stopped == (nights == 4)


@pytest.mark.fault("H8")
def test_one_stopped_dataset_does_not_stop_the_others(policy: Policy) -> None:
    old = timedelta(days=4000)
    plan = planned(policy, [*aged("quarantine", old), *aged("exports", old), *aged("runs", old)])
    assert [part.dataset for part in plan.stopped] == ["quarantine"]
    assert [part.dataset for part in plan.going(None)] == ["exports", "runs"]


def test_id_of_a_plan_names_what_is_stopped_and_nothing_else(policy: Policy) -> None:
    old = timedelta(days=4000)
    plan = planned(policy, aged("quarantine", old, old))
    later = planned(policy, aged("quarantine", old, old), now=NOW + SECOND)
    other = planned(policy, aged("quarantine", old, old, old))
    another_rule = plan_deletions(policy, aged("quarantine", old, old), as_of=NOW, now=NOW, policy_hash="other")
    assert plan.id == later.id
    assert len({plan.id, other.id, another_rule.id}) == 3
    assert planned(policy, aged("exports", old)).id is None


def test_source_keeps_its_days_for_the_longest_rule_of_its_own_categories(policy: Policy) -> None:
    assert longest_days(policy, "app") == 730  # it tells of purchases
    assert longest_days(policy, "no_longer_a_source") is None
    rules = tuple(
        r.model_copy(update={"days": 9}) if r.category == "transaction" else r for r in policy.retention.rules
    )
    assert longest_days(changed(policy, rules=rules), "in_store") == 365  # the sensitive among them
