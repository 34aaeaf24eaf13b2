"""`make bench-ingestion`: the CPU time of ingesting one file, beside bare DuckDB copying the same file to Parquet.

Both run in one process, in turn, and the best of a few counts; the bound reads declared columns as text, without
contract, tokens, duplicates, quarantine or manifest. Then where our time goes, and how it grows over sizes.
Not here: thresholds."""

from __future__ import annotations

import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import duckdb

from orchestration.home import Home
from orchestration.ingestion import intake, load
from orchestration.ingestion.writer import BatchWriter
from orchestration.warehouse.duckdb_settings import connect
from tests.unit.ingestion_world import World

FORMATS = ("jsonl", "csv", "parquet")
ROWS_OF_A_PERSON = 20  # a person leaves some 30 touchpoints in 60 days (`make bench`)
ROWS_OF_A_BROKEN_ONE = 1000  # and of one that is repeated
ROWS = """
SELECT 'evt-' || md5(i::VARCHAR) AS id, CASE WHEN i % {broken} = 7 THEN '' ELSE 'view' END AS event,
    strftime(TIMESTAMPTZ '2026-05-01 00:00:00+00' + INTERVAL 1 SECOND * (i % 86400), '%Y-%m-%dT%H:%M:%S.%gZ') AS at,
    CASE WHEN person % 3 = 0 THEN '138' || lpad((person % 100000000)::VARCHAR, 8, '0') END AS phone,
    'acct-' || lpad(person::VARCHAR, 9, '0') AS account,
    '/catalogue/' || (hash(i) % 5000)::VARCHAR || '/detail' AS note,
    CASE WHEN i % 10 = 0 THEN round((i % 99999) / 100, 2) END AS amount, 'agent-' || (i % 300)::VARCHAR AS secret
FROM (SELECT i, hash(i * 7919) % greatest({rows} // {people}, 1) AS person
    FROM (SELECT CASE WHEN range % {broken} = 9 THEN range - 1 ELSE range END AS i FROM range({rows})))
"""
READERS = {
    "jsonl": "read_json('{path}', format = 'newline_delimited', columns = {columns}, maximum_object_size = 1048576)",
    "csv": "read_csv('{path}', auto_detect = false, header = true, columns = {columns})",
    "parquet": "read_parquet('{path}')",
}
WRITERS = {"jsonl": "FORMAT json", "csv": "FORMAT csv, HEADER", "parquet": "FORMAT parquet"}


@click.command(help=__doc__)
@click.option("--rows", default=5_000_000, show_default=True)
@click.option("--repeats", default=3, show_default=True)
@click.option("--format", "formats", multiple=True, type=click.Choice(FORMATS), default=FORMATS)
def main(rows: int, repeats: int, formats: tuple[str, ...]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="assent-bench."))
    try:
        for form in formats:
            print(f"{form}")
            for size in sorted({rows // 4, rows // 2, rows}):
                compare(folder / f"{form}-{size}", form, size, repeats)
    finally:
        shutil.rmtree(folder)
    print(f"peak memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def compare(folder: Path, form: str, rows: int, repeats: int) -> None:
    """One line: rows, both best CPU times, their ratio; and the profile of the best of ours."""
    folder.mkdir()
    file = write_file(folder, form, rows)
    bare, ours, profile = [], [], Counter[str]()
    for number in range(repeats):
        bare.append(cpu(lambda: copy_bare(folder, form, file)))
        world = World.make(folder / f"world-{number}", {"format": form, "path": file.name})
        (world.landing / file.name).hardlink_to(file)
        times = Counter[str]()
        with profiled(times):
            ours.append(cpu(lambda world=world: check(world.ingest(), rows)))  # type: ignore[misc]
        if ours[-1] == min(ours):
            profile = times
        shutil.rmtree(folder / f"world-{number}")
    best = min(ours)
    print(
        f"  {rows:>9,} rows, {file.stat().st_size / 1e6:7,.0f} MB: bare {min(bare):6.2f} s, ours {best:6.2f} s, "
        f"{best / rows * 1e6:5.2f} us a row, ratio {best / min(bare):.2f}",
        flush=True,
    )
    profile["rest"] = best - profile.total()  # type: ignore[assignment]
    print("      " + ", ".join(f"{name} {seconds / best:.0%}" for name, seconds in profile.items()))
    file.unlink()


def write_file(folder: Path, form: str, rows: int) -> Path:
    file = folder / f"rows.{form}"
    query = ROWS.format(rows=rows, people=ROWS_OF_A_PERSON, broken=ROWS_OF_A_BROKEN_ONE)
    duckdb.execute(f"COPY ({query}) TO '{file}' ({WRITERS[form]})")
    return file


def copy_bare(folder: Path, form: str, file: Path) -> None:
    names = ("id", "event", "at", "phone", "account", "note", "amount", "secret")
    columns = {name: "DOUBLE" if name == "amount" else "VARCHAR" for name in names}
    with connect(Home.open(folder / "bare")) as con:
        source = READERS[form].format(path=file, columns=columns)
        target = folder / "bare.parquet"
        con.execute(
            f"COPY (SELECT * FROM {source}) TO '{target}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
        )
        target.unlink()


def check(report: Any, rows: int) -> None:
    assert report.read == rows == report.accepted + report.duplicates + report.quarantined
    assert report.duplicates and report.quarantined


def cpu(task: Callable[[], None]) -> float:
    started = time.process_time()
    task()
    return time.process_time() - started


@contextmanager
def profiled(times: Counter[str]) -> Iterator[None]:
    """Adds the CPU seconds of each step of ingestion to `times`."""
    steps: list[tuple[Any, str, str]] = [
        (intake, "_hash", "hash"),
        (intake, "_open", "verify"),
        (load, "_judge", "parse, check, key"),
        (load, "_hold_to_contract", "contract"),
        (load, "judge_repeats", "duplicates"),
        (load, "tokenise", "tokens"),
        (load, "collect_links", "links"),
        (BatchWriter, "_write_lake", "write"),
        (BatchWriter, "_keep_contacts", "vault"),
    ]
    patches = [patch.object(owner, name, timed(getattr(owner, name), label, times)) for owner, name, label in steps]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()


def timed(step: Callable[..., Any], label: str, times: Counter[str]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        started = time.process_time()
        try:
            return step(*args, **kwargs)
        finally:
            times[label] += time.process_time() - started  # type: ignore[assignment]

    return run


if __name__ == "__main__":
    main()
