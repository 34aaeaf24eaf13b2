"""The tables that every build file holds before dbt starts: declared once, for staging and for dbt's sources.

The lake's columns come from the contracts, the policy's from `policy/tables.py`."""

from __future__ import annotations

from orchestration.ingestion.contracts import lake_columns
from orchestration.policy.schema import Policy
from orchestration.policy.tables import TABLES as POLICY_TABLES

Columns = dict[str, str]  # column → DuckDB type

_SUBJECT = "token VARCHAR, kind VARCHAR, issuer VARCHAR, controller VARCHAR"
_CLOCKS = "effective_at TIMESTAMP, recorded_at TIMESTAMP"

_DECLARED: dict[str, dict[str, str]] = {
    "meta": {
        "builds": "generation VARCHAR, as_of TIMESTAMP, policy_hash VARCHAR, ledger_head VARCHAR, ledger_seq BIGINT, "
        "lake_hash VARCHAR, code_hash VARCHAR",
    },
    "lake": {"completeness": "source VARCHAR, day DATE"},
    "ledger": {
        "consent_events": f"seq BIGINT, {_SUBJECT}, purpose VARCHAR, category VARCHAR, recipient VARCHAR, "
        "channel VARCHAR, decision VARCHAR, method VARCHAR, is_separate BOOLEAN, is_guardian BOOLEAN, "
        f"notice_id VARCHAR, notice_version VARCHAR, jurisdiction VARCHAR, {_CLOCKS}, valid_until TIMESTAMP, "
        "feed VARCHAR",
        "permissions": f"seq BIGINT, {_SUBJECT}, channel VARCHAR, fact VARCHAR, state VARCHAR, {_CLOCKS}",
        "contracts": f"seq BIGINT, {_SUBJECT}, fact VARCHAR, {_CLOCKS}, valid_until TIMESTAMP",
        "ages": f"seq BIGINT, {_SUBJECT}, minor_until TIMESTAMP, {_CLOCKS}",
        "statuses": f"seq BIGINT, {_SUBJECT}, status VARCHAR, state VARCHAR, {_CLOCKS}",
        "links": "seq BIGINT, controller VARCHAR, token_a VARCHAR, kind_a VARCHAR, issuer_a VARCHAR, "
        f"token_b VARCHAR, kind_b VARCHAR, issuer_b VARCHAR, method VARCHAR, is_unlink BOOLEAN, {_CLOCKS}",
        "feeds": "feed VARCHAR, last_seen_at TIMESTAMP, is_incomplete BOOLEAN, max_staleness_hours BIGINT",
    },
    "identity": {
        "identifiers": "identifier_id BIGINT, controller VARCHAR, token VARCHAR, kind VARCHAR, issuer VARCHAR, "
        "is_strong BOOLEAN, is_anchor BOOLEAN, is_ambiguous BOOLEAN, group_id BIGINT, group_token VARCHAR, "
        "group_size BIGINT, is_whole BOOLEAN, held_since TIMESTAMP",
        "denial_reach": "identifier_id BIGINT, group_id BIGINT",
        "purpose_keys": "purpose VARCHAR, key VARCHAR",
        "links": "controller VARCHAR, token_a VARCHAR, kind_a VARCHAR, issuer_a VARCHAR, token_b VARCHAR, "
        f"kind_b VARCHAR, issuer_b VARCHAR, method VARCHAR, {_CLOCKS}, is_unlink BOOLEAN",
    },
    "activity": {
        "contact_points": "token VARCHAR, kind VARCHAR, issuer VARCHAR",
        "deliveries": "token VARCHAR, destination VARCHAR, delivered_at TIMESTAMP",
    },
}


def columns_of(ddl: str) -> Columns:
    """`a VARCHAR, b BIGINT` as a mapping."""
    names_and_types = (part.split() for part in ddl.split(","))
    return {name: kind for name, kind in names_and_types}  # noqa: C416 - dict() does not know that they are pairs


DECLARED: dict[str, dict[str, Columns]] = {
    schema: {table: columns_of(ddl) for table, ddl in tables.items()}
    for schema, tables in {**_DECLARED, "policy": POLICY_TABLES}.items()
}


def relations(policy: Policy) -> dict[str, dict[str, Columns]]:
    """Every schema's tables with their columns, the sources of this policy among them."""
    lake = {source.name: dict(lake_columns(policy, source)) for source in policy.sources.sources}
    return {**DECLARED, "lake": {**lake, **DECLARED["lake"]}}
