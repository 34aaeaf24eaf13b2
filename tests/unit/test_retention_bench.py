"""The benchmark of erasure on a small lake: what it erases, and that it writes no more than it must."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.home import Home
from orchestration.ingestion import layout
from orchestration.ingestion.lake import lake_files, link_files
from tests import bench_erasure

ROWS = 40_000


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "ROWS_OF_A_PART", 512)
    monkeypatch.setattr(bench_erasure, "ROWS_OF_A_BATCH", 8_000)


@pytest.mark.usefixtures("small_parts")
def test_benchmark_erases_whom_it_says_and_writes_only_the_parts_that_name_them(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    people = bench_erasure.make_lake(home, ROWS)
    tokens = bench_erasure.tokens_of([people // 2])
    before = {path: rows_of(path, tokens) for path in (*lake_files(home, "app"), *link_files(home))}
    naming = {path for path, rows in before.items() if rows}
    assert 5 < len(naming) < len(before) / 2, "one person is in few of the parts"
    removed = bench_erasure.erase(home, people, [people // 2])
    after = {*lake_files(home, "app"), *link_files(home)}
    assert after & before.keys() == before.keys() - naming
    assert removed.files == len(naming) and removed.files_read == len(before)
    assert removed.rows + removed.links == sum(before.values()) and removed.cells == 0
    assert not any(rows_of(path, tokens) for path in after)


@pytest.mark.usefixtures("small_parts")
def test_benchmark_measures_every_step() -> None:
    copy, one, many, day = bench_erasure.measure(ROWS)
    assert min(line.cpu for line in (copy, one, many, day)) > 0
    assert one.removed is not None and many.removed is not None and day.removed is not None
    assert many.removed.files > 0 and day.removed.cells == day.removed.links == 0
    assert day.removed.rows > ROWS / 2, "four of five batches are of the first day"


def rows_of(path: Path, tokens: pa.Array) -> int:
    """How many rows of a file name one of the tokens anywhere."""
    named = {*tokens.to_pylist()}
    return sum(bool(named & {*map(str, row.values())}) for row in pq.read_table(path, partitioning=None).to_pylist())
