"""One delivery on its way into the ledger: every row is appended, a duplicate, or quarantined with a reason.

A delivery that cannot be read, or holds what may be a restriction of somebody unknown, leaves its feed incomplete until
a corrected file of the same name arrives. Not here: which deliveries there are (`importer.py`)."""

from __future__ import annotations

import gc
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from orchestration.atomic import replace
from orchestration.consent.feeds.judge import Judge
from orchestration.consent.feeds.judged import Judged, judge_lines, judge_payloads, judge_rows
from orchestration.consent.feeds.patterns import Patterns
from orchestration.consent.feeds.payloads import BODIES, payloads
from orchestration.consent.feeds.report import ImportReport
from orchestration.consent.feeds.rows import Row, csv_rows, json_lines
from orchestration.consent.feeds.signal_rows import SignalRows
from orchestration.consent.feeds.table_feed import TableFeed
from orchestration.consent.identifiers import Contact
from orchestration.consent.ledger import Ledger
from orchestration.consent.models import Record
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.pseudonymise import Tokeniser
from orchestration.identity.vault import Vault
from orchestration.ingestion.completeness import Statement, check_end, statement_of
from orchestration.ingestion.lake import Manifest, batch_of, manifest_path, write_manifest
from orchestration.ingestion.landing import Delivery
from orchestration.ingestion.quarantine import MAX_KEPT_CHARACTERS, quarantine_aside
from orchestration.ingestion.readers import line_batches, open_hashed
from orchestration.ingestion.refusal import Limits, Refused
from orchestration.policy.schema import ConsentFeed, Policy
from orchestration.retention.traces import Traces

ROWS_AT_A_TIME = 20_000
Progress = Callable[[str], None]


class Intake:
    """Takes one delivery in. The manifest comes last, so a killed import is simply done again."""

    def __init__(
        self,
        home: Home,
        policy: Policy,
        keys: Keys,
        feed: ConsentFeed,
        ledger: Ledger,
        delivery: Delivery,
        now: datetime,
        progress: Progress,
    ) -> None:
        self._home, self._policy, self._keys, self._feed = home, policy, keys, feed
        self._ledger, self._delivery, self._now, self._progress = ledger, delivery, now, progress
        self.source = f"consent_{feed.name}"
        self.batch = ""
        self.is_durable = False
        self._quarantined: list[tuple[int, str, str | None, str | None]] = []
        erased = ledger.erased
        self._erased = Traces(policy, keys, erased.holds) if erased else None
        self.names_erased = False  # somebody who was erased: then no copy of the file is kept
        self._kept: set[str] = set()  # tokens of the contacts that the vault has from this delivery
        self._keyed_hash = Tokeniser(keys).keyed_hash
        self._delivery_id = self._keyed_hash(f"delivery|{feed.name}|{delivery.name}")

    def run(self) -> ImportReport:
        refused: Refused | None = None
        verified: Path | None = None
        try:
            verified, sha256 = open_hashed(self._delivery.path, "none", self._feed.encoding, self._home.tmp, Limits())
            stated = statement_of(self._delivery)
            stated.hold_sha256(sha256)
            return self._read(verified, sha256, stated)
        except Refused as error:
            refused = error
        finally:
            if verified is not None:
                verified.unlink(missing_ok=True)
        self._note("incomplete")
        return ImportReport(refused={self._delivery.name: refused.reason}, is_incomplete=True)

    def run_table(self) -> ImportReport:
        """The bookmark comes last: what is not in the ledger is read again."""
        table = TableFeed(self._home, self._feed, self._ledger, self._keyed_hash, self._now)
        report = ImportReport()
        try:
            for judged in table.judged(Judge(self._policy, self._keys, self._feed, self._delivery_id, self._now)):
                report += self._append(judged)
                self._progress(f"{self._feed.name}: {report.read:,} rows read, {report.accepted:,} accepted")
        except Refused as error:
            report += ImportReport(refused={self._feed.name: error.reason}, is_incomplete=True)
        # the same rows, seen again, are the same file
        self.batch = self._keyed_hash("|".join(sorted(line_hash or "" for _, _, line_hash, _ in self._quarantined)))
        self._keep_quarantined()
        self._note("incomplete" if report.is_incomplete else "complete")
        if not report.refused:
            table.finish()
        return report

    def _read(self, verified: Path, sha256: str, stated: Statement) -> ImportReport:
        self.batch = batch_of(self.source, self._feed.name, self._delivery.day, sha256)
        known = manifest_path(self._home, self.source, self.batch)
        if known.is_file():
            if self._feed.format != "signal":  # there, rows are what payloads say
                stated.hold_rows(Manifest.model_validate_json(known.read_bytes()).read)
            self.is_durable = True
            return ImportReport(redelivered=1)
        if self._delivery.marker is not None:  # a file that somebody names has one only where it lies beside it
            stated.require(self._feed)
        if self._feed.format != "signal" or self._feed.shape not in BODIES:  # a body ends as its parser says
            check_end(verified, self._feed)
        self._count(verified, stated)
        report = ImportReport()
        with _uncollected():
            for judged in self._judged(verified):
                report += self._append(judged)
                self._progress(f"{self._delivery.name}: {report.read:,} rows read, {report.accepted:,} accepted")
        state = "incomplete" if report.is_incomplete else "complete"
        self._ledger.append([], self._now, once=[self._feed_record(state, sha256)])
        self._finish(report, sha256)
        return report

    def _count(self, verified: Path, stated: Statement) -> None:
        """A file that is broken, cut or empty is refused before anything of it is appended."""
        if self._feed.format == "signal" and self._feed.shape in (*BODIES, "csv"):
            stated.hold_rows(sum(len(part) for part in payloads(verified, self._feed)))
            return
        if self._feed.format == "csv":
            stated.hold_rows(sum(1 for _ in csv_rows(verified)))
            return
        rows = sum(batch.num_rows for batch in line_batches(verified))
        stated.hold_rows(rows)
        if not rows:
            raise Refused("empty")

    def _judged(self, verified: Path) -> Iterator[Judged]:
        judge = Judge(self._policy, self._keys, self._feed, self.batch, self._now)
        if self._feed.format == "signal":
            rows_of = SignalRows(self._feed)
            for part in payloads(verified, self._feed):
                yield judge_payloads(part, rows_of, judge)
            return
        if self._feed.format == "csv":
            for rows in _chunks(csv_rows(verified)):
                yield judge_rows(rows, judge)
            return
        patterns = Patterns(judge)
        for lines in json_lines(verified):
            yield judge_lines(lines, judge, patterns)

    def _append(self, judged: Judged) -> ImportReport:
        """Contacts first, then records: a crash between them leaves a contact that nobody may be reached by."""
        self._keep_contacts(judged.contacts)
        report = self._ledger.append(judged.accepted, self._now, once=judged.restrictions)
        self.names_erased |= report.suppressed > 0
        quarantined = judged.quarantined + [(judged.places[p], "conflict") for p in report.conflict_positions]
        self._quarantined += [self._quarantine_row(*place, reason) for place, reason in quarantined]
        return ImportReport(
            read=judged.read,
            accepted=report.appended,
            duplicates=report.duplicates,
            quarantined=len(quarantined),
            suppressed=report.suppressed,
            quarantined_by_reason=dict(Counter(reason for _, reason in quarantined)),
            without_effect=judged.without_effect,
            presumed_denials=report.presumed_denials,
            is_incomplete=judged.is_blind,
        )

    def _keep_contacts(self, contacts: Iterable[Contact]) -> None:
        new = [contact for contact in contacts if contact[0] not in self._kept]
        if new:
            with Vault(self._home, self._keys) as vault:
                vault.put(new)
            self._kept.update(contact[0] for contact in new)

    def _quarantine_row(self, row_no: int, line: str, reason: str) -> tuple[int, str, str | None, str | None]:
        if self._erased is not None and self._erased.names(line):
            self.names_erased = True
            return row_no, reason, None, None  # only counted
        return row_no, reason, self._keyed_hash(line), line if len(line) <= MAX_KEPT_CHARACTERS else None

    def _note(self, state: str) -> None:
        """Incomplete, unless the ledger says so already: the same bytes may have been refused before a good file of
        that name came, and are refused again. A table is heard once an hour: its reading alone is no news to act on."""
        last, before = self._ledger.last_of_delivery(self._feed.name, self._delivery_id)
        if state == before == "incomplete":
            return
        occasion = f"after {last}" if "incomplete" in (state, before) else f"{self._now:%Y-%m-%dT%H}"
        self._ledger.append([], self._now, once=[self._feed_record(state, occasion)])

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

    def _keep_quarantined(self) -> None:
        if self._quarantined:
            rows = sorted(self._quarantined, key=lambda row: row[:2])
            aside, place, _ = quarantine_aside(self._home, self._keys, self.source, self.batch, rows)
            place.parent.mkdir(parents=True, exist_ok=True)
            replace(aside, place)

    def _finish(self, report: ImportReport, sha256: str) -> None:
        self._keep_quarantined()
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
            without_effect=report.without_effect,
            suppressed=report.suppressed,
            quarantined_by_reason=report.quarantined_by_reason,
            files=[],
            links_file=None,
            recorded_at=self._now,
        )
        write_manifest(self._home, manifest)
        self.is_durable = True


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keeps the cycle collector away from millions of rows that make no cycles: it would take a sixth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(itertools.islice(rows, ROWS_AT_A_TIME)):
        yield chunk
