"""The compiled project of a policy as it is now: what the last build left, where that is of this very project, or
compiled once and kept beside it.

Not here: what is read out of it (`project.py`)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from orchestration.home import Home
from orchestration.policy.schema import Policy
from orchestration.proof.project import Columns, Project, read_project
from orchestration.warehouse.dbt import compile_project, is_compiled, target_path
from orchestration.warehouse.prepare import prepare
from orchestration.warehouse.relations import relations

KEPT = "compiled"  # beside the prepared project, whose folder is named by the hash of its files
_DATABASE = re.compile(r'"[^"]+"\.(?="[^"]+"\."[^"]+")')


def compiled_project(home: Home, policy: Policy, policy_dir: Path) -> Project:
    """The project of `policy` with its SQL. Nothing needs to be built: the columns of the sources are declared, and
    those of the models follow from their SQL. Hold the home's lock."""
    project = prepare(home, policy, policy_dir)
    kept = project.parent / KEPT
    target = next((found for found in (target_path(home), kept) if is_compiled(found, project)), None)
    if target is None:
        with _empty(home) as file:
            compile_project(home, file, project, kept)
    return read_project(target or kept, declared_columns(policy))


def declared_columns(policy: Policy) -> Columns:
    """The columns of every table that a build holds before dbt starts."""
    return {
        f"{schema}.{table}": tuple(columns)
        for schema, tables in relations(policy).items()
        for table, columns in tables.items()
    }


def sql_hash(project: Project) -> str:
    """SHA-256 (hex) over the names and the SQL of all models, whatever database it was compiled for."""
    digest = hashlib.sha256()
    for relation in sorted(project.models, key=lambda one: one.name):
        digest.update(f"{relation.name}\0{_DATABASE.sub('', relation.sql or '')}\0".encode())
    return digest.hexdigest()


@contextmanager
def _empty(home: Home) -> Iterator[Path]:
    """A database without rows: what dbt opens while it compiles must not be the generation in force."""
    file = home.building / "compile.duckdb"
    _remove(file)
    try:
        duckdb.connect(str(file)).close()
        file.chmod(0o600)
        yield file
    finally:
        _remove(file)


def _remove(file: Path) -> None:
    for leftover in file.parent.glob(f"{file.stem}.*"):
        leftover.unlink()
