"""Writes loaded batches to the home: vault, lake, links, quarantine and ledger first, each batch's manifest last."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.vault import Vault
from orchestration.ingestion.contracts import lake_columns
from orchestration.ingestion.durable import settle
from orchestration.ingestion.intake import Intake
from orchestration.ingestion.lake import Manifest, write_manifests
from orchestration.ingestion.layout import write_parts
from orchestration.ingestion.links import LINK_COLUMNS
from orchestration.ingestion.load import ACCEPTED, JUDGED, LINKS, VERDICTS
from orchestration.ingestion.minimise import identifier_table, identifiers_of, kind_of
from orchestration.ingestion.permissions import append_permissions, permission_records, presumed_closings
from orchestration.ingestion.quarantine import MAX_KEPT_CHARACTERS, quarantine_aside
from orchestration.ingestion.quoting import ident, text
from orchestration.policy.schema import Feed, Policy, Source
from orchestration.retention.suppressions import Suppressions
from orchestration.retention.traces import Traces
from orchestration.settings import LedgerAt

ROWS_READ_AT_ONCE = 122_880
QUARANTINED = (
    f"SELECT j.*, v.verdict FROM {JUDGED} AS j LEFT JOIN {VERDICTS} AS v USING (file_no, row_no) "
    "WHERE j.reason IS NOT NULL OR v.verdict = 'conflict'"
)


@dataclass
class Written:
    """What has been written aside for the files of a group, by their number."""

    moves: list[tuple[Path, Path]] = field(default_factory=list)
    files: defaultdict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    accepted: Counter[int] = field(default_factory=Counter)
    quarantined: defaultdict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    links: dict[int, str] = field(default_factory=dict)


class BatchWriter:
    """Writes the batches of one loaded group."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        home: Home,
        policy: Policy,
        keys: Keys,
        source: Source,
        feed: Feed,
        erased: Suppressions,
    ) -> None:
        self.erased = Traces(policy, keys, erased.holds) if erased else None
        self.con, self.home, self.policy, self.keys, self.source, self.feed = con, home, policy, keys, source, feed

    def write(
        self, group: dict[int, Intake], read: dict[int, int], now: datetime, ledger_at: LedgerAt
    ) -> list[Manifest]:
        """Makes every read file of the group exist, in order. What is written before a crash is written again."""
        self._keep_contacts()
        self._append_permissions(now, ledger_at)
        written = Written()
        with tempfile.TemporaryDirectory(dir=self.home.tmp) as folder:
            self._write_lake(group, Path(folder) / "lake", written)
            self._write_links(group, Path(folder) / "links", written)
            self._write_quarantine(group, written)
            settle(written.moves)
        duplicates, suppressed, dropped = self._verdicts("duplicate"), self._verdicts("suppressed"), self._dropped()
        done = [
            Manifest(
                source=self.source.name,
                feed=self.feed.name,
                batch=group[number].batch,
                input_sha256=group[number].input_sha256,
                file=group[number].delivery.name,
                day=group[number].delivery.day,
                is_complete=group[number].delivery.is_complete,
                read=rows,
                accepted=written.accepted[number],
                duplicates=duplicates.get(number, 0),
                quarantined=written.quarantined[number].total(),
                suppressed=suppressed.get(number, 0),
                quarantined_by_reason=dict(sorted(written.quarantined[number].items())),
                dropped_fields=dropped.get(number, 0),
                files=sorted(written.files[number]),
                links_file=written.links.get(number),
                recorded_at=now,
            )
            for number, rows in read.items()
        ]
        write_manifests(self.home, done)
        return done

    def _keep_contacts(self) -> None:
        """The plain values that activation needs go to the vault, encrypted, and nowhere else."""
        parts = [
            f"SELECT t, {text(known.kind)}, {text(known.issuer)}, any_value(i) FROM {identifier_table(known)} "
            "WHERE t IS NOT NULL GROUP BY t"
            for known in identifiers_of(self.policy, self.source)
            if kind_of(self.policy, known.kind).contact
        ]
        rows = self.con.execute(" UNION ALL ".join(parts) + " ORDER BY 1").fetchall() if parts else []
        if rows:
            with Vault(self.home, self.keys) as vault:
                vault.put(rows)

    def _append_permissions(self, now: datetime, ledger_at: LedgerAt) -> None:
        records = permission_records(self.con, self.policy, self.source, ACCEPTED)
        presumed = presumed_closings(self.con, self.policy, self.source, self.feed, QUARANTINED, now)
        append_permissions(self.home, self.keys, records, presumed, now, ledger_at)

    def _verdicts(self, verdict: str) -> dict[int, int]:
        query = f"SELECT file_no, count(*) FROM {VERDICTS} WHERE verdict = {text(verdict)} GROUP BY file_no"
        return dict(self.con.execute(query).fetchall())

    def _dropped(self) -> dict[int, int]:
        return dict(self.con.execute(f"SELECT file_no, sum(dropped)::BIGINT FROM {JUDGED} GROUP BY file_no").fetchall())

    def _write_quarantine(self, group: dict[int, Intake], written: Written) -> None:
        kept = f"CASE WHEN length(line) <= {MAX_KEPT_CHARACTERS} THEN line END"
        query = (
            f"SELECT file_no, row_no, coalesce(reason, verdict), keyed_hash(line), {kept} FROM ({QUARANTINED}) "
            "ORDER BY file_no, row_no"
        )
        for number, rows in itertools.groupby(self.con.execute(query).fetchall(), key=lambda row: int(row[0])):
            chosen = [(row[1], row[2], *self._kept_line(row[3], row[4])) for row in rows]
            name, batch = self.source.name, group[number].batch
            aside, place, count = quarantine_aside(self.home, self.keys, name, batch, chosen)
            written.moves.append((aside, place))
            written.quarantined[number].update(row[1] for row in chosen)
            assert written.quarantined[number].total() == count

    def _kept_line(self, line_hash: str, line: str | None) -> tuple[str | None, str | None]:
        """A bad line that names somebody who was erased is only counted."""
        is_erased = self.erased is not None and line is not None and self.erased.names(line)
        return (None, None) if is_erased else (line_hash, line)

    def _write_lake(self, group: dict[int, Intake], folder: Path, written: Written) -> None:
        columns = ", ".join(
            "b.batch" if name == "batch" else f"a.{ident(name)}" for name, _ in lake_columns(self.policy, self.source)
        )
        query = (
            f"SELECT a.file_no AS p_file, a.business_day AS p_day, {columns} FROM {ACCEPTED} AS a "
            f"JOIN (VALUES {_batches(group)}) AS b (number, batch) ON a.file_no = b.number "
            "ORDER BY p_file, p_day, a.subject_token"
        )
        folder.mkdir()
        for path, rows, (number, day), part in write_parts(self._read(query), 2, folder):
            file = group[number].batch + (f"-{part:04}" if part else "")
            name = f"{self.source.name}/day={day}/{file}.parquet"
            written.moves.append((path, self.home.lake / name))
            written.files[number].append(name)
            written.accepted[number] += rows

    def _write_links(self, group: dict[int, Intake], folder: Path, written: Written) -> None:
        columns = ", ".join(f"a.{name}" for name in LINK_COLUMNS.removesuffix(", batch").split(", "))
        query = (
            f"SELECT a.file_no AS p_file, {columns}, b.batch FROM {LINKS} AS a "
            f"JOIN (VALUES {_batches(group)}) AS b (number, batch) ON a.file_no = b.number ORDER BY p_file, a.token_a"
        )
        folder.mkdir()
        for path, _, (number,), _ in write_parts(self._read(query), 1, folder, whole=True):
            name = f"links/{group[number].batch}.parquet"
            written.moves.append((path, self.home.lake / name))
            written.links[number] = name

    def _read(self, query: str) -> pa.RecordBatchReader:
        return self.con.execute(query).to_arrow_reader(ROWS_READ_AT_ONCE)


def _batches(group: dict[int, Intake]) -> str:
    return ", ".join(f"({number}, {text(intake.batch)})" for number, intake in group.items())
