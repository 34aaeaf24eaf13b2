"""Who asks for counts of people again and again: each question is noted, without any answer (fault E8).

Counts are told so that two of them tell of nobody; what is asked many times over is noted all the same, for whoever
reviews it. Command, generations and segment only."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime

from orchestration.home import Home

FILE = "queries.jsonl"


def note_query(
    home: Home, command: str, generations: Sequence[str], segment: str | None = None, *, now: datetime
) -> None:
    """Adds one question to evidence/queries.jsonl, with its time."""
    asked = {
        "at": now.isoformat(timespec="seconds"),
        "command": command,
        "generations": list(generations),
        "segment": segment,
    }
    path = home.evidence / FILE
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.write(json.dumps(asked, sort_keys=True) + "\n")


def queries(home: Home) -> list[dict[str, object]]:
    """Every question on record, the oldest first."""
    path = home.evidence / FILE
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
