"""A Parquet file read whole, with the columns that are asked for."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.parquet import read_table

SCHEMA = pa.schema([("token", pa.string()), ("at", pa.timestamp("us")), ("note", pa.int64())])


def test_columns_are_as_asked_for(tmp_path: Path) -> None:
    """An older file lacks a column, has another, and one of a narrower type."""
    older = pa.table({"old": [1.5], "at": pa.array([0], pa.timestamp("s")), "token": ["a"]})
    pq.write_table(older, tmp_path / "older.parquet")
    found = read_table(tmp_path / "older.parquet", SCHEMA)
    assert found.schema.equals(SCHEMA)
    assert found.select(["token", "note"]).to_pylist() == [{"token": "a", "note": None}]
    assert read_table(tmp_path / "older.parquet").equals(pq.read_table(tmp_path / "older.parquet"))


def test_what_is_no_parquet_is_refused() -> None:
    with pytest.raises(pa.ArrowException):
        read_table(pa.BufferReader(b"PAR1, or so it says"))
