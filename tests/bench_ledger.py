"""`make bench-ledger`: import and verification, reading into the build, and people's requests, as the ledger has them.

The requests have the shape of GDPRbench (Shastri et al., VLDB 2020): its four mixes of operations on 10,000 and 100,000
records, with completion time, correctness of each response against a plain model in memory, and space. Each operation
is the call that the command line makes, the ledger opened anew. Bounds are measured in the same run; a ratio is of CPU
seconds. Not here: thresholds."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import duckdb
from sqlalchemy import text

from orchestration.consent.answers import state as answers
from orchestration.consent.answers.withdraw import Withdrawal, withdraw
from orchestration.consent.database.store import erase_details, raw_chunks, writing
from orchestration.consent.ledger import open_ledger
from orchestration.consent.mirror import Mirror
from orchestration.consent.models import Record, Subject
from orchestration.consent.staging import RECORDS
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.vault import Vault
from orchestration.policy.loader import load_policy
from tests import bench_ledger_import

NOW = datetime(2026, 11, 21, 16, tzinfo=UTC)
PURPOSES = ("sms_marketing", "email_marketing", "personalisation", "mass_content")  # a person has a record for each
MIXES: dict[str, dict[str, int]] = {  # operation → weight, as GDPRbench has them
    "controller": {"create": 25, "delete_by_person": 9, "delete_by_purpose": 8, "delete_by_time": 8, "update": 50},
    "customer": {"read_own": 20, "read_own_scope": 20, "update": 20, "object": 20, "delete_by_person": 20},
    "processor": {"is_permitted": 80, "all_of_a_purpose": 20},
    "regulator": {"as_known_then": 46, "log_of_a_time": 31, "verify_deletion": 23},
}


@dataclass(frozen=True)
class Said:
    at: datetime
    purpose: str
    grants: bool
    until: datetime | None = None


@dataclass
class Model:
    """The plain truth: what each person said, in order, and who is erased since when."""

    said: dict[str, list[Said]] = field(default_factory=dict)
    erased: dict[str, datetime] = field(default_factory=dict)

    def permitted(self, phone: str, at: datetime, known_at: datetime) -> set[str]:
        """The purposes of which the last word known is a grant that has not ended."""
        if phone in self.erased and self.erased[phone] <= known_at:
            return set()
        last = {said.purpose: said for said in self.said.get(phone, []) if said.at <= known_at}
        return {purpose for purpose, said in last.items() if said.grants and (said.until is None or said.until > at)}


class Shop:
    """One home with its people, and the operations. Each returns whether the response was right."""

    def __init__(self, folder: Path, records: int, seed: int) -> None:
        self.home, self.policy = Home.open(folder / "home"), load_policy()
        self.keys, self.model, self.random = Keys.open(self.home), Model(), random.Random(seed)
        self.now, self.numbers, self.bytes_of_people = NOW - timedelta(days=30), 0, 0
        people = [self._new_phone() for _ in range(records // len(PURPOSES))]
        self._append([self._record(phone, purpose, "grant") for phone in people for purpose in PURPOSES])
        self.zipf = [1 / rank for rank in range(1, len(people) + 1)]
        self.people = people

    def _new_phone(self) -> str:
        self.numbers += 1
        return f"+86139{self.numbers:08d}"

    def _subject(self, phone: str) -> Subject:
        return answers.read_identifier(self.policy, self.keys, f"phone:e164:{phone}")

    def _record(self, phone: str, purpose: str, decision: str, until: datetime | None = None) -> Record:
        self.numbers += 1
        self.model.said.setdefault(phone, []).append(Said(self.now, purpose, decision == "grant", until))
        detail = {"surface": "counter", "actor": f"till-{self.numbers % 40}", "evidence": f"form {self.numbers}"}
        self.bytes_of_people += len(phone) + sum(map(len, detail.values()))
        return Record(
            event_id=f"e{self.numbers}",
            type="consent",
            feed="consent_center",
            effective_at=self.now,
            subject=self._subject(phone),
            controller="shop",
            purpose=purpose,
            decision=decision,
            method="explicit_click",
            until=until,
            detail=detail,
        )

    def _append(self, records: list[Record]) -> None:
        contacts = {(r.subject.token, r.subject.kind, r.subject.issuer): r for r in records if r.subject}
        with Vault(self.home, self.keys) as vault:
            vault.put([(*subject, "+8613900000000") for subject in contacts])  # as long as any
        with open_ledger(self.home, self.keys) as (ledger, _):
            assert ledger.append(records, self.now).appended == len(records)

    def _somebody(self) -> str:
        """Customers and processors ask for some people much more often than for others."""
        return self.random.choices(self.people, self.zipf)[0]

    def _permitted(self, phone: str, asked: answers.Asked = answers.EVERYTHING) -> set[str]:
        line = f"phone:e164:{phone}"
        found = answers.state(self.home, self.policy, self.keys, line, self.now, asked=asked)
        return {row["purpose"] for row in found if row["type"] == "consent" and row["in_force"]}

    def create(self) -> bool:
        phone, purpose = self._new_phone(), self.random.choice(PURPOSES)
        self._append([self._record(phone, purpose, "grant")])
        return True  # its state is what later reads are compared with

    def update(self) -> bool:
        phone, purpose = self._somebody(), self.random.choice(PURPOSES)
        decision = self.random.choice(("grant", "withdraw"))
        self._append([self._record(phone, purpose, decision)])
        return True

    def object(self) -> bool:
        phone, purpose = self._somebody(), self.random.choice(PURPOSES)
        asked = Withdrawal(("shop",), self.now, (purpose,))
        ((receipt,),) = withdraw(self.home, self.policy, self.keys, [self._subject(phone)], asked, now=self.now)
        self.model.said[phone].append(Said(self.now, purpose, False))
        return bool(receipt.receipt_id)

    def delete_by_purpose(self) -> bool:
        return self.object()

    def delete_by_time(self) -> bool:
        """A consent that ends by itself: nothing has to run for it to be over."""
        phone, purpose = self._somebody(), self.random.choice(PURPOSES)
        self._append([self._record(phone, purpose, "grant", until=self.now)])
        return True

    def delete_by_person(self) -> bool:
        phone = self._somebody()
        subject = self._subject(phone)
        status = Record(event_id=f"erase {phone}", type="status", feed="desk", effective_at=self.now, subject=subject,
                        controller="shop", fact="erased", state="on")  # fmt: skip
        with open_ledger(self.home, self.keys) as (ledger, registry):
            ledger.append([], self.now, once=[status])
            ref = registry.lookup(subject.token)
            assert ref is not None
            with writing(ledger.engine) as connection:
                erase_details(connection, {ref})
            registry.destroy_data_keys({ref})
        self.model.erased.setdefault(phone, self.now)
        return True

    def read_own(self) -> bool:
        phone = self._somebody()
        found = answers.history(self.home, self.policy, self.keys, f"phone:e164:{phone}")
        said = [row for row in found if row["type"] == "consent"]
        has_detail = phone in self.model.erased or all("event_id" in row for row in said)
        return has_detail and len(said) == len(self.model.said[phone])

    def read_own_scope(self) -> bool:
        return self.is_permitted()

    def is_permitted(self) -> bool:
        phone, purpose = self._somebody(), self.random.choice(PURPOSES)
        found = self._permitted(phone, answers.Asked(purpose=purpose))
        return found == self.model.permitted(phone, self.now, self.now) & {purpose}

    def all_of_a_purpose(self) -> bool:
        """Everyone whose last record for a purpose grants: set-based, as the build reads the ledger."""
        purpose = self.random.choice(PURPOSES)
        with open_ledger(self.home, self.keys) as (ledger, registry), self.home.lock():
            tables = Mirror(self.home, self.keys).staged(ledger, registry, self.policy, ledger.head())
        query = """
            select count(*) from (
                select token, arg_max(decision = 'grant' and coalesce(valid_until > $now, true), seq) as is_granted
                from events where purpose = $purpose group by token
            ) where is_granted and token not in (select token from statuses)"""
        con = duckdb.connect()
        con.register("events", tables["consent_events"])
        con.register("statuses", tables["statuses"])
        (found,) = con.execute(query, {"purpose": purpose, "now": self.now.replace(tzinfo=None)}).fetchall()[0]
        return bool(found == sum(purpose in self.model.permitted(p, self.now, self.now) for p in self.model.said))

    def as_known_then(self) -> bool:
        phone, then = self._somebody(), self.now - timedelta(minutes=self.random.randrange(1, 500))
        return self._permitted(phone, answers.Asked(known_at=then)) == self.model.permitted(phone, self.now, then)

    def log_of_a_time(self) -> bool:
        """The records that were learned in some half hour."""
        since = self.now - timedelta(minutes=self.random.randrange(30, 500))
        until = since + timedelta(minutes=30)
        with open_ledger(self.home, self.keys) as (ledger, _), ledger.reading() as connection:
            low, high = (answers.known_through(connection, at) for at in (since, until))
            query = text("SELECT count(*) FROM events WHERE seq > :low AND seq <= :high AND type = 'consent'")
            found = connection.execute(query, {"low": low, "high": high}).scalar_one()
        return bool(found == sum(since < said.at <= until for of in self.model.said.values() for said in of))

    def verify_deletion(self) -> bool:
        """Nothing is left of an erased person's details, and no key opens their contact."""
        if not self.model.erased:
            return True
        phone = self.random.choice(list(self.model.erased))
        subject = self._subject(phone)
        with open_ledger(self.home, self.keys) as (ledger, registry):
            rows = ledger.subject_rows([registry.lookup(subject.token) or ""])
        with Vault(self.home, self.keys) as vault:
            is_gone = vault.get([subject.token]) == {}
        erased_by = max(row["seq"] for row in rows if row["fact"] == "erased")
        return is_gone and all(row["detail"] is None for row in rows if row["seq"] < erased_by)

    def run(self, mix: str, operations: int) -> tuple[float, int]:
        """Wall seconds, and how many responses were right."""
        weights = MIXES[mix]
        right, spent = 0, 0.0
        for name in self.random.choices(list(weights), list(weights.values()), k=operations):
            self.now += timedelta(minutes=1)
            operation: Callable[[], bool] = getattr(self, name)
            started = time.perf_counter()
            right += operation()
            spent += time.perf_counter() - started
        return spent, right

    def space(self) -> float:
        """Bytes on disk of ledger, registry and vault for each byte of personal data."""
        stored = [self.home.ledger_db, self.home.keys_db, self.home.vault_db, *self.home.root.glob("ledger.sqlite-*")]
        return sum(path.stat().st_size for path in stored) / self.bytes_of_people


def measure_mixes(folder: Path, records: int, operations: int) -> None:
    print(f"\npeople's requests: {records:,} records, {operations} operations of each mix")
    shop = Shop(folder, records, seed=records)
    for mix in MIXES:
        seconds, right = shop.run(mix, operations)
        print(f"  {mix:<11}{seconds:8.1f} s {1000 * seconds / operations:8.1f} ms each   {right}/{operations} right")
    print(f"  space: {shop.space():.1f} bytes on disk for each byte of personal data")


def measure_reading(folder: Path, records: int, new: int) -> None:
    """The build's read of `new` records after `records` known ones, against a bare SELECT of the same columns."""
    shop = Shop(folder, records, seed=1)
    with open_ledger(shop.home, shop.keys) as (ledger, _):
        whole = _cpu(lambda: Mirror(shop.home, shop.keys).read(ledger, ledger.head()))
        before = ledger.head()
    people = [shop._new_phone() for _ in range(new // len(PURPOSES))]
    shop._append([shop._record(phone, purpose, "grant") for phone in people for purpose in PURPOSES])
    columns = ", ".join(RECORDS.names)
    with open_ledger(shop.home, shop.keys) as (ledger, _):
        with ledger.reading() as connection:
            sql = f"SELECT {columns} FROM events WHERE seq > {before[0]} ORDER BY seq"
            bare = min(_cpu(lambda: list(raw_chunks(connection, sql))) for _ in range(5))
        read = min(_cpu(lambda: ledger.records(before[0], None)) for _ in range(5))
        mirrored = _cpu(lambda: Mirror(shop.home, shop.keys).read(ledger, ledger.head()))
    print(f"\nreading into the build: {new:,} new records after {records:,}")
    print(f"  bare SELECT {1000 * bare:.1f} ms, read of the same {1000 * read:.1f} ms: ratio {read / bare:.2f}")
    print(f"  the build's whole read {mirrored:.2f} s, without what it kept {whole:.2f} s")


def _cpu(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


@click.command(help=__doc__)
@click.option("--events", default=1_000_000, show_default=True, help="Of the import.")
@click.option("--operations", default=500, show_default=True, help="Of each mix.")
def main(events: int, operations: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="assent-bench."))
    try:
        print(f"import of {events:,} records, CPU seconds")
        bench_ledger_import.report(bench_ledger_import.measure(folder / "import", events), events)
        measure_reading(folder / "reading", 200_000, 20_000)
        for records in (10_000, 100_000):
            measure_mixes(folder / f"mixes-{records}", records, operations)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
