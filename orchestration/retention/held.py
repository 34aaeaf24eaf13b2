"""Whose data must stay as it is although nobody may use it: restriction and legal hold, told by the generation in force
and by what the ledger has learned since. Not here: sources under legal hold, which policy names."""

from __future__ import annotations

import contextlib

import duckdb
import pyarrow as pa

from orchestration.consent.ledger import open_ledger
from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.schema import Policy
from orchestration.settings import LedgerAt
from orchestration.warehouse.publish import connect_published, published

HOLDING = ("legal_hold", "restricted")
SINCE = """
select distinct token
from (select token, controller, status, max_by(state, (effective_at, seq)) as state from statuses group by all)
where list_contains($holding::varchar[], status) and state is distinct from 'off'
"""
OF_GENERATION = """
select distinct i.token
from intermediate.int_people_held as h
inner join identity.identifiers as i on h.identifier_id = i.identifier_id
"""


def held_tokens(home: Home, policy: Policy, keys: Keys, ledger_at: LedgerAt) -> pa.Array:
    """The tokens of everybody under restriction or legal hold. Raises AssentError where somebody is, and no generation
    says what else is theirs."""
    named = _named(home, policy, keys, ledger_at)
    found: list[str] | None = None
    if published(home) is not None:
        con = connect_published(home)
        with contextlib.suppress(duckdb.CatalogException):  # of an older version
            found = [str(token) for (token,) in con.execute(OF_GENERATION).fetchall()]
        con.close()
    if named and found is None:
        raise AssentError(
            "somebody is under restriction or legal hold, and no generation says what is theirs",
            where=str(home.root),
            remedy="Run `assent run` first",
        )
    return pa.array(sorted({*named, *(found or [])}), pa.string())


def _named(home: Home, policy: Policy, keys: Keys, ledger_at: LedgerAt) -> list[str]:
    """Whom the ledger names, by the latest state of each status."""
    if ledger_at.url is None and not home.ledger_db.exists():
        return []
    with open_ledger(home, keys, ledger_at) as (ledger, registry):
        statuses = ledger.staged(registry, policy)["statuses"]
    with duckdb.connect() as con:
        con.register("statuses", statuses)
        return [str(token) for (token,) in con.execute(SINCE, {"holding": list(HOLDING)}).fetchall()]
