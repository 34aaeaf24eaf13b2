"""Whom a request is about: the group of identifiers in the published generation, and what is kept of them, in counts.

An identifier that several people share loses the link to the person only; what it did itself is not the person's alone.
Not here: what a request does (`respond.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from orchestration.consent.ledger import Ledger
from orchestration.consent.models import Subject
from orchestration.errors import AssentError
from orchestration.exports import deliveries
from orchestration.home import Home
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.identity.vault import Vault
from orchestration.ingestion.lake import lake_files, link_files
from orchestration.policy.schema import Policy
from orchestration.retention.requests import Named, Person
from orchestration.warehouse.duckdb_settings import connect
from orchestration.warehouse.publish import connect_published, published

# A group is one human by every link on record; whether purposes may join them is another question.
GROUP = """
with asked as (
    select controller, group_id, is_ambiguous from intermediate.int_identifiers_resolved where token = $token
)
select distinct i.token, i.kind, i.issuer
from intermediate.int_identifiers_resolved as i
inner join asked as a on i.controller = a.controller and i.group_id = a.group_id
where not i.is_ambiguous and not a.is_ambiguous
order by all
"""
# Of the group's identifiers those that stand for several people under some controller, or are linked and do.
SHARED = """
with linked as (
    select token_b as token from identity.links where token_a in (select token from people)
    union
    select token_a from identity.links where token_b in (select token from people)
    union
    select token from people
)
select distinct i.token, i.kind, i.issuer
from intermediate.int_identifiers_resolved as i inner join linked as l on i.token = l.token
where i.is_ambiguous
order by all
"""


def select_person(home: Home, asked: Subject) -> Person:
    """The person behind `asked`. Raises AssentError where it is an identifier of several people: nobody can say whose
    request it is."""
    named = Named(*asked)
    if published(home) is None:
        return Person(named, (named,))
    con = connect_published(home)
    try:
        found = con.execute(GROUP, {"token": asked.token}).fetchall()
        group = {row[0]: Named(*row) for row in found} | {asked.token: named}
        con.register("people", pa.table({"token": pa.array(list(group), pa.string())}))
        shared = {row[0]: Named(*row) for row in con.execute(SHARED).fetchall()}
    finally:
        con.close()
    if asked.token in shared:
        raise AssentError(
            "several people share this identifier, so nobody can say whose request it is",
            where=f"{asked.kind}:{asked.issuer}",
            remedy="Ask the person for another one that is theirs alone: account, member number, openid",
        )
    alone = [group[token] for token in sorted(group.keys() - shared.keys())]
    return Person(named, tuple(alone), tuple(shared[token] for token in sorted(shared)))


@dataclass(frozen=True)
class Kept:
    """How much is kept of a person, in numbers: what is shown before an erasure is confirmed (fault F9)."""

    identifiers: dict[str, int]  # kind:issuer → how many
    shared: dict[str, int]
    touchpoints: dict[str, int]  # by source
    links: int
    contacts: int
    ledger_records: int
    deliveries: int
    held_by: tuple[str, ...]  # sources under legal hold with something of the person

    def as_json(self) -> dict[str, Any]:
        return dict(self.__dict__)


def count_kept(
    home: Home, policy: Policy, keys: Keys, ledger: Ledger, registry: SubjectRegistry, person: Person
) -> Kept:
    """Counts what the home holds of `person` now."""
    tokens = person.tokens
    wanted = pa.array(tokens, pa.string())
    with connect(home) as con:
        con.register("people", pa.table({"token": wanted}))
        touchpoints = {s.name: _touchpoints(con, home, s.name) for s in policy.sources.sources}
        links = _links(con, home)
    refs = registry.refs_of(tokens)
    log = deliveries.log(home, "deliveries")
    with Vault(home, keys) as vault:
        contacts = len(vault.get(tokens))
    return Kept(
        identifiers=_by_kind(person.identifiers),
        shared=_by_kind(person.shared),
        touchpoints={name: number for name, number in touchpoints.items() if number},
        links=links,
        contacts=contacts,
        ledger_records=len(ledger.subject_rows(refs)) if refs else 0,
        deliveries=sum(token in set(tokens) for token in log["token"].to_pylist()),
        held_by=tuple(name for name in policy.retention.legal_holds if touchpoints.get(name)),
    )


def sources_holding(home: Home, sources: Sequence[str], person: Person) -> list[str]:
    """Those of `sources` that hold touchpoints of the person."""
    with connect(home) as con:
        con.register("people", pa.table({"token": pa.array(person.tokens, pa.string())}))
        return [source for source in sources if _touchpoints(con, home, source)]


def is_held(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the person's records in the ledger put them under legal hold; at equal times the hold counts."""
    said: dict[tuple[str, str], tuple[int, bool, int]] = {}
    for row in records:
        if row["type"] == "status" and row["fact"] == "legal_hold":
            key = row["subject_ref"], row["controller"]
            said[key] = max(said.get(key, (0, False, 0)), (row["effective_at"], row["state"] != "off", row["seq"]))
    return any(is_on for _, is_on, _ in said.values())


def _by_kind(identifiers: tuple[Named, ...]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in identifiers:
        counts[f"{one.kind}:{one.issuer}"] = counts.get(f"{one.kind}:{one.issuer}", 0) + 1
    return dict(sorted(counts.items()))


def _touchpoints(con: duckdb.DuckDBPyConnection, home: Home, source: str) -> int:
    files = [str(path) for path in lake_files(home, source)]
    return _count(con, "subject_token in (select token from people)", files)


def _links(con: duckdb.DuckDBPyConnection, home: Home) -> int:
    ends = "token_a in (select token from people) or token_b in (select token from people)"
    return _count(con, ends, [str(path) for path in link_files(home)])


def _count(con: duckdb.DuckDBPyConnection, condition: str, files: list[str]) -> int:
    if not files:
        return 0
    query = f"select count(*) from read_parquet($files, union_by_name = true) where {condition}"
    found = con.execute(query, {"files": files}).fetchone()
    return int(found[0]) if found else 0
