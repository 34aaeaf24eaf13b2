"""Dagster's history in the home, the SQLite files that it keeps: which runs have ended, and taking them out for good.

Dagster's own deletion leaves events of checks, tags and free pages with what they held. Read and written here without
importing it; it is pinned to the patch, and a test runs against files that it wrote. Not here: other storages."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from orchestration.errors import HomeError
from orchestration.home import Home

WAIT_SECONDS = 30  # for the UI and the daemon, which read and write the same files
AT_A_TIME = 500  # values in one statement; SQLite takes 999 in old builds
# Table → the column that names the run, by file. A table that is not there is an error (F8), not nothing to do.
# The list of runs comes last: until a run has gone whole it is found again.
OF_A_RUN = {
    "history/runs/index.db": {
        "asset_check_executions": "run_id", "concurrency_slots": "run_id", "pending_steps": "run_id",
        "event_logs": "run_id",
    },
    "history/runs.db": {"run_tags": "run_id", "runs": "run_id"},
}  # fmt: skip
TICKS = "schedules/schedules.db"


def is_here(home: Home) -> bool:
    """Whether there is a history in the home: a company may keep it in a database of its own."""
    return (home.dagster / "history" / "runs.db").is_file()


def ended_runs(home: Home) -> list[tuple[str, datetime]]:
    """Every run and when it ended; of one that never ended when it last changed."""
    if not is_here(home):
        return []
    query = "SELECT run_id, coalesce(end_time, strftime('%s', update_timestamp)) FROM runs ORDER BY id"
    with _opened(home.dagster / "history" / "runs.db") as con:
        return [(str(run), datetime.fromtimestamp(float(at), UTC)) for run, at in con.execute(query)]


def delete_runs(home: Home, run_ids: Sequence[str], *, before: datetime) -> int:
    """Takes these runs out of every file, with ticks and backfills of before, and what their steps printed. Again after
    a kill it takes what is left. Returns how many runs there were."""
    ids = [run for run in run_ids if _is_plain(run)]
    for run in ids:
        for path in (home.dagster / "history" / "runs").glob(f"{run}.db*"):
            path.unlink()
        shutil.rmtree(home.dagster / "storage" / run, ignore_errors=True)
    gone = 0
    for name, tables in OF_A_RUN.items():
        with _opened(home.dagster / name) as con, _transaction(con):
            for table, column in tables.items():
                deleted = _delete(con, table, column, ids)
                gone += deleted if table == "runs" else 0
            if name.endswith("index.db"):
                _forget_last_events(con, ids)
            else:
                _delete_backfills(con, before)
    with _opened(home.dagster / TICKS) as con, _transaction(con):
        con.execute("DELETE FROM job_ticks WHERE timestamp < ?", (_written(before),))
    for name in (*OF_A_RUN, TICKS):
        _leave_no_page(home.dagster / name)
    return gone


def _forget_last_events(con: sqlite3.Connection, ids: Sequence[str]) -> None:
    """Tags of events that are gone, and the copy of an asset's last event where nothing came after it."""
    con.execute("DELETE FROM asset_event_tags WHERE event_id NOT IN (SELECT id FROM event_logs)")
    for part in _parts(ids):
        con.execute(
            "UPDATE asset_keys SET last_materialization = NULL, last_run_id = NULL, cached_status_data = NULL "
            f"WHERE last_run_id IN ({_marks(part)})",
            part,
        )


def _delete_backfills(con: sqlite3.Connection, before: datetime) -> None:
    old = "SELECT key FROM bulk_actions WHERE timestamp < ? AND status NOT IN ('REQUESTED', 'CANCELING', 'FAILING')"
    con.execute(f"DELETE FROM backfill_tags WHERE backfill_id IN ({old})", (_written(before),))
    con.execute(f"DELETE FROM bulk_actions WHERE key IN ({old})", (_written(before),))


def _delete(con: sqlite3.Connection, table: str, column: str, ids: Sequence[str]) -> int:
    return sum(
        con.execute(f"DELETE FROM {table} WHERE {column} IN ({_marks(part)})", part).rowcount for part in _parts(ids)
    )


def _leave_no_page(path: Path) -> None:
    """Free pages and the write-ahead log still hold what was deleted: the file is written anew, and the log is cut."""
    with _opened(path) as con:
        con.execute("VACUUM")
        con.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise HomeError(
            "a file of Dagster's history is not there", where=path.name, remedy="Restore dagster/, or end it"
        )
    failed = ""
    with closing(sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)) as con:
        con.execute("PRAGMA secure_delete = ON")
        try:
            yield con
        except sqlite3.Error as error:
            failed = type(error).__name__
    if failed:
        raise HomeError(
            f"Dagster's history cannot be purged ({failed})",
            where=path.name,
            remedy="Close the Dagster UI, check free space, then run `assent retention run`",
        )


@contextmanager
def _transaction(con: sqlite3.Connection) -> Iterator[None]:
    con.execute("BEGIN IMMEDIATE")
    try:
        yield
        con.execute("COMMIT")
    except BaseException:
        if con.in_transaction:
            con.execute("ROLLBACK")
        raise


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + AT_A_TIME] for start in range(0, len(ids), AT_A_TIME))


def _marks(part: Sequence[str]) -> str:
    return ", ".join("?" for _ in part)


def _is_plain(run: str) -> bool:
    """A run's id is part of paths here: nothing but letters, digits and dashes."""
    return bool(run) and all(character.isascii() and (character.isalnum() or character == "-") for character in run)


def _written(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
