"""Takes back exports that name somebody who is erased. What a recipient fetched before, Assent cannot reach: they are
told by suppression files, and the evidence lists them. Not here: those files (`exports/suppression.py`)."""

from __future__ import annotations

from pathlib import Path

from orchestration.exports.manifest import retract
from orchestration.home import Home
from orchestration.retention.sealed_files import texts
from orchestration.retention.traces import Traces


def retract_exports(home: Home, traces: Traces) -> int:
    """Empties the folders of exports with a file that names somebody; `assent export` writes them again without. How
    many."""
    folders = sorted({path.parent for path in home.outbox.glob("*/*/*/*") if path.is_file() and _names(path, traces)})
    for folder in folders:
        retract(folder)
    return len(folders)


def _names(path: Path, traces: Traces) -> bool:
    return any(traces.names(text) for text in texts([path.read_bytes()]))
