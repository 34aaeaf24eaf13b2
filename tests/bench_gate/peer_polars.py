"""The same decision in polars, as its users would write it: lazy frames, windows with `over`, an as-of join."""

from __future__ import annotations

from typing import Any

import polars as pl

from orchestration.home import Home
from tests.bench_gate.peer_inputs import SENSITIVE, T, inputs, lake_files

KEY = ["unit_id", "scope_bit"]
Frame = pl.LazyFrame


def decide(home: Home) -> list[list[int]]:
    """Permitted touchpoints by mask, with their number and the sum of their times in seconds."""
    folder = inputs(home)
    table = {file.stem: pl.scan_parquet(file) for file in folder.glob("*.parquet")}
    lines = timelines(table).collect()
    now = lines.lazy().filter(pl.col("at") <= T).group_by("unit_id").agg(mask_now=pl.col("mask").last())
    found = (
        touchpoints(home, table)
        .sort("occurred_at")
        .join_asof(lines.lazy().sort("at"), left_on="occurred_at", right_on="at", by="unit_id", check_sortedness=False)
        .join(now, on="unit_id")
        .join(table["kept"], on=["controller", "category"])
        .filter(pl.col("occurred_at").is_between("kept_from", "kept_to", closed="left"))
        .with_columns(permitted=pl.col("mask") & pl.col("mask_now") & pl.col("mask_kept"))
        .filter(pl.col("permitted") != 0)
        .group_by("permitted")
        .agg(pl.len().cast(pl.Int64), pl.col("occurred_at").dt.epoch("s").sum().alias("seconds"))
        .sort("permitted")
        .collect()
    )
    return [list(row) for row in found.rows()]


def touchpoints(home: Home, table: dict[str, Frame]) -> Frame:
    """Every touchpoint with its category and unit."""
    parts: list[Frame] = []
    for files in lake_files(home).values():
        scan = pl.scan_parquet(files, hive_partitioning=False)
        names = set(scan.collect_schema().names())
        wanted = ["source", "controller", "subject_token", "occurred_at", "raw_event"]
        parts.append(scan.select([*wanted, *(name for name, _ in SENSITIVE if name in names)]))
    sensitive = pl.any_horizontal(pl.col(name).str.starts_with(prefix).fill_null(False) for name, prefix in SENSITIVE)
    return (
        pl.concat(parts, how="diagonal")
        .filter(pl.col("occurred_at") <= T)
        .join(table["events"], on=["source", "raw_event"])
        .with_columns(category=pl.when(sensitive).then(pl.lit("sensitive")).otherwise("category"))
        .join(
            table["identifiers"].select("controller", "token", "unit_id"),
            left_on=["controller", "subject_token"],
            right_on=["controller", "token"],
        )
        .select("controller", "category", "occurred_at", "unit_id")
    )


def timelines(table: dict[str, Frame]) -> Frame:
    """unit, at, mask: the scopes in force from that instant on."""
    steps = held(table)
    starts = steps.select(*KEY, at="effective_at", granted=(~pl.col("is_denial") & pl.col("counts")).cast(pl.Int8),
                          blocked=pl.col("is_denial").cast(pl.Int8))  # fmt: skip
    ends = steps.select(*KEY, at="held_until", granted=-(~pl.col("is_denial") & pl.col("counts")).cast(pl.Int8),
                        blocked=-pl.col("is_denial").cast(pl.Int8))  # fmt: skip
    return (
        pl.concat([starts, ends])
        .group_by(*KEY, "at")
        .agg(pl.col("granted", "blocked").cast(pl.Int64).sum())
        .sort(*KEY, "at")
        .with_columns(pl.col("granted", "blocked").cum_sum().over(KEY))
        .join(table["scopes"], on="scope_bit", maintain_order="left")
        .with_columns(bit=pl.when((pl.col("granted") > 0) & (pl.col("blocked") == 0)).then("scope_mask").otherwise(0))
        .with_columns(change=pl.col("bit") - pl.col("bit").shift(1).over(KEY).fill_null(0))
        .filter(pl.col("change") != 0)
        .group_by("unit_id", "at")
        .agg(pl.col("change").sum())
        .sort("unit_id", "at")
        .select("unit_id", "at", mask=pl.col("change").cum_sum().over("unit_id"))
    )


def held(table: dict[str, Frame]) -> Frame:
    """Grants, lifts and denials of each unit and scope, and until when each holds. Silence, which no event told, lifts
    nothing, and permits until the first denial whatever ended before."""
    later = pl.datetime(9999, 1, 1)
    weak_own = pl.when(~pl.col("is_denial") & ~pl.col("is_strong") & pl.col("is_told")).then("effective_at")
    counted = pl.when(pl.col("counts")).then("effective_at")
    strong = pl.when(pl.col("counts") & pl.col("is_strong") & pl.col("is_told")).then("effective_at")
    first_denial = pl.col("effective_at").filter(pl.col("is_denial")).min().over(KEY).fill_null(later)
    following = [
        counted.shift(-1).backward_fill().over(KEY).fill_null(later).alias("next_grant"),
        strong.shift(-1).backward_fill().over(KEY).fill_null(later).alias("next_strong"),
        weak_own.shift(-1).backward_fill().over([*KEY, "identifier_id"]).fill_null(later).alias("next_own"),
    ]
    events = (
        unit_events(table)
        .sort(*KEY, "effective_at", "is_denial", "ends_at", descending=[False, False, False, False, True])
        .with_columns(following)
        .with_columns(
            held_until=pl.when(~pl.col("is_denial"))
            .then(pl.min_horizontal("ends_at", "next_grant"))
            .when("is_strong")
            .then("next_strong")
            .otherwise(pl.min_horizontal("next_strong", "next_own")),
            silent_until=pl.max_horizontal("effective_at", first_denial),
        )
    )
    silent = events.filter(~pl.col("is_told") & pl.col("counts")).with_columns(held_until="silent_until")
    return pl.concat([events, silent])


def unit_events(table: dict[str, Frame]) -> Frame:
    events = table["admitted"]
    grants = events.filter(~pl.col("restricts") & pl.col("is_admissible"))
    free = table["units"].filter("is_free")
    reached = table["reach"].join(free, on="group_id").select("identifier_id", "unit_id")
    grantors = table["grantors"].join(free, on="unit_id", how="semi")
    clear = table["identifiers"].filter(~pl.col("is_ambiguous"))
    lifts = (
        grants.filter(~pl.col("is_strong") & pl.col("is_told"))
        .join(clear, on="identifier_id", how="semi")
        .join(reached, on="identifier_id")
        .join(grantors, on=["unit_id", "identifier_id"], how="anti")
    )
    denials = events.filter(pl.col("restricts") & pl.col("channel").is_null()).join(reached, on="identifier_id")

    def part(frame: Frame, *, is_denial: bool, counts: bool) -> Frame:
        return frame.select(*KEY, "identifier_id", "is_strong", "effective_at", "ends_at", "is_told",
                            is_denial=is_denial, counts=counts)  # fmt: skip

    return pl.concat(
        [
            part(grants.join(grantors, on="identifier_id"), is_denial=False, counts=True),
            part(lifts, is_denial=False, counts=False),
            part(denials, is_denial=True, counts=False),
        ]
    )


def versions() -> dict[str, Any]:
    return {"polars": pl.__version__, "threads": pl.thread_pool_size()}
