"""Removes rows from the lake, its links and the evidence logs that name tokens, physically: no byte of them is left in
any file of these places, every other row is what it was, and a replay can say what is gone.

Each call is idempotent, and safe to kill at any point: call it again until it returns. Hold the home's lock. Not here:
who or what is to go (`erasure.py`, `plan.py`, `settle.py`), and vault, keys, ledger and warehouse."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.home import Home
from orchestration.ingestion.lake import Manifest, manifests
from orchestration.retention.holding import files_holding
from orchestration.retention.strip import Strip, Stripped, further_columns, strip
from orchestration.retention.swap import Change, Why, swap, swap_in_place, sweep, written_aside
from orchestration.warehouse.archive import day_of
from orchestration.warehouse.duckdb_settings import connect

LOGS = ("contact_points", "deliveries", "removals")  # folders of evidence/ whose files have a column `token`
NUMBERED = ("contact_points",)  # its files are counted: one that is empty stays
AT_ONCE = 64  # files whose new version lies aside before they are swapped: it bounds the disk that a removal needs
LINK_ENDS = ("token_a", "token_b")


@dataclass(frozen=True)
class Removed:
    """What one call removed: a call after a kill counts only what was still to do."""

    rows: int = 0  # of touchpoints
    cells: int = 0  # of other people's touchpoints, which lost a further token
    links: int = 0
    log_rows: int = 0  # of the evidence logs
    files: int = 0  # written again or gone
    files_read: int = 0

    def __add__(self, other: Removed) -> Removed:
        return Removed(**{name: count + asdict(other)[name] for name, count in asdict(self).items()})

    def counts(self) -> dict[str, int]:
        return asdict(self)


def erase_tokens(home: Home, tokens: pa.Array, *, now: datetime) -> Removed:
    """Removes every touchpoint whose subject is one of `tokens`, the token where it is a further one of somebody else's
    touchpoint (the row stays, without the link), every link that names one, and the rows of the evidence logs.

    Prune the vault before: the log of contact points would note again what the next build still finds there."""
    values = pc.unique(tokens.cast(pa.string()).drop_null())
    if not len(values):
        return Removed()

    def of(name: str) -> Strip:
        if name.startswith("links/"):
            return Strip(values, LINK_ENDS)
        return Strip(values, ("subject_token",), further_columns(pq.read_schema(home.lake / name)))

    files = [name for batch in manifests(home) for name in _names(batch)]
    with connect(home) as con:
        holding = files_holding(con, home.lake, files, values)
    counted = _rewrite(home, holding, of, "erasure", now)
    counted["files_read"] = len(files)
    counted.update(_strip_logs(home, Strip(values, ("token",)), now))
    return Removed(**counted)


def remove_rows(home: Home, source: str, keys: pa.Table, why: Why, *, now: datetime) -> Removed:
    """Removes the touchpoints of `source` that `keys` names: (path: a file's name in the lake, touchpoint_key). What no
    longer is there counts nothing."""
    wanted = {
        str(path): keys.filter(pc.equal(keys["path"], path))["touchpoint_key"].combine_chunks()
        for path in pc.unique(keys["path"]).to_pylist()
    }
    files = [name for batch in manifests(home, source) for name in batch.files if name in wanted]
    return Removed(**_rewrite(home, files, lambda name: Strip(wanted[name], ("touchpoint_key",)), why, now))


def unlink_days(home: Home, source: str, days: Collection[date], why: Why = "retention", *, now: datetime) -> Removed:
    """Removes whole business days of a source: its files are unlinked, nothing is written but notes and manifests. The
    links that these touchpoints showed stay: they have a retention of their own (H5)."""
    names = [name for batch in manifests(home, source) for name in batch.files if day_of(name) in days]
    return unlink_files(home, names, why, now=now)


def unlink_files(home: Home, names: Collection[str], why: Why = "retention", *, now: datetime) -> Removed:
    """Removes whole files of the lake by their names there, files of links among them."""
    wanted = set(names)
    sweep(home)
    counted = Counter[str]()
    batches = [batch for batch in manifests(home) if wanted & {*_names(batch)}]
    changes = []
    for name in sorted(wanted & {name for batch in batches for name in _names(batch)}):
        rows = pq.read_metadata(home.lake / name).num_rows
        changes.append(Change(name, rows, None))
        counted.update({"links" if name.startswith("links/") else "rows": rows, "files": 1})
    swap(home, batches, changes, why, now=now)
    return Removed(**counted)


def _names(batch: Manifest) -> list[str]:
    return [*batch.files, *([batch.links_file] if batch.links_file else [])]


def _rewrite(home: Home, files: Sequence[str], of: Callable[[str], Strip], why: Why, now: datetime) -> Counter[str]:
    """Strips the files of the lake of what `of` says for each, a few at a time. The manifests are read anew for each
    few: those before may have changed them."""
    sweep(home)
    counted = Counter[str](files_read=len(files))
    with written_aside(home, "rewrite") as folder:
        found = _stripped(home, files, of, folder)
        while few := list(itertools.islice(found, AT_ONCE)):
            names = {name for name, _ in few}
            batches = [batch for batch in manifests(home) if names & {*_names(batch)}]
            swap(home, batches, [Change(name, lost.rows, lost.rest) for name, lost in few], why, now=now)
            for name, lost in few:
                kind = "links" if name.startswith("links/") else "rows"
                counted.update({kind: lost.rows, "cells": lost.cells, "files": 1})
    return counted


def _stripped(
    home: Home, names: Sequence[str], of: Callable[[str], Strip], folder: Path
) -> Iterator[tuple[str, Stripped]]:
    for number, name in enumerate(names):
        lost = strip(home.lake / name, of(name), folder / f"{number}.parquet")
        if lost is not None:
            yield name, lost


def _strip_logs(home: Home, what: Strip, now: datetime) -> Counter[str]:
    counted = Counter[str]()
    with written_aside(home, "rewrite") as folder:
        changes = []
        for name in LOGS:
            for path in sorted((home.evidence / name).glob("*.parquet")):
                aside = folder / f"{name}-{path.name}"
                lost = strip(path, what, aside, keep_empty=name in NUMBERED)
                if lost is not None:
                    changes.append((path, lost.rows, lost.rest))
                    counted.update(log_rows=lost.rows, files=1)
        swap_in_place(home, changes, "erasure", now=now)
    return counted
