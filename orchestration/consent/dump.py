"""Writes the chained records of a ledger as lines of JSON, for auditors. Not here: details, names of people, tokens."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from orchestration.atomic import replace
from orchestration.consent.database.store import raw_chunks
from orchestration.consent.ledger import Ledger
from orchestration.consent.models import COLUMNS
from orchestration.errors import AssentError


def write_dump(ledger: Ledger, path: Path) -> int:
    """Writes `path` (0600), one object per record with the columns that are not null; returns how many."""
    aside, failed, number = path.with_name(f"tmp_{path.name}"), "", 0
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file, ledger.reading() as connection:
            for rows in raw_chunks(connection, f"SELECT {', '.join(COLUMNS)} FROM events ORDER BY seq"):
                number += _write(file, rows)
        replace(aside, path)
    except OSError as error:
        failed = error.strerror or "cannot write"
    if failed:
        raise AssentError(failed, where=str(path), remedy="Choose another file")
    return number


def _write(file: IO[str], rows: Sequence[Sequence[Any]]) -> int:
    for row in rows:
        named = {name: value for name, value in zip(COLUMNS, row, strict=True) if value is not None}
        file.write(json.dumps(named, separators=(",", ":")) + "\n")
    return len(rows)
