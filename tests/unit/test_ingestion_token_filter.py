"""The filter of tokens in a file's footer never hides a token that is there, and rarely names one that is not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.ingestion.layout import write_parquet
from orchestration.ingestion.token_filter import BITS, NAME, hashes_of, may_hold
from orchestration.retention.holding import files_holding

TOKEN = st.integers(0, 2**128 - 1).map("{:032x}".format)
WITHIN = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tokens(number: int, salt: str = "") -> list[str]:
    return [hashlib.sha256(f"{salt}{n}".encode()).hexdigest()[:32] for n in range(number)]


def written(folder: Path, **columns: list[str | None]) -> Path:
    path = folder / "f.parquet"
    write_parquet(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), path)
    return path


def holds(path: Path, *sought: str) -> bool:
    return may_hold(path, hashes_of(pa.array(sought, pa.string())))


@WITHIN
@given(st.lists(st.one_of(TOKEN, st.none()), min_size=1, max_size=50))
def test_every_token_that_is_there_may_be_there(tmp_path: Path, there: list[str | None]) -> None:
    half = len(there) // 2
    path = written(tmp_path, subject_token=[*there[:half], *[None] * (len(there) - half)], phone_token=[*there])
    assert all(holds(path, token) for token in there if token is not None)


def test_few_of_the_tokens_that_are_not_there_may_be_there(tmp_path: Path) -> None:
    """Subjects of one range, as a part holds them, crowd nothing."""
    path = written(tmp_path, subject_token=sorted(tokens(20_000))[:4_000], device_token=tokens(4_000, "d"))
    wrong = sum(holds(path, token) for token in tokens(3_000, "other"))
    assert wrong / 3_000 < 0.03
    assert len(pq.read_metadata(path).metadata[NAME]) < 8_000 * BITS / 8 * 1.4


@pytest.mark.parametrize("odd", ["x", "z" * 32, "a" * 31, "号" * 32])
def test_what_is_no_token_is_looked_for_in_every_file(tmp_path: Path, odd: str) -> None:
    assert holds(written(tmp_path, subject_token=tokens(5)), odd)
    path = written(tmp_path, subject_token=[*tokens(5), odd])
    assert NAME not in (pq.read_metadata(path).metadata or {})
    assert holds(path, *tokens(1, "other"))


def test_file_without_a_filter_is_looked_into(tmp_path: Path) -> None:
    there = tokens(3)
    pq.write_table(pa.table({"subject_token": there}), tmp_path / "s")
    with duckdb.connect() as con:
        assert files_holding(con, tmp_path.parent, [f"{tmp_path.name}/s"], pa.array(there[:1])) == [
            f"{tmp_path.name}/s"
        ]
        assert files_holding(con, tmp_path.parent, [f"{tmp_path.name}/s"], pa.array(tokens(1, "other"))) == []


def test_filter_of_a_rewritten_file_is_of_what_is_left(tmp_path: Path) -> None:
    gone, stays = tokens(1, "gone")[0], tokens(50)
    table = pq.read_table(written(tmp_path, subject_token=[gone, *stays]))
    write_parquet(table.slice(1), tmp_path / "rest")
    assert holds(tmp_path / "f.parquet", gone)
    assert not holds(tmp_path / "rest", gone) and all(holds(tmp_path / "rest", token) for token in stays)
