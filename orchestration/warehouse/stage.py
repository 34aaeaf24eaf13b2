"""Stages the inputs of a build into a new DuckDB file: policy, lake, ledger, links, activity, frozen at T.

Not here: resolving identifiers (`identity/resolve.py`), and any rule (the dbt models)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from orchestration.consent.ledger import open_ledger
from orchestration.consent.mirror import Mirror
from orchestration.errors import VerifyError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.vault import Vault
from orchestration.ingestion.lake import lake_hash
from orchestration.policy.loader import canonical, policy_hash
from orchestration.policy.schema import Policy, Source
from orchestration.policy.tables import write_policy_tables
from orchestration.policy.vocabulary import FILE as VOCABULARY
from orchestration.settings import IN_HOME, LedgerAt
from orchestration.warehouse.archive import list_files, sha256_of, write_archive
from orchestration.warehouse.build import Build
from orchestration.warehouse.code_hash import code_hash
from orchestration.warehouse.contact_log import note_contact_points
from orchestration.warehouse.duckdb_settings import connect
from orchestration.warehouse.gate import file_sha256
from orchestration.warehouse.models import Models
from orchestration.warehouse.prepare import project_name
from orchestration.warehouse.publish import last_in_force
from orchestration.warehouse.relations import DECLARED, Columns, relations
from orchestration.warehouse.sensitivity import sensitive_segments, stages_read

Head = tuple[int, str]  # sequence and hash of a ledger record


@dataclass(frozen=True)
class Read:
    """What a build reads beside the policy: files (FILES of `archive.py`), the ledger's tables, contact points."""

    files: pa.Table
    ledger: dict[str, pa.Table]
    contact_points: pa.Table

    def paths(self, home: Home, kind: str, source: str | None = None) -> list[Path]:
        rows = self.files.select(["kind", "source", "path"]).to_pylist()
        named = [row for row in rows if row["kind"] == kind and source in (None, row["source"])]
        return sorted(home.root / row["path"] for row in named if row["path"] is not None)


def stage_inputs(
    home: Home,
    policy: Policy,
    keys: Keys,
    *,
    as_of: datetime,
    policy_dir: Path,
    ledger_at: LedgerAt = IN_HOME,
) -> Build:
    """Makes the build's file, lays the archive of what it read beside it, and notes the build."""
    build, read = _inputs(home, policy, keys, as_of, policy_dir, ledger_at)
    for leftover in home.building.glob(f"{build.generation}.*"):
        leftover.unlink()
    stage_file(home, build.path(home), policy, keys, build, read, *_of_models(policy, policy_dir))
    points, ledger = read.contact_points, read.ledger
    with connect(home) as con:
        note = note_contact_points(con, home, points)
    write_archive(
        home,
        build,
        read.files,
        project=project_name(policy, policy_dir),
        policy_sha256=sha256_of(canonical(policy).encode()),
        vocabulary_sha256=file_sha256(VOCABULARY),
        contact_note=note,
        contact_points=points.num_rows,
        records={name: table.num_rows for name, table in ledger.items()},
    )
    build.save(home)
    return build


def stage_aside(
    home: Home,
    policy: Policy,
    keys: Keys,
    *,
    as_of: datetime,
    policy_dir: Path,
    ledger_at: LedgerAt = IN_HOME,
) -> duckdb.DuckDBPyConnection:
    """What a build would read now, in memory: no build comes of it, and no file; so nothing that would only name it
    (hashes of files, deliveries and code) is worked out. Hold the home's lock, and close it."""
    build, read = _inputs(home, policy, keys, as_of, policy_dir, ledger_at, is_named=False)
    con = connect(home)
    try:
        # who reads a file once needs no copy of it; but its footer is asked for by each query
        con.execute("SET enable_external_file_cache = false; SET parquet_metadata_cache = true")
        _stage(con, home, policy, keys, build, read, *_of_models(policy, policy_dir))
    except BaseException:
        con.close()
        raise
    return con


def _inputs(
    home: Home,
    policy: Policy,
    keys: Keys,
    as_of: datetime,
    policy_dir: Path,
    ledger_at: LedgerAt,
    *,
    is_named: bool = True,
) -> tuple[Build, Read]:
    """What a build reads, and what names it."""
    head, ledger = read_ledger(home, policy, keys, ledger_at)
    with Vault(home, keys) as vault:
        points = vault.contact_points_arrow()
    read = Read(list_files(home, is_measured=is_named), ledger, points)
    build = Build(
        as_of=as_of.astimezone(UTC),
        policy_hash=policy_hash(policy, policy_dir),
        ledger_head=head[1],
        ledger_seq=head[0],
        lake_hash=lake_hash(home) if is_named else "",
        activity_hash=activity_hash(home, read, as_of) if is_named else "",
        keys_id=keys.id,
        code_hash=code_hash() if is_named else "",
    )
    return build, read


def _of_models(policy: Policy, policy_dir: Path) -> tuple[frozenset[str], Mapping[str, frozenset[str]]]:
    models = Models(policy_dir)
    return sensitive_segments(policy, models), stages_read(policy, models)


def stage_file(
    home: Home,
    file: Path,
    policy: Policy,
    keys: Keys,
    build: Build,
    read: Read,
    sensitive: frozenset[str],
    stages: Mapping[str, frozenset[str]],
) -> None:
    """Writes what dbt's sources read into a new `file`: the same for a build, and for its replay."""
    con = connect(home, file)
    try:
        _stage(con, home, policy, keys, build, read, sensitive, stages)
    finally:
        con.close()
    file.chmod(0o600)


def _stage(
    con: duckdb.DuckDBPyConnection,
    home: Home,
    policy: Policy,
    keys: Keys,
    build: Build,
    read: Read,
    sensitive: frozenset[str],
    stages: Mapping[str, frozenset[str]],
) -> None:
    _make_schemas(con)
    write_policy_tables(con, policy, policy_hash=build.policy_hash, sensitive_segments=sensitive, stages_read=stages)
    _write_build(con, build)
    _write_lake(con, home, policy, read)
    for table, columns in DECLARED["ledger"].items():
        _write(con, "ledger", table, columns, read.ledger[table])
    _write_links(con, read.paths(home, "links"))
    _write_activity(con, read, _parquet(read.paths(home, "deliveries")), build.as_of)
    _write_purpose_keys(con, policy, keys)


def read_ledger(
    home: Home, policy: Policy, keys: Keys, at: LedgerAt, replay_head: Head | None = None
) -> tuple[Head, dict[str, pa.Table]]:
    """The head and the records up to it: records that arrive meanwhile wait for the recheck of the exports. A replay
    reads up to `replay_head`."""
    with open_ledger(home, keys, at) as (ledger, registry):
        before = last_in_force(home)
        if before is not None and not ledger.holds((before.ledger_seq, before.ledger_head)):
            raise VerifyError(
                "the ledger is older than the published generation, or another one", remedy="Restore the ledger"
            )
        head = replay_head or ledger.head()
        if not ledger.holds(head):
            raise VerifyError("the ledger does not hold the head to replay", remedy="Restore the ledger")
        return head, Mirror(home, keys).staged(ledger, registry, policy, head)


def _make_schemas(con: duckdb.DuckDBPyConnection) -> None:
    for schema in DECLARED:
        con.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")


def _write(con: duckdb.DuckDBPyConnection, schema: str, table: str, columns: Columns, data: pa.Table | None) -> None:
    """A table of exactly the declared columns."""
    declared = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    con.execute(f'CREATE OR REPLACE TABLE {schema}."{table}" ({declared})')
    if data is None:
        return
    names = ", ".join(f'"{name}"' for name in columns)
    con.register("staged_data", data)
    con.execute(f'INSERT INTO {schema}."{table}" SELECT {names} FROM staged_data')
    con.unregister("staged_data")


def _write_build(con: duckdb.DuckDBPyConnection, build: Build) -> None:
    columns = DECLARED["meta"]["builds"]
    values = {name: getattr(build, name) for name in columns} | {"as_of": build.as_of.replace(tzinfo=None)}
    data = pa.table({name: [value] for name, value in values.items()})
    _write(con, "meta", "builds", columns, data)


def _write_lake(con: duckdb.DuckDBPyConnection, home: Home, policy: Policy, read: Read) -> None:
    """A view over each source's files; a source without data is a typed empty table. And what is known complete."""
    for source in policy.sources.sources:
        columns = relations(policy)["lake"][source.name]
        files = read.paths(home, "touchpoints", source.name)
        if files:
            con.execute(f'CREATE OR REPLACE VIEW lake."{source.name}" AS {_typed(con, files, columns)}')
        else:
            _write(con, "lake", source.name, columns, None)
    batches = read.files.select(["source", "feed", "batch_day", "is_complete"]).to_pylist()
    days = [row for source in policy.sources.sources for row in _complete_days(source, batches)]
    table = pa.table({"source": [r[0] for r in days], "day": pa.array([r[1] for r in days], pa.date32())})
    _write(con, "lake", "completeness", DECLARED["lake"]["completeness"], table)


def _typed(con: duckdb.DuckDBPyConnection, files: Sequence[Path], columns: Columns) -> str:
    """A query of the files with the policy's columns of today; what an older file lacks is empty."""
    reader = _parquet(files)
    present = {row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()}
    parts = [
        f'CAST({chr(34) + name + chr(34) if name in present else "NULL"} AS {kind}) AS "{name}"'
        for name, kind in columns.items()
    ]
    return f"SELECT {', '.join(parts)} FROM {reader}"


def _parquet(files: Sequence[Path]) -> str | None:
    """The reader of these files, named one by one: nothing else in their folders exists for a build."""
    if not files:
        return None
    names = ", ".join("'" + str(path).replace("'", "''") + "'" for path in files)
    return f"read_parquet([{names}], union_by_name = true, hive_partitioning = false)"


def _complete_days(source: Source, batches: Sequence[dict[str, Any]]) -> list[tuple[str, object]]:
    """The days for which every feed with a completion marker has delivered. Without markers none is."""
    marked = [feed.name for feed in source.feeds if feed.marker is not None]
    if not marked:
        return []
    delivered: dict[object, set[str]] = {}
    for batch in batches:
        if batch["source"] == source.name and batch["is_complete"] and batch["batch_day"] is not None:
            delivered.setdefault(batch["batch_day"], set()).add(batch["feed"])
    return [(source.name, day) for day, feeds in sorted(delivered.items(), key=str) if feeds >= set(marked)]


def _write_links(con: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
    """Every link on record, of the lake and of the ledger."""
    columns = DECLARED["identity"]["links"]
    _write(con, "identity", "links", columns, None)
    names = ", ".join(columns)
    con.execute(f"INSERT INTO identity.links SELECT {names} FROM ledger.links")
    reader = _parquet(files)
    if reader is not None:
        con.execute(f"INSERT INTO identity.links SELECT {names} FROM {reader}")


def _write_activity(con: duckdb.DuckDBPyConnection, read: Read, deliveries: str | None, as_of: datetime) -> None:
    _write(con, "activity", "contact_points", DECLARED["activity"]["contact_points"], read.contact_points)
    _write(con, "activity", "deliveries", DECLARED["activity"]["deliveries"], None)
    if deliveries is not None:
        con.execute(f"INSERT INTO activity.deliveries {_deliveries_before(deliveries)}", {"as_of": _naive(as_of)})


def activity_hash(home: Home, read: Read, as_of: datetime) -> str:
    """A hash of the deliveries that this build counts; one made after T does not change the build for T."""
    deliveries = _parquet(read.paths(home, "deliveries"))
    if deliveries is None:
        return ""
    con = connect(home)
    try:
        rows = con.execute(
            f"SELECT md5(string_agg(concat_ws('|', token, destination, delivered_at), ',' ORDER BY ALL)) "
            f"FROM ({_deliveries_before(deliveries)})",
            {"as_of": _naive(as_of)},
        ).fetchall()
    finally:
        con.close()
    return str(rows[0][0] or "")


def _deliveries_before(deliveries: str) -> str:
    return f"SELECT token, destination, delivered_at FROM {deliveries} WHERE delivered_at < $as_of"


def _write_purpose_keys(con: duckdb.DuckDBPyConnection, policy: Policy, keys: Keys) -> None:
    """A key per purpose, so that the pseudonyms of two purposes cannot be joined (design §6)."""
    names = [purpose.name for purpose in policy.purposes.purposes]
    table = pa.table({"purpose": names, "key": [keys.derive(f"audience:{name}").hex() for name in names]})
    _write(con, "identity", "purpose_keys", DECLARED["identity"]["purpose_keys"], table)


def _naive(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(tzinfo=None)
