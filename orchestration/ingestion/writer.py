"""Writes loaded batches to the home: vault, lake, links, quarantine and ledger first, each batch's manifest last."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from orchestration.atomic import replace
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.vault import Vault
from orchestration.ingestion.contracts import lake_columns
from orchestration.ingestion.intake import Intake
from orchestration.ingestion.lake import Manifest, write_manifest
from orchestration.ingestion.links import LINK_COLUMNS
from orchestration.ingestion.load import ACCEPTED, JUDGED, LINKS, VERDICTS
from orchestration.ingestion.minimise import identifiers_of, kind_of
from orchestration.ingestion.permissions import append_permissions, permission_records
from orchestration.ingestion.quarantine import MAX_KEPT_CHARACTERS, write_quarantine
from orchestration.ingestion.quoting import ident, text
from orchestration.policy.schema import Feed, Policy, Source


class BatchWriter:
    """Writes the batches of one loaded group."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, home: Home, policy: Policy, keys: Keys, source: Source, feed: Feed
    ) -> None:
        self.con, self.home, self.policy, self.keys, self.source, self.feed = con, home, policy, keys, source, feed

    def write(
        self, group: dict[int, Intake], read: dict[int, int], now: datetime, ledger_url: str | None
    ) -> list[Manifest]:
        """Makes every read file of the group exist, in order. What is written before a crash is written again."""
        self._keep_contacts()
        append_permissions(
            self.home, self.keys, permission_records(self.con, self.policy, self.source, ACCEPTED), now, ledger_url
        )
        days, linked, duplicates, quarantined = self._days(), self._linked(), self._duplicates(), self._quarantined()
        done = []
        for number, rows in read.items():
            intake = group[number]
            files = [self._write_day(number, intake.batch, day) for day in days.get(number, [])]
            reasons = Counter(row[1] for row in quarantined.get(number, []))
            manifest = Manifest(
                source=self.source.name,
                feed=self.feed.name,
                batch=intake.batch,
                input_sha256=intake.input_sha256,
                file=intake.delivery.name,
                day=intake.delivery.day,
                is_complete=intake.delivery.is_complete,
                read=rows,
                accepted=sum(int(pq.read_metadata(path).num_rows) for path in files),
                duplicates=duplicates.get(number, 0),
                quarantined=write_quarantine(
                    self.home, self.keys, self.source.name, intake.batch, quarantined.get(number, [])
                ),
                quarantined_by_reason=dict(sorted(reasons.items())),
                files=[path.relative_to(self.home.lake).as_posix() for path in files],
                links_file=self._write_links(number, intake.batch) if number in linked else None,
                recorded_at=now,
            )
            write_manifest(self.home, manifest)
            done.append(manifest)
        return done

    def _keep_contacts(self) -> None:
        """The plain values that activation needs go to the vault, encrypted, and nowhere else."""
        parts = [
            f"SELECT t_{known.field}, {text(known.kind)}, {text(known.issuer)}, any_value(i_{known.field}) "
            f"FROM {ACCEPTED} WHERE t_{known.field} IS NOT NULL GROUP BY t_{known.field}"
            for known in identifiers_of(self.policy, self.source)
            if kind_of(self.policy, known.kind).contact
        ]
        rows = self.con.execute(" UNION ALL ".join(parts) + " ORDER BY 1").fetchall() if parts else []
        if rows:
            with Vault(self.home, self.keys) as vault:
                vault.put(rows)

    def _days(self) -> dict[int, list[date]]:
        found = defaultdict(list)
        query = f"SELECT DISTINCT file_no, business_day FROM {ACCEPTED} ORDER BY ALL"
        for number, day in self.con.execute(query).fetchall():
            found[number].append(day)
        return found

    def _linked(self) -> set[int]:
        return {number for (number,) in self.con.execute(f"SELECT DISTINCT file_no FROM {LINKS}").fetchall()}

    def _duplicates(self) -> dict[int, int]:
        query = f"SELECT file_no, count(*) FROM {VERDICTS} WHERE verdict = 'duplicate' GROUP BY file_no"
        return dict(self.con.execute(query).fetchall())

    def _quarantined(self) -> dict[int, list[tuple[int, str, str, str | None]]]:
        found = defaultdict(list)
        kept = f"CASE WHEN length(line) <= {MAX_KEPT_CHARACTERS} THEN line END"
        query = (
            f"SELECT j.file_no, j.row_no, coalesce(j.reason, v.verdict), keyed_hash(line), {kept} FROM {JUDGED} AS j "
            f"LEFT JOIN {VERDICTS} AS v USING (file_no, row_no) "
            "WHERE j.reason IS NOT NULL OR v.verdict = 'conflict' ORDER BY j.file_no, j.row_no"
        )
        for number, *row in self.con.execute(query).fetchall():
            found[number].append(tuple(row))
        return found

    def _write_day(self, number: int, batch: str, day: date) -> Path:
        columns = ", ".join(
            f"{text(batch)} AS batch" if name == "batch" else ident(name)
            for name, _ in lake_columns(self.policy, self.source)
        )
        where = f"file_no = {number} AND business_day = DATE {text(day)}"
        query = f"SELECT {columns} FROM {ACCEPTED} WHERE {where}"  # in order of lines: nothing before reorders rows
        return self._copy(query, self.home.lake / self.source.name / f"day={day}" / f"{batch}.parquet")

    def _write_links(self, number: int, batch: str) -> str:
        columns = LINK_COLUMNS.removesuffix("batch") + f"{text(batch)} AS batch"
        query = f"SELECT {columns} FROM {LINKS} WHERE file_no = {number} ORDER BY controller, token_a, token_b, kind_b"
        path = self._copy(query, self.home.lake / "links" / f"{batch}.parquet")
        return path.relative_to(self.home.lake).as_posix()

    def _copy(self, query: str, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.home.tmp / path.name
        self.con.execute(f"COPY ({query}) TO {text(aside)} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")
        replace(aside, path)
        return path
