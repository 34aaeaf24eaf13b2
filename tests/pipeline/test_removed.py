"""Erasure and retention in a home that was built: others' rows are what they were, and a replay says what is gone."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from orchestration.home import Home
from orchestration.ingestion.lake import lake_files, link_files, manifests
from orchestration.policy.loader import load_policy
from orchestration.retention import rewrite, settle
from orchestration.warehouse.archive import day_of
from orchestration.warehouse.publish import connect_published
from tests.homes import copy_home
from tests.pipeline.conftest import AS_OF, Finished, assent

NOW = datetime.fromisoformat(AS_OF)
SOURCES = ("web", "app", "wechat", "in_store")
BUSIEST = """
select list(distinct i.token order by i.token) as tokens
from intermediate.int_identifiers_resolved as i
inner join intermediate.int_touchpoints_gated as t on i.person_key = t.person_key and i.controller = t.controller
where not i.is_ambiguous
group by i.person_key
order by count(distinct t.source) desc, count(distinct t.touchpoint_key) desc, i.person_key
limit 1
"""


def rows(home: Home) -> list[dict[str, Any]]:
    """Every row of the lake and of its links."""
    files = {source: lake_files(home, source) for source in SOURCES} | {"links": link_files(home)}
    return [
        {"place": place, **row}
        for place, paths in files.items()
        for row in duckdb.execute(
            "from read_parquet(?, hive_partitioning = false, union_by_name = true)", [[str(path) for path in paths]]
        ).to_arrow_table().to_pylist()
    ]  # fmt: skip


def keyed(found: list[dict[str, Any]], tokens: set[str]) -> dict[str, dict[str, Any]]:
    """The rows of other people, by what names them; a further token of the erased is no cell of theirs any more."""
    others: dict[str, dict[str, Any]] = {}
    for row in found:
        ends = [row[name] for name in ("subject_token", "token_a", "token_b") if name in row]
        if not tokens & {*ends}:
            cells = {name: None if value in tokens else value for name, value in row.items()}
            others[row.get("touchpoint_key") or str(sorted(map(str, row.values())))] = cells
    return others


def is_of(row: dict[str, Any], source: str, day: date) -> bool:
    return bool(row["place"] == source and row["business_day"] == day)


@pytest.mark.fault("F1", "H5")
@pytest.mark.slow
def test_others_rows_stay_identical_and_a_replay_says_exactly_what_is_gone(
    built: tuple[Path, Finished], tmp_path: Path
) -> None:
    root = copy_home(built[0], tmp_path / "home")
    home, policy, before = Home(root), load_policy(), rows(Home(root))
    generation = built[1].json()["generation"]
    settled = sum(batch.removed.get("retention", 0) for batch in manifests(home))
    day = min(day for path in lake_files(home, "web") if (day := day_of(path.as_posix())) is not None)
    with connect_published(home) as con:
        ((tokens,),) = con.execute(BUSIEST).fetchall()
    with home.lock():
        assert settled > 100 and settle.find_due(home, policy, now=NOW).going.num_rows == 0, "the run settled its days"
        expired = rewrite.unlink_days(home, "web", [day], now=NOW)
        erased = rewrite.erase_tokens(home, pa.array(tokens), now=NOW)
    assert erased.rows > 5 and erased.links > 5 and expired.rows > 5

    expected = {key: row for key, row in keyed(before, {*tokens}).items() if not is_of(row, "web", day)}
    assert keyed(rows(home), set()) == expected
    assert {row["place"] for row in before} == {*SOURCES, "links"}

    found = assent(root, "replay", "--generation", generation, "--json")
    assert found.code == 0, found.err
    told = found.json()
    assert (told["status"], told["problems"]) == ("explained", [])
    by_cause = told["rows_gone"]["touchpoints"]
    assert sum(by_cause.values()) == settled + expired.rows + erased.rows
    assert by_cause["erasure"] >= erased.rows, "a file that lost rows by both counts as erased"
    assert told["rows_gone"]["links"] == {"erasure": erased.links}
    assert {file["cause"] for file in told["files_missing"]} == {"erasure", "retention"}


OPENED = """
with told as (
    select distinct i.person_key, i.controller, e.effective_at
    from ledger.consent_events as e
    inner join policy.decisions as d on e.decision = d.decision and d.restricts
    inner join intermediate.int_identifiers_resolved as i on e.controller = i.controller and e.token = i.token
)
select
    d.touchpoint_key, d.due_at < (select as_of from meta.builds) and d.held_by is null as is_due,
    exists (
        select 1 from told as w
        where w.person_key = t.person_key and w.controller = t.controller and d.due_at = w.effective_at + to_days($days)
    ) as is_dated_by_a_withdrawal,
    d.due_at >= t.occurred_at + to_days($window) as has_waited
from intermediate.int_deletions_due as d
inner join intermediate.int_touchpoints_masked as t on d.touchpoint_key = t.touchpoint_key
where d.reason = 'no_longer_permitted'
"""


def test_withdrawal_opens_a_dated_deletion_that_the_run_keeps_to(built: tuple[Path, Finished]) -> None:
    """R-103: policy's days after somebody withdrew, what nothing else permits is gone from the lake, and not before."""
    home, retention = Home(built[0]), load_policy().retention
    given = {"days": retention.withdrawn_days, "window": retention.late_consent_window_days}
    with connect_published(home) as con:
        opened = con.execute(OPENED, given).fetchall()
    there = {row["touchpoint_key"] for row in rows(home) if "touchpoint_key" in row}
    assert sum(is_dated for _, _, is_dated, _ in opened) > 20 and all(waited for *_, waited in opened)
    gone, stays = ({key for key, is_due, *_ in opened if is_due is due} for due in (True, False))
    assert len(gone) > 5 and not gone & there
    assert len(stays) > 5 and stays <= there
