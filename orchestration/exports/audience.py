"""Who is in one export: the build's permits, minus the recheck's, with contacts; and who is to be removed elsewhere.

Not here: files and manifests (`export.py`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from orchestration.exports import cells, deliveries
from orchestration.exports.recheck import stop
from orchestration.home import Home
from orchestration.identity.vault import Vault
from orchestration.policy.schema import Destination, Policy, Segment
from orchestration.warehouse.publish import Published

CANDIDATES = """
select a.audience_key, a.contact_token, a.admitted_by, a.notice,
    case when isfinite(a.consent_until) then a.consent_until end as consent_until,
    coalesce(a.reason, x.reason) as reason, x.reason is null and a.reason = 'feed_stale' as is_merely_stale
from intermediate.int_activations_decided as a
left join recheck_excluded as x
    on a.segment = x.segment and a.destination = x.destination and a.person_key = x.person_key
where a.segment = $segment and a.destination = $destination
order by a.audience_key, a.contact_token
"""


@dataclass(frozen=True)
class Run:
    """What every export of one run shares."""

    home: Home
    policy: Policy
    con: duckdb.DuckDBPyConnection
    vault: Vault
    generation: Published
    head: tuple[int, str]
    stale: frozenset[str]
    now: datetime


@dataclass(frozen=True)
class Audience:
    """Who may leave, and who may not by reason. `kept` are the tokens that no removal list names."""

    rows: list[dict[str, Any]]
    tokens: frozenset[str]
    kept: frozenset[str]
    withheld: dict[str, int]
    stopped: bool


def choose(run: Run, segment: Segment, destination: Destination) -> Audience:
    """The audience of `segment` at `destination`: permitted by the build, by the recheck, and as a whole."""
    names = {"segment": segment.name, "destination": destination.name}
    found = run.con.execute(CANDIDATES, names).to_arrow_table().to_pylist()
    withheld = Counter(row["reason"] for row in found if row["reason"] is not None)
    permitted = [row for row in found if row["reason"] is None]
    plain = run.vault.get([row["contact_token"] for row in permitted])
    region = run.policy.organisation.phone_region
    rows = []
    for row in permitted:
        canonical = plain.get(row["contact_token"])
        row["contact"] = canonical and cells.write_contact(canonical, destination, region)
        if row["contact"]:
            rows.append({**row, "segment": segment.name})
    withheld["no_contact_point"] += len(permitted) - len(rows)
    tokens = frozenset(row["contact_token"] for row in rows)
    # A stale feed stops the file, but says nothing against those who were in it: they are not to be removed.
    merely_stale = frozenset(row["contact_token"] for row in found if row["is_merely_stale"])
    reason = stop(run.policy, segment, destination, stale=run.stale, people=len(rows))
    if reason is None:
        return Audience(rows, tokens, tokens | merely_stale, _nonzero(withheld), stopped=False)
    withheld[reason] += len(rows)
    kept = tokens | merely_stale if reason == "feed_stale" else merely_stale
    return Audience([], frozenset(), kept, _nonzero(withheld), stopped=True)


def _nonzero(counts: Counter[str]) -> dict[str, int]:
    return {reason: number for reason, number in sorted(counts.items()) if number}


def removals_of(
    run: Run, segment: Segment, destination: Destination, kept: frozenset[str]
) -> tuple[list[dict[str, Any]], int]:
    """Everyone delivered earlier and no longer in, each time in full: a list that was not fetched loses nobody."""
    gone = deliveries.delivered(run.home, segment.name, destination.name) - kept
    region = run.policy.organisation.phone_region
    plain = run.vault.get(sorted(gone))
    written = (cells.write_contact(canonical, destination, region) for canonical in plain.values())
    contacts = sorted(contact for contact in written if contact)
    return [{"contact": contact} for contact in contacts], len(gone) - len(contacts)
