"""A small home with something past its days in every dataset, and something young beside each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.atomic import write_bytes
from orchestration.backup import sealed
from orchestration.backup.register import note_backup
from orchestration.exports import deliveries
from orchestration.exports.manifest import FilePart, Manifest, write_manifest
from orchestration.home import Home
from orchestration.ingestion.lake import Manifest as Batch
from orchestration.ingestion.lake import quarantine_path, write_manifests
from orchestration.ingestion.quarantine import COLUMNS
from orchestration.retention.purge import At
from orchestration.warehouse import contact_log
from tests.generation_fixture import AS_OF, SMS, World, copy_world, make_world

CLOCK = AS_OF + timedelta(hours=2)
OLD_DAY, YOUNG_DAY = date(2024, 1, 10), date(2026, 5, 10)
OLD = datetime(2022, 1, 10, tzinfo=UTC)
HELD = "cat"  # is under legal hold
OLD_BATCH, YOUNG_BATCH = "1" * 32, "2" * 32
YOUNG_ROWS, DUE_ROWS = 8, 2
GENERATION = "0" * 19 + "9"  # superseded


@dataclass
class Retained:
    """The home, and where its backups lie."""

    world: World
    backups: Path

    @property
    def home(self) -> Home:
        return self.world.home

    def at(self, *, as_of: datetime = CLOCK, now: datetime = CLOCK, **changes: Any) -> At:
        policy = self.world.policy.model_copy(
            update={"retention": self.world.policy.retention.model_copy(update=changes)}
        )
        return At(self.home, policy, self.world.keys, as_of, now, self.world.build.policy_hash, self.home.landing)

    def lake_keys(self) -> set[str]:
        files = self.home.lake.glob("web/*/*.parquet")
        return {key for path in files for key in pq.read_table(path)["touchpoint_key"].to_pylist()}


def make(root: Path) -> Retained:
    world = make_world(root, beside=_say_what_is_due)
    made = Retained(world, root / "backups")
    _write_lake(world)
    _write_beside(world)
    _write_exports(world)
    _write_generation(world.home)
    made.backups.mkdir()
    for name, age in (("old", 36), ("young", 34)):
        write_backup_file(made, name, AS_OF - timedelta(days=age))
    return made


def copy(made: Retained, root: Path) -> Retained:
    """The same, without its backups, which lie elsewhere."""
    return Retained(copy_world(made.world, root), made.backups)


def write_backup_file(made: Retained, name: str, created: datetime) -> Path:
    path = made.backups / f"{name}.backup"
    path.write_bytes(sealed.MAGIC + name.encode() * 20)
    note_backup(made.home, "home", path, now=created)
    return path


LATE = AS_OF.replace(tzinfo=None) - timedelta(days=10) + timedelta(hours=20)  # of bob's day


def _say_what_is_due(con: duckdb.DuckDBPyConnection, world: World) -> None:
    held = [(world.token(HELD, kind),) for kind in world.people[HELD].contacts]
    con.executemany(
        "insert into intermediate.int_people_held select identifier_id, 'legal_hold_use_blocked' "
        "from intermediate.int_identifiers_resolved where token = ?",
        held,
    )
    day = datetime(YOUNG_DAY.year, YOUNG_DAY.month, YOUNG_DAY.day)
    for n in range(DUE_ROWS):
        con.execute(
            "insert into intermediate.int_deletions_due values (?, 'web', 'behaviour', ?, 'never_permitted', ?, null)",
            [f"young-{n}", day + timedelta(hours=n), day + timedelta(days=14)],
        )
    ended = AS_OF.replace(tzinfo=None) - timedelta(days=20)
    for name, since in (("ann", ended), (HELD, ended), ("bob", ended + timedelta(days=10)), ("dan", LATE)):
        token, why = world.token(name, "email"), "legal_hold_use_blocked" if name == HELD else None
        con.execute(
            "insert into intermediate.int_contacts_unsupported values (?, 'email', 'email', ?, ?)", [token, since, why]
        )


def _write_lake(world: World) -> None:
    people = [name for name, person in world.people.items() if person.controller == "shop"]
    old = [(f"old-{name}", world.token(name, "cookie")) for name in people]
    young = [(f"young-{n}", world.token(people[n % 2], "cookie")) for n in range(YOUNG_ROWS)]
    for batch, day, rows in ((OLD_BATCH, OLD_DAY, old), (YOUNG_BATCH, YOUNG_DAY, young)):
        name, links = f"web/day={day}/{batch}.parquet", f"links/{batch}.parquet"
        columns = {"touchpoint_key": [k for k, _ in rows], "subject_token": [t for _, t in rows]}
        table = pa.table({**columns, "business_day": pa.array([day] * len(rows), pa.date32())})
        at = OLD.replace(tzinfo=None) if batch == OLD_BATCH else AS_OF.replace(tzinfo=None)
        pair = {"token_a": [world.token("ann", "phone")], "token_b": [world.token("ann", "email")]}
        linked = pa.table({**pair, "effective_at": pa.array([at], pa.timestamp("us"))})
        for place, content in ((name, table), (links, linked)):
            (world.home.lake / place).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            pq.write_table(content, world.home.lake / place)
        write_manifests(world.home, [_batch("web", batch, day, len(rows), [name], links)])


def _batch(source: str, batch: str, day: date, rows: int, files: list[str], links: str | None) -> Batch:
    return Batch(
        source=source, feed="tag", batch=batch, input_sha256="0" * 64, file="f", day=day, is_complete=True,
        read=rows + 1, accepted=rows, duplicates=0, quarantined=1, quarantined_by_reason={"malformed": 1},
        files=files, links_file=links, recorded_at=AS_OF,
    )  # fmt: skip


def _write_beside(world: World) -> None:
    for batch in (OLD_BATCH, YOUNG_BATCH):
        path = quarantine_path(world.home, "web", batch)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        pq.write_table(pa.table([[1], ["malformed"], ["h"], [b"sealed"]], schema=COLUMNS), path)
    archived = world.home.archive / "wechat"
    archived.mkdir(mode=0o700, parents=True)
    for batch, until in ((OLD_BATCH, "2026-05-30"), (YOUNG_BATCH, "2026-06-01"), ("3" * 32, "kept")):
        write_bytes(archived / f"{batch}.{until}.sealed", b"sealed")
    for when, name in ((OLD, "ann"), (AS_OF, "bob")):
        names = (world.home, SMS, "sms_gateway", f"generation_of_{when.year}")
        deliveries.record(*names, [world.token(name, "phone")], now=when)
        deliveries.record_removals(*names, [world.token("bob", "phone")], now=when)
    _write_contact_log(world)
    results = world.home.tmp / "dbt" / "target" / "run_results.json"
    results.parent.mkdir(parents=True)
    results.write_text("{}")
    os.utime(results, times=(OLD.timestamp(), OLD.timestamp()))


def _write_contact_log(world: World) -> None:
    """Ann's contact left the vault long ago, dan's lately; the log of the first is past its days."""
    place = world.home.evidence / "contact_points"
    place.mkdir(mode=0o700)
    notes = ([("ann", True), ("bob", True), ("dan", True)], [("ann", False)], [("dan", False)])
    for number, (rows, at) in enumerate(zip(notes, (OLD, OLD, AS_OF), strict=True), start=1):
        tokens = [world.token(name, "phone") for name, _ in rows]
        columns = [tokens, ["phone"] * len(rows), ["e164"] * len(rows), [is_there for _, is_there in rows]]
        path = place / f"{number:08}.parquet"
        pq.write_table(pa.table(columns, schema=contact_log.SCHEMA), path)
        os.utime(path, times=(at.timestamp(), at.timestamp()))


def _write_exports(world: World) -> None:
    for name, ended in (("expired", AS_OF - timedelta(hours=24)), ("current", AS_OF)):
        folder = world.home.outbox / SMS / f"to_{name}" / world.build.generation
        folder.mkdir(mode=0o700, parents=True)
        write_bytes(folder / "removals.csv", b"contact\r\n")
        part = FilePart(name="removals.csv", rows=1, columns=("contact",), sha256="0" * 64)
        write_manifest(folder, _manifest(world, part, ended), mode=0o600)


def _manifest(world: World, part: FilePart, ended: datetime) -> Manifest:
    words = ("destination", "controller", "purpose", "recipient", "legal_entity", "role", "country", "contact_form")
    texts = dict.fromkeys((*words, "policy_hash", "ledger_head", "contact_written_as"), "x")
    return Manifest.model_validate(
        {
            **texts, "status": "withheld", "segment": SMS, "generation": world.build.generation, "as_of": AS_OF,
            "ledger_seq": 1, "transfer_mechanism": None, "encoding": None, "audience": None, "removals": part,
            "unlistable_removals": 0, "withheld": {}, "written_at": ended, "expires_at": ended,
        }
    )  # fmt: skip


def _write_generation(home: Home) -> None:
    """A superseded one, older than its days, as evidence."""
    place = home.evidence / GENERATION
    place.mkdir(mode=0o700)
    (place / f"{GENERATION}.duckdb").write_bytes(b"an old generation")
    os.utime(place / f"{GENERATION}.duckdb", times=(OLD.timestamp(), OLD.timestamp()))


def quarantined(home: Home, *, days: int) -> int:
    """Lines in quarantine, one for each of `days` long past; returns how many."""
    for n in range(days):
        batch = f"{n:032}"
        path = quarantine_path(home, "web", batch)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        pq.write_table(pa.table([[1], ["malformed"], ["h"], [b"sealed"]], schema=COLUMNS), path)
        write_manifests(home, [_batch("web", batch, OLD_DAY + timedelta(days=n), 0, [], None)])
    return days
