"""Re-applies today's minimisation to what was stored under an older one: columns, events and subjects of touchpoints in
the lake, contact details in the vault. Planned and counted first; only ever towards less data; never a touchpoint.

Idempotent and safe to kill anywhere: what the files hold says what is still to do. Hold the home's lock to apply. Not
here: what becomes of a column (`coarser.py`); links, over which refusals spread; what is sealed (quarantine, archive).
Retention and erasure have rules for those."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.vault import Vault
from orchestration.ingestion.lake import lake_files, manifests
from orchestration.ingestion.layout import write_parquet
from orchestration.ingestion.load import connection
from orchestration.ingestion.minimise import event_sql
from orchestration.ingestion.quoting import ident, texts
from orchestration.policy.schema import Policy, Source
from orchestration.retention.coarser import ColumnFate, Fate, fates, stranger_sql, subject_sql
from orchestration.retention.held import held_tokens
from orchestration.retention.holding import files_holding
from orchestration.retention.steps import Steps
from orchestration.retention.swap import Change, swap, sweep, written_aside
from orchestration.settings import IN_HOME, LedgerAt

KIND = "minimise"
AT_ONCE = 64  # files aside before they are swapped: it bounds the disk that a pass needs
WHY: dict[Fate, str] = {
    "dropped": "policy keeps nothing of it: it goes",
    "coarsened": "policy keeps less of it",
    "lost": "policy keeps another form, which cannot be told from the stored one: it goes",
    "kept": "policy allows more than is stored: nothing changes",
}
WHY_ROWS = {
    "raw_event": "policy names the event no longer: it goes",
    "subject_token": "policy takes that identifier no longer: the next of the row is its subject, else nobody",
}
EVERY = "*"
WHY_HELD = "a legal hold, or a restriction of somebody with a row in them, defers what policy keeps no longer of these"
VAULT = "vault"
OF_VAULT = "contacts/vault"  # a step of its own: no source has such a name
WHY_CONTACT = "policy keeps no contact details of that kind any longer: they go, and with them the keys that open them"


@dataclass(frozen=True)
class PlanLine:
    """One column of one source's stored files: what becomes of it, in how many files and values."""

    source: str
    column: str
    fate: Fate
    into: str | None
    files: int
    values: int
    why: str

    @property
    def changes(self) -> bool:
        return self.fate != "kept"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Pass:
    """What the steps of one pass share. `held`: tokens whose files and contact details stay as they are (F10)."""

    con: duckdb.DuckDBPyConnection
    home: Home
    policy: Policy
    held: pa.Array

    def files(self, source: Source) -> tuple[list[Path], list[Path]]:
        """The source's files that may be written again, and those that a hold defers."""
        files = lake_files(self.home, source.name)
        if source.name in self.policy.retention.legal_holds:
            return [], files
        names = {path.relative_to(self.home.lake).as_posix(): path for path in files}
        held = set(files_holding(self.con, self.home.lake, list(names), self.held)) if len(self.held) else set()
        return [p for n, p in names.items() if n not in held], [p for n, p in names.items() if n in held]


def plan(home: Home, policy: Policy, keys: Keys, ledger_at: LedgerAt = IN_HOME) -> list[PlanLine]:
    """What a pass would change now, counted; reads only."""
    held = held_tokens(home, policy, keys, ledger_at)
    with connection(home, policy, keys) as con:
        at = _Pass(con, home, policy, held)
        lines = [line for source in policy.sources.sources for line in _plan_source(at, source)]
    with Vault(home, keys) as vault:
        kept = _stale_contacts(vault, policy, held)
    counted = Counter(str(kind) for kind in kept["kind"].to_pylist())
    return [*lines, *(PlanLine(VAULT, k, "dropped", None, 1, n, WHY_CONTACT) for k, n in sorted(counted.items()))]


def stale_columns(home: Home, policy: Policy, source: Source) -> int:
    """How many columns of the source's stored files a pass would change, by the files' schemas alone."""
    columns = {name for path in lake_files(home, source.name) for name in pq.read_schema(path).names}
    return sum(fate.fate != "kept" for fate in fates(policy, source, sorted(columns)))


def reminimise(
    home: Home, policy: Policy, keys: Keys, *, now: datetime, ledger_at: LedgerAt = IN_HOME
) -> dict[str, dict[str, int]]:
    """Applies it source by source, resumably, and returns what each source's files lost. A pass that was begun under
    another policy is ended by this one, which looks at every file."""
    sources = {source.name: source for source in policy.sources.sources}
    work = f"{KIND}-{now.astimezone(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    held = held_tokens(home, policy, keys, ledger_at)
    with Steps(home) as steps, connection(home, policy, keys) as con:
        at = _Pass(con, home, policy, held)
        before = steps.works(KIND)
        steps.begin(work, KIND, [*sources, OF_VAULT], now)
        for name in steps.pending(work):
            counts = _empty_vault(at, keys) if name == OF_VAULT else _apply(at, sources[name], now)
            steps.done(work, name, counts, now)
        for other in before:
            steps.forget(other.work_id)
        return steps.counts(work)


def _stale_contacts(vault: Vault, policy: Policy, held: pa.Array) -> pa.Table:
    """The entries whose kind is no contact kind of today: its plain values would not be kept."""
    points = vault.contact_points_arrow()
    allowed = [kind.name for kind in policy.organisation.identifier_kinds if kind.contact]
    stays = pc.or_(
        pc.is_in(points["kind"], value_set=pa.array(allowed, pa.string())), pc.is_in(points["token"], value_set=held)
    )
    return points.filter(pc.invert(stays))


def _empty_vault(at: _Pass, keys: Keys) -> dict[str, int]:
    with Vault(at.home, keys) as vault:
        tokens = _stale_contacts(vault, at.policy, at.held)["token"].to_pylist()
        return {"files": int(bool(tokens)), "columns": 0, "values": vault.erase(tokens) if tokens else 0}


def _plan_source(at: _Pass, source: Source) -> Iterator[PlanLine]:
    con, policy = at.con, at.policy
    free, deferred = at.files(source)
    if held := [path for path in deferred if _changing(policy, source, path)]:
        yield PlanLine(source.name, EVERY, "kept", None, len(held), 0, WHY_HELD)
    files = {path: pq.read_schema(path).names for path in free}
    columns = sorted({column for there in files.values() for column in there})
    for fate in fates(policy, source, columns):
        having = [path for path, there in files.items() if fate.column in there]
        values = _count(con, f"count({ident(fate.column)})", having)
        yield PlanLine(source.name, fate.column, fate.fate, fate.into, len(having), values, WHY[fate.fate])
    for column, is_hit in _by_row(policy, source).items():
        found = _hits(con, list(files), is_hit)
        if found:
            yield PlanLine(source.name, column, "lost", None, len(found), sum(found.values()), WHY_ROWS[column])


def _by_row(policy: Policy, source: Source) -> dict[str, str]:
    """Column → condition of rows whose value policy takes no longer: an event it does not name, a stranger's token."""
    unnamed = f"(raw_event IS NOT NULL AND ({event_sql(source, 'raw_event')}) IS NULL)"
    return {"raw_event": unnamed, "subject_token": stranger_sql(policy, source)}


def _count(con: duckdb.DuckDBPyConnection, what: str, files: Sequence[Path]) -> int:
    found = con.execute(f"SELECT {what} FROM {_reader(files)}").fetchone()
    return int(found[0]) if found else 0


def _hits(con: duckdb.DuckDBPyConnection, files: Sequence[Path], is_hit: str) -> dict[str, int]:
    """File → how many of its rows the condition holds for, where any."""
    if not files:
        return {}
    query = f"SELECT filename, count(*) FROM {_reader(files)} WHERE {is_hit} GROUP BY filename"
    return {str(path): int(rows) for path, rows in con.execute(query).fetchall()}


def _reader(files: Sequence[Path]) -> str:
    return f"read_parquet({texts(files)}, union_by_name = true, hive_partitioning = false, filename = true)"


def _apply(at: _Pass, source: Source, now: datetime) -> dict[str, int]:
    """Writes the source's files again without what policy takes no longer, and says how many files and values."""
    con, home, policy = at.con, at.home, at.policy
    sweep(home)
    lines = [line for line in _plan_source(at, source) if line.changes]
    files, _ = at.files(source)
    rows = set[str]().union(*(_hits(con, files, is_hit) for is_hit in _by_row(policy, source).values()))
    todo = [path for path in files if str(path) in rows or _changing(policy, source, path)]
    with written_aside(home, "reminimise") as folder:
        for start in range(0, len(todo), AT_ONCE):
            few = dict(enumerate(todo[start : start + AT_ONCE], start))
            changes = [
                _write(con, home, policy, source, path, folder / f"{number}.parquet") for number, path in few.items()
            ]
            names = {change.name for change in changes}
            batches = [batch for batch in manifests(home, source.name) if names & {*batch.files}]
            swap(home, batches, changes, "retention", now=now)
    return {"files": len(todo), "columns": len(lines), "values": sum(line.values for line in lines)}


def _changing(policy: Policy, source: Source, path: Path) -> list[ColumnFate]:
    return [fate for fate in fates(policy, source, pq.read_schema(path).names) if fate.fate != "kept"]


def _write(
    con: duckdb.DuckDBPyConnection, home: Home, policy: Policy, source: Source, path: Path, aside: Path
) -> Change:
    """The file as policy would have it today, its rows in their order."""
    before = pq.ParquetFile(path).read()
    con.register("stored", before)
    try:
        after = con.execute(_rewritten(policy, source, before.column_names)).to_arrow_table()
    finally:
        con.unregister("stored")
    if after.num_rows != before.num_rows:
        raise AssertionError(f"{source.name}: a rewritten file has other rows")
    write_parquet(after, aside)
    return Change(path.relative_to(home.lake).as_posix(), 0, aside)


def _rewritten(policy: Policy, source: Source, stored: Sequence[str]) -> str:
    found = {fate.column: fate for fate in fates(policy, source, stored) if fate.fate != "kept"}
    standard = {"raw_event": event_sql(source, "raw_event"), **subject_sql(policy, source, stored)}
    made = {fate.into for fate in found.values()}
    columns = [
        f"{standard.get(name, ident(name))} AS {ident(name)}"
        for name in stored
        if name not in found and name not in made
    ]
    columns += [
        f"{f'coalesce({ident(fate.into)}, {fate.sql})' if fate.into in stored else fate.sql} AS {ident(fate.into)}"
        for fate in found.values()
        if fate.into is not None
    ]
    given = ", ".join(["*", *(fate.given for fate in found.values() if fate.given)])
    return f"SELECT {', '.join(columns)} FROM (SELECT {given} FROM stored)"
