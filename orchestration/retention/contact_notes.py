"""What the log of contact points says of each token last, and since when: who has left the vault may leave the log too.

Not here: writing the log (`warehouse/contact_log.py`)."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.home import Home


def contact_notes(home: Home) -> pa.Table:
    """Every row of the log of contact points: its token, the last note of that token, and what that says."""
    files = sorted((home.evidence / "contact_points").glob("*.parquet"))
    tables = [pq.read_table(path, columns=["token", "is_there"]) for path in files]
    noted = [
        t.append_column("note", pa.array([int(p.stem)] * t.num_rows, pa.int64()))
        for p, t in zip(files, tables, strict=True)
    ]
    if not noted:
        return pa.table({"token": pa.array([], pa.string()), "last": [], "is_there": pa.array([], pa.bool_())})
    rows = pa.concat_tables(noted)
    last = rows.group_by("token").aggregate([("note", "max")]).rename_columns({"note_max": "last"})
    latest = last.join(rows, keys=["token", "last"], right_keys=["token", "note"])
    return rows.select(["token"]).join(latest, keys="token")


def first_known(home: Home, note: int) -> datetime:
    """T of the first generation that saw the note; without one, when it was written."""
    known = []
    for path in home.evidence.glob("*/inputs.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            found = json.loads(path.read_bytes())
            if found["contact_note"] >= note:
                known.append(datetime.fromisoformat(found["as_of"]))
    written = (home.evidence / "contact_points" / f"{note:08}.parquet").stat().st_mtime
    return min(known, default=datetime.fromtimestamp(written, UTC))
