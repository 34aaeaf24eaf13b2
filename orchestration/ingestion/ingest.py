"""Brings what has landed into the lake: `ingest_source` for one source, `ingest_all` for every source of the policy.

The order of a batch: verify, judge, contract, duplicates, minimise, write, manifest, and only then the landing file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import duckdb

from orchestration.consent.anchoring.anchor import Anchor
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.ingestion import archive, arrivals, lake
from orchestration.ingestion.intake import Intake, Known, grouped, intakes
from orchestration.ingestion.landing import deliveries
from orchestration.ingestion.load import connection, load
from orchestration.ingestion.reports import RefusedFile, SourceReport, forget_refusals, record_refusal
from orchestration.ingestion.rows import Bounds
from orchestration.ingestion.writer import BatchWriter
from orchestration.policy.schema import Feed, Policy, Source
from orchestration.retention.suppressions import Suppressions
from orchestration.settings import IN_HOME, LedgerAt

Progress = Callable[[str], None]


def ingest_all(
    home: Home,
    policy: Policy,
    keys: Keys,
    landing: Path,
    *,
    now: datetime,
    as_of: datetime,
    ledger_at: LedgerAt = IN_HOME,
    progress: Progress | None = None,
) -> list[SourceReport]:
    """Every source of the policy, in its order. The caller holds the home's lock."""
    return [
        ingest_source(home, policy, keys, source, landing, now=now, as_of=as_of, ledger_at=ledger_at, progress=progress)
        for source in policy.sources.sources
    ]


def ingest_source(
    home: Home,
    policy: Policy,
    keys: Keys,
    source: Source,
    landing: Path,
    *,
    now: datetime,
    as_of: datetime,
    ledger_at: LedgerAt = IN_HOME,
    progress: Progress | None = None,
) -> SourceReport:
    """Every pending file of every feed. A bad row is quarantined, a bad file refused; neither stops the rest.

    `now` is the wall clock, `as_of` the build's T. Raises AssentError where nothing more can be done, or policy says to
    wait for what has not arrived. The caller holds the home's lock."""
    arrivals.check_folder(source, landing)
    home.check_landing(landing)
    lake.sweep(home, source.name)
    run = _Run(home, policy, keys, source, landing, now, as_of, ledger_at, progress or (lambda _: None))
    with connection(home, policy, keys) as con:
        for feed in source.feeds:
            run.feed(con, feed)
    forget_refusals(home, source.name, but=run.refused)
    arrivals.check_day(home, source, landing, as_of=as_of, zone=policy.organisation.zone)
    return run.report


class _Run:
    """One run over one source: what every step needs, and the report that it fills."""

    def __init__(
        self,
        home: Home,
        policy: Policy,
        keys: Keys,
        source: Source,
        landing: Path,
        now: datetime,
        as_of: datetime,
        ledger_at: LedgerAt,
        progress: Progress,
    ) -> None:
        self.home, self.policy, self.keys, self.source, self.landing = home, policy, keys, source, landing
        self.now, self.as_of, self.ledger_at, self.progress = now, as_of, ledger_at, progress
        self.bounds = Bounds.of(now, as_of, policy.organisation.grant_tolerance_minutes)
        self.report = SourceReport(source.name)
        self.refused: set[str] = set()  # batches
        self.of_erased: set[str] = set()  # batches with rows of people who were erased
        self.erased = Suppressions(home, keys, Anchor(home, keys, ledger_at))

    def feed(self, con: duckdb.DuckDBPyConnection, feed: Feed) -> None:
        """Group by group; every verified text is gone from tmp afterwards, whatever happens."""
        self.report.waiting += sum(delivery.is_waiting for delivery in deliveries(self.landing, feed))
        known: Known = {manifest.batch: manifest.read for manifest in lake.manifests(self.home, self.source.name)}
        texts: list[Path] = []
        try:
            for group in grouped(self._opened(feed, known, texts)):
                self._group(con, feed, dict(enumerate(group, 1)))
                for text in texts:
                    text.unlink(missing_ok=True)
                texts.clear()
        finally:
            for text in texts:
                text.unlink(missing_ok=True)

    def _opened(self, feed: Feed, known: Known, texts: list[Path]) -> Iterator[Intake]:
        for intake in intakes(self.home, self.source, feed, self.landing, known):
            if intake.text is not None:
                texts.append(intake.text)
            known.setdefault(intake.batch, None)
            yield intake

    def _group(self, con: duckdb.DuckDBPyConnection, feed: Feed, group: dict[int, Intake]) -> None:
        new = {number: i for number, i in group.items() if i.text is not None and i.refused is None}
        if new:
            lake_files = lake.lake_files(self.home, self.source.name)
            read = load(con, self.policy, self.source, feed, new, lake_files, self.bounds, self.now, self.erased)
            writer = BatchWriter(con, self.home, self.policy, self.keys, self.source, feed, self.erased)
            for manifest in writer.write(new, read, self.now, self.ledger_at):
                self.report.add(manifest)
                if manifest.suppressed:
                    self.of_erased.add(manifest.batch)
                self.progress(f"{manifest.file}: {manifest.accepted:,} of {manifest.read:,} rows")
        for intake in group.values():
            self._finish(feed, intake)

    def _finish(self, feed: Feed, intake: Intake) -> None:
        name = intake.delivery.name
        if intake.refused is not None:
            self.report.refused.append(RefusedFile(name, intake.refused.reason, intake.refused.line))
            self.refused.add(intake.batch)
            record_refusal(self.home, self.source.name, feed.name, name, intake.batch, intake.refused, self.now)
            self.progress(f"{name}: refused, {intake.refused}")
            return
        self.report.redelivered += intake.is_known
        if feed.format != "table":
            rule, today = self.source.after_ingest, self.now.date()
            if intake.batch in self.of_erased:
                rule = archive.not_kept(rule)
            archive.after_ingest(
                self.home, self.keys, self.source.name, rule, self.landing, intake.delivery, intake.batch, today
            )
