"""The links that rows show: every further identifier of a row belongs to the row's subject."""

from __future__ import annotations

from datetime import datetime

import duckdb

from orchestration.ingestion.minimise import identifiers_of
from orchestration.ingestion.quoting import text
from orchestration.policy.schema import Policy, Source

LINK_COLUMNS = (
    "controller, token_a, kind_a, issuer_a, token_b, kind_b, issuer_b, method, source, effective_at, recorded_at, "
    "is_unlink, batch"
)


def collect_links(
    con: duckdb.DuckDBPyConnection, policy: Policy, source: Source, accepted: str, links: str, now: datetime
) -> None:
    """Makes the table `links` (file_no and LINK_COLUMNS but batch): each pair once per file, at its earliest.

    Where its latest is a day or more later, that too: until when a number was somebody's says if it was issued anew."""
    pairs = [
        f"SELECT file_no, controller, subject_token, subject_kind, subject_issuer, t_{known.field} AS token_b, "
        f"{text(known.kind)} AS kind_b, {text(known.issuer)} AS issuer_b, occurred_at FROM {accepted} "
        f"WHERE t_{known.field} <> subject_token"
        for known in identifiers_of(policy, source)[1:]
    ] or [
        "SELECT 0::INTEGER AS file_no, '' AS controller, '' AS subject_token, '' AS subject_kind, "
        "'' AS subject_issuer, '' AS token_b, '' AS kind_b, '' AS issuer_b, NULL::TIMESTAMP AS occurred_at WHERE false"
    ]
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {links} AS SELECT file_no, controller, subject_token AS token_a, "
        "subject_kind AS kind_a, subject_issuer AS issuer_a, token_b, kind_b, issuer_b, "
        f"{text(source.link_method)} AS method, {text(source.name)} AS source, unnest(seen_at) AS effective_at, "
        f"TIMESTAMP {text(now.strftime('%Y-%m-%d %H:%M:%S.%f'))} AS recorded_at, false AS is_unlink "
        "FROM (SELECT * EXCLUDE (occurred_at), CASE WHEN max(occurred_at) >= min(occurred_at) + INTERVAL 1 DAY "
        "THEN [min(occurred_at), max(occurred_at)] ELSE [min(occurred_at)] END AS seen_at "
        f"FROM ({' UNION ALL '.join(pairs)}) GROUP BY ALL)"
    )
