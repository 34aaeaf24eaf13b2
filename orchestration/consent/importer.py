"""Imports deliveries of consent feeds: every row is appended, a duplicate, or quarantined with a reason.

A delivery that cannot be read, or holds what may be a restriction of somebody unknown, leaves its feed incomplete until
a corrected file of the same name arrives."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from orchestration.atomic import replace
from orchestration.consent.judge import Contact, Judge, Verdict
from orchestration.consent.ledger import Ledger, open_ledger
from orchestration.consent.models import Record
from orchestration.consent.rows import Row, read_rows
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.pseudonymise import Tokeniser
from orchestration.identity.vault import Vault
from orchestration.ingestion.archive import after_ingest
from orchestration.ingestion.lake import Manifest, batch_of, manifest_path, write_manifest
from orchestration.ingestion.landing import Delivery, deliveries
from orchestration.ingestion.quarantine import MAX_KEPT_CHARACTERS, quarantine_aside
from orchestration.ingestion.readers import open_hashed
from orchestration.ingestion.refusal import Limits, Refused
from orchestration.policy.schema import ConsentFeed, Policy
from orchestration.settings import IN_HOME, LedgerAt

ROWS_AT_A_TIME = 20_000


@dataclass(frozen=True)
class ImportReport:
    """What became of the deliveries. `read = accepted + duplicates + quarantined`."""

    read: int = 0
    accepted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    quarantined_by_reason: dict[str, int] = field(default_factory=dict)
    presumed_denials: int = 0  # records that quarantined rows caused, beside what was read
    refused: dict[str, str] = field(default_factory=dict)  # file → reason
    redelivered: int = 0  # files that were imported before
    waiting: int = 0  # files without their completion marker
    is_incomplete: bool = False  # somebody's restriction may be missing: what depends on the feed stops

    def __add__(self, other: ImportReport) -> ImportReport:
        return ImportReport(
            self.read + other.read,
            self.accepted + other.accepted,
            self.duplicates + other.duplicates,
            self.quarantined + other.quarantined,
            dict(sorted((Counter(self.quarantined_by_reason) + Counter(other.quarantined_by_reason)).items())),
            self.presumed_denials + other.presumed_denials,
            self.refused | other.refused,
            self.redelivered + other.redelivered,
            self.waiting + other.waiting,
            self.is_incomplete or other.is_incomplete,
        )


def import_feeds(
    home: Home, policy: Policy, keys: Keys, landing: Path, *, now: datetime, ledger_at: LedgerAt = IN_HOME
) -> dict[str, ImportReport]:
    """Imports the pending files of every feed that has a path; a report per feed. Hold the home's lock."""
    home.check_landing(landing)
    reports = {}
    with open_ledger(home, keys, ledger_at) as (ledger, _):
        for feed in policy.sources.consent_feeds:
            reports[feed.name] = ImportReport()
            for delivery in deliveries(landing, feed):
                if delivery.is_waiting:
                    reports[feed.name] += ImportReport(waiting=1)
                    continue
                task = _Import(home, policy, keys, feed, ledger, delivery, now)
                reports[feed.name] += task.run()
                if task.is_durable:
                    after_ingest(home, keys, task.source, feed.after_ingest, landing, delivery, task.batch, now.date())
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
) -> ImportReport:
    """Imports one file, which is left where it is. Hold the home's lock."""
    delivery = Delivery(path, path.name, None, None, True)
    with open_ledger(home, keys, ledger_at) as (ledger, _):
        return _Import(home, policy, keys, feed, ledger, delivery, now).run()


class _Import:
    """One delivery on its way into the ledger. The manifest comes last, so a killed import is simply done again."""

    def __init__(
        self,
        home: Home,
        policy: Policy,
        keys: Keys,
        feed: ConsentFeed,
        ledger: Ledger,
        delivery: Delivery,
        now: datetime,
    ) -> None:
        self._home, self._policy, self._keys, self._feed = home, policy, keys, feed
        self._ledger, self._delivery, self._now = ledger, delivery, now
        self.source = f"consent_{feed.name}"
        self.batch = ""
        self.is_durable = False
        self._quarantined: list[tuple[int, str, str, str | None]] = []
        self._keyed_hash = Tokeniser(keys).keyed_hash
        self._delivery_id = self._keyed_hash(f"delivery|{feed.name}|{delivery.name}")

    def run(self) -> ImportReport:
        refused: Refused | None = None
        verified: Path | None = None
        try:
            verified, sha256 = open_hashed(self._delivery.path, "none", self._feed.encoding, self._home.tmp, Limits())
            return self._read(verified, sha256)
        except Refused as error:
            refused = error
        finally:
            if verified is not None:
                verified.unlink(missing_ok=True)
        self._note_refusal()
        return ImportReport(refused={self._delivery.name: refused.reason}, is_incomplete=True)

    def _read(self, verified: Path, sha256: str) -> ImportReport:
        self.batch = batch_of(self.source, self._feed.name, self._delivery.day, sha256)
        if manifest_path(self._home, self.source, self.batch).is_file():
            self.is_durable = True
            return ImportReport(redelivered=1)
        if not any(True for _ in read_rows(verified, self._feed.format)) and self._feed.format == "jsonl":
            raise Refused("empty")  # the pass above also refuses a broken CSV before anything is appended
        report = ImportReport()
        judge = Judge(self._policy, self._keys, self._feed, self.batch, self._now)
        for rows in _chunks(read_rows(verified, self._feed.format)):
            report += self._append([(row, judge.judge(row)) for row in rows])
        state = "incomplete" if report.is_incomplete else "complete"
        self._ledger.append([], self._now, once=[self._feed_record(state, sha256)])
        self._finish(report, sha256)
        return report

    def _append(self, judged: list[tuple[Row, Verdict]]) -> ImportReport:
        """Contacts first, then records: a crash between them leaves a contact that nobody may be reached by."""
        accepted = [(row, verdict) for row, verdict in judged if verdict.record is not None]
        self._keep_contacts(contact for _, verdict in accepted for contact in verdict.contacts)
        report = self._ledger.append(
            [verdict.record for _, verdict in accepted if verdict.record is not None],
            self._now,
            once=[record for _, verdict in judged for record in verdict.restrictions],
        )
        quarantined = [(row, verdict.reason) for row, verdict in judged if verdict.reason is not None]
        quarantined += [(accepted[position][0], "conflict") for position in report.conflict_positions]
        self._quarantined += [self._quarantine_row(row, reason) for row, reason in quarantined]
        return ImportReport(
            read=len(judged),
            accepted=report.appended,
            duplicates=report.duplicates,
            quarantined=len(quarantined),
            quarantined_by_reason=dict(Counter(reason for _, reason in quarantined)),
            presumed_denials=report.presumed_denials,
            is_incomplete=any(verdict.is_blind for _, verdict in judged),
        )

    def _keep_contacts(self, contacts: Iterable[Contact]) -> None:
        distinct = list(dict.fromkeys(contacts))
        if distinct:
            with Vault(self._home, self._keys) as vault:
                vault.put(distinct)

    def _quarantine_row(self, row: Row, reason: str) -> tuple[int, str, str, str | None]:
        line = row.line if len(row.line) <= MAX_KEPT_CHARACTERS else None
        return row.row_no, reason, self._keyed_hash(row.line), line

    def _note_refusal(self) -> None:
        """The delivery is incomplete, unless the ledger says so already: the same bytes may have been refused before a
        good file of that name came, and are refused again."""
        last, state = self._ledger.last_of_delivery(self._feed.name, self._delivery_id)
        if state != "incomplete":
            self._ledger.append([], self._now, once=[self._feed_record("incomplete", f"after {last}")])

    def _feed_record(self, state: str, occasion: str) -> Record:
        """How complete this delivery is. A later file of the same name speaks for the same delivery."""
        return Record(
            event_id=f"delivery:{self._delivery_id}:{occasion}:{state}",
            type="feed",
            feed=self._feed.name,
            batch=self._delivery_id,
            state=state,
            effective_at=self._now,
        )

    def _finish(self, report: ImportReport, sha256: str) -> None:
        if self._quarantined:
            rows = sorted(self._quarantined)
            aside, place, _ = quarantine_aside(self._home, self._keys, self.source, self.batch, rows)
            place.parent.mkdir(parents=True, exist_ok=True)
            replace(aside, place)
        manifest = Manifest(
            source=self.source,
            feed=self._feed.name,
            batch=self.batch,
            input_sha256=sha256,
            file=self._delivery.name,
            day=self._delivery.day,
            is_complete=not report.is_incomplete,
            read=report.read,
            accepted=report.accepted,
            duplicates=report.duplicates,
            quarantined=report.quarantined,
            quarantined_by_reason=report.quarantined_by_reason,
            files=[],
            links_file=None,
            recorded_at=self._now,
        )
        write_manifest(self._home, manifest)
        self.is_durable = True


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(itertools.islice(rows, ROWS_AT_A_TIME)):
        yield chunk
