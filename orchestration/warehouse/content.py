"""The content hash of a generation: equal marts and governance tables give equal hashes, wherever they were built."""

from __future__ import annotations

import hashlib

import duckdb

from orchestration.home import Home
from orchestration.warehouse.build import evidence_file, warehouse_file
from orchestration.warehouse.duckdb_settings import connect

SCHEMAS = ("marts", "governance")
NOT_CONTENT = {"generation", "built_at", "published_at"}  # of the build, not of what it says
DECIMALS = 6  # the last bits of a sum depend on the order in which threads added


def content_hash(home: Home, generation: str) -> str:
    """SHA-256 (hex) over the sorted rows of every table that people read from the generation."""
    places = (
        warehouse_file(home, generation),
        evidence_file(home, generation),
        home.building / f"{generation}.duckdb",
    )
    file = next((path for path in places if path.is_file()), places[0])
    con = connect(home, file, read_only=True)
    try:
        return hash_tables(con)
    finally:
        con.close()


def hash_tables(con: duckdb.DuckDBPyConnection) -> str:
    """The same on an open connection."""
    columns = con.execute(
        "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns "
        "WHERE table_schema IN (SELECT unnest(?)) ORDER BY ALL",
        [list(SCHEMAS)],
    ).fetchall()
    tables: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for schema, table, column, kind in columns:
        if column not in NOT_CONTENT:
            tables.setdefault((schema, table), []).append((column, kind))
    digest = hashlib.sha256()
    for (schema, table), fields in tables.items():
        digest.update(f"{schema}.{table}({','.join(name for name, _ in fields)})\n".encode())
        digest.update(_hash_rows(con, f'{schema}."{table}"', fields).encode() + b"\n")
    return digest.hexdigest()


def _hash_rows(con: duckdb.DuckDBPyConnection, table: str, fields: list[tuple[str, str]]) -> str:
    """Each row as JSON text, hashed; the hashes sorted, then hashed."""
    values = ", ".join(f'"{name}" := {_canonical(name, kind)}' for name, kind in fields)
    rows = con.execute(
        f"SELECT sha256(coalesce(string_agg(h, '' ORDER BY h), '')) "
        f"FROM (SELECT sha256(CAST(to_json(struct_pack({values})) AS VARCHAR)) AS h FROM {table})"
    ).fetchall()
    return str(rows[0][0])


def _canonical(name: str, kind: str) -> str:
    return f'round("{name}", {DECIMALS})' if kind in ("DOUBLE", "FLOAT") else f'"{name}"'
