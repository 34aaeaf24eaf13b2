"""Parquet under the same contract as text: columns, types, nesting, counts, quarantine; bad files are refused whole."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.ingestion import lake
from tests.unit.ingestion_world import FIELDS, World, row
from tests.unit.test_ingestion_completeness import deliver_cuts, state_rows

NAMES = [str(field["name"]) for field in FIELDS]
TEXTS = {name: pa.string() for name in NAMES if name != "amount"}
SCHEMA = pa.schema([(name, TEXTS.get(name, pa.float64())) for name in NAMES])
FEED = {"format": "parquet", "path": "s-{day}.parquet"}


def table(*rows: dict[str, Any], schema: pa.Schema = SCHEMA) -> pa.Table:
    return pa.Table.from_pylist([{name: r.get(name) for name in schema.names} for r in rows], schema=schema)


def put(world: World, given: pa.Table, name: str = "s-2026-01-01.parquet", **options: Any) -> Path:
    path = world.landing / name
    pq.write_table(given, path, **options)
    return path


def reasons(world: World) -> list[str]:
    return [refused.reason for refused in world.ingest().refused]


def test_parquet_gives_the_rows_that_json_gives(tmp_path: Path) -> None:
    rows = [row(n, note=note, phone=phone, amount=amount, secret="s") for n, (note, phone, amount) in enumerate(
        [("two\nlines", "138 1234 5678", 1.5), ("张三", None, 0.0), (None, "139****5678", 999.99), ("", None, None)]
    )]  # fmt: skip
    bad = [row(7, amount=1001.0), row(8, event=None), row(9, note="a\u202eb"), row(1, note="another"), row(0, at="x")]
    one, other = World.make(tmp_path / "one", FEED), World.make(tmp_path / "other", {**FEED, "format": "jsonl"})
    other.keys = one.keys
    put(one, table(*rows, *bad, rows[0]), row_group_size=3)
    other.put("s-2026-01-01.parquet", [*rows, *bad, rows[0]])
    reports = [world.ingest() for world in (one, other)]
    assert reports[0].counts() == reports[1].counts()
    assert (reports[0].accepted, reports[0].duplicates) == (4, 1)
    assert dict(reports[0].quarantined_by_reason) == dict(reports[1].quarantined_by_reason)
    columns = "* EXCLUDE batch"
    assert one.lake(columns) == other.lake(columns)
    assert [number for number, *_ in one.quarantined()] == [number for number, *_ in other.quarantined()]
    assert b"13812345678" not in one.bytes_at_rest()
    assert one.ingest().redelivered == 1


def test_members_of_structs_are_read_by_path(tmp_path: Path) -> None:
    columns = {"id": "id", "event": "event", "at": "meta.at", "account": "who.ids.account", "phone": "who.phone"}
    world = World.make(tmp_path, {**FEED, "columns": columns, "ignored_columns": ["who.agent", "tags"]})
    ids = pa.struct([("account", pa.string())])
    schema = pa.schema(
        [("id", pa.string()), ("event", pa.string()), ("meta", pa.struct([("at", pa.timestamp("ms", tz="UTC"))])),
         ("who", pa.struct([("ids", ids), ("phone", pa.string()), ("agent", pa.string())])),
         ("tags", pa.list_(pa.string()))]
    )  # fmt: skip
    at = datetime(2026, 1, 1, 2, 1, tzinfo=UTC)
    whole = {"id": "e1", "event": "view", "meta": {"at": at}, "who": {"ids": {"account": "a1"}}, "tags": ["x"]}
    put(world, table(whole, {**whole, "id": "e2", "who": None}, {**whole, "id": "e3", "meta": None}, schema=schema))
    report = world.ingest()
    assert (report.accepted, dict(report.quarantined_by_reason)) == (2, {"missing_required": 1})
    assert world.lake("occurred_at, subject_kind") == [
        (at.replace(tzinfo=None), "account"), (at.replace(tzinfo=None), None),
    ]  # fmt: skip
    member = pa.schema(
        [*(f for f in schema if f.name != "who"), ("who", pa.struct([*schema.field("who").type, ("x", pa.string())]))]
    )
    put(world, table(whole, schema=member), "s-2026-01-02.parquet")
    report = world.ingest()
    assert (report.refused, report.duplicates, report.dropped_fields) == ([], 1, 1)


@pytest.mark.parametrize(
    ("name", "kind", "value", "accepted"),
    [
        ("amount", pa.int32(), 5, True),
        ("amount", pa.float32(), 0.5, True),
        ("amount", pa.decimal128(10, 2), Decimal("5.50"), True),
        ("amount", pa.null(), None, True),
        ("amount", pa.string(), "5", False),
        ("amount", pa.uint64(), 5, False),
        ("amount", pa.bool_(), True, False),
        ("note", pa.large_string(), "n", True),
        ("note", pa.dictionary(pa.int32(), pa.string()), "n", True),
        ("note", pa.binary(), b"n", False),
        ("note", pa.int64(), 5, False),
        ("phone", pa.float64(), 13812345678.0, False),
        ("note", pa.list_(pa.string()), ["n"], False),
        ("at", pa.timestamp("us", tz="Asia/Shanghai"), datetime(2026, 1, 1, tzinfo=UTC), True),
        ("at", pa.date32(), datetime(2026, 1, 1, tzinfo=UTC).date(), False),
        ("at", pa.int64(), 1767225600, False),
    ],
)
def test_column_of_another_type_refuses_the_file(
    tmp_path: Path, name: str, kind: pa.DataType, value: Any, accepted: bool
) -> None:
    world = World.make(tmp_path, FEED)
    put(world, table(row(1, **{name: value}), schema=SCHEMA.set(SCHEMA.get_field_index(name), pa.field(name, kind))))
    report = world.ingest()
    assert (report.accepted, [r.reason for r in report.refused]) == ((1, []) if accepted else (0, ["contract_broken"]))


def test_times_of_no_certain_zone_are_quarantined_or_refused(tmp_path: Path) -> None:
    world = World.make(tmp_path, FEED)
    naive = SCHEMA.set(SCHEMA.get_field_index("at"), pa.field("at", pa.timestamp("us")))
    put(world, table(row(1, at=datetime(2026, 1, 1)), schema=naive))
    assert dict(world.ingest().quarantined_by_reason) == {"bad_timestamp": 1}
    (world.landing / "s-2026-01-01.parquet").unlink()
    put(world, table(row(2, at=datetime(2026, 1, 1)), schema=naive), use_deprecated_int96_timestamps=True)
    assert reasons(world) == ["contract_broken"]


def test_epochs_may_be_whole_numbers(tmp_path: Path) -> None:
    world = World.make(tmp_path, FEED, occurred_at={"field": "at", "format": "epoch_s"})
    schema = SCHEMA.set(SCHEMA.get_field_index("at"), pa.field("at", pa.int64()))
    put(world, table(row(1, at=1767225600), schema=schema))
    world.ingest()
    assert world.lake("occurred_at") == [(datetime(2026, 1, 1),)]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([*NAMES, *(f"c{n}" for n in range(1001))], "unknown_column"),
        ([*NAMES, "Phone"], "repeated_column"),
        ([*NAMES[1:], "ID"], "missing_column"),
        ([*NAMES, "id"], "repeated_column"),
        (NAMES[:-1], "missing_column"),
    ],
)
def test_other_columns_refuse_the_file(tmp_path: Path, names: list[str], reason: str) -> None:
    world = World.make(tmp_path, FEED)
    put(world, pa.table([pa.array(["x"])] * len(names), names=names))
    assert reasons(world) == [reason]


def test_no_cut_of_a_parquet_file_is_taken_for_whole(tmp_path: Path) -> None:
    world = World.make(tmp_path, FEED)
    two = pa.table({"id": ["e1", "e2"]})
    world = World.make(
        tmp_path / "w", {**FEED, "columns": {"id": "id"}, "constants": {"event": "view", "at": "2026-01-01T00:00:00Z"}}
    )
    data = put(world, two, store_schema=False).read_bytes()
    (world.landing / "s-2026-01-01.parquet").unlink()
    assert deliver_cuts(world, data, "s-{day}.parquet") == {len(data)}


def test_rows_of_a_parquet_file_are_held_to_its_marker(tmp_path: Path) -> None:
    world = World.make(tmp_path, {**FEED, "marker": ".done", "marker_states": ["rows"]})
    for day, rows in (("2026-01-01", 4), ("2026-01-02", 3)):
        state_rows(put(world, table(*(row(n) for n in range(rows))), f"s-{day}.parquet"))
    assert [(r.file, r.reason) for r in world.ingest().refused] == [("s-2026-01-02.parquet", "truncated")]
    assert [str(manifest.day) for manifest in lake.manifests(world.home, "shop_src")] == ["2026-01-01"]


def test_changed_page_is_refused_though_duckdb_would_read_it(tmp_path: Path) -> None:
    world = World.make(tmp_path, FEED)
    path = put(world, table(row(1, note="honest")), compression="none", use_dictionary=False, write_page_checksum=True)
    path.write_bytes(path.read_bytes().replace(b"honest", b"forged"))
    assert reasons(world) == ["corrupt"]


@pytest.mark.parametrize(
    "data", [b"PAR1" + b"\0" * 40 + b"PAR1", b"plain text, quite long", json.dumps(row(1)).encode()]
)
def test_what_is_no_parquet_is_refused(tmp_path: Path, data: bytes) -> None:
    world = World.make(tmp_path, FEED)
    world.put("s-2026-01-01.parquet", data)
    assert reasons(world) == ["corrupt"]
    assert not list(world.home.tmp.rglob("*.parquet")), "nothing plain is left behind"


def test_bytes_that_are_no_utf8_refuse_the_file_without_a_word_of_it(tmp_path: Path) -> None:
    world = World.make(tmp_path, FEED)
    path = put(world, table(row(1, note="secretword")), compression="none", use_dictionary=False)
    path.write_bytes(path.read_bytes().replace(b"secretword", b"secret\xfford"))
    report = world.ingest()
    assert [str(refused) for refused in report.refused] == ["s-2026-01-01.parquet: corrupt"]


@pytest.mark.parametrize(
    ("values", "limits", "reason"),
    [
        (pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), ["z" * 100_000]), {}, "bomb"),
        (pa.array(["z" * 2000] * 1000), {"max_bytes": 100_000}, "bomb"),
        (pa.array(["z" * (9 << 20)]), {}, "oversized"),
    ],
)
def test_parquet_bomb_is_refused(tmp_path: Path, values: pa.Array, limits: dict[str, int], reason: str) -> None:
    world = World.make(tmp_path, {**FEED, **limits})
    columns = [values if name == "note" else pa.nulls(len(values)) for name in NAMES]
    put(world, pa.table(columns, names=NAMES))
    assert reasons(world) == [reason]


def test_row_beyond_a_mebibyte_is_quarantined_alone(tmp_path: Path) -> None:
    world = World.make(tmp_path, FEED)
    put(world, table(row(1), row(2, note="x" * 3_000_000)))
    report = world.ingest()
    assert (report.accepted, dict(report.quarantined_by_reason)) == (1, {"oversized": 1})


def test_backlog_of_parquet_files_is_loaded_at_once(tmp_path: Path) -> None:
    """Types may differ between files, and a file that is bad leaves the others alone."""
    world = World.make(tmp_path, FEED)
    whole = SCHEMA.set(SCHEMA.get_field_index("amount"), pa.field("amount", pa.int16()))
    for day in range(1, 29):
        schema = whole if day % 2 else SCHEMA
        put(world, table(row(day, amount=day), schema=schema), f"s-2026-01-{day:02}.parquet")
    world.put("s-2026-01-29.parquet", b"PAR1")
    report = world.ingest()
    assert (report.accepted, report.files, [r.reason for r in report.refused]) == (28, 28, ["truncated"])
