"""A real shop under a policy of its own: the numbers reconcile with totals that somebody else computed."""

from __future__ import annotations

import csv
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.pipeline.conftest import Finished, assent

ROOT = Path(__file__).parents[2]
POLICY = ROOT / "data" / "examples" / "retail"
SHOP = ROOT.parent / "shared" / "fixtures" / "retail_by_day"
EXACT_DUPLICATES = 362

pytestmark = pytest.mark.skipif(not SHOP.is_dir(), reason="../shared/fixtures/retail_by_day is not here")


def lines() -> list[dict[str, str]]:
    found = []
    for file in sorted((SHOP / "by-day").glob("*.csv")):
        with file.open(newline="", encoding="utf-8") as opened:
            found += [{**row, "day": file.stem} for row in csv.DictReader(opened)]
    return found


def customer(row: dict[str, str]) -> int | None:
    return int(float(row["CustomerID"])) if row["CustomerID"] else None


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """Consent for every second customer before the first day, nothing for the rest, then one build."""
    folder = tmp_path_factory.mktemp("retail")
    home, feed = folder / "home", folder / "consent.jsonl"
    known = sorted({number for row in lines() if (number := customer(row)) is not None})
    feed.write_text(
        "".join(json.dumps(grant(number, p)) + "\n" for number in known if number % 2 == 0 for p in purposes())
    )
    imported = assent(
        home, "consent", "import", str(feed), "--feed", "consent_import", "--json", ASSENT_POLICY=str(POLICY)
    )
    assert imported.code == 0, imported.err
    arguments = (
        "--policy",
        str(POLICY),
        "--landing",
        str(SHOP / "by-day"),
        "--as-of",
        "2011-12-10T00:00:00Z",
        "--json",
    )
    done = assent(home, "run", *arguments)
    assert done.code == 7, done.err  # published; what its first purge would delete waits to be confirmed: see the end
    return home, done


def purposes() -> list[str]:
    from orchestration.policy.loader import load_policy

    return [p.name for p in load_policy(POLICY).purposes.purposes]


def grant(number: int, purpose: str) -> dict[str, Any]:
    from orchestration.policy.loader import load_policy

    policy = load_policy(POLICY)
    notice = next(n for n in policy.notices.notices if purpose in n.purposes)
    return {
        "event_id": f"grant-{number}-{purpose}",
        "type": "consent",
        "subject": {"kind": "customer", "issuer": "retailer", "value": str(number)},
        "controller": "retailer",
        "purpose": purpose,
        "decision": "grant",
        "method": "explicit_click",
        "notice": {"id": notice.id, "version": notice.versions[0].version, "language": "en"},
        "jurisdiction": "GB",
        "effective_at": "2010-11-30T12:00:00+00:00",
    }


def published(home: Path) -> duckdb.DuckDBPyConnection:
    pointer = json.loads((home / "warehouse" / "published.json").read_text())
    return duckdb.connect(str(home / "warehouse" / f"{pointer['generation']}.duckdb"), read_only=True)


def test_every_day_reconciles(shop: tuple[Path, Finished]) -> None:
    home, done = shop
    expected = {day["day"]: day for day in json.loads((SHOP / "expected_daily_totals.json").read_text())}
    manifests = [json.loads(p.read_text()) for p in (home / "lake" / "manifests" / "till").glob("*.json")]
    assert {m["day"]: m["read"] for m in manifests} == {day: totals["rows"] for day, totals in expected.items()}
    assert all(m["read"] == m["accepted"] + m["duplicates"] + m["quarantined"] for m in manifests)
    counted = done.json()["sources"]["till"]
    assert counted["read"] == sum(day["rows"] for day in expected.values())
    assert (counted["duplicates"], counted["quarantined"]) == (EXACT_DUPLICATES, 0)


def test_revenue_and_people_reconcile(shop: tuple[Path, Finished]) -> None:
    """What the lake holds plus the exact copies that it left out is what was sold; 17850.0 and 17850 are one."""
    home, _ = shop
    expected = {day["day"]: day for day in json.loads((SHOP / "expected_daily_totals.json").read_text())}
    copies: Counter[str] = Counter()
    seen: set[tuple[str, ...]] = set()
    for row in lines():
        key = tuple(value for name, value in row.items() if name != "day")
        copies[row["day"]] += int(Decimal(row["Quantity"]) * Decimal(row["UnitPrice"]) * 100) if key in seen else 0
        seen.add(key)
    with published(home) as con:
        days = con.execute(
            "select strftime(business_day, '%Y-%m-%d'), sum(quantity * unit_price), count(distinct subject_token), "
            "count(*) filter (where raw_event = 'C') from lake.till group by 1"
        ).fetchall()
    assert len(days) == len(expected)
    for day, revenue, customers, cancelled in days:
        assert revenue + copies[day] / 100 == pytest.approx(expected[day]["revenue"], abs=0.05), day
        assert customers == expected[day]["distinct_customers"], day
        assert cancelled <= expected[day]["cancellation_rows"]


def test_only_those_who_agreed_are_in_a_mart(shop: tuple[Path, Finished]) -> None:
    home, done = shop
    rows = lines()
    unique = {tuple(v for n, v in r.items() if n != "day"): r for r in rows}.values()
    nobody = sum(1 for row in unique if customer(row) is None)
    decisions = done.json()["decisions"]
    for purpose, counts in decisions.items():
        total = counts["permit"] + sum(counts["deny"].values())
        assert total == len(unique), purpose
        if counts["permit"]:
            assert counts["deny"]["unresolved_identity"] == nobody
            agreed = sum(1 for row in unique if (number := customer(row)) is not None and number % 2 == 0)
            assert counts["permit"] == agreed
    with published(home) as con:
        people = con.execute("select count(distinct person_key) from intermediate.int_touchpoints_gated").fetchone()
    assert people == (len({customer(r) for r in rows if customer(r) is not None and customer(r) % 2 == 0}),)  # type: ignore[operator]


def test_segments_are_what_the_agreed_lines_say(shop: tuple[Path, Finished]) -> None:
    """Both segments counted again in plain Python: a cancellation is not a purchase, and takes money back."""
    _, done = shop
    from orchestration.policy.loader import load_policy

    segments = {s.name: s for s in load_policy(POLICY).segments.segments}
    assert segments.keys() == {"repeat_buyers", "high_spenders"}
    agreed = [(number, row) for row in lines() if (number := customer(row)) is not None and number % 2 == 0]
    days: dict[int, set[str]] = {}
    for number, row in agreed:
        if not row["InvoiceNo"].startswith("C"):
            days.setdefault(number, set()).add(row["day"])
    least = int(str(segments["repeat_buyers"].parameters["minimum_days"]))
    repeat = sum(1 for found in days.values() if len(found) >= least)
    unique = {tuple(v for n, v in r.items() if n != "day"): (number, r) for number, r in agreed}.values()
    spend: Counter[int] = Counter()
    for number, row in unique:
        spend[number] += int(Decimal(row["Quantity"]) * Decimal(row["UnitPrice"]) * 100)
    threshold = int(str(segments["high_spenders"].parameters["minimum_spend"])) * 100
    high = sum(1 for cents in spend.values() if cents >= threshold)
    people = {name: found["people"] for name, found in done.json()["segments"].items()}
    assert people == {"repeat_buyers": repeat, "high_spenders": high}
    assert repeat > 0 and high > 0


def test_fifteen_years_later_nothing_of_it_is_kept_once_somebody_has_confirmed_the_plan(
    shop: tuple[Path, Finished],
) -> None:
    """The last test: by the wall clock every line is past its days, which is more than any share that goes unasked."""
    home, done = shop
    assert "STOPPED: more than max_share" in done.err
    variables = {"ASSENT_POLICY": str(POLICY), "ASSENT_LANDING": str(SHOP / "by-day")}
    unasked = assent(home, "retention", "run", "--json", **variables)
    assert unasked.code == 7 and rows_in_lake(home) > 25_000, unasked.err
    assent(home, "retention", "run", "--confirm", unasked.json()["plan_id"], "--json", **variables)
    assert rows_in_lake(home) == 0
    assert (SHOP / "by-day" / "2011-12-09.csv").exists()  # a landing folder that is not the home's is only named


def rows_in_lake(home: Path) -> int:
    files = [str(p) for p in (home / "lake").rglob("*.parquet") if "till" in p.parts]
    rows = duckdb.sql("select count(*) from read_parquet(?)", params=[files]).fetchone() if files else (0,)
    assert rows is not None
    return int(rows[0])
