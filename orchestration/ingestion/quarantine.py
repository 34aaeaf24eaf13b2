"""Keeps rows that were not accepted: the reason in plain, the line encrypted, for whoever repairs the source."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.master import Cipher
from orchestration.ingestion.lake import quarantine_path

LABEL = "quarantine"
NONCE_BYTES = 12
MAX_KEPT_CHARACTERS = 65_536  # a longer line is only counted
COLUMNS = pa.schema(
    [("row_no", pa.int64()), ("reason", pa.string()), ("line_hash", pa.string()), ("sealed_line", pa.binary())]
)


def quarantine_aside(
    home: Home, keys: Keys, source: str, batch: str, rows: Sequence[tuple[int, str, str | None, str | None]]
) -> tuple[Path, Path, int]:
    """Writes (row_no, reason, line_hash, line or None) of one batch aside; returns that file, its place, its rows."""
    cipher = keys.cipher(LABEL)
    sealed = [None if line is None else _seal(cipher, source, batch, row_no, line) for row_no, _, _, line in rows]
    columns: list[list[Any]] = [[row[position] for row in rows] for position in range(3)]
    aside = home.tmp / f"quarantine-{batch}.parquet"
    pq.write_table(pa.table([*columns, sealed], schema=COLUMNS), aside, compression="zstd")
    return aside, quarantine_path(home, source, batch), int(pq.read_metadata(aside).num_rows)


def read_quarantine(keys: Keys, path: Path) -> Iterator[tuple[int, str, str | None]]:
    """(row_no, reason, line) of one batch, for whoever holds the keys."""
    cipher = keys.cipher(LABEL)
    source, batch = path.parent.name, path.stem
    for row in pq.read_table(path).to_pylist():
        sealed = row["sealed_line"]
        line = sealed and cipher.decrypt(
            sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _bound(source, batch, row["row_no"])
        )
        yield row["row_no"], row["reason"], line.decode() if line is not None else None


def _seal(cipher: Cipher, source: str, batch: str, row_no: int, line: str) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, line.encode(), _bound(source, batch, row_no))


def _bound(source: str, batch: str, row_no: int) -> bytes:
    return f"{source}|{batch}|{row_no}".encode()
