"""How DuckDB is opened, in one place: bounded memory, spilling under the home, nothing loaded from anywhere."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb

from orchestration.home import Home

THREADS = 2
MOST_MEMORY = 3_000_000_000  # beyond it DuckDB spills; with what it does not count, a process stays below 4 GB
SHARE_OF_MEMORY = 0.6  # dbt, Dagster and Python need the rest


def memory_limit() -> str:
    """Bytes for one DuckDB process, as DuckDB writes it."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{min(MOST_MEMORY, int(physical * SHARE_OF_MEMORY)) // 1_000_000}MB"


def config(home: Home) -> dict[str, str | bool | int | float | list[str]]:
    """The settings of every connection. Spilled rows are personal data too, so they go to the home's own tmp."""
    return {
        "temp_directory": str(home.tmp / "duckdb"),
        "memory_limit": memory_limit(),
        "threads": THREADS,
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }


def connect(home: Home, path: Path | str = ":memory:", *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """A connection to `path` in UTC with the settings of this home."""
    return _quiet(duckdb.connect(str(path), read_only=read_only, config=config(home)))


def beside(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A further connection to what `con` has open, for another thread: what is temporary there is not seen here."""
    return _quiet(con.cursor())


def _quiet(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """With what is set for each connection."""
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET enable_progress_bar = false")  # on after `python -c`: it would print into the JSON on stdout
    return con
