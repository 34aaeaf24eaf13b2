"""How rows are cut into files: in order, none lost, one subject in one part or two, small data in one file."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.ingestion import layout
from tests.unit.ingestion_world import World, row

PART = 8
WITHIN = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "ROWS_OF_A_PART", PART)


@WITHIN
@given(st.dictionaries(st.tuples(st.integers(1, 3), st.integers(1, 4)), st.integers(1, 60)), st.integers(1, 17))
def test_parts_hold_every_row_once_in_its_order(
    tmp_path: Path, sizes: dict[tuple[int, int], int], at_once: int
) -> None:
    rows = [(*key, number) for key, size in sorted(sizes.items()) for number in range(size)]
    table = pa.table({name: [row[at] for row in rows] for at, name in enumerate("fds")})
    found: dict[tuple[int, int], list[list[int]]] = {}
    for path, count, key, part in layout.write_parts(table.to_batches(at_once), 2, tmp_path):
        written = pq.read_table(path)
        assert written.column_names == ["s"] and written.num_rows == count
        assert part == len(found.setdefault((key[0], key[1]), []))
        found[key[0], key[1]].append(written["s"].to_pylist())
    assert {k: list(chain.from_iterable(parts)) for k, parts in found.items()} == {
        k: [*range(size)] for k, size in sizes.items()
    }
    for parts in found.values():
        assert all(len(part) == PART for part in parts[:-1])
        assert len(parts[-1]) < PART * 3 / 2 and (len(parts) == 1 or len(parts[-1]) >= PART / 2)


def test_large_batch_is_cut_by_subject_and_small_ones_are_one_file(tmp_path: Path) -> None:
    world = World.make(tmp_path, {"format": "jsonl", "path": "touches-{day}.jsonl"})
    world.put("touches-2026-01-01.jsonl", [row(n, account=f"a{n % 30}") for n in range(60)])
    world.put("touches-2026-01-02.jsonl", [row(n, id=f"f{n}", at="2026-01-02T10:00:00+08:00") for n in range(5)])
    assert world.ingest().accepted == 65
    days = [world.home.lake / "shop_src" / f"day=2026-01-0{day}" for day in (1, 2)]
    large, small = (sorted(day.iterdir(), key=lambda path: path.stem) for day in days)
    tokens = [pq.read_table(path, partitioning=None)["subject_token"].to_pylist() for path in large]
    assert (len(large), len(small)) == (8, 1)
    in_order = list(chain.from_iterable(tokens))
    assert in_order == sorted(in_order)
    assert len(world.lake()) == 65


@pytest.mark.parametrize(("rows", "packed"), [(10, {"subject_token"}), (3_000, {"subject_token", "kind"})])
def test_a_small_file_packs_only_what_is_hexadecimal(tmp_path: Path, rows: int, packed: set[str]) -> None:
    table = pa.table({"subject_token": [f"{n:032x}" for n in range(rows)], "kind": ["a"] * rows})
    layout.write_parquet(table, tmp_path / "a.parquet")
    group = pq.read_metadata(tmp_path / "a.parquet").row_group(0)
    columns = [group.column(at) for at in range(group.num_columns)]
    assert {column.path_in_schema for column in columns if column.compression == "ZSTD"} == packed
    assert pq.read_table(tmp_path / "a.parquet").select(table.column_names).to_pydict() == table.to_pydict()
