"""The hash of the code that decides: one of the inputs that name a generation."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
DBT_PROJECT = PACKAGE.parent / "dbt_project"
SUFFIXES = {".py", ".sql", ".yml"}
NOT_CODE = {"target", "logs", "dbt_packages", "__pycache__", "demo"}  # the demo makes data; it decides nothing


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
