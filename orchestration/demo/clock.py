"""The clock of a demo home: it stands where its world ends, so that a demo built next week gives the same lists.

Not here: making the world."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from orchestration.home import Home

RECORD = "world.json"  # in a demo home: which world it holds


def end_of_world(home: Home) -> datetime | None:
    """Where the world of a demo home ends; None for a company's home, and before a world is made."""
    record = home.root / RECORD
    if home.info.kind != "demo" or not record.is_file():
        return None
    return datetime.fromisoformat(json.loads(record.read_bytes())["as_of"]).astimezone(UTC)
