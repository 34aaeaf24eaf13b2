"""What there is that has an age, each with its own time: files of the lake and beside it, contacts, runs, backups.

Reads names, manifests and footers, and rows only to find who is under legal hold. A file that must be there and is not
is an error, not nothing to delete (F8). Not here: what is due (`plan.py`)."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.backup.register import is_where_written, noted_backups
from orchestration.errors import HomeError
from orchestration.exports.manifest import read_manifest
from orchestration.home import Home
from orchestration.ingestion.archive import FOREVER
from orchestration.ingestion.lake import manifests, quarantine_path
from orchestration.ingestion.reports import refusals
from orchestration.policy.schema import Policy
from orchestration.proof.lineage import EVENTS
from orchestration.retention import run_history
from orchestration.retention.contact_notes import contact_notes, first_known
from orchestration.retention.plan import Item, days_of, is_due
from orchestration.retention.settle import Due
from orchestration.warehouse.archive import list_files
from orchestration.warehouse.publish import published

IN_FORCE, HELD = "in_force", "restricted_or_legal_hold"
OTHERS = "#others"  # ends the name of a file in which somebody's data must be kept: the rest of its rows
NEVER = datetime(9000, 1, 1, tzinfo=UTC)  # what still serves a purpose has no age yet
SUBJECTS = {"touchpoints": ("subject_token",), "links": ("token_a", "token_b")}


@dataclass(frozen=True)
class Known:
    """What the generation in force knows: whose data must be kept, what is due of rows and contacts. Without one nobody
    can say whose data must be kept: then nothing of people is due."""

    held: pa.Array  # tokens of people who are restricted or under legal hold
    due: Due | None
    contacts: pa.Table | None  # settle.CONTACTS, of those that the vault holds
    vault_rows: int = 0


@dataclass(frozen=True)
class Outside:
    """Something that retention does not delete, and that its report names."""

    code: str
    count: int


def collect(home: Home, policy: Policy, known: Known, clock: datetime) -> list[Item]:
    """Every item there is. Call it with the home's lock held."""
    zone = ZoneInfo(policy.organisation.zone)
    return [
        *(part for item in _lake(home, zone) for part in _split(home, policy, item, known.held, clock)),
        *_settled(known.due),
        *_quarantine(home, policy, zone),
        *_archived(home),
        *_logs(home),
        *_contact_log(home),
        *_exports(home),
        *_generations(home),
        *_dbt(home),
        *(Item("runs", run, at, 1) for run, at in run_history.ended_runs(home)),
        *_backups(home),
        *_contacts(known, policy.retention.datasets.vault, clock),
    ]


def _split(home: Home, policy: Policy, item: Item, held: pa.Array, clock: datetime) -> list[Item]:
    """A due file of the lake with people whose data must be kept in two: their rows, which stay, and the rest. A file
    of links stays whole: its rows are of pairs."""
    days = days_of(policy, item.dataset, item.source)
    if not len(held) or item.dataset not in SUBJECTS or days is None or not is_due(item.at, days, clock):
        return [item]
    table = pq.read_table(home.lake / item.name, columns=list(SUBJECTS[item.dataset]))
    rows = sum_of(is_held(table, held))
    if not rows:
        return [item]
    if item.dataset == "links":
        return [replace(item, keep=HELD)]
    rest = [replace(item, name=item.name + OTHERS, units=item.units - rows)] if rows < item.units else []
    return [replace(item, units=rows, keep=HELD), *rest]


def is_held(table: pa.Table, held: pa.Array) -> pa.ChunkedArray:
    """Of each row, whether it names one of the tokens `held`."""
    ends = [pc.fill_null(pc.is_in(table[name], value_set=held), False) for name in table.column_names]
    return reduce(pc.or_, ends)


def sum_of(flags: pa.ChunkedArray) -> int:
    return int(pc.sum(flags).as_py() or 0)


def outside(home: Home, policy: Policy, landing: Path, clock: datetime, *, is_ledger_elsewhere: bool) -> list[Outside]:
    """What lies where nothing of ours may be deleted, or waits for somebody."""
    is_foreign = not landing.resolve().is_relative_to(home.root.resolve())
    kept = sum(source.after_ingest.action == "keep" for source in policy.sources.sources)
    days = policy.retention.datasets.backups
    past = [b for b in noted_backups(home).values() if is_due(b.created_at, days, clock) and b.deleting_at is None]
    away = [b for b in past if not is_where_written(b)]
    is_set_up = (home.dagster / "dagster.yaml").is_file()
    found = [
        Outside("landing_is_not_ours", int(is_foreign)),
        Outside("sources_whose_landing_files_are_kept", 0 if is_foreign else kept),
        Outside("refused_files_waiting", sum(len(refusals(home, source.name)) for source in policy.sources.sources)),
        Outside("backups_carried_away_past_their_days", len(away)),
        Outside("run_history_is_elsewhere", int(is_set_up and not run_history.is_here(home))),
        Outside("ledger_is_elsewhere", int(is_ledger_elsewhere)),
    ]
    return [one for one in found if one.count]


def end_of(day: date, zone: ZoneInfo) -> datetime:
    """The first instant after a business day: all of its events were before."""
    after = day + timedelta(days=1)
    return datetime(after.year, after.month, after.day, tzinfo=zone).astimezone(UTC)


def _lake(home: Home, zone: ZoneInfo) -> Iterator[Item]:
    """Touchpoints count from the end of their business day, a file of links from the last time that it shows one. Rows
    are those of the last archive, where a file has not changed since: footers of a long history take seconds."""
    listed = None
    with contextlib.suppress(FileNotFoundError):
        listed = list_files(home).to_pylist()
    if listed is None:
        raise HomeError("a file that a manifest lists is not there", where=str(home.lake), remedy="Restore the home")
    for row in listed:
        if row["path"] is None or row["kind"] == "deliveries":
            continue
        name = (home.root / row["path"]).relative_to(home.lake).as_posix()
        if row["kind"] == "links":
            yield Item("links", name, _last_shown(home.lake / name), row["rows"], row["source"])
        elif row["day"] is not None:
            yield Item("touchpoints", name, end_of(row["day"], zone), row["rows"], row["source"])


def _last_shown(path: Path) -> datetime:
    """The newest `effective_at` by the footer; without statistics by the column."""
    metadata = pq.read_metadata(path)
    at = metadata.schema.to_arrow_schema().get_field_index("effective_at")
    stats = [metadata.row_group(number).column(at).statistics for number in range(metadata.num_row_groups)]
    if stats and all(one is not None and one.has_min_max for one in stats):
        return _utc(max(one.max for one in stats))
    newest = pc.max(pq.read_table(path, columns=["effective_at"])["effective_at"]).as_py()
    return NEVER if newest is None else _utc(newest)


def _quarantine(home: Home, policy: Policy, zone: ZoneInfo) -> Iterator[Item]:
    """A quarantined line may have no readable time: it counts from the end of the day that its file is of."""
    sources = [source.name for source in policy.sources.sources]
    feeds = [f"consent_{feed.name}" for feed in policy.sources.consent_feeds]
    for source in (*sources, *feeds):
        for batch in manifests(home, source):
            path = quarantine_path(home, source, batch.batch)
            if path.is_file():
                at = end_of(batch.day, zone) if batch.day else batch.recorded_at
                yield Item("quarantine", path.relative_to(home.root).as_posix(), at, _rows(path), source)


def _archived(home: Home) -> Iterator[Item]:
    for path in sorted(home.archive.glob("*/*.sealed")):
        until = path.name.split(".")[1]
        if until != FOREVER:
            at = end_of(date.fromisoformat(until), ZoneInfo("UTC"))
            yield Item("archive", path.relative_to(home.root).as_posix(), at, 1, path.parent.name)


def whole_days(home: Home, policy: Policy, clock: datetime) -> list[str]:
    """The files of touchpoints of which every row is past its days: they go as files, or wait as files."""
    items = [i for i in _lake(home, ZoneInfo(policy.organisation.zone)) if i.dataset == "touchpoints"]
    days = {source: days_of(policy, "touchpoints", source) for source in {str(item.source) for item in items}}
    return [i.name for i in items if (n := days[str(i.source)]) is not None and is_due(i.at, n, clock)]


def _settled(due: Due | None) -> Iterator[Item]:
    """Rows that no scope permits and whose time is over, by source and reason."""
    if due is None:
        return
    at = due.until
    groups = due.rows.group_by(["source", "reason", "held_by"]).aggregate([([], "count_all")]).to_pylist()
    for row in sorted(groups, key=lambda row: (row["source"], row["reason"], row["held_by"] or "")):
        name = "/".join(filter(None, (due.generation, row["source"], row["reason"], row["held_by"])))
        yield Item("settled", name, at, row["count_all"], row["source"], row["held_by"])
    found = Counter({row["source"]: 0 for row in groups})
    for row in groups:
        found[row["source"]] += row["count_all"]
    for source, present in due.present.items():
        yield Item("settled", f"{due.generation}/{source}", NEVER, present - found[source], source)


def due_contacts(contacts: pa.Table, days: int, clock: datetime) -> pa.ChunkedArray:
    """Of each contact, whether its days are over, to the second. One that nothing knows any more has no time: it is."""
    last = (clock - timedelta(days=days)).astimezone(UTC).replace(tzinfo=None)
    return pc.fill_null(pc.less_equal(contacts["since"], pa.scalar(last, pa.timestamp("us"))), True)


def days_of_contacts(contacts: pa.Table) -> pa.ChunkedArray:
    return pc.fill_null(pc.strftime(contacts["since"], format="%Y-%m-%d"), "unknown")


def _contacts(known: Known, days: int, clock: datetime) -> Iterator[Item]:
    """Contacts by the day since which nobody may use them, those that are due apart from the others: none is named."""
    if known.contacts is None:
        return
    dated = known.contacts.append_column("day", days_of_contacts(known.contacts))
    groups = dated.append_column("due", due_contacts(dated, days, clock)).group_by(["day", "held_by", "due"])
    for row in groups.aggregate([("since", "max"), ([], "count_all")]).sort_by("day").to_pylist():
        at = datetime.fromtimestamp(0, UTC) if row["since_max"] is None else _utc(row["since_max"])
        yield Item("vault", row["day"], at, row["count_all"], keep=row["held_by"])
    yield Item("vault", "served", NEVER, known.vault_rows - known.contacts.num_rows)


def _logs(home: Home) -> Iterator[Item]:
    for dataset in ("deliveries", "removals"):
        for path in sorted((home.evidence / dataset).glob("*.parquet")):
            last = pc.max(pq.read_table(path, columns=["delivered_at"])["delivered_at"]).as_py()
            if last is not None:
                yield Item(dataset, path.relative_to(home.root).as_posix(), _utc(last), _rows(path))


def _contact_log(home: Home) -> Iterator[Item]:
    """Contact points that have left the vault, by the note that says so: from the T of the first build that knew it.
    Those that are there have no age."""
    rows = contact_notes(home)
    left = rows.filter(pc.invert(rows["is_there"]))
    for note in sorted(set(left["last"].to_pylist())):
        count = sum_of(pc.equal(left["last"], note))
        yield Item("contact_points", f"{note:08}", first_known(home, note), count)
    if rows.num_rows > left.num_rows:
        yield Item("contact_points", "there", NEVER, rows.num_rows - left.num_rows)


def _exports(home: Home) -> Iterator[Item]:
    for folder in sorted(path for path in home.outbox.glob("*/*/*") if path.is_dir()):
        name, manifest = folder.relative_to(home.root).as_posix(), read_manifest(folder)
        if manifest is not None:
            rows = manifest.removals.rows + (manifest.audience.rows if manifest.audience else 0)
            yield Item("exports", name, manifest.expires_at, rows)
        elif times := [path.stat().st_mtime for path in folder.iterdir()]:  # what a kill left is not deliverable
            yield Item("exports", name, datetime.fromtimestamp(max(times), UTC), len(times))


def _generations(home: Home) -> Iterator[Item]:
    current = published(home)
    name = None if current is None else current.generation
    for path in (*sorted(home.warehouse.glob("*.duckdb")), *sorted(home.evidence.glob("*/*.duckdb"))):
        keep = IN_FORCE if path.parent == home.warehouse and path.stem == name else None
        yield Item("generations", path.relative_to(home.root).as_posix(), _as_of(home, path, path.stem), 1, keep=keep)
    for path in sorted(home.evidence.glob(f"*/{EVENTS}")):
        keep = IN_FORCE if path.parent.name == name else None
        at = _as_of(home, path, path.parent.name)
        yield Item("generations", path.relative_to(home.root).as_posix(), at, 1, keep=keep)


def _as_of(home: Home, path: Path, generation: str) -> datetime:
    """T of a generation by its evidence; without any, when its file was written, which is later."""
    for name in ("inputs.json", "published.json"):
        try:
            return datetime.fromisoformat(json.loads((home.evidence / generation / name).read_bytes())["as_of"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _dbt(home: Home) -> Iterator[Item]:
    folder = home.tmp / "dbt"
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    if files:
        at = datetime.fromtimestamp(max(path.stat().st_mtime for path in files), UTC)
        yield Item("dbt", folder.relative_to(home.root).as_posix(), at, len(files))


def _backups(home: Home) -> Iterator[Item]:
    for name, noted in noted_backups(home).items():
        if is_where_written(noted) or noted.deleting_at is not None:  # killed between the file and its note
            yield Item("backups", name, noted.created_at, 1)


def _rows(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC)
