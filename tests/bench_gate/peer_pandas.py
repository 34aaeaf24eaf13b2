"""The same decision in pandas, as its users would write it: merges, group-wise shifts, `merge_asof`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from orchestration.home import Home
from tests.bench_gate.peer_inputs import COLUMNS, SENSITIVE, T, inputs, lake_files

KEY = ["unit_id", "scope_bit"]
LATER = pd.Timestamp("9999-01-01").as_unit("us")
Frame = pd.DataFrame


def decide(home: Home) -> list[list[int]]:
    """Permitted touchpoints by mask, with their number and the sum of their times in seconds."""
    table = {file.stem: pd.read_parquet(file) for file in inputs(home).glob("*.parquet")}
    lines = timelines(table)
    now = lines[lines["at"] <= T].groupby("unit_id")["mask"].last().rename("mask_now")
    found = pd.merge_asof(
        touchpoints(home, table).sort_values("occurred_at"),
        lines.sort_values("at"),
        left_on="occurred_at",
        right_on="at",
        by="unit_id",
    )
    found = found.dropna(subset="mask").merge(now, left_on="unit_id", right_index=True)
    found = found.merge(table["kept"], on=["controller", "category"])
    found = found[(found["kept_from"] <= found["occurred_at"]) & (found["occurred_at"] < found["kept_to"])]
    permitted = found["mask"].astype("int64") & found["mask_now"] & found["mask_kept"]
    seconds = found["occurred_at"].astype("int64") // 1_000_000
    counted = seconds.groupby(permitted).agg(["size", "sum"])
    return [[int(v) for v in row] for row in counted[counted.index != 0].reset_index().to_numpy()]


def touchpoints(home: Home, table: dict[str, Frame]) -> Frame:
    """Every touchpoint with its category and unit."""
    parts = []
    for files in lake_files(home).values():
        names = [name for name in COLUMNS if name in pq.read_schema(files[0]).names]
        parts.append(pd.concat([pd.read_parquet(file, columns=names, partitioning=None) for file in files]))
    rows = pd.concat(parts, ignore_index=True)
    rows = rows[rows["occurred_at"] <= T].merge(table["events"], on=["source", "raw_event"])
    for name, prefix in SENSITIVE:
        rows.loc[rows[name].str.startswith(prefix).fillna(False).astype(bool), "category"] = "sensitive"
    known = table["identifiers"][["controller", "token", "unit_id"]].rename(columns={"token": "subject_token"})
    rows = rows.dropna(subset="subject_token").merge(known, on=["controller", "subject_token"])
    return rows[["controller", "category", "occurred_at", "unit_id"]]


def timelines(table: dict[str, Frame]) -> Frame:
    """unit, at, mask: the scopes in force from that instant on."""
    steps = held(table)
    granted, blocked = steps["counts"].astype("int8"), steps["is_denial"].astype("int8")
    starts = steps[KEY].assign(at=steps["effective_at"], granted=granted, blocked=blocked)
    ends = steps[KEY].assign(at=steps["held_until"], granted=-granted, blocked=-blocked)
    states = pd.concat([starts, ends]).groupby([*KEY, "at"], as_index=False)[["granted", "blocked"]].sum()
    states[["granted", "blocked"]] = states.groupby(KEY)[["granted", "blocked"]].cumsum()
    states = states.merge(table["scopes"], on="scope_bit", how="left").sort_values([*KEY, "at"])
    bit = states["scope_mask"].where((states["granted"] > 0) & (states["blocked"] == 0), 0)
    states["change"] = bit - bit.groupby([states[key] for key in KEY]).shift(1, fill_value=0)
    changes = states[states["change"] != 0].groupby(["unit_id", "at"], as_index=False)["change"].sum()
    return changes[["unit_id", "at"]].assign(mask=changes.groupby("unit_id")["change"].cumsum())


def held(table: dict[str, Frame]) -> Frame:
    """Grants, lifts and denials of each unit and scope, and until when each holds. Silence, which no event told, lifts
    nothing, and permits until the first denial whatever ended before."""
    events = unit_events(table).sort_values(
        [*KEY, "effective_at", "is_denial", "ends_at"], ascending=[True, True, True, True, False], ignore_index=True
    )
    events["next_grant"] = _next(events, events["counts"], KEY)
    events["next_strong"] = _next(events, events["counts"] & events["is_strong"] & events["is_told"], KEY)
    weak = ~events["is_denial"] & ~events["is_strong"] & events["is_told"]
    events["next_own"] = _next(events, weak, [*KEY, "identifier_id"])
    of_grant = events[["ends_at", "next_grant"]].min(axis=1)
    of_weak_denial = events[["next_strong", "next_own"]].min(axis=1)
    of_denial = events["next_strong"].where(events["is_strong"], of_weak_denial)
    events["held_until"] = of_denial.where(events["is_denial"], of_grant)
    denied = events["effective_at"].where(events["is_denial"])
    first_denial = denied.groupby([events[name] for name in KEY]).transform("min").fillna(LATER)
    silent = events.assign(held_until=first_denial.where(first_denial > events["effective_at"], events["effective_at"]))
    return pd.concat([events, silent[~silent["is_told"] & silent["counts"]]], ignore_index=True)


def _next(events: Frame, which: pd.Series[bool], key: list[str]) -> pd.Series[Any]:
    """The time of the next of these events, of the same `key`."""
    at = events["effective_at"].where(which)
    groups = [events[name] for name in key]
    return at.groupby(groups).shift(-1).groupby(groups).bfill().fillna(LATER)


def unit_events(table: dict[str, Frame]) -> Frame:
    events, free = table["admitted"], table["units"].query("is_free")
    grants = events[~events["restricts"] & events["is_admissible"]]
    reached = table["reach"].merge(free, on="group_id")[["identifier_id", "unit_id"]]
    grantors = table["grantors"][table["grantors"]["unit_id"].isin(free["unit_id"])]
    clear = table["identifiers"].query("not is_ambiguous")["identifier_id"]
    weak = grants[~grants["is_strong"] & grants["is_told"]]
    lifts = weak[weak["identifier_id"].isin(clear)].merge(reached, on="identifier_id")
    lifts = lifts.merge(grantors.assign(is_own=True), on=["unit_id", "identifier_id"], how="left")
    denials = events[events["restricts"] & events["channel"].isna()].merge(reached, on="identifier_id")
    columns = [*KEY, "identifier_id", "is_strong", "effective_at", "ends_at", "is_told"]
    return pd.concat(
        [
            grants.merge(grantors, on="identifier_id")[columns].assign(is_denial=False, counts=True),
            lifts[lifts["is_own"].isna()][columns].assign(is_denial=False, counts=False),
            denials[columns].assign(is_denial=True, counts=False),
        ],
        ignore_index=True,
    )


def versions() -> dict[str, Any]:
    return {"pandas": pd.__version__, "numpy": np.__version__}
