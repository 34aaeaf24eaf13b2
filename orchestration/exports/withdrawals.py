"""How long withdrawals took to reach each destination (R-21), and which exports went out before we knew (fault B4).

"Reached" means that the audience in the outbox no longer holds the person and the removal list does: when a recipient
fetches it, Assent cannot see. Counts and ledger sequences only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from orchestration.consent.ledger import open_ledger
from orchestration.errors import AssentError
from orchestration.exports import deliveries
from orchestration.exports.recheck import COVERS, STAGES, gather
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.ingestion.lake import link_files
from orchestration.policy.schema import Policy
from orchestration.settings import IN_HOME, LedgerAt
from orchestration.warehouse.publish import connect_published, published

REMOVED = ["token", "destination", "removed_at", "segment", "generation"]
# Each delivery with the withdrawals that reach its person and cover its segment.
WITHDRAWN = f"""
create or replace temp table withdrawn as
with activations as (
    select s.segment, d.destination, s.purpose, s.controller, s.recipient, s.reads_sensitive, d.channel,
        d.transfer_purpose, g.identity_purpose, k.purpose is not null as is_contract, h.stage_purposes
    from policy.segments as s
    cross join policy.destinations as d
    cross join policy.settings as g
    left join (
        select purpose from policy.purpose_basis group by purpose having bool_and(basis = 'contract')
    ) as k on s.purpose = k.purpose
    left join ({STAGES}) as h on s.segment = h.segment
),
people as (
    select token, controller, person_key from intermediate.int_identifiers_resolved where person_key is not null
),
reached as (
    select distinct r.token as said_on, r.said_by, p.token
    from recheck_reach as r inner join people as p on r.person_key = p.person_key
    union
    select token, controller, token from recheck_restrictions
)
select distinct d.segment, d.destination, d.generation, d.token, d.delivered_at, x.seq, x.effective_at, x.recorded_at
from delivered as d
inner join activations as a on d.segment = a.segment and d.destination = a.destination
inner join reached as t on d.token = t.token
inner join recheck_restrictions as x
    on t.said_on = x.token and t.said_by is not distinct from x.controller and {COVERS}
where x.said_as in ('consent', 'status') and x.recorded_at > d.delivered_at
"""
# The last delivery before a withdrawal was known, unless the person had left that destination by then.
ANSWERED = """
with last_delivery as (
    select segment, destination, token, seq, effective_at, recorded_at, max(delivered_at) as delivered_at
    from withdrawn group by all
),
answered as (
    select w.*,
        (
            select min(r.removed_at) from removed as r
            where r.token = w.token and r.segment = w.segment and r.destination = w.destination
                and r.removed_at >= w.delivered_at
        ) as removed_at
    from last_delivery as w
),
timed as (
    select destination, recorded_at, effective_at, removed_at,
        epoch(removed_at - recorded_at) as from_known, epoch(removed_at - effective_at) as from_decision
    from answered where removed_at is null or removed_at >= recorded_at
)
select
    destination,
    count(removed_at) as answered,
    count(*) - count(removed_at) as outstanding,
    quantile_disc(from_known, 0.5) as known_p50, quantile_disc(from_known, 0.99) as known_p99,
    max(from_known) as known_max,
    quantile_disc(from_decision, 0.5) as decision_p50, quantile_disc(from_decision, 0.99) as decision_p99,
    max(from_decision) as decision_max
from timed group by destination order by destination
"""
EXPOSED = """
select segment, destination, generation, count(distinct token) as people,
    min(delivered_at) as first_delivered_at, max(delivered_at) as last_delivered_at,
    list_sort(list(distinct seq)) as records
from withdrawn where delivered_at >= effective_at
group by segment, destination, generation order by segment, destination, first_delivered_at
"""


@dataclass(frozen=True)
class Seconds:
    """Times in seconds: half took no longer than p50."""

    p50: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True)
class Promptness:
    """Of one destination: withdrawals by people who had been delivered there. Outstanding ones wait for an export."""

    destination: str
    answered: int
    outstanding: int
    from_known: Seconds  # since the record entered the ledger
    from_decision: Seconds  # since the person decided


@dataclass(frozen=True)
class Exposure:
    """People who had withdrawn when an export named them, of which the ledger learned only later."""

    segment: str
    destination: str
    generation: str
    people: int
    first_delivered_at: datetime
    last_delivered_at: datetime
    records: list[int]  # sequences in the ledger


@dataclass(frozen=True)
class Withdrawals:
    promptness: list[Promptness]
    late_exposures: list[Exposure]


def measure_withdrawals(
    home: Home, policy: Policy, keys: Keys, *, now: datetime, ledger_at: LedgerAt = IN_HOME
) -> Withdrawals:
    """Over everything ever delivered; identities are those of the published generation and the links since."""
    if published(home) is None:
        raise AssentError("nothing is published", where=str(home.root), remedy="Run `assent run` first")
    with open_ledger(home, keys, ledger_at) as (ledger, registry):
        records = ledger.staged(registry, policy)
    con = connect_published(home)
    try:
        gather(con, records, links=link_files(home), now=now)
        con.register("delivered", deliveries.log(home, "deliveries"))
        con.register("removed", deliveries.log(home, "removals").rename_columns(REMOVED))
        con.execute(WITHDRAWN)
        answered, exposed = _rows(con, ANSWERED), _rows(con, EXPOSED)
    finally:
        con.close()
    return Withdrawals([_promptness(row) for row in answered], [_exposure(row) for row in exposed])


def _rows(con: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = con.execute(sql).to_arrow_table().to_pylist()
    return rows


def _promptness(row: dict[str, Any]) -> Promptness:
    known, decision = (
        Seconds(*(row[f"{since}_{of}"] for of in ("p50", "p99", "max"))) for since in ("known", "decision")
    )
    return Promptness(row["destination"], row["answered"], row["outstanding"], known, decision)


def _exposure(row: dict[str, Any]) -> Exposure:
    times = {name: row[name].replace(tzinfo=UTC) for name in ("first_delivered_at", "last_delivered_at")}
    return Exposure(**{**row, **times})
