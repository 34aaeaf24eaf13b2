"""The policy as SQL tables: complete, typed, and equal to what YAML says."""

from __future__ import annotations

import duckdb
import pytest

from orchestration.policy.loader import load_policy, scopes
from orchestration.policy.tables import TABLES, policy_rows, retention_days, write_policy_tables
from orchestration.policy.vocabulary import vocabulary


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    for _ in range(2):  # a second time replaces, and adds nothing
        write_policy_tables(con, load_policy(), policy_hash="h", sensitive_segments=frozenset({"follow_up"}))
    return con


def test_tables_are_all_there_with_their_columns(con: duckdb.DuckDBPyConnection) -> None:
    found = con.execute(
        "SELECT table_name, string_agg(column_name || ' ' || data_type, ', ' ORDER BY column_index) "
        "FROM duckdb_columns() WHERE schema_name = 'policy' GROUP BY ALL"
    ).fetchall()
    assert dict(found) == TABLES


def test_scope_masks_are_distinct_bits_with_retention(con: duckdb.DuckDBPyConnection) -> None:
    rows = con.execute("SELECT scope_bit, scope_mask, purpose, category, retention_days FROM policy.scopes").fetchall()
    assert [(bit, mask) for bit, mask, *_ in rows] == [(s.bit, 1 << s.bit) for s in scopes(load_policy())]
    days = {(purpose, category): kept for _, _, purpose, category, kept in rows}
    assert days["mass_content", "behaviour"] == 30
    assert days["sms_marketing", "behaviour"] == 180
    assert retention_days(load_policy(), "behaviour", "mass_content") == 30


def test_top_bit_of_63_scopes_fits_the_mask_column(con: duckdb.DuckDBPyConnection) -> None:
    assert con.execute("SELECT ?::BIGINT", [1 << 62]).fetchone() == (1 << 62,)


def test_rows_say_what_yaml_says(con: duckdb.DuckDBPyConnection) -> None:
    def one(sql: str) -> tuple[object, ...] | None:
        return con.execute(sql).fetchone()

    assert one("SELECT policy_hash FROM policy.versions") == ("h",)
    assert one("SELECT published_at::VARCHAR FROM policy.notices WHERE notice_id = 'partner'") == (
        "2025-05-31 16:00:00",
    )
    assert one("SELECT value_prefix, is_prefix FROM policy.sensitive_values WHERE field = 'item'") == ("med-", True)
    assert one("SELECT count(*) FILTER (reads_sensitive), count(*) FROM policy.segments") == (1, 13)
    assert one("SELECT absent_source FROM policy.segments WHERE segment = 'wechat_engaged'") == (None,)
    assert one("SELECT frequency_maximum, quiet_start FROM policy.destinations WHERE destination = 'sms_gateway'") == (
        4,
        None,
    )
    assert one(
        "SELECT needs_separate FROM policy.scopes WHERE purpose = 'sms_marketing' AND category = 'sensitive'"
    ) == (True,)
    assert one("SELECT purpose FROM policy.stages ORDER BY stage_order LIMIT 1") == (None,)
    assert one("SELECT count(*), count(DISTINCT purpose) FROM policy.stages") == (4, 3)


def test_notice_version_names_what_people_were_told_then() -> None:
    """A purpose that a later version brings in is not covered by the earlier one (R-35)."""
    policy = load_policy()
    privacy, *others = policy.notices.notices
    first, second = privacy.versions
    told = privacy.model_copy(update={"versions": (first.model_copy(update={"purposes": ("identity",)}), second)})
    notices = policy.notices.model_copy(update={"notices": (told, *others)})
    rows = policy_rows(policy.model_copy(update={"notices": notices}), policy_hash="h", sensitive_segments=frozenset())[
        "notices"
    ]
    named = {(version, purpose) for notice, version, _, _, purpose in rows if notice == "privacy"}
    assert {purpose for version, purpose in named if version == "1"} == {"identity"}
    assert {purpose for version, purpose in named if version == "2"} == set(privacy.purposes)


def test_reasons_keep_the_order_of_evaluation(con: duckdb.DuckDBPyConnection) -> None:
    rows = con.execute("SELECT reason FROM policy.reasons ORDER BY reason_order").fetchall()
    assert tuple(reason for (reason,) in rows) == vocabulary().names("reasons")
