"""What was removed from the lake on purpose, and why: each purge, erasure or settling of a day notes it here first.

A replay tells by it what retention and erasure have taken from what merely is not there. Whoever unlinks or rewrites a
file of the lake calls `note_removed` before; a file that goes without a note is unexplained. Not here: removing."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from orchestration.atomic import write_json
from orchestration.errors import VerifyError
from orchestration.home import Home
from orchestration.policy.schema import Policy
from orchestration.policy.tables import retention_days

Cause = Literal["erasure", "retention", "unexplained"]


class RemovedFile(BaseModel):
    """One file (relative to the home) that is no longer what it was, and the file that holds the rest of its rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    rows: int  # removed, of those it held
    replaced_by: str | None = None  # may be the same path
    sha256: str | None = None  # of the file that replaces it


class Removal(BaseModel):
    """One act. `retention` is a purge of what is past its days, and a settled day: only what some scope permits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    cause: Literal["erasure", "retention"]
    at: AwareDatetime
    files: tuple[RemovedFile, ...]


def note_removed(
    home: Home, cause: Literal["erasure", "retention"], files: Sequence[RemovedFile], *, now: datetime
) -> Path:
    """Notes, durably, what is about to be removed and why. Call it before: a kill between leaves a note of a file that
    is still whole, which a replay sees."""
    removal = Removal(cause=cause, at=now, files=tuple(files))
    content = removal.model_dump(mode="json")
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    place = home.evidence / "removed"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = place / f"{now:%Y%m%dT%H%M%S%f}-{digest}.json"
    write_json(path, content)
    return path


def notes_of_removal(home: Home) -> list[Removal]:
    """Every note, the oldest first. Raises VerifyError for a damaged one: what it explained would be unexplained."""
    found = []
    for path in sorted((home.evidence / "removed").glob("*.json")):
        removal = None
        with contextlib.suppress(OSError, ValidationError):
            removal = Removal.model_validate_json(path.read_bytes())
        if removal is None:
            raise VerifyError("a note of a removal is damaged", where=str(path), remedy="Restore it from a backup")
        found.append(removal)
    return found


@dataclass(frozen=True)
class Rest:
    """Where the notes say that what is left of a file lies (None: nowhere), its hash, and why it is not what it was."""

    path: str | None
    sha256: str | None
    cause: Cause


Noted = Mapping[str, Sequence[tuple[RemovedFile, Cause]]]


def by_path(removals: Sequence[Removal]) -> Noted:
    """What the notes say of each file that they name."""
    noted: dict[str, list[tuple[RemovedFile, Cause]]] = {}
    for removal in removals:
        for file in removal.files:
            noted.setdefault(file.path, []).append((file, removal.cause))
    return noted


def follow(noted: Noted, path: str) -> list[Rest]:
    """Every place where the notes say that the rows of `path` went, one note after the other. There may be several, of
    which one is there: a killed rewrite is noted, and so is the one that took its place. Erasure counts before
    retention as a cause, since it cannot be derived otherwise."""
    found: dict[tuple[str | None, str | None], Rest] = {}
    open_ends: list[tuple[str, Cause]] = [(path, "retention")]
    while open_ends:
        where, before = open_ends.pop()
        for file, cause in noted.get(where, ()):
            rest = Rest(file.replaced_by, file.sha256, "erasure" if "erasure" in (before, cause) else "retention")
            known = found.get((rest.path, rest.sha256))
            if known is None or (known.cause, rest.cause) == ("retention", "erasure"):
                found[rest.path, rest.sha256] = rest
                if rest.path is not None:
                    open_ends.append((rest.path, rest.cause))
    return list(found.values())


def is_past_retention(policies: Sequence[Policy], source: str, day: date | None, now: datetime) -> bool:
    """Whether no purpose could keep anything of that day of the source, by any of the policies: then its absence needs
    no note. Never for a source under legal hold."""
    return day is not None and any(_is_past(policy, source, day, now) for policy in policies)


def _is_past(policy: Policy, source: str, day: date, now: datetime) -> bool:
    days = [
        retention_days(policy, category, purpose.name)
        for purpose in policy.purposes.purposes
        for category in purpose.categories
    ]
    today = now.astimezone(ZoneInfo(policy.organisation.zone)).date()
    kept = [number for number in days if number is not None]
    if source in policy.retention.legal_holds or len(kept) < len(days) or not kept:
        return False
    return day + timedelta(days=max(kept)) < today


def are_links_past(policies: Sequence[Policy], day: date | None, now: datetime) -> bool:
    """The same of a file of links, which has a retention of its own."""
    return day is not None and any(
        day + timedelta(days=policy.retention.links_days) < now.astimezone(ZoneInfo(policy.organisation.zone)).date()
        for policy in policies
    )
