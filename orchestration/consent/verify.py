"""Verifies the ledger of a home: chain, sealed details and triggers. Not here: the published generation."""

from __future__ import annotations

from typing import Any

from orchestration.consent.ledger import open_ledger
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.settings import Settings


def verify_ledger(home: Home, settings: Settings) -> dict[str, Any]:
    """What holds: `is_good`, the head, the first bad sequence (None when the chain and the details hold), and whether
    the database still refuses UPDATE and DELETE."""
    keys = Keys.open(home)
    with open_ledger(home, keys, settings.ledger_at) as (ledger, _):
        first_bad = ledger.verify()
        is_append_only = ledger.is_append_only
        seq, digest = ledger.head()
    return {
        "is_good": first_bad is None and is_append_only,
        "seq": seq,
        "head": digest,
        "first_bad_seq": first_bad,
        "is_append_only": is_append_only,
    }
