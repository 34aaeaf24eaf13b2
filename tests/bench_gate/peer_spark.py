"""The same decision in PySpark on this machine, as its users would write it: windows, and a join with a time range."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Any

import pyspark
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812 - as everybody writes it

from orchestration.home import Home
from tests.bench_gate.peer_inputs import SENSITIVE, T, inputs, lake_files

KEY = ["unit_id", "scope_bit"]


def session(home: Home) -> SparkSession:
    """Two cores, memory for 20 M touchpoints, nothing written outside the home."""
    builder = SparkSession.builder.master("local[2]").appName("bench")
    settings = {
        "spark.driver.memory": "6g",
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "16",
        "spark.local.dir": str(home.tmp / "spark"),
        "spark.sql.warehouse.dir": str(home.tmp / "spark"),
        "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
        "spark.log.level": "ERROR",
    }
    return reduce(lambda b, item: b.config(*item), settings.items(), builder).getOrCreate()


def decide(home: Home) -> list[list[int]]:
    """Permitted touchpoints by mask, with their number and the sum of their times in seconds."""
    spark = session(home)
    table = {file.stem: spark.read.parquet(str(file)) for file in inputs(home).glob("*.parquet")}
    lines = timelines(table).cache()
    now = lines.where((F.col("at") <= T) & (F.col("until") > T)).select("unit_id", F.col("mask").alias("mask_now"))
    at = F.col("occurred_at")
    found = (
        touchpoints(spark, home, table)
        .join(lines, "unit_id")
        .where((F.col("at") <= at) & (at < F.col("until")))
        .join(now, "unit_id")
        .join(F.broadcast(table["kept"]), ["controller", "category"])
        .where((F.col("kept_from") <= at) & (at < F.col("kept_to")))
        .withColumn("permitted", F.col("mask").bitwiseAND(F.col("mask_now")).bitwiseAND(F.col("mask_kept")))
        .where(F.col("permitted") != 0)
        .groupBy("permitted")
        .agg(F.count("*"), F.sum(F.unix_seconds(at.cast("timestamp"))))
        .orderBy("permitted")
    )
    rows = [list(row) for row in found.collect()]
    lines.unpersist()
    return rows


def touchpoints(spark: SparkSession, home: Home, table: dict[str, DataFrame]) -> DataFrame:
    """Every touchpoint with its category and unit."""
    parts = []
    for files in lake_files(home).values():
        rows = spark.read.parquet(str(Path(files[0]).parents[1])).drop("p_day")
        wanted = ["source", "controller", "subject_token", "occurred_at", "raw_event"]
        parts.append(rows.select(*wanted, *(name for name, _ in SENSITIVE if name in rows.columns)))
    rows = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), parts)
    sensitive = reduce(
        lambda a, b: a | b, (F.coalesce(F.col(name).startswith(prefix), F.lit(False)) for name, prefix in SENSITIVE)
    )
    known = table["identifiers"].select("controller", F.col("token").alias("subject_token"), "unit_id")
    return (
        rows.where(F.col("occurred_at") <= T)
        .join(F.broadcast(table["events"]), ["source", "raw_event"])
        .withColumn("category", F.when(sensitive, "sensitive").otherwise(F.col("category")))
        .join(known, ["controller", "subject_token"])
        .select("controller", "category", "occurred_at", "unit_id")
    )


def timelines(table: dict[str, DataFrame]) -> DataFrame:
    """unit, at, until, mask: the scopes in force from `at` on."""
    steps = held(table)
    granted, blocked = F.col("counts").cast("int"), F.col("is_denial").cast("int")
    starts = steps.select(*KEY, F.col("effective_at").alias("at"), granted.alias("granted"), blocked.alias("blocked"))
    ends = steps.select(*KEY, F.col("held_until").alias("at"), (-granted).alias("granted"), (-blocked).alias("blocked"))
    by_scope = Window.partitionBy(*KEY).orderBy("at")
    by_unit = Window.partitionBy("unit_id").orderBy("at")
    before = by_scope.rowsBetween(Window.unboundedPreceding, 0)
    permitted = (F.sum("granted").over(before) > 0) & (F.sum("blocked").over(before) == 0)
    return (
        starts.union(ends)
        .groupBy(*KEY, "at")
        .agg(F.sum("granted").alias("granted"), F.sum("blocked").alias("blocked"))
        .join(F.broadcast(table["scopes"]), "scope_bit")
        .withColumn("bit", F.when(permitted, F.col("scope_mask")).otherwise(0))
        .withColumn("change", F.col("bit") - F.lag("bit", 1, 0).over(by_scope))
        .where(F.col("change") != 0)
        .groupBy("unit_id", "at")
        .agg(F.sum("change").alias("change"))
        .withColumn("mask", F.sum("change").over(by_unit.rowsBetween(Window.unboundedPreceding, 0)))
        .withColumn("until", F.coalesce(F.lead("at").over(by_unit), _later()))
        .select("unit_id", "at", "until", "mask")
    )


def held(table: dict[str, DataFrame]) -> DataFrame:
    """Grants, lifts and denials of each unit and scope, and until when each holds. Silence, which no event told, lifts
    nothing, and permits until the first denial whatever ended before."""
    order = [F.col("effective_at"), F.col("is_denial"), F.col("ends_at").desc()]
    later = Window.partitionBy(*KEY).orderBy(*order).rowsBetween(1, Window.unboundedFollowing)
    own = Window.partitionBy(*KEY, "identifier_id").orderBy(*order).rowsBetween(1, Window.unboundedFollowing)
    is_denial, is_strong, at = F.col("is_denial"), F.col("is_strong"), F.col("effective_at")
    next_grant = F.coalesce(F.min(F.when(F.col("counts"), at)).over(later), _later())
    next_strong = F.coalesce(F.min(F.when(F.col("counts") & is_strong & F.col("is_told"), at)).over(later), _later())
    next_own = F.coalesce(F.min(F.when(~is_denial & ~is_strong & F.col("is_told"), at)).over(own), _later())
    until = (
        F.when(~is_denial, F.least("ends_at", next_grant))
        .when(is_strong, next_strong)
        .otherwise(F.least(next_strong, next_own))
    )
    first_denial = F.coalesce(F.min(F.when(is_denial, at)).over(Window.partitionBy(*KEY)), _later())
    events = unit_events(table).withColumns({"held_until": until, "silent_until": F.greatest(at, first_denial)})
    silent = events.where("not is_told and counts").withColumn("held_until", F.col("silent_until"))
    return events.union(silent)


def unit_events(table: dict[str, DataFrame]) -> DataFrame:
    events, free = table["admitted"], table["units"].where("is_free")
    grants = events.where("not restricts and is_admissible")
    reached = table["reach"].join(free, "group_id").select("identifier_id", "unit_id")
    grantors = table["grantors"].join(free, "unit_id", "left_semi")
    clear = table["identifiers"].where("not is_ambiguous")
    lifts = (
        grants.where("not is_strong and is_told")
        .join(clear, "identifier_id", "left_semi")
        .join(reached, "identifier_id")
        .join(grantors, ["unit_id", "identifier_id"], "left_anti")
    )
    denials = events.where("restricts and channel is null").join(reached, "identifier_id")

    def part(frame: DataFrame, *, is_denial: bool, counts: bool) -> DataFrame:
        columns = [*KEY, "identifier_id", "is_strong", "effective_at", "ends_at", "is_told"]
        return frame.select(*columns, F.lit(is_denial).alias("is_denial"), F.lit(counts).alias("counts"))

    return (
        part(grants.join(grantors, "identifier_id"), is_denial=False, counts=True)
        .union(part(lifts, is_denial=False, counts=False))
        .union(part(denials, is_denial=True, counts=False))
    )


def _later() -> Column:
    return F.lit("9999-01-01").cast("timestamp_ntz")


def versions() -> dict[str, Any]:
    return {"pyspark": pyspark.__version__, "cores": 2}


def process_of(spark: SparkSession) -> int:
    """The process id of the Java machine, whose CPU and memory are Spark's."""
    jvm: Any = spark._jvm  # the only way to ask it
    return int(jvm.java.lang.ProcessHandle.current().pid())
