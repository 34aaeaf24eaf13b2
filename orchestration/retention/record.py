"""The evidence of a purge, one file each in evidence/purges/: counts by dataset and rule, and the names of what went.

It is written before anything goes, as "incomplete", and lists what goes, so that a killed purge can be finished by it;
it holds no token. Not here: deleting (`purge.py`)."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestration.atomic import write_json
from orchestration.errors import VerifyError
from orchestration.home import Home
from orchestration.retention.plan import Item, Part, Plan


@dataclass(frozen=True)
class Record:
    """The evidence of one purge: counts by dataset and rule, and the names of what went, which are no tokens."""

    work_id: str
    state: str
    clock: datetime
    parts: tuple[Part, ...]
    facts: dict[str, Any]
    gone: dict[str, int]

    @classmethod
    def begin(
        cls,
        home: Home,
        plan: Plan,
        going: Sequence[Part],
        outside: Mapping[str, int],
        *,
        as_of: datetime,
        now: datetime,
    ) -> Record:
        """Writes it as incomplete, durably."""
        content = json.dumps([plan.clock.isoformat(), [[part.name, [i.name for i in part.goes]] for part in going]])
        work_id = f"purge-{plan.clock:%Y%m%dT%H%M%S}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
        facts = {
            "as_of": as_of.isoformat(),
            "begun_at": now.isoformat(),
            "policy_hash": plan.policy_hash,
            "stopped": [told_part(part) for part in plan.stopped if part not in going],
            "deferred": [told_part(part) for part in plan.parts if part.deferred],
            "outside": dict(outside),
        }
        record = cls(work_id, "incomplete" if going else "done", plan.clock, tuple(going), facts, {})
        record.write(home)
        return record

    def write(self, home: Home) -> None:
        place = _folder(home)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = {
            "format": 1,
            "work_id": self.work_id,
            "state": self.state,
            "clock": self.clock.isoformat(),
            **self.facts,
            "gone": self.gone,
            "parts": [{**told_part(part), "items": [_written(item) for item in part.goes]} for part in self.parts],
        }
        write_json(place / f"{self.work_id}.json", content)

    @classmethod
    def read(cls, home: Home, work_id: str) -> Record:
        path = _folder(home) / f"{work_id}.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads(path.read_bytes())
            names = ("as_of", "begun_at", "policy_hash", "stopped", "deferred", "outside")
            parts = tuple(_part(content) for content in found["parts"])
            facts = {name: found[name] for name in names}
            return cls(work_id, found["state"], datetime.fromisoformat(found["clock"]), parts, facts, {})
        raise VerifyError(
            "the record of an incomplete purge is damaged", where=str(path), remedy="Restore it from a backup"
        )


def told_part(part: Part) -> dict[str, Any]:
    return {
        "dataset": part.dataset,
        "source": part.source,
        "days": part.days,
        "units": part.units,
        "files": len(part.goes),
        "total": part.total,
        "share": round(part.share, 6),
        "limit": round(part.limit, 6),
        "deferred_units": sum(item.units for item in part.deferred),
        "deferred_because": sorted({item.keep or "legal_hold" for item in part.deferred}),
    }


def _written(item: Item) -> dict[str, Any]:
    return {"name": item.name, "at": item.at.isoformat(), "units": item.units, "source": item.source}


def _part(content: dict[str, Any]) -> Part:
    items = tuple(
        Item(content["dataset"], i["name"], datetime.fromisoformat(i["at"]), i["units"], i["source"])
        for i in content["items"]
    )
    return Part(content["dataset"], content["source"], content["days"], content["limit"], items, (), content["total"])


def give_up(home: Home, *, but: Collection[str]) -> None:
    """Marks what is incomplete and will not be finished: killed before its first step, or begun by a rule that has
    changed since. What it left is planned anew."""
    for path, found in _all(home):
        if found["state"] == "incomplete" and path.stem not in but:
            write_json(path, {**found, "state": "given_up"})


def last_purges(home: Home, most: int) -> list[dict[str, Any]]:
    """What the newest records say, the newest first."""
    return sorted((one for _, one in _all(home)), key=lambda one: str(one["begun_at"]), reverse=True)[:most]


def _all(home: Home) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every record that can be read: a damaged one of a purge that is over stands in nobody's way."""
    for path in sorted(_folder(home).glob("*.json")):
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(path.read_bytes())
            if isinstance(found, dict) and {"state", "begun_at"} <= found.keys():
                yield path, found


def _folder(home: Home) -> Path:
    return home.evidence / "purges"
