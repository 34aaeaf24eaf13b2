"""`decision_table.yaml`, decided three ways that must agree: the oracle, the SQL on bare DuckDB, dbt's unit tests.

dbt's run is in `test_decision.py`, with the models' own unit tests: starting dbt costs more than the tests."""

from __future__ import annotations

from collections import Counter

import pytest

from orchestration.policy.vocabulary import vocabulary
from tests.compared import differences
from tests.decision_table import Row, by_policy, rows, table
from tests.integration.conftest import Bench
from tests.oracle import decide
from tests.staged import stage_worlds


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.key)
def test_oracle_says_what_the_table_says(row: Row) -> None:
    answer = decide(row.world, row.world.touchpoints[0], row.case.purpose) or "permit"
    assert answer == row.expected, f"{row.case.says}\n{row.world.told()}"


@pytest.mark.parametrize("batch", by_policy(), ids=lambda batch: str(list(batch[0].case.policy) or "shipped"))
def test_models_say_what_the_table_says(batch: list[Row], bench: Bench) -> None:
    """On every purpose as the oracle does, and so on the one that is asked as the table does."""
    stage_worlds(bench.con, batch[0].world.policy, [row.world for row in batch])
    assert not bench.chain.run(bench.con)
    found = dict(
        bench.con.execute("""
            select touchpoint_key, coalesce(reason, 'permit') from intermediate.int_decisions
            where purpose = split_part(touchpoint_key, '/', 3)""").fetchall()
    )
    assert found == {row.key: row.expected for row in batch}
    assert not differences(bench.con, [row.world for row in batch], Counter())


def test_every_reason_is_in_the_table_in_every_regime() -> None:
    """Or the table says where else it is decided. A new reason, or a regime, cannot be forgotten."""
    named = {(row.expected, row.column) for row in rows()}
    decided = {reason.name for reason in vocabulary().reasons} - table().elsewhere.keys()
    wanted = {(reason, column) for reason in ("permit", *decided) for column in table().columns}
    assert wanted <= named, sorted(wanted - named)
    assert {row.expected for row in rows()} <= {"permit", *decided}
    assert table().elsewhere.keys() <= {reason.name for reason in vocabulary().reasons}


def test_every_source_of_doubt_denies_somewhere() -> None:
    denied = {row.case.doubt for row in rows() if row.expected != "permit"}
    assert denied >= {"none", "missing", "malformed", "conflicting", "late", "unknown"}
