"""Whom a version of a notice concerns: those whose consent in force rests on an older one (R-44). Set-based.

Not here: telling them. That is an export on a purpose of contract basis; no contact detail is in what is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from sqlalchemy import select

from orchestration.atomic import replace
from orchestration.consent.ledger import Ledger, open_ledger
from orchestration.consent.models import EVENTS, microseconds
from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.schema import Notice, Policy
from orchestration.policy.vocabulary import vocabulary
from orchestration.settings import IN_HOME, LedgerAt

TEXT, INTEGER = pa.string(), pa.int64()
READ = {
    **dict.fromkeys(("seq", "effective_at", "until_at"), INTEGER),
    **dict.fromkeys(("subject_ref", "controller", "purpose", "category", "recipient", "channel"), TEXT),
    **dict.fromkeys(("decision", "notice_id", "notice_version", "notice_language"), TEXT),
}
AT_A_TIME = 50_000

# As `standing.py` has it for one subject: the last grant per scope, unless a later refusal covers it or it has ended.
# A consent that an earlier renewal has ended is listed all the same: it is the stale one that must be asked for again.
CONCERNED = """
create temp table concerned as
with events as (
    select *, decision in (select unnest($restricting)) as restricts from consents
),
grants as (
    select * from events where effective_at <= $now or restricts
    qualify row_number() over (
        partition by subject_ref, controller, purpose, category, recipient, channel
        order by effective_at desc, restricts desc, seq desc
    ) = 1
),
refusals as (select * from events where restricts),
resting as (
    select g.*
    from grants as g
    inner join purposes as p on g.purpose = p.purpose
    where not g.restricts and g.notice_id = $notice
        and coalesce(g.until_at > $now, true)
        and coalesce(g.effective_at + p.max_age > $now, true)
        and not exists (
            select 1 from refusals as r
            where r.subject_ref = g.subject_ref and r.controller = g.controller
                and (r.effective_at, r.restricts::integer, r.seq) > (g.effective_at, 0, g.seq)
                and (r.purpose is null or r.purpose = g.purpose)
                and (r.purpose is not null or r.recipient is null or r.recipient = coalesce(g.recipient, 'own'))
                and (r.category is null or r.category = g.category)
                and (r.channel is null or r.channel = g.channel)
        )
)
select
    r.subject_ref, m.kind, m.issuer, r.controller, r.purpose, r.channel, r.notice_version as agreed_version,
    r.notice_language as language,
    v.version is null or v.must_renew as is_renewal_required,
    v.version is null or v.is_stale as is_stale
from resting as r
inner join subjects as m on r.subject_ref = m.subject_ref
left join versions as v on r.notice_version = v.version
where v.version is null or v.is_older
order by r.subject_ref, r.controller, r.purpose, r.channel
"""
COUNTS = """
select controller, purpose, channel, agreed_version, language, is_renewal_required, is_stale,
    count(distinct subject_ref) as subjects
from concerned group by all order by all
"""


@contextmanager
def concerned(
    home: Home,
    policy: Policy,
    keys: Keys,
    notice_id: str,
    version: str,
    *,
    now: datetime,
    ledger_at: LedgerAt = IN_HOME,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the table `concerned`, a row per consent. Raises AssentError for an unknown notice or version.

    A subject is one identifier; those whom the registry has forgotten (erased) are left out."""
    notice = _notice(policy, notice_id, version)
    with open_ledger(home, keys, ledger_at) as (ledger, registry):
        consents, subjects = _consents(ledger), registry.mapping_arrow()
    con = select_concerned(consents, subjects, policy, notice, version, now)
    try:
        yield con
    finally:
        con.close()


def select_concerned(
    consents: pa.Table, subjects: pa.Table, policy: Policy, notice: Notice, version: str, now: datetime
) -> duckdb.DuckDBPyConnection:
    """A new connection with the table `concerned`, from consent records (`READ`) and the registry's subjects."""
    con = duckdb.connect(":memory:")
    con.register("consents", consents)
    con.register("subjects", subjects)
    con.register("versions", _versions(notice, version, now))
    con.register("purposes", _ages(policy, notice))
    asked = {"notice": notice.id, "restricting": sorted(vocabulary().restricting), "now": microseconds(now)}
    con.execute(CONCERNED, asked)
    return con


def counts(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """How many subjects, by controller, purpose, channel, version agreed to and language."""
    return con.execute(COUNTS).to_arrow_table().to_pylist()  # type: ignore[no-any-return]


def write_list(con: duckdb.DuckDBPyConnection, path: Path) -> int:
    """Writes the list as CSV, 0600, whole or not at all; returns its rows."""
    aside = path.with_name(f"tmp_{path.name}")
    failed = False
    try:
        aside.touch(mode=0o600)
        con.execute(f"copy concerned to '{str(aside).replace(chr(39), chr(39) * 2)}' (format csv, header)")
        aside.chmod(0o600)
        replace(aside, path)
    except (OSError, duckdb.IOException):
        failed = True
    finally:
        aside.unlink(missing_ok=True)
    if failed:
        raise AssentError("the list cannot be written", where=str(path), remedy="Choose another --out")
    found = con.execute("select count(*) from concerned").fetchone()
    return 0 if found is None else int(found[0])


def _notice(policy: Policy, notice_id: str, version: str) -> Notice:
    notices = {notice.id: notice for notice in policy.notices.notices}
    if notice_id not in notices:
        raise AssentError("no such notice", where="--notice", remedy=f"There are: {', '.join(sorted(notices))}")
    versions = [v.version for v in notices[notice_id].versions]
    if version not in versions:
        raise AssentError("no such version", where="--version", remedy=f"There are: {', '.join(versions)}")
    return notices[notice_id]


def _versions(notice: Notice, version: str, now: datetime) -> pa.Table:
    """Each version beside the one asked about: whether it is older, whether a renewal lies between, and since when."""
    names = [v.version for v in notice.versions]
    last = names.index(version)
    between = {name: notice.versions[i + 1 : last + 1] for i, name in enumerate(names)}
    later = {name: notice.versions[i + 1 :] for i, name in enumerate(names)}
    return pa.table(
        {
            "version": pa.array(names, TEXT),
            "is_older": pa.array([i < last for i in range(len(names))], pa.bool_()),
            "must_renew": pa.array([any(v.renews_consent for v in between[n]) for n in names], pa.bool_()),
            "is_stale": pa.array(
                [any(v.renews_consent and v.published_at <= now for v in later[n]) for n in names], pa.bool_()
            ),
        }
    )


def _ages(policy: Policy, notice: Notice) -> pa.Table:
    """The purposes of the notice, and how long a consent for each may be used, in microseconds."""
    purposes = [purpose for purpose in policy.purposes.purposes if purpose.name in notice.purposes]
    ages = [None if p.max_consent_age_days is None else p.max_consent_age_days * 86_400_000_000 for p in purposes]
    return pa.table({"purpose": pa.array([p.name for p in purposes], TEXT), "max_age": pa.array(ages, INTEGER)})


def _consents(ledger: Ledger) -> pa.Table:
    """Every consent record, with what a notice needs to know of it."""
    schema = pa.schema(list(READ.items()))
    query = select(*(EVENTS.c[name] for name in READ)).where(EVENTS.c.type == "consent")
    batches = []
    with ledger.reading() as connection:
        for rows in connection.execution_options(yield_per=AT_A_TIME).execute(query).partitions():
            columns = zip(*rows, strict=True)
            arrays = [pa.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)]
            batches.append(pa.record_batch(arrays, schema=schema))
    return pa.Table.from_batches(batches, schema)
