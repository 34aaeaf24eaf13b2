"""Which generations and working copies hold somebody, and their removal. A generation is never altered: it is unlinked.

Not here: publishing the one without them (`warehouse/publish.py`)."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

import duckdb
import pyarrow as pa

from orchestration.home import Home
from orchestration.warehouse.build import warehouse_file
from orchestration.warehouse.duckdb_settings import connect
from orchestration.warehouse.publish import published, release_path

OF_RUNS = ("notes", "dbt", "build.json")  # of tmp: what a run in progress needs, with counts and SQL only


def holds_any(home: Home, tokens: Collection[str]) -> bool:
    """Whether the published generation names one of `tokens` in any column of text."""
    current = published(home)
    return current is not None and file_holds(home, warehouse_file(home, current.generation), tokens)


def file_holds(home: Home, file: Path, tokens: Collection[str]) -> bool:
    """Whether a DuckDB file names one of `tokens`. One that cannot be read may."""
    try:
        with connect(home, file, read_only=True) as con:
            con.register("people", pa.table({"token": pa.array(sorted(tokens), pa.string())}))
            return any(_table_holds(con, *table) for table in _tables(con))
    except duckdb.Error:
        return True


def _tables(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, list[str]]]:
    return con.execute(
        "select schema_name, table_name, list(column_name) from duckdb_columns() "
        "where data_type = 'VARCHAR' and not internal "
        "and (schema_name, table_name) in (select (schema_name, table_name) from duckdb_tables()) group by all"
    ).fetchall()


def _table_holds(con: duckdb.DuckDBPyConnection, schema: str, table: str, columns: list[str]) -> bool:
    ends = " or ".join(f'"{column}" in (select token from people)' for column in columns)
    return con.execute(f'select 1 from "{schema}"."{table}" where {ends} limit 1').fetchone() is not None


def drop_generations(home: Home, tokens: Collection[str]) -> int:
    """Unlinks every generation that names one of `tokens`, in force no longer or kept as evidence. How many."""
    current = published(home)
    in_force = None if current is None else warehouse_file(home, current.generation)
    files = [path for path in home.warehouse.glob("*.duckdb") if path != in_force]
    files += home.evidence.glob("*/*.duckdb")
    gone = [path for path in files if file_holds(home, path, tokens)]
    for path in gone:
        path.unlink()
        if path.parent == home.warehouse:
            release_path(home, path.stem).unlink(missing_ok=True)
    return len(gone)


def drop_working_copies(home: Home) -> int:
    """Removes what the next build makes again, and what runs left: the ledger's mirror, the memory of identities, files
    of killed builds, spilled rows. How many files."""
    folders = [home.warehouse / "ledger", home.warehouse / "identity", home.building]
    places = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    places += [path for path in home.tmp.iterdir() if path.name not in OF_RUNS]
    number = sum(1 for place in places for path in [place, *place.rglob("*")] if path.is_file())
    for place in places:
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()
    return number
