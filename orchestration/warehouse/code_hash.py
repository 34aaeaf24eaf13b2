"""The hash of the code that decides, one of the inputs that name a generation; and of the tools that ran it."""

from __future__ import annotations

import functools
import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
DBT_PROJECT = PACKAGE.parent / "dbt_project"
SUFFIXES = {".py", ".sql", ".yml"}
NOT_CODE = {"target", "logs", "dbt_packages", "__pycache__", "demo"}  # the demo makes data; it decides nothing

# They compute and check a generation. Not among its inputs: a generation does not become another by an upgrade.
TOOLS = (
    *("duckdb", "dbt-core", "dbt-adapters", "dbt-duckdb", "jinja2", "sqlglot"),
    *("numpy", "pandas", "pyarrow", "great-expectations"),
)


def code_files() -> list[Path]:
    """The files whose content can change a decision, in a fixed order."""
    return [
        path
        for root in (PACKAGE, DBT_PROJECT)
        for path in sorted(root.rglob("*"))
        if path.suffix in SUFFIXES and not NOT_CODE & set(path.relative_to(root).parts)
    ]


@functools.cache
def code_hash() -> str:
    """SHA-256 (hex) over names and contents of `code_files`; read once per process, as the code itself is."""
    digest = hashlib.sha256()
    for path in code_files():
        digest.update(path.relative_to(PACKAGE.parent).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@functools.cache
def tools_hash() -> str:
    """SHA-256 (hex) over the versions of Python and of `TOOLS`."""
    versions = [platform.python_version(), *(f"{name} {version(name)}" for name in TOOLS)]
    return hashlib.sha256("\n".join(versions).encode()).hexdigest()
