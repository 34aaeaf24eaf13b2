"""Publishes a released build: the file moves beside its predecessors, then one atomic rename moves the pointer.

A reader follows the pointer and sees a whole generation, the old or the new, whenever the process dies (fault A5)."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from orchestration.atomic import replace, write_json
from orchestration.errors import AssentError, HomeError, VerifyError
from orchestration.home import Home
from orchestration.warehouse import archive
from orchestration.warehouse.build import Build, evidence_file, warehouse_file
from orchestration.warehouse.duckdb_settings import connect
from orchestration.warehouse.gate import NotReleasedError, file_sha256, read_receipt, receipt_path

GENERATIONS_KEPT = 3
PUBLICATION = "published.json"  # in evidence/<generation>/


class Published(BaseModel):
    """What the pointer says of the generation in force."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    generation: str
    as_of: AwareDatetime
    policy_hash: str
    ledger_head: str
    ledger_seq: int
    lake_hash: str
    code_hash: str
    published_at: AwareDatetime
    file_sha256: str


def publish(home: Home, build: Build, *, now: datetime, generations_kept: int = GENERATIONS_KEPT) -> bool:
    """Puts a released build in force. False: it is older than what is published, and is kept as evidence only.

    Raises NotReleasedError without a receipt for exactly this file. Publishing a generation again changes nothing,
    unless the home was moved since."""
    receipt = read_receipt(receipt_path(home, build))
    file = build.path(home)
    if receipt is None or not file.is_file():
        current = published(home)
        if current is not None and current.generation == build.generation and not file.exists():
            return True  # a retried step: it is in force already
        raise NotReleasedError(
            "the build has no release receipt", where="publish", remedy="Run the checks of the build first"
        )
    if (receipt.generation, receipt.file_sha256) != (build.generation, file_sha256(file)):
        raise NotReleasedError("the file has changed since its checks", where="publish", remedy="Run the build again")
    if home.info.kind == "company" and build.as_of > now:
        raise NotReleasedError(
            "T lies ahead of the clock: every later build would be older than this one",
            where="publish",
            remedy="Choose an --as-of that is not in the future",
        )
    archive.keep(home, build)
    before = last_in_force(home)
    if before is not None and _is_older(build, before):
        _keep_as_evidence(home, build, generations_kept)
        return False
    current = _sound(home)
    if current is not None and _is_intact(home, build, current):
        if _views(home, warehouse_file(home, build.generation)) == _views(home, file):
            receipt_path(home, build).unlink()
            file.unlink()
            return True
        home.published.unlink()  # the home was moved: what is in force reads the lake where it was
    replace(receipt_path(home, build), release_path(home, build.generation))
    replace(file, warehouse_file(home, build.generation))
    _point(home, build, receipt.file_sha256, now)
    _unlink_old(home, build.generation, generations_kept)
    return True


def published(home: Home) -> Published | None:
    """The generation in force. Raises HomeError when the pointer or what it points to is damaged."""
    if not home.published.exists():
        return None
    found: Published | None = None
    with contextlib.suppress(OSError, ValidationError):
        found = Published.model_validate_json(home.published.read_bytes())
    if found is None or not warehouse_file(home, found.generation).is_file():
        raise HomeError("the published generation is damaged", where=str(home.published), remedy="Run `assent run`")
    receipt = read_receipt(release_path(home, found.generation))
    if receipt is None or receipt.generation != found.generation:
        raise HomeError("the published generation has no receipt", where=str(home.published), remedy="Run `assent run`")
    return found


def last_in_force(home: Home) -> Published | None:
    """What a new build is held against, and replaces: the generation in force, or where that is damaged the latest T
    that the evidence knows to have been."""
    known = _sound(home)
    return known or max(publications(home), key=lambda one: (one.as_of, one.ledger_seq), default=None)


def _sound(home: Home) -> Published | None:
    with contextlib.suppress(HomeError):
        return published(home)
    return None


def require_intact(home: Home, current: Published) -> None:
    """Raises VerifyError unless the file in force is, byte for byte, the one that passed its checks, and the pointer
    says of it what it says of itself: a later ledger head in the pointer would hide withdrawals from the recheck."""
    receipt = read_receipt(release_path(home, current.generation))
    file = warehouse_file(home, current.generation)
    sums = {current.file_sha256, receipt.file_sha256 if receipt else "", file_sha256(file)}
    if len(sums) == 1 and _says_of_itself(home, file) == [
        (current.generation, current.as_of, current.policy_hash, current.ledger_head, current.ledger_seq)
    ]:
        return
    raise VerifyError(
        "the published generation is not the one that passed its checks",
        where=str(home.published),
        remedy="Run `assent run`; nothing of it may leave",
    )


def _says_of_itself(home: Home, file: Path) -> list[tuple[object, ...]]:
    con = connect(home, file, read_only=True)
    try:
        rows = con.execute("SELECT generation, as_of, policy_hash, ledger_head, ledger_seq FROM meta.builds").fetchall()
    finally:
        con.close()
    return [(row[0], row[1].replace(tzinfo=UTC), *row[2:]) for row in rows]


def connect_published(home: Home) -> duckdb.DuckDBPyConnection:
    """A read-only connection to the generation in force."""
    current = published(home)
    if current is None:
        raise AssentError("nothing is published", where=str(home.root), remedy="Run `assent run` first")
    return connect(home, warehouse_file(home, current.generation), read_only=True)


def release_path(home: Home, generation: str) -> Path:
    return home.warehouse / f"{generation}.release.json"


def _is_older(build: Build, current: Published) -> bool:
    """An older T, or an older ledger (a replay): evidence of what was, not a new state of things (fault H10)."""
    return build.as_of < current.as_of or build.ledger_seq < current.ledger_seq


def _is_intact(home: Home, build: Build, current: Published) -> bool:
    """Is this very generation in force, byte for byte as it was published?"""
    same = current.generation == build.generation
    return same and file_sha256(warehouse_file(home, build.generation)) == current.file_sha256


def _views(home: Home, file: Path) -> list[tuple[str, ...]]:
    con = connect(home, file, read_only=True)
    try:
        return con.execute(
            "SELECT schema_name, view_name, sql FROM duckdb_views() WHERE NOT internal ORDER BY ALL"
        ).fetchall()
    finally:
        con.close()


def _keep_as_evidence(home: Home, build: Build, kept: int) -> None:
    target = evidence_file(home, build.generation)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace(receipt_path(home, build), target.parent / "release.json")
    replace(build.path(home), target)
    files = sorted(home.evidence.glob("*/*.duckdb"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in (path for path in files[kept:] if path != target):
        old.unlink()


def _point(home: Home, build: Build, sha256: str, published_at: datetime) -> None:
    pointer = Published(
        generation=build.generation,
        as_of=build.as_of,
        policy_hash=build.policy_hash,
        ledger_head=build.ledger_head,
        ledger_seq=build.ledger_seq,
        lake_hash=build.lake_hash,
        code_hash=build.code_hash,
        published_at=published_at,
        file_sha256=sha256,
    )
    note_publication(home, pointer)
    write_json(home.published, pointer.model_dump(mode="json"))


def note_publication(home: Home, pointer: Published) -> None:
    """Keeps in the generation's evidence when it came into force: the first time counts, if it is published again."""
    place = home.evidence / pointer.generation / PUBLICATION
    if not place.is_file():
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(place, pointer.model_dump(mode="json"))


def publications(home: Home) -> list[Published]:
    """Every generation that ever came into force, the oldest first, from the evidence; a damaged note is no note."""
    found: list[Published] = []
    for path in home.evidence.glob(f"*/{PUBLICATION}"):
        with contextlib.suppress(OSError, ValidationError):
            found.append(Published.model_validate_json(path.read_bytes()))
    return sorted(found, key=lambda one: one.published_at)


def _unlink_old(home: Home, generation: str, kept: int) -> None:
    """Removes generations beyond those kept, so that nothing erased lingers in them."""
    files = sorted(home.warehouse.glob("*.duckdb"), key=lambda path: path.stat().st_mtime, reverse=True)
    others = [path for path in files if path.stem != generation]
    for old in others[max(kept - 1, 0) :]:
        release_path(home, old.stem).unlink(missing_ok=True)
        old.unlink()
