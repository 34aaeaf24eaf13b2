"""Which files of the lake hold any of some tokens: one look at their token columns, without opening the others.

Reading the token columns of a lake costs 5 to 7% of copying it, measured on 2 M rows. Bloom filters would save half of
that and cost 1 to 5% of the lake's size. Not here: what is done with the files (`rewrite.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from orchestration.ingestion.quoting import ident

FEW = 32  # up to so many tokens a list is searched, which is 30% faster than asking a table
READER = "read_parquet($files, filename = 'lake_file', union_by_name = true, hive_partitioning = false)"


def files_holding(con: duckdb.DuckDBPyConnection, lake: Path, names: Sequence[str], tokens: pa.Array) -> list[str]:
    """Those of `names`, files of `lake`, in which any column of tokens has one of `tokens`; in their order."""
    con.register("tokens_sought", pa.table({"token": tokens}))
    found: set[str] = set()
    for folder in sorted({name.split("/")[0] for name in names}):
        files = [str(lake / name) for name in names if name.startswith(f"{folder}/")]
        found |= {Path(path).relative_to(lake).as_posix() for path in _holding(con, files, tokens)}
    con.unregister("tokens_sought")
    return [name for name in names if name in found]


def _holding(con: duckdb.DuckDBPyConnection, files: list[str], tokens: pa.Array) -> list[str]:
    described = con.execute(f"DESCRIBE SELECT * FROM {READER}", {"files": files}).fetchall()
    columns = [ident(name) for name, kind, *_ in described if kind == "VARCHAR" and is_of_tokens(name)]
    if not columns:
        return []
    is_few = len(tokens) <= FEW
    hits = [
        f"list_contains($tokens::VARCHAR[], {name})" if is_few else f"{name} IN (SELECT token FROM tokens_sought)"
        for name in columns
    ]
    given = {"files": files, **({"tokens": tokens.to_pylist()} if is_few else {})}
    rows = con.execute(f"SELECT DISTINCT lake_file FROM {READER} WHERE {' OR '.join(hits)}", given).fetchall()
    return [str(path) for (path,) in rows]


def is_of_tokens(column: str) -> bool:
    """Whether a column of a lake file, of touchpoints or links, may hold tokens."""
    return column in ("subject_token", "token_a", "token_b") or column.endswith("_token")
