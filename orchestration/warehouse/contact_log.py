"""The log of which contact points the vault held at each build, so that what an older build saw of it is known.

Tokens only, never a value; the vault itself knows no times. Not here: whether a contact point may be used (dbt)."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.atomic import replace
from orchestration.home import Home
from orchestration.identity.vault import CONTACT_POINTS
from orchestration.parquet import read_table

SCHEMA = CONTACT_POINTS.append(pa.field("is_there", pa.bool_()))
CHANGES = """
select *, true as is_there from (from vault_points except from noted_points)
union all
select *, false as is_there from (from noted_points except from vault_points)
order by all
"""


def note_contact_points(con: duckdb.DuckDBPyConnection, home: Home, points: pa.Table) -> int:
    """Notes what came and what went since the last build; returns the number of the last note. Hold the home's lock.

    A list of all of them every night would grow as the vault times the nights; this grows as what changes."""
    number = len(_notes(home))
    con.register("vault_points", points)
    con.register("noted_points", contact_points_of(con, home, number))
    changes = con.execute(CHANGES).to_arrow_table().cast(SCHEMA)
    for name in ("vault_points", "noted_points"):
        con.unregister(name)
    if changes.num_rows == 0:
        return number
    place = _folder(home)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = home.tmp / "tmp_contact_points.parquet"
    pq.write_table(changes, aside, compression="zstd")
    aside.chmod(0o600)
    replace(aside, place / f"{number + 1:08}.parquet")
    return number + 1


def contact_points_of(con: duckdb.DuckDBPyConnection, home: Home, number: int) -> pa.Table:
    """The contact points at note `number`: of each token what the last note up to it says."""
    files = [(path, at) for at, path in enumerate(_notes(home)[:number], start=1)]
    if not files:
        return CONTACT_POINTS.empty_table()
    notes = pa.concat_tables(
        read_table(path, SCHEMA).append_column("note", pa.repeat(at, _rows(path))) for path, at in files
    )
    con.register("contact_notes", notes)
    found = con.execute(
        "select token, kind, issuer from contact_notes group by all having arg_max(is_there, note) order by all"
    ).to_arrow_table()
    con.unregister("contact_notes")
    return found.cast(CONTACT_POINTS)


def _rows(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


def _notes(home: Home) -> list[Path]:
    return sorted(_folder(home).glob("*.parquet"))


def _folder(home: Home) -> Path:
    return home.evidence / "contact_points"
