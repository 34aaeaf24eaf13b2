"""The release gate: a build gets a receipt if every blocking check passed; without one, nothing is published."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import duckdb
from pydantic import BaseModel, ConfigDict, ValidationError

from orchestration.atomic import write_json
from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.warehouse.build import Build
from orchestration.warehouse.checks import CheckResult, totals
from orchestration.warehouse.code_hash import tools_hash
from orchestration.warehouse.duckdb_settings import connect

# dbt's tests inside, great-expectations on what leaves; the proof by the SQL that ran, and by twins of what it read
REQUIRED_STAGES = frozenset({"dbt", "marts", "static", "twins"})
SHOWN = 10


class NotReleasedError(AssentError):
    """A check failed, or was not made: the published generation stays in force."""


class Receipt(BaseModel):
    """Proof that the build passed its checks, bound to the bytes of its file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    generation: str
    policy_hash: str
    checks_passed: int
    checks_failed: int  # warnings only
    file_sha256: str
    # What `repeat.py` needs; a receipt without them, of an older Assent, is good, but never spares a build.
    checks: tuple[CheckResult, ...] = ()
    tools_hash: str = ""


def release(home: Home, build: Build, checks: Sequence[CheckResult]) -> Receipt:
    """Writes the receipt of the build. Raises NotReleasedError, and leaves none, when anything is missing or failed."""
    receipt_path(home, build).unlink(missing_ok=True)
    found = [*checks, *_check_file(home, build)]
    lacking = sorted(REQUIRED_STAGES - {check.stage for check in checks})
    if lacking:
        raise NotReleasedError(
            f"no checks were made of: {', '.join(lacking)}", where="release gate", remedy="Run the whole build"
        )
    failed = [check for check in found if check.blocks]
    if failed:
        names = "; ".join(f"{check.name} ({check.detail})" if check.detail else check.name for check in failed[:SHOWN])
        raise NotReleasedError(
            f"{len(failed)} of {len(found)} checks failed: {names}",
            where="release gate",
            remedy="The published generation is unchanged. Correct the cause and run again",
        )
    counted = totals(found)
    receipt = Receipt(
        generation=build.generation,
        policy_hash=build.policy_hash,
        checks_passed=counted["passed"],
        checks_failed=counted["failed"],
        file_sha256=file_sha256(build.path(home)),
        checks=tuple(found),
        tools_hash=tools_hash(),
    )
    write_json(receipt_path(home, build), receipt.model_dump())
    return receipt


def receipt_path(home: Home, build: Build) -> Path:
    return home.building / f"{build.generation}.release.json"


def read_receipt(path: Path) -> Receipt | None:
    """The receipt at `path`; None where there is none, or it is damaged."""
    try:
        return Receipt.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_file(home: Home, build: Build) -> list[CheckResult]:
    """The file is of this build alone (fault A4) and holds every segment of its policy. No log stays beside it."""
    if not build.path(home).is_file():
        raise NotReleasedError("the build's file is gone", where="release gate", remedy="Run the build again")
    con = connect(home, build.path(home))
    try:
        con.execute("CHECKPOINT")
        builds = _strings(con, "SELECT generation FROM meta.builds")
        versions = _strings(con, "SELECT policy_hash FROM policy.versions")
        segments = set(_strings(con, "SELECT segment FROM policy.segments"))
        built = set(_strings(con, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'marts'"))
    finally:
        con.close()
    return [
        CheckResult("gate", "the file is of this build alone", builds == [build.generation]),
        CheckResult("gate", "the file is of this policy alone", versions == [build.policy_hash]),
        CheckResult(
            "gate", "every segment is built", segments <= built, "error", f"{len(segments - built)} are missing"
        ),
        CheckResult(
            "gate", "no segment is left over", built <= segments, "error", f"{len(built - segments)} are too many"
        ),
    ]


def _strings(con: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    return [str(value) for (value,) in con.execute(sql).fetchall()]
