"""When the copies of before an erasure are gone: the last state of a request. Keys among them open what was erased.

Not here: deleting backups that are past their days (`purge.py`)."""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestration.backup.register import NotedBackup, is_where_written, noted_backups
from orchestration.home import Home
from orchestration.policy.schema import Policy
from orchestration.retention.requests import Request, RequestLog


def older_copies(home: Home, erased_at: datetime) -> list[NotedBackup]:
    """The backups that were made before and are not known to be deleted."""
    return [noted for noted in noted_backups(home).values() if noted.created_at <= erased_at]


def note_expired(home: Home, policy: Policy, log: RequestLog, *, now: datetime) -> list[Request]:
    """Notes for each erasure whether the copies of before it are gone: those that Assent wrote are deleted, or carried
    away and past their days; and policy's days have passed for copies that it does not know."""
    days = timedelta(days=policy.retention.datasets.backups)
    noted = []
    for request in log.all():
        reached = request.reached("physically_erased")
        if request.state != "physically_erased" or reached is None or now < reached.at + days:
            continue
        copies = older_copies(home, reached.at)
        if any(is_where_written(copy) or now < copy.created_at + days for copy in copies):
            continue
        log.note(request.id, "backups_expired", now, {"carried_away": len(copies)})
        noted.append(log.get(request.id))
    return noted
