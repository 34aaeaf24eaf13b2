"""`make bench-erasure`: what erasing people costs beside one plain copy of the same lake, decoded and encoded again.

A lake of `--rows` touchpoints and the links that they show, 100 touchpoints a person in visits of five, and batches of
83,333 rows; of a small lake one person has touched a larger share. In one process and in turn: the copy, one person
erased, a thousandth of all people erased, one business day past its retention. CPU time counts, wall time stands
beside. Not here: the ledger, the vault, the warehouse."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.home import Home
from orchestration.ingestion.lake import Manifest, batch_of, lake_files, link_files, write_manifests
from orchestration.ingestion.layout import options, write_parquet, write_parts
from orchestration.retention import rewrite
from orchestration.warehouse.duckdb_settings import connect

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SOURCE, FIRST_DAY = "app", date(2026, 1, 1)
ROWS_OF_A_BATCH, ROWS_OF_A_VISIT, VISITS_OF_A_PERSON = 83_333, 5, 20
BATCHES_OF_A_DAY = 4
SHARE = 1000  # one of so many people is erased
KINDS = {"account": "shop", "device": "app", "phone": "e164", "push": "app"}
GOALS_ARE_OF, GOAL_MANY, GOAL_ONE = 20_000_000, 1.3, 0.1
ROWS = """
SELECT 1 AS p, left(sha256('k' || i), 32) AS touchpoint_key, 'app' AS source, 'feed' AS feed, 'shop' AS controller,
    CASE WHEN is_member THEN account ELSE device END AS subject_token,
    CASE WHEN is_member THEN 'account' ELSE 'device' END AS subject_kind,
    CASE WHEN is_member THEN 'shop' ELSE 'app' END AS subject_issuer,
    day + INTERVAL 1 SECOND * (x % 86400)::BIGINT AS occurred_at, day::DATE AS business_day,
    'event_' || x % 17 AS raw_event, sha256('b' || i) AS body_hash, $batch AS batch,
    device AS device_id_token, CASE WHEN is_member THEN account END AS account_id_token,
    CASE WHEN visit % 10 < 4 THEN phone END AS phone_token, CASE WHEN visit % 3 = 0 THEN push END AS push_token_token,
    'item-' || x % 5000 AS item, CASE WHEN x % 10 = 0 THEN x % 99999 / 100.0 END AS amount,
    CASE WHEN x % 20 = 0 THEN 'topic-' || x % 30 END AS topic, NULL::BIGINT AS birthday_month_of_year
FROM (
    SELECT i, hash(i) AS x, i // $of_a_visit AS visit, visit % 10 < 7 AS is_member, $day::TIMESTAMP AS day,
        hash(visit * 7 + 1) % $people AS person
    FROM (SELECT range AS i FROM range($first, $first + $rows))
) INNER JOIN people USING (person)
ORDER BY p, subject_token
"""
LINKS = """
SELECT 'shop' AS controller, subject_token AS token_a, subject_kind AS kind_a, subject_issuer AS issuer_a,
    token_b, kind_b, 'app' AS issuer_b, 'login' AS method, 'app' AS source, min(occurred_at) AS effective_at,
    min(occurred_at) AS recorded_at, false AS is_unlink, any_value(batch) AS batch
FROM (
    SELECT *, unnest([device_id_token, account_id_token, phone_token, push_token_token]) AS token_b,
        unnest(['device', 'account', 'phone', 'push']) AS kind_b
    FROM read_parquet($files)
) WHERE token_b <> subject_token
GROUP BY ALL
"""


@dataclass(frozen=True)
class Measured:
    """One line of the report."""

    what: str
    cpu: float
    wall: float
    removed: rewrite.Removed | None = None


@click.command(help=__doc__)
@click.option("--rows", default=20_000_000, show_default=True)
@click.option("--repeats", default=1, show_default=True, help="The best of so many counts; each makes its lake anew.")
def main(rows: int, repeats: int) -> None:
    runs = [list(measure(rows, seed)) for seed in range(repeats)]
    best = [min(lines, key=lambda line: line.cpu) for lines in zip(*runs, strict=True)]
    copy, one, many, day = best
    for line in best:
        print(f"{line.what:<42}{line.cpu:8.2f} s CPU {line.wall:8.2f} s wall   {line.cpu / copy.cpu:6.3f} of the copy")
        if line.removed is not None:
            print("      " + ", ".join(f"{name} {count:,}" for name, count in line.removed.counts().items() if count))
    if rows < GOALS_ARE_OF:
        print(f"goals are of {GOALS_ARE_OF:,} rows: here one person has touched a larger share of the lake")
        return
    for line, goal in ((many, GOAL_MANY), (one, GOAL_ONE), (day, GOAL_ONE / 10)):
        print(f"{'met ' if line.cpu <= goal * copy.cpu else 'MISSED'} {line.what}: goal at most {goal} of the copy")


def measure(rows: int, seed: int = 0) -> Iterator[Measured]:
    """Makes a lake and yields what each step took: copy, one person, one in a thousand, one day."""
    folder = Path(tempfile.mkdtemp(prefix="assent-bench."))
    try:
        home = Home.open(folder / "home")
        people = make_lake(home, rows)
        yield timed("plain copy, decoded and encoded", lambda: copy_lake(home, folder / "copy.parquet"))
        yield timed("one person erased", lambda: erase(home, people, [people // 2 + seed]))
        some = range(seed + 1, people, SHARE)
        yield timed(f"{len(some)} of {people:,} people erased", lambda: erase(home, people, list(some)))
        yield timed(
            "one business day past its retention", lambda: rewrite.unlink_days(home, SOURCE, [FIRST_DAY], now=NOW)
        )
    finally:
        shutil.rmtree(folder)


def timed(what: str, act: Callable[[], rewrite.Removed | None]) -> Measured:
    cpu, wall = time.process_time(), time.perf_counter()
    removed = act()
    return Measured(what, time.process_time() - cpu, time.perf_counter() - wall, removed)


def make_lake(home: Home, rows: int) -> int:
    """Batches as ingestion lays them out, with their manifests; returns how many people there are."""
    people = max(rows // (ROWS_OF_A_VISIT * VISITS_OF_A_PERSON), 1)
    with connect(home) as con:
        make_people(con, people)
        for number, first in enumerate(range(0, rows, ROWS_OF_A_BATCH)):
            write_batch(home, con, number, first, min(ROWS_OF_A_BATCH, rows - first), people)
    return people


def make_people(con: duckdb.DuckDBPyConnection, people: int) -> None:
    tokens = ", ".join(f"left(sha256('{kind}' || range), 32) AS {kind}" for kind in KINDS)
    con.execute(f"CREATE TABLE people AS SELECT range::UBIGINT AS person, {tokens} FROM range({people})")


def write_batch(home: Home, con: duckdb.DuckDBPyConnection, number: int, first: int, rows: int, people: int) -> None:
    day = FIRST_DAY + timedelta(days=number // BATCHES_OF_A_DAY)
    batch = batch_of(SOURCE, str(number), day, "")
    given = {"batch": batch, "day": day, "first": first, "rows": rows, "people": people, "of_a_visit": ROWS_OF_A_VISIT}
    aside = home.tmp / "bench"
    aside.mkdir(exist_ok=True)
    names = []
    for path, _, _, part in write_parts(con.execute(ROWS, given).to_arrow_reader(ROWS_OF_A_BATCH), 1, aside):
        names.append(f"{SOURCE}/day={day}/{batch}" + (f"-{part:04}" if part else "") + ".parquet")
        place = home.lake / names[-1]
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    links = home.lake / "links" / f"{batch}.parquet"
    links.parent.mkdir(exist_ok=True)
    write_parquet(con.execute(LINKS, {"files": [str(home.lake / name) for name in names]}).to_arrow_table(), links)
    counts = {"read": rows, "accepted": rows, "duplicates": 0, "quarantined": 0, "quarantined_by_reason": {}}
    told = {"source": SOURCE, "feed": "feed", "batch": batch, "input_sha256": "", "file": "f", "day": day}
    places = {"is_complete": True, "files": names, "links_file": f"links/{batch}.parquet", "recorded_at": NOW}
    write_manifests(home, [Manifest.model_validate(told | counts | places)])


def tokens_of(people: list[int]) -> pa.Array:
    """The four tokens of each person, as `make_people` made them."""
    with duckdb.connect() as con:
        make = ", ".join(f"left(sha256('{kind}' || person), 32)" for kind in KINDS)
        found = con.execute(f"SELECT unnest([{make}]) AS token FROM (SELECT unnest($p) AS person)", {"p": people})
        return found.to_arrow_table()["token"].combine_chunks()


def copy_lake(home: Home, target: Path) -> None:
    """Every file read whole and written as it was encoded, one after the other over one target; without its filter."""
    for path in (*lake_files(home, SOURCE), *link_files(home)):
        table = pq.ParquetFile(path).read()
        pq.write_table(table, target, **options(table))


def erase(home: Home, people: int, numbers: list[int]) -> rewrite.Removed:
    return rewrite.erase_tokens(home, tokens_of([number % people for number in numbers]), now=NOW)


if __name__ == "__main__":
    main()
