"""Imports what the consent feeds have delivered: pending files, named files, tables.

Not here: what becomes of one delivery (`delivery.py`)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from orchestration.consent.feeds.delivery import Intake, Progress
from orchestration.consent.feeds.report import ImportReport
from orchestration.consent.ledger import open_ledger
from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.ingestion.archive import after_ingest, not_kept
from orchestration.ingestion.landing import Delivery, deliveries
from orchestration.policy.schema import ConsentFeed, Policy
from orchestration.settings import IN_HOME, LedgerAt

TABLE = Delivery(Path(), "table", None, None, True)  # a table is one delivery, which never ends


def import_feeds(
    home: Home,
    policy: Policy,
    keys: Keys,
    landing: Path,
    *,
    now: datetime,
    ledger_at: LedgerAt = IN_HOME,
    progress: Progress | None = None,
) -> dict[str, ImportReport]:
    """Imports the pending files of every feed that has a path, and what is new in the tables of those that have one; a
    report per feed. Hold the home's lock."""
    home.check_landing(landing)
    reports = {}
    with open_ledger(home, keys, ledger_at) as (ledger, _):
        for feed in policy.sources.consent_feeds:
            if feed.format == "table":
                reports[feed.name] = Intake(
                    home, policy, keys, feed, ledger, TABLE, now, progress or _quiet
                ).run_table()
                continue
            reports[feed.name] = ImportReport()
            for delivery in deliveries(landing, feed):
                if delivery.is_waiting:
                    reports[feed.name] += ImportReport(waiting=1)
                    continue
                task = Intake(home, policy, keys, feed, ledger, delivery, now, progress or _quiet)
                reports[feed.name] += task.run()
                if task.is_durable:
                    rule = not_kept(feed.after_ingest) if task.names_erased else feed.after_ingest
                    after_ingest(home, keys, task.source, rule, landing, delivery, task.batch, now.date())
    return reports


def import_file(
    home: Home,
    policy: Policy,
    keys: Keys,
    feed: ConsentFeed,
    path: Path,
    *,
    now: datetime,
    ledger_at: LedgerAt = IN_HOME,
    progress: Progress | None = None,
) -> ImportReport:
    """Imports one file, which is left where it is, and holds it to its marker where one lies beside it. Hold the home's
    lock."""
    if feed.format == "table":
        raise AssentError("the feed reads a table, not files", where=feed.name, remedy="Import it without a file")
    marker = path.with_name(path.name + feed.marker) if feed.marker is not None else None
    delivery = Delivery(path, path.name, None, marker if marker is not None and marker.is_file() else None, True)
    with open_ledger(home, keys, ledger_at) as (ledger, _):
        return Intake(home, policy, keys, feed, ledger, delivery, now, progress or _quiet).run()


def import_table(
    home: Home,
    policy: Policy,
    keys: Keys,
    feed: ConsentFeed,
    *,
    now: datetime,
    ledger_at: LedgerAt = IN_HOME,
    progress: Progress | None = None,
) -> ImportReport:
    """Imports what is new in the table of a feed. Hold the home's lock."""
    if feed.format != "table":
        raise AssentError("the feed reads files, not a table", where=feed.name, remedy="Name the file to import")
    with open_ledger(home, keys, ledger_at) as (ledger, _):
        return Intake(home, policy, keys, feed, ledger, TABLE, now, progress or _quiet).run_table()


def _quiet(_: str) -> None:
    pass
