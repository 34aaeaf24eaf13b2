"""What no scope permits and is due to be deleted, and its removal from the lake (R-09, R-103).

Which rows, why and from when is said by `int_deletions_due` and `int_contacts_unsupported` of the generation in force:
evidence and deletion read one rule. Not here: whether that much may go (`plan.py`), expired days, the vault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.errors import AssentError, VerifyError
from orchestration.home import Home
from orchestration.ingestion.lake import manifests, source_totals
from orchestration.policy.schema import Policy
from orchestration.retention.rewrite import Removed, remove_rows, unlink_files
from orchestration.warehouse.archive import day_of
from orchestration.warehouse.publish import connect_published, published, require_intact

DUE = pa.schema(
    [
        ("source", pa.string()),
        ("path", pa.string()),  # of the file, in the lake
        ("touchpoint_key", pa.string()),
        ("business_day", pa.date32()),
        ("category", pa.string()),
        ("reason", pa.string()),  # past_retention, never_permitted or no_longer_permitted
        ("held_by", pa.string()),  # a restriction, or a legal hold on the person or the source; null: it may go
    ]
)
CONTACTS = pa.schema([("token", pa.string()), ("since", pa.timestamp("us")), ("held_by", pa.string())])
HELD_SOURCE = "legal_hold"
FIND = """
SELECT source, touchpoint_key, CAST(occurred_at AS DATE) AS utc_day, coalesce(category, 'unmapped') AS category, reason,
    held_by
FROM intermediate.int_deletions_due
WHERE due_at < $until
"""
PLACE = """
SELECT d.source, f.path, d.touchpoint_key, f.business_day, d.category, d.reason, d.held_by
FROM due AS d
INNER JOIN read_parquet($files, filename = 'path', union_by_name = true, hive_partitioning = false) AS f
    ON d.touchpoint_key = f.touchpoint_key
WHERE d.source = $source
"""
CONTACTS_FOUND = "SELECT token, since, held_by FROM intermediate.int_contacts_unsupported"


@dataclass(frozen=True)
class Due:
    """What is due at `until`: the rows (DUE), those that something holds among them, and the rows of each source."""

    generation: str
    until: datetime
    rows: pa.Table
    present: dict[str, int]

    @property
    def going(self) -> pa.Table:
        return self.rows.filter(pc.is_null(self.rows["held_by"]))


def find_due(home: Home, policy: Policy, *, now: datetime) -> Due:
    """The touchpoints that the generation in force says are due, by the earlier of its T and `now` (H7). One that the
    lake no longer holds is not among them. Hold the home's lock. Raises AssentError where nothing is published, or what
    is cannot be believed."""
    current = published(home)
    if current is None:
        raise AssentError("nothing is published", where=str(home.root), remedy="Run `assent run` first")
    require_intact(home, current)
    if current.as_of > now:
        raise VerifyError(
            "the generation in force is of a time that the clock has not reached",
            where=current.generation,
            remedy="Set the clock right; nothing is deleted by masks of a time to come",
        )
    with connect_published(home) as con:
        con.execute("CREATE TEMP TABLE due AS " + FIND, {"until": current.as_of.astimezone(UTC).replace(tzinfo=None)})
        sources = [str(name) for (name,) in con.execute("SELECT DISTINCT source FROM due ORDER BY source").fetchall()]
        parts = [_placed(con, home, source) for source in sources]
    rows = pa.concat_tables([DUE.empty_table(), *parts])
    present = {source.name: _present(home, source.name) for source in policy.sources.sources}
    return Due(current.generation, current.as_of, _held(rows, policy.retention.legal_holds), present)


def remove_due(home: Home, due: Due, *, now: datetime) -> Removed:
    """Removes what may go of it; a file of which every row goes is unlinked. What it names and is gone already counts
    nothing, so it is idempotent."""
    total = Removed()
    for source in pc.unique(due.going["source"]).to_pylist():
        rows = due.going.filter(pc.equal(due.going["source"], source))
        whole = _whole(home, rows)
        total += unlink_files(home, whole, now=now)
        rest = rows.filter(pc.invert(pc.is_in(rows["path"], value_set=pa.array(whole, pa.string()))))
        total += remove_rows(home, source, rest.select(["path", "touchpoint_key"]), "retention", now=now)
    return total


def find_unsupported_contacts(home: Home) -> pa.Table:
    """The contact points in the vault whose people no scope permits to process (CONTACTS): since when, and what holds
    them. `since` is null where neither the generation in force nor a touchpoint after its T knows the contact."""
    with connect_published(home) as con:
        found = con.execute(CONTACTS_FOUND).to_arrow_table().cast(CONTACTS)
        as_of = con.execute("SELECT as_of FROM meta.builds").fetchall()[0][0]
        strangers = found.filter(pc.is_null(found["since"]))
        if not strangers.num_rows:
            return found
        con.register("strangers", strangers)
        known = pa.array(_seen_since(con, home, as_of.date() - timedelta(days=1)), pa.string())
    return found.filter(pc.invert(pc.and_(pc.is_null(found["since"]), pc.is_in(found["token"], value_set=known))))


def _placed(con: duckdb.DuckDBPyConnection, home: Home, source: str) -> pa.Table:
    """The due rows of one source with the file that holds each: only files of the days around theirs are read, since
    the business day is of policy's zone."""
    days = {day for (day,) in con.execute("SELECT DISTINCT utc_day FROM due WHERE source = ?", [source]).fetchall()}
    near = {day + timedelta(days=n) for day in days for n in (-1, 0, 1)}
    files = [name for name in _files(home, source) if day_of(name) in near]
    if not files:
        return DUE.empty_table()
    places = {"files": [str(home.lake / name) for name in files], "source": source}
    found = con.execute(PLACE, places).to_arrow_table()
    prefix = f"{home.lake}/"
    names = pc.replace_substring(found["path"], pattern=prefix, replacement="", max_replacements=1)
    return found.set_column(found.schema.get_field_index("path"), "path", names).cast(DUE)


def _files(home: Home, source: str) -> list[str]:
    return [name for batch in manifests(home, source) for name in batch.files]


def _held(rows: pa.Table, sources: Sequence[str]) -> pa.Table:
    """What is of a source under legal hold is held too (F10)."""
    is_held = pc.is_in(rows["source"], value_set=pa.array(sources, pa.string()))
    held_by = pc.if_else(is_held, pa.scalar(HELD_SOURCE), rows["held_by"])
    return rows.set_column(rows.schema.get_field_index("held_by"), DUE.field("held_by"), held_by)


def _present(home: Home, source: str) -> int:
    totals = source_totals(home, source)
    return totals["accepted"] - totals["removed"]


def _whole(home: Home, rows: pa.Table) -> list[str]:
    counted = rows.group_by("path").aggregate([("touchpoint_key", "count_distinct")]).to_pylist()
    return [
        str(row["path"])
        for row in counted
        if (home.lake / row["path"]).is_file()
        and row["touchpoint_key_count_distinct"] == pq.read_metadata(home.lake / row["path"]).num_rows
    ]


def _seen_since(con: duckdb.DuckDBPyConnection, home: Home, day: date) -> list[str]:
    """Which of `strangers` a touchpoint of that day or later names: T may be older than what the lake holds."""
    seen: set[str] = set()
    for path in (home.lake / name for batch in manifests(home) for name in batch.files):
        found = day_of(path.as_posix())
        if found is not None and found >= day:
            seen |= _named_in(con, path)
    return sorted(seen)


def _named_in(con: duckdb.DuckDBPyConnection, path: Path) -> set[str]:
    names = [name for name in pq.read_schema(path).names if name == "subject_token" or name.endswith("_token")]
    tokens = " UNION ".join(f'SELECT "{name}" AS token FROM read_parquet($file)' for name in names)
    rows = con.execute(f"SELECT token FROM strangers SEMI JOIN ({tokens}) USING (token)", {"file": str(path)})
    return {str(token) for (token,) in rows.fetchall()}
