"""One consent delivery of the demo's shape imported and verified, against a bare bulk insert of the same rows.

`python -m tests.bench_ledger_import --events 1000000`. The bound is measured in the same run: SQLite's executemany of
the same tuples, already in memory, into the same tables without triggers, with the same pragmas, in one commit. Times
are CPU seconds of this process, user and system: what else the machine does is no matter."""

from __future__ import annotations

import multiprocessing
import resource
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from orchestration.consent.database.sqlite import configure
from orchestration.consent.feeds.importer import import_file
from orchestration.consent.ledger import open_ledger
from orchestration.consent.models import COLUMNS, DETAILS, EVENTS
from orchestration.demo import online, population
from orchestration.demo.consent import ConsentWorld
from orchestration.demo.rows import Calendar
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.loader import load_policy
from orchestration.policy.schema import Policy

NOW = datetime(2026, 11, 21, 16, tzinfo=UTC)
DAYS, SEED = 60, 7
EVENTS_PER_PERSON = 5.5  # a little less than there are: the surplus is cut off


@contextmanager
def timed(times: dict[str, float], what: str) -> Iterator[None]:
    started = time.process_time()
    yield
    times[what] = time.process_time() - started


def write_delivery(path: Path, policy: Policy, events: int) -> None:
    """`events` records of the demo world in the order of writing, in one file."""
    calendar = Calendar.of(NOW, DAYS, policy.organisation.zone)
    people = round(events / EVENTS_PER_PERSON) + 100
    visitors, _ = online.visitors(SEED, calendar, max(1, people // 3))
    history = ConsentWorld(SEED, calendar, policy, population.people(SEED, people)).rows(visitors)
    lines = history.ordered(calendar).columns["line"][:events]
    assert len(lines) == events
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def bare_insert(ledger: Path, target: Path, times: dict[str, float]) -> None:
    """Copies the rows of `ledger` into `target`, of which only the insert and its commit are timed."""
    with closing(sqlite3.connect(ledger)) as source:
        events = source.execute(f"SELECT {', '.join(COLUMNS)} FROM events ORDER BY seq").fetchall()
        details = source.execute("SELECT seq, payload FROM details ORDER BY seq").fetchall()
    with closing(sqlite3.connect(target)) as con:
        configure(con, None)
        for table in (EVENTS, DETAILS):
            con.execute(str(CreateTable(table).compile(dialect=sqlite.dialect())))
            for index in table.indexes:
                con.execute(str(CreateIndex(index).compile(dialect=sqlite.dialect())))
        with timed(times, "bare insert"):
            con.execute("BEGIN IMMEDIATE")
            con.executemany(f"INSERT INTO events VALUES ({', '.join('?' * len(COLUMNS))})", events)
            con.executemany("INSERT INTO details VALUES (?, ?)", details)
            con.execute("COMMIT")


def measure(folder: Path, events: int) -> dict[str, float]:
    """CPU seconds of each step for one delivery of `events`, and the peak of memory in GB before the bare insert."""
    policy, home = load_policy(), Home.open(folder / "home")
    keys, times = Keys.open(home), {}
    feed = next(feed for feed in policy.sources.consent_feeds if feed.format == "jsonl")
    delivery, again = folder / "events.jsonl", folder / "again.jsonl"
    writer = multiprocessing.get_context("spawn").Process(target=write_delivery, args=(delivery, policy, events))
    writer.start()  # in another process: its memory is not the import's
    writer.join()
    shutil.copy(delivery, again)
    with again.open("a", encoding="utf-8") as file:
        file.write("\n")  # a blank line is no row, but other bytes are another file
    with open_ledger(home, keys):
        pass  # made, so that no migration is timed
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with timed(times, "import"):
        report = import_file(home, policy, keys, feed, delivery, now=NOW)
    assert (report.read, report.accepted) == (events, events), report
    with open_ledger(home, keys) as (ledger, _), timed(times, "verify"):
        assert ledger.verify() is None
    with timed(times, "again"):
        report = import_file(home, policy, keys, feed, again, now=NOW)
    assert report.duplicates == events, report
    times["GB before"], times["GB"] = before / 2**20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    bare_insert(home.ledger_db, folder / "bare.sqlite", times)
    return times


def report(times: dict[str, float], events: int) -> None:
    bare = times["bare insert"]
    for what in ("import", "verify", "again", "bare insert"):
        each = times[what] / events
        print(f"  {what:<12} {times[what]:8.2f} s  {each * 1e6:6.1f} us/event  {1 / each:10,.0f} events/s")
    print(f"  import ÷ bare insert {times['import'] / bare:.2f}")
    print(f"  (import + verify) ÷ bare insert {(times['import'] + times['verify']) / bare:.2f}")
    print(f"  delivered again ÷ bare insert {times['again'] / bare:.2f}")
    print(f"  peak memory {times['GB']:.2f} GB, of which before the import {times['GB before']:.2f} GB")


@click.command(help=__doc__)
@click.option("--events", default=1_000_000, show_default=True)
def main(events: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="assent-bench."))
    try:
        times = measure(folder, events)
    finally:
        shutil.rmtree(folder)
    report(times, events)


if __name__ == "__main__":
    main()
