"""Finds rows that were there before: in the lake, in an earlier file, on an earlier line. Set-wise, and only rows whose
key comes up twice are looked at twice."""

from __future__ import annotations

from pathlib import Path

import duckdb

from orchestration.ingestion.quoting import texts


def judge_repeats(con: duckdb.DuckDBPyConnection, rows: str, verdicts: str, lake: list[Path]) -> None:
    """Makes the table `verdicts` (file_no, row_no, verdict): `duplicate` for the same key and body as the first of its
    key, `conflict` for another body. The first (lake, then file and line order) has no verdict and stays."""
    con.execute(
        "CREATE OR REPLACE TEMP TABLE in_lake AS "
        + (
            f"SELECT touchpoint_key, any_value(body_hash) AS body_hash FROM read_parquet({texts(lake)}) "
            f"WHERE touchpoint_key IN (SELECT touchpoint_key FROM {rows}) GROUP BY touchpoint_key"
            if lake
            else "SELECT NULL::VARCHAR AS touchpoint_key, NULL::VARCHAR AS body_hash WHERE false"
        )
    )
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {verdicts} AS "
        f"WITH repeated AS (SELECT touchpoint_key FROM {rows} WHERE reason IS NULL GROUP BY 1 HAVING count(*) > 1 "
        "UNION SELECT touchpoint_key FROM in_lake), "
        f"suspects AS (SELECT file_no, row_no, touchpoint_key, body_hash FROM {rows} "
        "WHERE reason IS NULL AND touchpoint_key IN (SELECT touchpoint_key FROM repeated)), "
        "ranked AS (SELECT s.*, l.body_hash AS lake_body, "
        "first_value(s.body_hash) OVER first_come AS first_body, row_number() OVER first_come AS place "
        "FROM suspects AS s LEFT JOIN in_lake AS l ON l.touchpoint_key = s.touchpoint_key "
        "WINDOW first_come AS (PARTITION BY s.touchpoint_key ORDER BY s.file_no, s.row_no)) "
        "SELECT file_no, row_no, "
        "CASE WHEN body_hash = coalesce(lake_body, first_body) THEN 'duplicate' ELSE 'conflict' END AS verdict "
        "FROM ranked WHERE lake_body IS NOT NULL OR place > 1"
    )
