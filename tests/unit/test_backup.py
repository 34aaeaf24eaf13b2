"""Backup and restore: whole or refused, without keys, and nothing comes back that was withdrawn or erased since."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestration.backup import restore as restore_module
from orchestration.backup import write as write_module
from orchestration.backup.contents import list_contents
from orchestration.backup.copies import copy_rows, copy_sqlite, verified_head
from orchestration.backup.read import open_backup
from orchestration.backup.restore import replay_in_place, restore
from orchestration.backup.sealed import CHUNK, FRAME, SealedReader, SealedWriter
from orchestration.backup.write import FACTS, SUMS, BackupReport, Facts, write_backup
from orchestration.consent.anchoring.anchor import Anchor, Pen
from orchestration.consent.chain import GENESIS
from orchestration.consent.database.migrate import downgrade
from orchestration.consent.database.migrations import REVISIONS
from orchestration.consent.database.store import make_engine, writing
from orchestration.consent.ledger import Ledger, open_ledger
from orchestration.consent.models import Record
from orchestration.errors import AssentError, HomeError, VerifyError
from orchestration.exports.export import export_generation
from orchestration.home import Home
from orchestration.identity.backup import restore_backup
from orchestration.identity.backup import write_backup as write_keys
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.identity.vault import Vault
from orchestration.policy.loader import load_policy
from orchestration.settings import IN_HOME, LedgerAt
from orchestration.warehouse.checks import CheckResult
from tests.anchored import tamper
from tests.generation_fixture import LATER, SMS, World, copy_world
from tests.killed import in_fork
from tests.postgres import LOGIN, Server

PASSPHRASE = "correct horse battery"
NOW = datetime(2026, 6, 2, tzinfo=UTC)
POLICY = load_policy()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cheap scrypt, and no great-expectations: both have their own tests."""
    from orchestration.evidence import expectations
    from orchestration.identity import passphrase

    monkeypatch.setattr(passphrase, "SCRYPT_COST", 2)
    monkeypatch.setattr(expectations, "check_export", lambda *_: [CheckResult("exports", "good", True)])


def silent(_: int) -> Callable[[int], None]:
    return lambda _: None


# --- the container


def seal(data: bytes, passphrase: str = PASSPHRASE) -> bytes:
    out = io.BytesIO()
    writer = SealedWriter(out, passphrase, created_at="then")
    for start in range(0, len(data), 300_000):
        writer.write(data[start : start + 300_000])
    writer.finish()
    return out.getvalue()


def unseal(data: bytes, passphrase: str = PASSPHRASE) -> bytes:
    reader = SealedReader(io.BytesIO(data), passphrase, "it")
    plain = reader.read(len(data))
    reader.finish()
    return plain


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_container_gives_back_what_went_in(size: int) -> None:
    plain = bytes(n % 251 for n in range(size))
    assert unseal(seal(plain)) == plain


def frames(sealed: bytes) -> list[tuple[int, int]]:
    """Where each chunk of a container begins and ends."""
    at = sealed.index(b"}") + 1
    found = []
    while at < len(sealed) - 32:
        size, _ = FRAME.unpack(sealed[at : at + FRAME.size])
        found.append((at, at + FRAME.size + size))
        at += FRAME.size + size
    return found


def test_no_proper_prefix_opens() -> None:
    sealed = seal(b"x" * (2 * CHUNK + 10))
    ends = [end for _, end in frames(sealed)]
    cuts = {0, 5, 20, *ends, *(end - 1 for end in ends), *(end + 1 for end in ends), len(sealed) - 1}
    for cut in sorted(cut for cut in cuts if cut < len(sealed)):
        with pytest.raises(VerifyError):
            unseal(sealed[:cut])


def summed(body: bytes) -> bytes:
    """With a checksum that fits, as anybody could write it."""
    return body + hashlib.sha256(body).digest()


def test_chunks_cut_moved_doubled_or_of_another_file_are_found() -> None:
    plain = b"".join(bytes([n]) * CHUNK for n in range(3)) + b"end"
    sealed, other = seal(plain)[:-32], seal(plain)[:-32]
    (a, b), (_, c), *_, (d, _) = frames(sealed + bytes(32))
    size = FRAME.unpack(sealed[a : a + FRAME.size])[0]
    ended = sealed[:a] + FRAME.pack(size, True) + sealed[a + FRAME.size : b]
    swapped = sealed[:a] + sealed[b:c] + sealed[a:b] + sealed[c:]
    doubled = sealed[:b] + sealed[a:b] + sealed[b:]
    mixed = sealed[:a] + other[a:b] + sealed[b:]
    without_middle = sealed[:c] + sealed[d:]
    other_header = sealed.replace(b"then", b"anno")
    assert unseal(summed(sealed)) == plain
    for forged in (sealed[:b], ended, swapped, doubled, mixed, without_middle, other_header, sealed + b"x"):
        with pytest.raises(VerifyError):
            unseal(summed(forged))


def test_any_altered_byte_is_found() -> None:
    sealed = seal(b"some plain text " * 10)
    for at in range(len(sealed)):
        with pytest.raises(VerifyError):
            unseal(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])


def test_wrong_passphrase_and_other_files_are_refused() -> None:
    with pytest.raises(VerifyError, match="passphrase"):
        unseal(seal(b"plain"), "correct horse batterY")
    with pytest.raises(VerifyError, match="not a backup"):
        unseal(b"PK\x03\x04" * 100)


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "lake/../../evil", "keys/master.key", "lake", "evil", "tmp/x", "a//b"]
)
def test_nothing_is_unpacked_elsewhere(name: str, tmp_path: Path) -> None:
    """Not even from a backup that somebody sealed who knows the passphrase."""
    good = {"lake/web/x.parquet": b"rows"}
    assert unpacked(tmp_path, good) == ["lake/web/x.parquet"]
    with pytest.raises(VerifyError):
        unpacked(tmp_path, {**good, name: b"evil"})


def test_member_that_is_not_what_was_noted_is_found(tmp_path: Path) -> None:
    with pytest.raises(VerifyError):
        unpacked(tmp_path, {"lake/x": b"rows"}, noted={"lake/x": b"rows", "lake/y": b"lost"})
    with pytest.raises(VerifyError):
        unpacked(tmp_path, {"lake/x": b"rows"}, noted={"lake/x": b"rowS"})


def unpacked(folder: Path, content: dict[str, bytes], noted: dict[str, bytes] | None = None) -> list[str]:
    """Seals `content` with the sums of `noted`, unpacks it, and says what came out."""
    facts = Facts("home", "keys", "then", 0, GENESIS)
    sums = {n: {"bytes": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in (noted or content).items()}
    with (folder / "sealed").open("wb") as out:
        sealed = SealedWriter(out, PASSPHRASE)
        with tarfile.open(fileobj=sealed, mode="w|") as tar:  # type: ignore[call-overload]
            for name, data in {FACTS: as_json(asdict(facts)), **content, SUMS: as_json(sums)}.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        sealed.finish()
    with open_backup(folder / "sealed", PASSPHRASE) as backup:
        return sorted(backup.unpack(folder / "in" / "out", lambda _: None)[0])


def as_json(content: Any) -> bytes:
    return json.dumps(content).encode()


# --- a home with one generation, its anchor and its backups


@pytest.fixture
def world(template: World, tmp_path: Path) -> World:
    copied = copy_world(template, tmp_path)
    Keys.open(copied.home)
    return copied


def anchored(world: World) -> Anchor:
    return Anchor(world.home, world.keys)


def withdraw(world: World, name: str, **parts: Any) -> None:
    world.tell(name, decision="withdraw", purpose="sms_marketing", **parts)


def back_up(world: World, file: Path) -> BackupReport:
    with world.home.lock():
        return write_backup(world.home, world.keys, file, PASSPHRASE, at=IN_HOME, now=NOW, started=silent)


@pytest.fixture
def backed_up(world: World, tmp_path: Path) -> tuple[Path, Path]:
    """The backup of the world, and of its keys."""
    write_keys(world.home, world.keys, tmp_path / "keys.sealed", PASSPHRASE)
    back_up(world, tmp_path / "home.sealed")
    return tmp_path / "home.sealed", tmp_path / "keys.sealed"


def new_home(root: Path, key_file: Path) -> Path:
    home = Home.open(root)
    restore_backup(home, key_file, PASSPHRASE)
    return root


def restored(root: Path, file: Path, world: World, passphrase: str = PASSPHRASE) -> Any:
    """Restores into `root` with the anchor of `world`."""
    at = LedgerAt(None, world.home.root.with_name("home.anchor"))
    return restore(root, file, passphrase, at=at, now=NOW, started=silent, policy=POLICY)


def tree(root: Path, *folders: str) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for folder in folders for path in (root / folder).rglob("*") if path.is_file()
    }  # fmt: skip


def rows(root: Path) -> list[tuple[Any, ...]]:
    con = sqlite3.connect(root / "ledger.sqlite")
    try:
        return con.execute("SELECT * FROM events ORDER BY seq").fetchall()
    finally:
        con.close()


def members(file: Path) -> dict[str, bytes]:
    with file.open("rb") as sealed:
        reader = SealedReader(sealed, PASSPHRASE, "it")
        with tarfile.open(fileobj=reader, mode="r|") as tar:  # type: ignore[call-overload]
            return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def test_everything_in_a_home_is_declared(world: World) -> None:
    (world.home.root / "notes.txt").write_text("whose?")
    (world.home.warehouse / "ledger").mkdir()
    (world.home.warehouse / "ledger" / "pieces.json").write_text("[]")
    (world.home.lake / "link").symlink_to(world.home.root / "keys")
    with world.home.lock():
        contents = list_contents(world.home)
    assert contents.unknown == ("lake/link", "notes.txt")
    names = {path.relative_to(world.home.root).as_posix() for path in contents.files}
    generation = world.build.generation
    assert {"home.json", "warehouse/published.json", f"warehouse/{generation}.duckdb"} <= names
    assert not [name for name in names if name.startswith(("keys", "landing", "outbox", "tmp", "dagster"))]


def test_backup_holds_no_key_in_any_form(world: World, tmp_path: Path) -> None:
    report = back_up(world, tmp_path / "b")
    with SubjectRegistry(world.home, world.keys) as registry:
        mapping = registry.mapping_arrow().to_pylist()
        wrapped = registry._con.execute("SELECT data_key FROM subjects WHERE data_key IS NOT NULL").fetchall()
    inside = members(tmp_path / "b")
    assert not [name for name in inside if "keys" in name]
    assert {row["subject_ref"] for row in mapping} and wrapped
    plain = b"\n".join(inside.values())
    assert rows(world.home.root)[1][3].encode() in plain, "the ledger names subjects: the scan does find what is there"
    for secret in (world.keys.master, world.keys.text.strip().encode(), *(blob for (blob,) in wrapped)):
        assert secret not in plain
    beside = [row for row in mapping if row["token"].encode() + row["subject_ref"].encode() in plain]
    assert not beside
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600
    assert report.facts.ledger_seq == len(rows(world.home.root))


def test_sealed_file_shows_nothing_in_plain(world: World, tmp_path: Path) -> None:
    back_up(world, tmp_path / "b")
    sealed = (tmp_path / "b").read_bytes()
    plain = members(tmp_path / "b")
    for canary in (world.token("ann", "phone").encode(), b"consent_center", b"SQLite format 3", b"PAR1"):
        assert canary not in sealed
    assert any(b"SQLite format 3" in data for data in plain.values())


def test_backup_does_not_go_where_it_would_be_lost(world: World, tmp_path: Path) -> None:
    for place in (world.home.tmp / "b", anchored(world).folder / "b"):
        with pytest.raises(AssentError, match="is lost with it"):
            back_up(world, place)
    with pytest.raises(AssentError, match="cannot be written"):
        back_up(world, tmp_path / "nowhere" / "b")
    with pytest.raises(AssentError, match="too short"):
        write_backup(world.home, world.keys, tmp_path / "b", "short", at=IN_HOME, now=NOW, started=silent)
    assert not (tmp_path / "b").exists()
    assert not list(world.home.tmp.iterdir())


def test_backup_waits_for_no_build(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestration.backup.commands import backup
    from orchestration.settings import Settings

    script = "import sys, fcntl; f = open(sys.argv[1], 'a'); fcntl.flock(f, 2); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(world.home.lock_file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        done = CliRunner().invoke(
            backup, [str(tmp_path / "b")], obj=Settings(home=world.home.root), input=PASSPHRASE + "\n"
        )
        holder.communicate(b"\n")
    assert isinstance(done.exception, HomeError)
    assert not (tmp_path / "b").exists()


def test_restore_gives_back_the_same_home(world: World, backed_up: tuple[Path, Path], tmp_path: Path) -> None:
    report = restored(new_home(tmp_path / "new", backed_up[1]), backed_up[0], world)
    new = Home.open(tmp_path / "new", create=False)
    kept = ("lake", "quarantine", "archive", "policies", "evidence", "warehouse")
    before, after = tree(world.home.root, *kept), tree(new.root, *kept)
    assert before == {name: data for name, data in after.items() if "restores" not in name}
    assert before
    assert rows(new.root) == rows(world.home.root)
    assert new.info == world.home.info
    with Vault(new, Keys.open(new)) as vault, Vault(world.home, world.keys) as old:
        tokens = old.contact_points_arrow()["token"].to_pylist()
        assert vault.get(tokens) == old.get(tokens)
        assert tokens
    assert (report.replay.replayed, report.replay.lost, report.replay.contacts) == (0, 0, 0)
    assert not list(new.tmp.iterdir())
    assert json.loads(next((new.evidence / "restores").iterdir()).read_text())["replay"]["lost"] == 0


@pytest.mark.fault("F6", "H11", "D4")
def test_withdrawal_after_the_backup_is_in_force(world: World, backed_up: tuple[Path, Path], tmp_path: Path) -> None:
    withdraw(world, "ann", at=LATER)
    world.tell("bob", decision="grant", purpose="sms_marketing", method="explicit_click", at=LATER)
    report = restored(new_home(tmp_path / "new", backed_up[1]), backed_up[0], world)
    assert (report.replay.replayed, report.replay.lost) == (1, 1)
    assert report.replay.lost_since is not None
    new = replace(world, home=Home.open(tmp_path / "new", create=False))
    last = rows(new.home.root)[-1]
    told = rows(world.home.root)[-2]
    assert [value for value in last if value in told], "the record, with both its clocks"
    results = export_generation(
        new.home, new.policy, new.keys, now=LATER + timedelta(hours=1), policy_hash=new.build.policy_hash,
        ledger_at=LedgerAt(None, world.home.root.with_name("home.anchor")),
    )  # fmt: skip
    assert {r.withheld.get("withdrawn") for r in results if r.segment == SMS and r.destination == "sms_gateway"} == {1}
    written = b"".join(tree(new.home.root, "outbox").values())
    assert b"13800138001" in written, "bob is in it"
    assert b"13800138000" not in written


@pytest.mark.fault("F6")
def test_erasure_after_the_backup_is_done_again(world: World, backed_up: tuple[Path, Path], tmp_path: Path) -> None:
    token = world.token("cat", "phone")
    world.tell("cat", type="status", fact="erased", state="on")
    report = restored(new_home(tmp_path / "new", backed_up[1]), backed_up[0], world)
    assert (report.replay.replayed, report.replay.erased, report.replay.contacts) == (1, 1, 1)
    new = Home.open(tmp_path / "new", create=False)
    with Vault(new, world.keys) as vault:
        assert vault.get([token]) == {}
        assert token not in vault.contact_points_arrow()["token"].to_pylist()
    with SubjectRegistry(new, world.keys) as registry:
        ref = registry.lookup(token)
        assert ref, "who is erased stays known, or the refusal would bind nobody"
        assert registry.existing_data_keys([token]) == {}
    con = sqlite3.connect(new.ledger_db)
    query = "SELECT count(*) FROM details JOIN events USING (seq) WHERE subject_ref = ?"
    assert con.execute(query, (ref,)).fetchone() == (0,)
    con.close()
    assert Ledger.open(new.ledger_db, world.keys).verify() is None


def test_replayed_record_is_known_when_it_is_delivered_again(
    world: World, backed_up: tuple[Path, Path], tmp_path: Path
) -> None:
    """The same body is a duplicate; another is a conflict, which restricts, though the detail is not in the journal."""
    withdraw(world, "ann")
    restored(new_home(tmp_path / "new", backed_up[1]), backed_up[0], world)
    told = Record(
        event_id=f"test-{len(rows(world.home.root)) - 1}", type="consent", feed="consent_center", effective_at=LATER,
        subject=world.subject("ann"), controller="shop", decision="withdraw", purpose="sms_marketing",
    )  # fmt: skip
    at = LedgerAt(None, world.home.root.with_name("home.anchor"))
    with open_ledger(Home.open(tmp_path / "new"), world.keys, at) as (ledger, _):
        again = ledger.append([told], NOW)
        other = ledger.append([replace(told, purpose="email_marketing")], NOW)
    assert (again.duplicates, again.appended, other.conflicts, other.presumed_denials > 0) == (1, 0, 1, True)


@pytest.mark.fault("D7")
def test_registry_older_than_the_ledger_gets_back_who_refused(world: World, tmp_path: Path) -> None:
    """The keys were backed up before somebody who refused was first seen."""
    write_keys(world.home, world.keys, tmp_path / "keys", PASSPHRASE)
    withdraw(world, "dan", kind="cookie")
    back_up(world, tmp_path / "b")
    report = restored(new_home(tmp_path / "new", tmp_path / "keys"), tmp_path / "b", world)
    assert (report.replay.subjects, report.replay.replayed) == (1, 0)
    with SubjectRegistry(Home(tmp_path / "new"), world.keys) as registry:
        assert registry.lookup(world.token("dan", "cookie")) == rows(world.home.root)[-1][3]


@pytest.mark.fault("D7")
def test_refusal_binds_under_the_reference_that_its_token_has_now(
    world: World, backed_up: tuple[Path, Path], tmp_path: Path
) -> None:
    withdraw(world, "dan", kind="cookie")
    subject = world.subject("dan", "cookie")
    root = new_home(tmp_path / "new", backed_up[1])
    with SubjectRegistry(Home(root), world.keys) as registry:
        ref = registry.refs([tuple(subject)])[subject.token]
    restored(root, backed_up[0], world)
    assert rows(root)[-1][3] == ref != rows(world.home.root)[-1][3]


@pytest.mark.fault("D7")
def test_refusal_by_nobody_known_is_refused(world: World, tmp_path: Path) -> None:
    """The keys are too old, and the journal has forgotten who it was: a build would take the refusal for none."""
    write_keys(world.home, world.keys, tmp_path / "keys", PASSPHRASE)
    withdraw(world, "dan", kind="cookie")
    back_up(world, tmp_path / "b")
    assert anchored(world).journal.forget([rows(world.home.root)[-1][3]]) == 1
    refused(new_home(tmp_path / "new", tmp_path / "keys"), tmp_path / "b", world, "does not know 1 who", HomeError)


def test_contacts_of_another_day_than_the_keys_are_removed(
    world: World, tmp_path: Path, backed_up: tuple[Path, Path]
) -> None:
    subject = world.subject("ann")
    with SubjectRegistry(world.home, world.keys) as registry:
        ref = registry.lookup(subject.token)
        assert ref
        registry.destroy_data_keys([ref])
        registry.data_keys([tuple(subject)])
    write_keys(world.home, world.keys, tmp_path / "newer", PASSPHRASE)
    report = restored(new_home(tmp_path / "new", tmp_path / "newer"), backed_up[0], world)
    assert report.replay.contacts == 1
    with Vault(Home(tmp_path / "new"), world.keys) as vault:
        tokens = vault.contact_points_arrow()["token"].to_pylist()
        assert subject.token not in tokens
        assert len(vault.get(tokens)) == len(tokens) > 0


def test_backup_of_an_earlier_version_is_restored(world: World, tmp_path: Path, backed_up: tuple[Path, Path]) -> None:
    shutil.copy(world.home.ledger_db, tmp_path / "ledger.sqlite")
    engine = make_engine(tmp_path / "ledger.sqlite")
    with writing(engine) as connection:
        downgrade(connection, REVISIONS[-2])
    engine.dispose()
    with pytest.raises(HomeError, match="revision"):
        verified_head(tmp_path / "ledger.sqlite")
    restore_module._bring_to_newest(tmp_path / "ledger.sqlite")
    assert verified_head(tmp_path / "ledger.sqlite", world.keys) == verified_head(world.home.ledger_db)


def refused(root: Path, file: Path, world: World, match: str, error: type[AssentError], **kw: Any) -> None:
    with pytest.raises(error, match=match):
        restored(root, file, world, **kw)
    assert not (root / "ledger.sqlite").exists()
    assert not (root / "vault.sqlite").exists()
    assert not tree(root, "lake", "warehouse", "evidence", "tmp")


@pytest.mark.fault("D7")
def test_restore_without_its_keys_is_refused(
    world: World, backed_up: tuple[Path, Path], tmp_path: Path, template: World
) -> None:
    (tmp_path / "nothing").mkdir()
    refused(tmp_path / "nothing", backed_up[0], world, "keys are not here", HomeError)
    Home.open(tmp_path / "bare")
    refused(tmp_path / "bare", backed_up[0], world, "keys are not here", HomeError)
    other = Home.open(tmp_path / "other")
    Keys.open(other)
    refused(other.root, backed_up[0], world, "not those of the backup", HomeError)
    refused(new_home(tmp_path / "p", backed_up[1]), backed_up[0], world, "passphrase", VerifyError, passphrase="x" * 12)
    for name in ("bare", "other", "p"):
        assert Home.open(tmp_path / name, create=False).info, "it is as it was"


def test_restore_goes_into_an_empty_home_only(world: World, backed_up: tuple[Path, Path]) -> None:
    before = tree(world.home.root, ".")
    with pytest.raises(HomeError, match="not empty"):
        restored(world.home.root, backed_up[0], world)
    assert tree(world.home.root, ".") == before


@pytest.mark.fault("H11", "F6")
def test_restore_without_its_anchor_is_refused(world: World, backed_up: tuple[Path, Path], tmp_path: Path) -> None:
    root = new_home(tmp_path / "new", backed_up[1])
    with pytest.raises(HomeError, match="anchor of this home is missing"):
        restore(root, backed_up[0], PASSPHRASE, at=IN_HOME, now=NOW, started=silent, policy=POLICY)
    with pytest.raises(HomeError, match="restore of this home has not ended"):
        Home.open(root)
    journal = anchored(world).folder / "journal.log"
    withdraw(world, "ann")
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused(root, backed_up[0], world, "journal", HomeError)
    journal.write_bytes(whole)
    assert restored(root, backed_up[0], world).replay.replayed == 1
    Home.open(root, create=False)


def test_damaged_backup_puts_nothing_in_place(world: World, backed_up: tuple[Path, Path], tmp_path: Path) -> None:
    sealed = backed_up[0].read_bytes()
    root = new_home(tmp_path / "new", backed_up[1])
    places = [3, 40, *(start + 9 for start, _ in frames(sealed)), len(sealed) - 40, len(sealed) - 1]
    damaged = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in places]
    damaged += [sealed[:end] for _, end in frames(sealed)] + [sealed + b"x", sealed[:-1]]
    for number, data in enumerate(damaged):
        (tmp_path / "damaged").write_bytes(data)
        refused(root, tmp_path / "damaged", world, ".", VerifyError)
        with pytest.raises(VerifyError), open_backup(tmp_path / "damaged", PASSPHRASE) as opened:
            opened.unpack(None, lambda _: None)
        assert number >= 0
    restored(root, backed_up[0], world)


@pytest.mark.fault("D3", "D4")
def test_forged_ledger_is_neither_backed_up_nor_restored(
    world: World, backed_up: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rewritten with a good chain, by somebody who knows the passphrase: the anchor has not signed it."""
    tamper(world.home.ledger_db, "UPDATE events SET purpose = 'transfer_abroad' WHERE seq = 3", rechain=True)
    with pytest.raises(HomeError, match="does not hold record"):
        back_up(world, tmp_path / "b")
    with monkeypatch.context() as patched:
        patched.setattr(write_module, "_copy_signed", lambda home, *_: copy_sqlite(home.ledger_db, _[-1]))
        back_up(world, tmp_path / "b")
    refused(new_home(tmp_path / "new", backed_up[1]), tmp_path / "b", world, "never knew this ledger", HomeError)


@pytest.mark.fault("H11", "D4")
def test_home_put_back_by_other_means_is_replayed_into(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(world, tmp_path / "b")  # anchors it
    shutil.copytree(world.home.root, tmp_path / "snapshot")
    withdraw(world, "ann")
    told = rows(world.home.root)
    shutil.rmtree(world.home.root)
    shutil.copytree(tmp_path / "snapshot", world.home.root)
    manifest = world.home.lake / "manifests" / "consent_consent_center" / "x.json"
    manifest.parent.mkdir()
    manifest.write_text("of a file that the ledger held")
    with SubjectRegistry(world.home, world.keys) as registry, pytest.raises(HomeError, match="does not hold"):
        ledger = Ledger.open(world.home.ledger_db)
        anchored(world).check(ledger.head(), ledger.holds, registry)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Pen, "sign_restored", _signed_and_interrupted(Pen.sign_restored))
        replay_in_place(world.home.root, policy=POLICY, at=IN_HOME, now=NOW)
    for expected in (1, 0):
        assert replay_in_place(world.home.root, policy=POLICY, at=IN_HOME, now=NOW).replay.replayed == expected
        assert not manifest.exists(), "its file may be delivered again"
    key = 1
    assert [row[key] for row in rows(world.home.root)] == [row[key] for row in told]
    with SubjectRegistry(world.home, world.keys) as registry:
        ledger = Ledger.open(world.home.ledger_db)
        anchored(world).check(ledger.head(), ledger.holds, registry)


def test_ledger_at_a_url_is_backed_up_and_restored(world: World, backed_up: tuple[Path, Path], tmp_path: Path) -> None:
    url = f"sqlite+pysqlite:///{tmp_path / 'elsewhere.sqlite'}"
    at = LedgerAt(url, world.home.root.with_name("home.anchor"))
    withdraw(world, "ann")
    root = new_home(tmp_path / "new", backed_up[1])
    restore(root, backed_up[0], PASSPHRASE, at=at, now=NOW, started=silent, policy=POLICY)
    assert not (root / "ledger.sqlite").exists()
    head = verified_head(tmp_path / "elsewhere.sqlite", world.keys)
    assert head == anchored(world).heads.last().head  # type: ignore[union-attr]
    with Home.open(root, create=False).lock():
        home = Home(root)
        write_backup(home, world.keys, tmp_path / "b2", PASSPHRASE, at=at, now=NOW, started=silent)
    report = restored(new_home(tmp_path / "new2", backed_up[1]), tmp_path / "b2", world)
    assert report.replay.head == head
    with pytest.raises(HomeError, match="not empty"):
        restore(
            new_home(tmp_path / "new3", backed_up[1]),
            tmp_path / "b2",
            PASSPHRASE,
            at=at,
            now=NOW,
            started=silent,
            policy=POLICY,
        )


def test_ledger_moves_to_postgresql_and_back(
    world: World, backed_up: tuple[Path, Path], tmp_path: Path, postgres_server: Server
) -> None:
    at = LedgerAt(postgres_server.url(postgres_server.ledger(), LOGIN), world.home.root.with_name("home.anchor"))
    world.tell("cat", type="status", fact="erased", state="on")
    report = restore(
        new_home(tmp_path / "pg", backed_up[1]), backed_up[0], PASSPHRASE, at=at, now=NOW, started=silent, policy=POLICY
    )
    assert (report.replay.replayed, report.replay.erased) == (1, 1)
    home = Home.open(tmp_path / "pg", create=False)
    with home.lock():
        write_backup(home, world.keys, tmp_path / "b2", PASSPHRASE, at=at, now=NOW, started=silent)
    again = restored(new_home(tmp_path / "new", backed_up[1]), tmp_path / "b2", world)
    assert (again.replay.replayed, again.replay.stood_at) == (0, report.replay.head)
    assert rows(tmp_path / "new")[: report.replay.stood_at[0]] == rows(world.home.root)[: report.replay.stood_at[0]]


def test_restore_goes_on_where_it_had_filled_the_database(
    world: World, backed_up: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = LedgerAt(f"sqlite+pysqlite:///{tmp_path / 'elsewhere.sqlite'}", world.home.root.with_name("home.anchor"))
    withdraw(world, "ann")
    root = new_home(tmp_path / "new", backed_up[1])
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(restore_module, "_put_in_place", _interrupt)
        restore(root, backed_up[0], PASSPHRASE, at=at, now=NOW, started=silent, policy=POLICY)
    filled = verified_head(tmp_path / "elsewhere.sqlite", world.keys)
    report = restore(root, backed_up[0], PASSPHRASE, at=at, now=NOW, started=silent, policy=POLICY)
    assert (report.replay.replayed, report.replay.head) == (0, filled)


def _signed_and_interrupted(sign: Callable[..., None]) -> Callable[..., None]:
    def interrupted(*arguments: Any) -> None:
        sign(*arguments)
        raise KeyboardInterrupt

    return interrupted


def _interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def _die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_copied_rows_are_the_rows_where_details_are_erased(world: World, tmp_path: Path) -> None:
    con = sqlite3.connect(world.home.ledger_db)
    con.execute("DELETE FROM details")
    con.commit()
    con.close()
    copy_rows(world.home.ledger_db, tmp_path / "copy.sqlite")
    assert verified_head(tmp_path / "copy.sqlite", world.keys)[0] == len(rows(world.home.root))


@pytest.mark.fault("A3", "H11")
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("restore", "_bring_keys"),
        ("restore", "erase_restored"),
        ("replay", "_times_after"),
        ("restore", "fsync_folder"),
    ],
)
def test_killed_restore_leaves_no_home(
    world: World, backed_up: tuple[Path, Path], tmp_path: Path, module: str, name: str
) -> None:
    withdraw(world, "ann")
    root = new_home(tmp_path / "new", backed_up[1])

    def work() -> None:
        setattr(importlib.import_module(f"orchestration.backup.{module}"), name, _die)
        restored(root, backed_up[0], world)

    assert in_fork(work) == -signal.SIGKILL
    for create in (True, False):
        with pytest.raises(HomeError, match="has not ended"):
            Home.open(root, create=create)
    assert restored(root, backed_up[0], world).replay.replayed == 1
    Home.open(root, create=False)
    assert Ledger.open(root / "ledger.sqlite", world.keys).verify() is None


@pytest.mark.fault("A3")
def test_restore_interrupted_at_any_rename_is_refused_until_it_ends(
    world: World, backed_up: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    withdraw(world, "ann")
    rename, calls, at = Path.replace, 0, 0

    def counted(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt
        return rename(self, target)

    while calls >= at:
        at, calls = at + 1, 0
        root = new_home(tmp_path / f"new{at}", backed_up[1])
        calls = 0
        with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
            patched.setattr(Path, "replace", counted)
            restored(root, backed_up[0], world)
        if calls < at:
            break
        if at > 1:
            with pytest.raises(HomeError, match="has not ended"):
                Home.open(root, create=False)
        assert restored(root, backed_up[0], world).replay.replayed == 1
        assert rows(root)[-1][1] == rows(world.home.root)[-1][1]
        assert tree(root, "lake") == tree(world.home.root, "lake")
    assert at > 10


def test_commands_tell_what_they_did(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestration.backup import commands
    from orchestration.settings import Settings

    def run(command: Any, home: Path, *arguments: str) -> str:
        settings = Settings(home=home, anchor=world.home.root.with_name("home.anchor"))
        done = CliRunner().invoke(command, arguments, obj=settings, input=PASSPHRASE + "\n", catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    (world.home.root / "notes.txt").write_text("whose?")
    file = str(tmp_path / "b")
    write_keys(world.home, world.keys, tmp_path / "keys", PASSPHRASE)
    assert "notes.txt" in run(commands.backup, world.home.root, file)
    assert "notes.txt" in json.loads(run(commands.backup, world.home.root, file, "--json"))["unknown"]
    assert "Good:" in run(commands.restore, tmp_path / "unused", file, "--check")
    withdraw(world, "ann")
    root = new_home(tmp_path / "new", tmp_path / "keys")
    told = run(commands.restore, root, file)
    assert "replayed: 1 " in told
    assert "lost:" not in told, "all that came since restricts"
    assert "Deliver again" in told, "source files are in no journal"
    assert json.loads(run(commands.restore, root, "--replay", "--json"))["replay"]["replayed"] == 0
