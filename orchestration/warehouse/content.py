"""The content hash of a generation: equal marts and governance tables give equal hashes, wherever they were built."""

from __future__ import annotations

import hashlib

import duckdb

from orchestration.home import Home
from orchestration.warehouse.build import evidence_file, warehouse_file
from orchestration.warehouse.duckdb_settings import connect

SCHEMAS = ("marts", "governance")
Fields = list[tuple[str, str]]  # column, DuckDB type
NOT_CONTENT = {"generation", "built_at", "published_at"}  # of the build, not of what it says
DECIMALS = 6  # the last bits of a sum depend on the order in which threads added


Tables = dict[str, dict[str, str | int]]  # `schema.table` → rows, sha256


def content_hash(home: Home, generation: str) -> str:
    """SHA-256 (hex) over the sorted rows of every table that people read from the generation."""
    return contents(home, generation)[0]


def contents(home: Home, generation: str) -> tuple[str, Tables]:
    """The content hash, and of each table the rows and the hash of them."""
    places = (
        warehouse_file(home, generation),
        evidence_file(home, generation),
        home.building / f"{generation}.duckdb",
    )
    file = next((path for path in places if path.is_file()), places[0])
    con = connect(home, file, read_only=True)
    try:
        found = describe_tables(con)
    finally:
        con.close()
    return _hash(found), {name: {"rows": rows, "sha256": sha256} for name, (_, sha256, rows) in found.items()}


def hash_tables(con: duckdb.DuckDBPyConnection) -> str:
    """The content hash on an open connection."""
    return _hash(describe_tables(con))


def _hash(described: dict[str, tuple[list[str], str, int]]) -> str:
    digest = hashlib.sha256()
    for name, (fields, rows_hash, _) in described.items():
        digest.update(f"{name}({','.join(fields)})\n".encode())
        digest.update(rows_hash.encode() + b"\n")
    return digest.hexdigest()


def describe_tables(con: duckdb.DuckDBPyConnection) -> dict[str, tuple[list[str], str, int]]:
    """`schema.table` → its columns that count, the hash of its rows, and how many there are."""
    return {
        f"{schema}.{table}": ([name for name, _ in fields], *_hash_rows(con, f'{schema}."{table}"', fields))
        for (schema, table), fields in content_tables(con).items()
    }


def content_tables(con: duckdb.DuckDBPyConnection, catalog: str | None = None) -> dict[tuple[str, str], Fields]:
    """The tables that people read, each with the columns and types that count; of one attached file if named."""
    columns = con.execute(
        "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns "
        "WHERE table_schema IN (SELECT unnest(?)) AND table_catalog = coalesce(?, current_database()) ORDER BY ALL",
        [list(SCHEMAS), catalog],
    ).fetchall()
    tables: dict[tuple[str, str], Fields] = {}
    for schema, table, column, kind in columns:
        if column not in NOT_CONTENT:
            tables.setdefault((schema, table), []).append((column, kind))
    return tables


def _hash_rows(con: duckdb.DuckDBPyConnection, table: str, fields: Fields) -> tuple[str, int]:
    """Each row as JSON text, hashed; the hashes sorted, then hashed."""
    values = ", ".join(f'"{name}" := {canonical(name, kind)}' for name, kind in fields)
    rows = con.execute(
        f"SELECT sha256(coalesce(string_agg(h, '' ORDER BY h), '')), count(*) "
        f"FROM (SELECT sha256(CAST(to_json(struct_pack({values})) AS VARCHAR)) AS h FROM {table})"
    ).fetchall()
    return str(rows[0][0]), int(rows[0][1])


def canonical(name: str, kind: str) -> str:
    return f'round("{name}", {DECIMALS})' if kind in ("DOUBLE", "FLOAT") else f'"{name}"'
