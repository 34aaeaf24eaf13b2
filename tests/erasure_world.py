"""A world in which one person, ann, is in every place that an erasure has to reach, and others beside her.

The places are written by what writes them in a run, but for the lake's files, which are small and made by hand."""

from __future__ import annotations

import gzip
import json
from contextlib import closing
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.consent.ledger import open_ledger
from orchestration.consent.mirror import Mirror
from orchestration.evidence import expectations
from orchestration.exports.export import export_generation
from orchestration.identity.vault import Vault
from orchestration.ingestion.archive import seal_file
from orchestration.ingestion.lake import Manifest, write_manifests
from orchestration.ingestion.links import LINK_COLUMNS
from orchestration.ingestion.quarantine import quarantine_aside
from orchestration.retention import respond
from orchestration.retention.due_erasures import Erased, erase_due
from orchestration.retention.respond import Site
from orchestration.warehouse.build import Build
from orchestration.warehouse.checks import CheckResult
from orchestration.warehouse.contact_log import note_contact_points
from orchestration.warehouse.duckdb_settings import connect
from orchestration.warehouse.gate import REQUIRED_STAGES, release
from orchestration.warehouse.publish import publish
from tests.generation_fixture import AS_OF, LATER, Person, World, _write_generation, copy_world, make_world

DAY = date(2026, 5, 30)
CONFIRMED = LATER + timedelta(hours=1)
DUE = CONFIRMED + timedelta(days=10)
BATCH = "ab" * 16
ANN_VALUES = ("+8613800138000", "ann@example.com", "openid-ann", "cookie-ann")


def site_of(world: World) -> Site:
    return Site(world.home, world.policy, world.keys)


def scatter(world: World) -> None:
    """Puts everybody of the shop in the lake, its links, quarantine, archive and landing, the mirror and the logs."""
    _write_lake(world)
    _write_quarantine(world)
    _write_files(world)
    with open_ledger(world.home, world.keys) as (ledger, _):
        Mirror(world.home, world.keys).read(ledger, ledger.head())
    memory = world.home.warehouse / "identity" / "resolution"
    memory.parent.mkdir(mode=0o700, exist_ok=True)
    memory.write_bytes(b"".join(bytes.fromhex(world.token(p.name, "phone")) for p in _shop(world)))
    with Vault(world.home, world.keys) as vault, connect(world.home) as con:
        note_contact_points(con, world.home, vault.contact_points_arrow())


@pytest.fixture(scope="session")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Everybody in every place, and exports that name them. Copy it, do not change it."""
    world = make_world(tmp_path_factory.mktemp("scattered"))
    scatter(world)
    return world


@pytest.fixture(scope="session")
def exported(scattered: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A copy of it, exported once. Copy it, do not change it."""
    copied = copy_world(scattered, tmp_path_factory.mktemp("exported"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expectations, "check_export", lambda *_: [CheckResult("exports", "good", True)])
        export_generation(copied.home, copied.policy, copied.keys, now=LATER, policy_hash=copied.build.policy_hash)
    return copied


@pytest.fixture(name="world")
def scattered_world(exported: World, tmp_path: Path) -> World:
    return copy_world(exported, tmp_path)


@pytest.fixture(scope="session")
def erased_once(exported: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, str]:
    return erased(copy_world(exported, tmp_path_factory.mktemp("erased")))


@pytest.fixture
def without_ann(erased_once: tuple[World, str], tmp_path: Path) -> tuple[World, str]:
    """A copy of the world after ann asked and everything was done, and her request."""
    world, request = erased_once
    return copy_world(world, tmp_path / "without_ann"), request


def _shop(world: World) -> list[Person]:
    return [person for person in world.people.values() if person.controller == "shop"]


def touchpoint(world: World, name: str, number: int, **tokens: str | None) -> dict[str, Any]:
    return {
        "touchpoint_key": f"{name}-{number}", "source": "web", "feed": "tag", "controller": "shop",
        "subject_token": world.token(name, "cookie"), "subject_kind": "cookie", "subject_issuer": "shop.example.com",
        "occurred_at": datetime(2026, 5, 30, 1), "business_day": DAY, "raw_event": "page_viewed",
        "body_hash": f"body-{name}-{number}", "batch": BATCH, "item": f"sku-{number}",
        "email_token": None, "account_id_token": None, **tokens,
    }  # fmt: skip


def _write_lake(world: World) -> None:
    rows = [
        touchpoint(world, p.name, n, email_token=world.token(p.name, "email")) for p in _shop(world) for n in (1, 2)
    ]
    rows.append(touchpoint(world, "bob", 3, email_token=world.token("ann", "email")))  # a shared address
    place = world.home.lake / "web" / f"day={DAY}" / f"{BATCH}.parquet"
    _parquet(place, rows)
    links = [
        {"controller": "shop", "token_a": world.token(p.name, "cookie"), "kind_a": "cookie",
         "issuer_a": "shop.example.com", "token_b": world.token(of, "email"), "kind_b": "email", "issuer_b": "email",
         "method": "login", "source": "web",
         "effective_at": datetime(2026, 5, 30), "recorded_at": datetime(2026, 5, 31),
         "is_unlink": False, "batch": BATCH}
        for p, of in [(p, p.name) for p in _shop(world)] + [(world.people["bob"], "ann")]
    ]  # fmt: skip
    _parquet(world.home.lake / "links" / f"{BATCH}.parquet", links)
    assert set(links[0]) == {name.strip() for name in LINK_COLUMNS.split(",")}
    write_manifests(world.home, [Manifest(
        source="web", feed="tag", batch=BATCH, input_sha256="1" * 64, file="web/tag.jsonl.gz", day=DAY,
        is_complete=True,
        read=len(rows) + 2, accepted=len(rows), duplicates=0, quarantined=2, quarantined_by_reason={"malformed": 2},
        files=[f"web/day={DAY}/{BATCH}.parquet"], links_file=f"links/{BATCH}.parquet", recorded_at=AS_OF,
    )])  # fmt: skip


def _parquet(place: Path, rows: list[dict[str, Any]]) -> None:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    schema = pa.schema([(name, _arrow(value)) for name, value in rows[0].items()])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), place, compression="zstd")


def _arrow(value: Any) -> pa.DataType:
    if isinstance(value, datetime):
        return pa.timestamp("us")
    if isinstance(value, bool):
        return pa.bool_()
    return pa.date32() if isinstance(value, date) else pa.string()


def _write_quarantine(world: World) -> None:
    lines = [line(world, "ann"), line(world, "bob")]
    rows = [(number, "malformed", f"hash-{number}", text) for number, text in enumerate(lines, 1)]
    aside, place, _ = quarantine_aside(world.home, world.keys, "web", BATCH, rows)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside.replace(place)


def line(world: World, name: str) -> str:
    contacts = world.people[name].contacts
    return json.dumps({"anonymousId": contacts["cookie"], "context": {"traits": {"email": contacts["email"]}}})[:-1]


def _write_files(world: World) -> None:
    for name, batch in (("ann", BATCH), ("bob", "cd" * 16)):
        plain = world.home.tmp / "plain.gz"
        plain.write_bytes(gzip.compress(line(world, name).encode()))
        seal_file(world.home, world.keys, plain, "web", batch, "2026-12-31")
        plain.unlink()


def ask_and_confirm(world: World, name: str = "ann", kind: str = "phone") -> str:
    site = site_of(world)
    request, _ = respond.receive(site, "erasure", world.subject(name, kind), now=LATER)
    respond.confirm(site, request.id, now=CONFIRMED)
    return request.id


def erase(world: World, now: datetime = DUE) -> list[Erased]:
    return erase_due(site_of(world), now=now)


def rebuild(world: World, *, without: str, at: datetime = DUE) -> World:
    """Publishes a generation of everybody but one, as the next run does after an erasure."""
    rest = {name: person for name, person in world.people.items() if name != without}
    with open_ledger(world.home, world.keys) as (ledger, registry):
        seq, head = ledger.head()
        staged = ledger.staged(registry, world.policy)
    build = Build(AS_OF, world.build.policy_hash, head, seq, "lake", "", world.keys.id, "code")
    new = replace(world, build=build, people=rest)
    with closing(connect(world.home, build.path(world.home))) as con:
        _write_generation(con, new, staged, at + timedelta(days=300))
    release(world.home, build, [CheckResult(stage, "good", True) for stage in sorted(REQUIRED_STAGES)])
    assert publish(world.home, build, now=at)
    return new


def erased(world: World) -> tuple[World, str]:
    """Ann asks, and everything is done."""
    new, request, is_done = as_far_as_it_goes(world)
    assert is_done
    return new, request


def as_far_as_it_goes(world: World) -> tuple[World, str, bool]:
    """Ann asks; erasure, build, erasure. Whether it is called physical then."""
    request = ask_and_confirm(world)
    erase(world)
    new = rebuild(world, without="ann")
    erase(new)
    return new, request, respond.find(site_of(new), request).state == "physically_erased"
