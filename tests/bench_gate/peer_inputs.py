"""What the other tools read: the rows that our SQL reads, as Parquet. Not here: any part of the decision.

They start where §5 of the design starts: at the admitted events of the ledger, with identifiers resolved. They owe the
permitted set alone; our SQL also says which event and notice admit, and the reason of every denial."""

from __future__ import annotations

from pathlib import Path

from orchestration.home import Home
from orchestration.warehouse.duckdb_settings import connect
from tests.bench_gate.world import AS_OF, DATABASE

T = AS_OF.replace(tzinfo=None)
SENSITIVE = (("item", "med-"), ("store", "clinic-"))  # minimisation.yaml; checked in `write_inputs`
COLUMNS = ("source", "controller", "subject_token", "occurred_at", "raw_event", "item", "store")
# not every tool knows infinite timestamps
FAR, EARLY = "timestamp '9999-01-01'", "timestamp '1900-01-01'"
TABLES = {
    "admitted": f"""
        select identifier_id, is_strong, scope_bit, restricts, inadmissible_reason is null as is_admissible, channel,
            seq > 0 as is_told,
            greatest(effective_at, {EARLY}) as effective_at, least(ends_at, {FAR}) as ends_at
        from intermediate.int_consent_events_admitted
    """,
    "grantors": "select unit_id, identifier_id from intermediate.int_grantors",
    "reach": "select identifier_id, group_id from identity.denial_reach",
    "units": "select unit_id, group_id, status_reason is null as is_free from intermediate.int_units",
    "identifiers": "select identifier_id, controller, token, is_ambiguous, unit_id "
    "from intermediate.int_identifiers_resolved",
    "scopes": "select scope_bit, scope_mask from policy.scopes",
    "kept": f"select controller, category, kept_from, least(kept_to, {FAR}) as kept_to, mask_kept "
    "from intermediate.int_masks_kept",
    "events": "select source, raw_event, category from policy.events where category is not null",
}


def inputs(home: Home) -> Path:
    return home.tmp / "peers"


def lake_files(home: Home) -> dict[str, list[str]]:
    """Source → its Parquet files."""
    return {
        folder.name: sorted(str(file) for file in folder.glob("*/*.parquet"))
        for folder in sorted(home.lake.iterdir())
        if folder.is_dir()
    }


def write_inputs(home: Home) -> None:
    """Exports the tables of the built file, once, beside the lake's own files."""
    inputs(home).mkdir(exist_ok=True)
    con = connect(home, home.building / f"{DATABASE}.duckdb", read_only=True)
    try:
        values = con.execute("select field, value_prefix from policy.sensitive_values order by all").fetchall()
        assert tuple(values) == SENSITIVE, "the peers do not know the policy's sensitive values"
        for name, query in TABLES.items():
            con.execute(f"copy ({query}) to '{inputs(home) / name}.parquet' (format parquet, compression zstd)")
    finally:
        con.close()
