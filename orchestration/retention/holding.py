"""Which files of the lake hold any of some tokens: by the filters in their footers, then by one look at token columns.

Where the filters leave most files, as for many people at once, looking is left out: it costs 5 to 7% of reading and
writing what it would spare. Not here: what is done with the files (`rewrite.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from orchestration.ingestion.quoting import ident
from orchestration.ingestion.token_filter import hashes_of, is_of_tokens, may_hold

FEW = 32  # up to so many tokens a list is searched, which is 30% faster than asking a table
READER = "read_parquet($files, filename = 'lake_file', union_by_name = true, hive_partitioning = false)"


def files_holding(con: duckdb.DuckDBPyConnection, lake: Path, names: Sequence[str], tokens: pa.Array) -> list[str]:
    """Those of `names`, files of `lake`, that have one of `tokens` in a column of tokens; where most may, all that
    may."""
    hashes = hashes_of(tokens)
    possible = [name for name in names if may_hold(lake / name, hashes)]
    if 2 * len(possible) > len(names) > FEW:
        return possible
    con.register("tokens_sought", pa.table({"token": tokens}))
    found: set[str] = set()
    for folder in sorted({name.split("/")[0] for name in possible}):
        files = [str(lake / name) for name in possible if name.startswith(f"{folder}/")]
        found |= {Path(path).relative_to(lake).as_posix() for path in _holding(con, files, tokens)}
    con.unregister("tokens_sought")
    return [name for name in possible if name in found]


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
