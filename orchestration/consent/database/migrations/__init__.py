"""The revisions of the ledger's tables, for alembic. `env.py` says on what they run, `versions/` what they do."""

from __future__ import annotations

REVISIONS = ("0001", "0002", "0003")  # oldest first
NEWEST = REVISIONS[-1]
