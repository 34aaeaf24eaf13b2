"""Whether a build would only repeat the generation in force; then that one is verified instead of built again.

Nothing is a repeat because something was not looked at: any doubt is a full build. Not here: which checks a build must
have passed (its stages say so), and the recheck of what is exported (always made)."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

import duckdb
import pyarrow.compute as pc

from orchestration.atomic import write_json
from orchestration.errors import AssentError, VerifyError
from orchestration.home import Home
from orchestration.warehouse import archive
from orchestration.warehouse.build import Build, warehouse_file
from orchestration.warehouse.checks import CheckResult, totals
from orchestration.warehouse.code_hash import tools_hash
from orchestration.warehouse.duckdb_settings import connect
from orchestration.warehouse.gate import Receipt, file_sha256, read_receipt
from orchestration.warehouse.publish import Published, published, release_path, require_intact

Check = tuple[str, str]  # stage and name


def find_repeat(home: Home, build: Build, wanted: Collection[Check]) -> bool:
    """Notes, and tells, that the staged `build` is the generation in force: whole, released by the same tools with
    every check of `wanted`, and made from what is staged now, table by table. What was staged is gone then."""
    try:
        is_one = _is_repeat(home, build, frozenset(wanted))
    except (AssentError, duckdb.Error, OSError):
        is_one = False  # damaged: the full build replaces it
    if is_one:
        for staged in home.building.glob(f"{build.generation}.*"):
            staged.unlink()
        write_json(_note(home), {"generation": build.generation})
    return is_one


def repeated(home: Home, build: Build) -> Receipt | None:
    """The receipt of the generation that `build` repeats; None where it is being built. Raises VerifyError when it is
    no longer in force. The bytes of its file are looked at again before anything leaves (`require_intact`)."""
    if not _note(home).is_file() or json.loads(_note(home).read_bytes()) != {"generation": build.generation}:
        return None
    current = published(home)
    receipt = None if current is None else _receipt(home, build, current)
    if current is None or receipt is None:
        raise VerifyError("the generation in force is not the one that this run verified", remedy="Run `assent run`")
    return receipt


def _note(home: Home) -> Path:
    return home.tmp / "repeat.json"  # swept when the next run starts


def _is_repeat(home: Home, build: Build, wanted: frozenset[Check]) -> bool:
    current = published(home)
    if current is None or current.generation != build.generation:
        return False
    require_intact(home, current)
    receipt = _receipt(home, build, current)
    return (
        receipt is not None
        and receipt.tools_hash == tools_hash()
        and _has_passed(receipt, wanted)
        and _lake_is_that_of(home, build)
        and _inputs_are_those_of(home, build)
    )


def _receipt(home: Home, build: Build, current: Published) -> Receipt | None:
    """The receipt in force, if it and the pointer say of every input what `build` says."""
    receipt, inputs = read_receipt(release_path(home, current.generation)), asdict(build)
    stated = {name: value for name, value in current.model_dump().items() if name in inputs}
    if current.generation != build.generation or any(inputs[name] != value for name, value in stated.items()):
        return None
    same = receipt is not None and receipt.policy_hash == build.policy_hash
    return receipt if same else None


def _has_passed(receipt: Receipt, wanted: frozenset[Check]) -> bool:
    made = {(check.stage, check.name) for check in receipt.checks}
    counted = totals(receipt.checks)
    return (
        bool(wanted)
        and wanted <= made
        and not any(check.blocks for check in receipt.checks)
        and (counted["passed"], counted["failed"]) == (receipt.checks_passed, receipt.checks_failed)
    )


def checks_of(receipt: Receipt, stage: str) -> list[CheckResult]:
    """What one stage checked when the generation was released."""
    return [check for check in receipt.checks if check.stage == stage]


def _lake_is_that_of(home: Home, build: Build) -> bool:
    """Does each file of the lake hold, byte for byte, what the archive of the generation says that it read?"""
    inputs, files = archive.load(home, build.generation)
    read = files.filter(pc.field("kind") != "deliveries").select(["path", "sha256"]).to_pylist()
    return inputs.build == build and all(
        file_sha256(home.root / row["path"]) == row["sha256"] for row in read if row["path"] is not None
    )


def _inputs_are_those_of(home: Home, build: Build) -> bool:
    """Does the generation in force hold each staged table and view as it is staged now? Its name is a hash of heads
    and manifests; contact points and feeds' reports have none."""
    staged = _contents(home, build.path(home), None)
    return bool(staged) and _contents(home, warehouse_file(home, build.generation), frozenset(staged)) == staged


def _contents(home: Home, file: Path, only: frozenset[str] | None) -> dict[str, tuple[object, ...]]:
    """Relation → its definition, its rows and a sum over their hashes, in whatever order they lie."""
    con = connect(home, file, read_only=True)
    try:
        found: dict[str, tuple[object, ...]] = {}
        for kind, schema, name, sql in con.execute(
            "SELECT 'table', schema_name, table_name, sql FROM duckdb_tables() UNION ALL "
            "SELECT 'view', schema_name, view_name, sql FROM duckdb_views() WHERE NOT internal"
        ).fetchall():
            relation = f'{schema}."{name}"'
            if only is not None and relation not in only:
                continue
            rows = f"SELECT count(*), sum(hash(t)::HUGEINT) FROM {relation} AS t" if kind == "table" else "SELECT 0, 0"
            found[relation] = (kind, sql, *con.execute(rows).fetchall())
        return found
    finally:
        con.close()
