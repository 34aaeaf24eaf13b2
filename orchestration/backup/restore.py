"""Restores a backup: unpacked aside, replayed there, and only then put in place, with home.json as the very last.

While `restoring.json` stands in its place the folder is no home, so that nothing reads it, after a crash too: only
another restore goes on from there. Not here: what a replay does (`replay.py`)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestration.atomic import fsync_folder, write_json
from orchestration.backup.contents import COPIED, FILES, FOLDERS, WAREHOUSE
from orchestration.backup.copies import Head, copy_rows, copy_sqlite
from orchestration.backup.read import open_backup
from orchestration.backup.replay import ReplayReport, replay
from orchestration.backup.write import Facts, Progress
from orchestration.consent.anchoring.anchor import Anchor, anchor_folder
from orchestration.consent.database.migrate import migrate
from orchestration.consent.database.store import make_engine
from orchestration.consent.ledger import Ledger
from orchestration.errors import HomeError, VerifyError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.schema import Policy
from orchestration.retention.restored import erase_restored
from orchestration.retention.suppressions import FILE as SUPPRESSIONS
from orchestration.settings import LedgerAt

KEYS_FIRST = "First put the keys back: `assent keys restore KEYFILE --home` this folder; then run this again"


@dataclass(frozen=True)
class RestoreReport:
    """What was restored; `facts` is None for a replay into a home that was put back by other means."""

    restored_at: str
    facts: Facts | None
    members: int
    bytes: int
    replay: ReplayReport
    erased_again: dict[str, int]  # of people who were erased since the copy, by what it was


def restore(
    root: Path,
    file: Path,
    passphrase: str,
    *,
    policy: Policy,
    at: LedgerAt,
    now: datetime,
    started: Callable[[int], Progress],
) -> RestoreReport:
    """Restores `file` into the folder `root`, which holds the keys and nothing else. `policy` says what an identifier
    is: who was erased since is erased again. Raises HomeError where the folder,
    the keys or the anchor do not fit, VerifyError where the backup is damaged; then nothing is put in place."""
    home = _target(root)
    with home.lock():
        try:
            return _restore(home, file, passphrase, policy, at, now, started)
        finally:
            shutil.rmtree(_stage(home).root, ignore_errors=True)


def replay_in_place(root: Path, *, policy: Policy, at: LedgerAt, now: datetime) -> RestoreReport:
    """Replays into a home that was put back by other means, as from a snapshot of the machine."""
    home = Home.open(root, create=False)
    with home.lock():
        keys, ledger_at = Keys.open(home), at.url or home.ledger_db
        last = Anchor(home, keys, at).heads.last()
        if last is not None and last.head != _head(ledger_at):
            _forget_consent_deliveries(home)
        replayed = _replay(home, keys, ledger_at, at, home, now)
        erased = erase_restored(home, policy, keys, Anchor(home, keys, at), now=now)
        report = RestoreReport(now.isoformat(), None, 0, 0, replayed, erased)
        _keep_evidence(home, report)
        return report


def _forget_consent_deliveries(home: Home) -> None:
    """Where the ledger alone was put back, the lake says of files that they are in it: then none could come again. Read
    again, what the ledger holds is a duplicate."""
    for folder in [*home.lake.glob("manifests/consent_*"), home.lake / "cursors"]:
        shutil.rmtree(folder, ignore_errors=True)


def _restore(
    home: Home,
    file: Path,
    passphrase: str,
    policy: Policy,
    at: LedgerAt,
    now: datetime,
    started: Callable[[int], Progress],
) -> RestoreReport:
    stage, is_resumed = _stage(home), home.is_restoring
    shutil.rmtree(stage.root, ignore_errors=True)
    with open_backup(file, passphrase) as backup:
        _require_keys(home, backup.facts)
        home.begin_restore()
        sums, _ = backup.unpack(stage.root, started(file.stat().st_size))
    keys = _bring_keys(home, stage)
    _bring_to_newest(stage.ledger_db)
    _require_ledger_of(stage, backup.facts)
    ledger_at = _where_to_replay(home, stage, at, keys, is_resumed=is_resumed)
    replayed = _replay(stage, keys, ledger_at, at, home, now)
    anchor = Anchor(stage, keys, LedgerAt(at.url, anchor_folder(home, at)))
    report = RestoreReport(
        now.isoformat(),
        backup.facts,
        len(sums),
        sum(int(member["bytes"]) for member in sums.values()),
        replayed,
        erase_restored(stage, policy, keys, anchor, now=now),
    )
    _keep_evidence(stage, report)
    if at.url is not None and ledger_at != at.url:
        copy_rows(stage.ledger_db, at.url)
    _put_in_place(home, stage, is_ledger_elsewhere=at.url is not None)
    return report


def _target(root: Path) -> Home:
    """A home that holds its keys and nothing else, or one whose restore has not ended."""
    home = Home(root.expanduser().absolute())
    if not home.is_restoring and not home.file.is_file():
        raise HomeError("the keys are not here", where=str(home.root), remedy=KEYS_FIRST)
    home = Home.open(root, create=False, restoring=True)
    if not home.is_restoring and (filled := _filled(home)):
        raise HomeError(
            f"the home is not empty: it holds {', '.join(filled)}",
            where=str(home.root),
            remedy="Restore into an empty folder; a home put back by other means needs `assent restore --replay`",
        )
    return home


def _filled(home: Home) -> list[str]:
    folders = [name for name in (*FOLDERS, WAREHOUSE, "outbox") if _has_files(home.root / name)]
    folders += [home.work_db.name] if home.work_db.exists() else []  # what it calls done is not, in what is restored
    return folders + [name for name in (*COPIED, *FILES) if name != home.file.name and (home.root / name).exists()]


def _has_files(folder: Path) -> bool:
    return any(not path.is_dir() for path in folder.rglob("*"))


def _stage(home: Home) -> Home:
    return Home(home.tmp / "restore")


def _require_keys(home: Home, facts: Facts) -> None:
    if not home.master_key.is_file():
        raise HomeError("the keys are not here", where=str(home.keys), remedy=KEYS_FIRST)
    text = home.master_key.read_text(encoding="ascii", errors="replace")
    if facts.keys_check not in Keys.of_text(text, where=home.master_key).checks:
        raise HomeError(
            "the keys here are not those of the backup",
            where=str(home.keys),
            remedy="Restore the newest backup of that home's keys, into a folder of its own",
        )


def _bring_keys(home: Home, stage: Home) -> Keys:
    """Copies of the keys beside what was unpacked, so that nothing here changes before everything is good."""
    stage.keys.mkdir(mode=0o700)
    stage.tmp.mkdir(mode=0o700)
    shutil.copy2(home.master_key, stage.master_key)
    if home.keys_db.is_file():
        copy_sqlite(home.keys_db, stage.keys_db)
    return Keys.open(stage)


def _bring_to_newest(ledger: Path) -> None:
    """The backup may be of an earlier version; that alters no record."""
    engine = make_engine(ledger)
    try:
        migrate(engine)
    finally:
        engine.dispose()


def _require_ledger_of(stage: Home, facts: Facts) -> None:
    if _head(stage.ledger_db) != (facts.ledger_seq, facts.ledger_head):
        raise VerifyError("the ledger of the backup is not the one that it names", remedy="Take another backup")


def _head(ledger_at: str | Path) -> Head:
    with closing(Ledger.open(ledger_at)) as ledger:
        return ledger.head()


def _where_to_replay(home: Home, stage: Home, at: LedgerAt, keys: Keys, *, is_resumed: bool) -> str | Path:
    """The unpacked ledger; or the database, where a restore that was interrupted has filled it already."""
    if at.url is None:
        return stage.ledger_db
    head = _head(at.url)
    if head[0] == 0:
        return stage.ledger_db
    last = Anchor(stage, keys, LedgerAt(at.url, anchor_folder(home, at))).heads.last()
    if not is_resumed or last is None or last.kind != "restore" or last.head != head:
        raise HomeError("the ledger's database is not empty", where="ASSENT_LEDGER_URL", remedy="Give an empty one")
    return at.url


def _replay(home: Home, keys: Keys, ledger_at: str | Path, at: LedgerAt, anchored: Home, now: datetime) -> ReplayReport:
    """Replays into `home`, whose anchor is that of the home it will be."""
    anchor = Anchor(home, keys, LedgerAt(at.url, anchor_folder(anchored, at)))
    return replay(home, keys, ledger_at, anchor, now)


def _keep_evidence(home: Home, report: RestoreReport) -> None:
    folder = home.evidence / "restores"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    content: dict[str, Any] = asdict(report)
    write_json(folder / f"{report.restored_at.replace(':', '')}.json", content)


def _put_in_place(home: Home, stage: Home, *, is_ledger_elsewhere: bool) -> None:
    os.sync()  # what was unpacked is on disk before it has its name
    for name in (*FOLDERS, WAREHOUSE):
        shutil.rmtree(home.root / name, ignore_errors=True)
        (stage.root / name).mkdir(mode=0o700, exist_ok=True)
        (stage.root / name).replace(home.root / name)
    for name in (*COPIED, *FILES):
        if name == home.file.name or (is_ledger_elsewhere and name == home.ledger_db.name):
            continue
        (home.root / name).unlink(missing_ok=True)
        if (stage.root / name).is_file():
            (stage.root / name).replace(home.root / name)
    stage.keys_db.replace(home.keys_db)
    if (stage.keys / SUPPRESSIONS).is_file():
        (stage.keys / SUPPRESSIONS).replace(home.keys / SUPPRESSIONS)
    fsync_folder(home.keys)
    fsync_folder(home.root)
    home.end_restore(stage.file)
