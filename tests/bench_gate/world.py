"""A big seeded world as the tables of a build file: a lake of Parquet day files, a ledger, resolved identifiers.

DuckDB generates it set by set, so 60 M touchpoints need no memory. Not here: what is measured on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from orchestration.home import Home
from orchestration.policy.schema import Policy
from orchestration.policy.tables import write_policy_tables
from orchestration.warehouse.duckdb_settings import connect
from orchestration.warehouse.relations import Columns, relations

AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
DATABASE = "bench"  # views of the lake name it
CHUNK_DAYS = 30
CONSENT_DAYS = 730
SENSITIVE_ITEMS = 0.02
SHARES = {"web": 0.5, "app": 0.25, "wechat": 0.15, "in_store": 0.1}
RAW_EVENTS = {
    "web": ["page_viewed"] * 6 + ["product_viewed"] * 6 + ["consultation_requested", "order_completed", "logged_in"],
    "app": ["app_open"] * 6 + ["view_item"] * 4 + ["consult", "purchase", "like_topic", "profile", "not_in_policy"],
    "wechat": ["CLICK"] * 4 + ["launch"] * 4 + ["SCAN", "consult", "pay", "bind_phone"],
    "in_store": ["销售"] * 8 + ["退货", "咨询", "到诊"],
}
OWN_COLUMNS = {  # of a source, beside those that every source has
    "item": "case when u6 < {sensitive} then 'med-' else 'item-' end || (h % 500)::varchar",
    "amount": "(h % 90000) / 100.0",
    "store": "'store-' || (h % 40)::varchar",
    "city": "'city-' || (h % 12)::varchar",
    "tier": "['gold', 'silver', 'plain'][1 + (h % 3)::integer]",
    "account": "'wx-oa-shop'",
    "birthday_month_of_year": "1 + h % 12",
}


@dataclass(frozen=True)
class Size:
    """How big the world is. `days` is how far touchpoints go back; each source has one lake file a day."""

    touchpoints: int
    people: int
    events: int
    days: int
    seed: int = 7

    @classmethod
    def of(cls, touchpoints: int, seed: int = 7) -> Size:
        """2 M people and 12 M ledger events beside 20 M touchpoints and more; below, in the same proportion."""
        people = min(2_000_000, max(1_000, touchpoints // 10))
        return cls(touchpoints, people, 6 * people, 390 if touchpoints >= 5_000_000 else 60, seed)


def make_world(home: Home, policy: Policy, size: Size) -> None:
    """Writes the lake under `home` and the build file, ready for dbt."""
    con = connect(home, home.building / f"{DATABASE}.duckdb")
    try:
        declared = relations(policy)
        write_policy_tables(con, policy, policy_hash="bench", sensitive_segments=frozenset({"follow_up"}))
        for schema in declared.keys() - {"policy"}:
            con.execute(f"create schema if not exists {schema}")
            for table, columns in declared[schema].items():
                if schema != "lake" or table == "completeness":
                    con.execute(f"create table {schema}.{table} ({', '.join(f'{n} {t}' for n, t in columns.items())})")
        naive = AS_OF.replace(tzinfo=None)
        con.execute("insert into meta.builds by name select 'bench' as generation, ?::timestamp as as_of", [naive])
        con.execute("insert into identity.purpose_keys select purpose, sha256(purpose) from policy.purposes")
        _define_draws(con, size)
        _write_identifiers(con, size)
        _write_events(con, size)
        for source in policy.sources.sources:
            _write_source(con, home, source.name, declared["lake"][source.name], size)
    finally:
        con.close()


def _define_draws(con: duckdb.DuckDBPyConnection, size: Size) -> None:
    """`draw(i, n)`: the n-th of independent uniform numbers in [0, 1) of row i, the same in every run."""
    con.execute(f"create temp macro draw(i, n) as (hash(i, n, {size.seed}) >> 11) / 9007199254740992.0")
    con.execute(f"create temp macro token(kind, p) as md5(kind || '|' || p::varchar || '|{size.seed}')")
    con.execute("create temp macro has_cookie(p) as p % 2 = 0")
    con.execute("create temp macro has_member(p) as p % 4 = 1")
    con.execute("create temp macro in_clinic(p) as p % 20 = 1")
    # every fourth touchpoint or event that can be is of the person's second identifier
    con.execute("""
        create temp macro kind_of(p, u) as case
            when u < 0.6 then 'account' when has_cookie(p) then 'cookie' when has_member(p) then 'member'
            else 'account' end
    """)


def _write_identifiers(con: duckdb.DuckDBPyConnection, size: Size) -> None:
    """An account for everybody, a cookie for every second, a member code for every fourth, in the clinic too for
    every twentieth; one cookie in 200 is shared by two people and so nobody's."""
    con.execute(f"""
        create temp table people as select range as p from range({size.people});
        create temp table known as
        select 'shop' as controller, 'account' as kind, p, p + 1 as group_id, false as is_ambiguous from people
        union all
        select 'shop', 'cookie', p, if(p % 400 = 0, {4 * size.people} + p, p + 1), p % 400 = 0 from people
        where has_cookie(p)
        union all
        select 'shop', 'member', p, p + 1, false from people where has_member(p)
        union all
        select 'clinic', 'member', p, {2 * size.people} + p, false from people where in_clinic(p);

        insert into identity.identifiers by name
        select
            row_number() over (order by controller, kind, p) as identifier_id, controller, token(kind, p) as token,
            kind, 'bench' as issuer, kind <> 'cookie' as is_strong, kind <> 'cookie' as is_anchor, is_ambiguous,
            group_id, min(token(kind, p)) over (partition by group_id) as group_token,
            count(*) over (partition by group_id) as group_size, not is_ambiguous as is_whole
        from known;

        insert into identity.denial_reach by name
        select identifier_id, group_id from identity.identifiers
        union all
        select i.identifier_id, unnest([i.group_id - {4 * size.people} + 1, i.group_id - {4 * size.people} + 2])
        from identity.identifiers as i where is_ambiguous;
    """)


def _write_events(con: duckdb.DuckDBPyConnection, size: Size) -> None:
    """Consent to the six consent purposes of the shop, and the clinic's follow-up; membership contracts."""
    purposes = ["identity", "sms_marketing", "email_marketing", "personalisation", "partner_sharing", "mass_content"]
    con.execute(f"""
        create temp table said as
        select
            range + 1 as seq,
            (draw(range, 1) * {size.people})::bigint % {size.people} as p,
            draw(range, 2) as u2, draw(range, 3) as u3, draw(range, 5) as u5,
            draw(range, 6) as u6, draw(range, 7) as u7, draw(range, 8) as u8, draw(range, 9) as u9,
            timestamp '{AS_OF:%Y-%m-%d}' - to_seconds((draw(range, 4) * {CONSENT_DAYS * 86400})::bigint)
                as effective_at
        from range({size.events});

        insert into ledger.consent_events by name
        select
            seq,
            if(in_clinic(p) and u2 < 0.1, 'clinic', 'shop') as controller,
            if(controller = 'clinic', 'member', kind_of(p, u2)) as kind,
            token(kind, p) as token, 'bench' as issuer,
            case when controller = 'clinic' then 'follow_up' when u3 < 0.003 then null
                else {purposes}[1 + (u3 * 6)::integer % 6] end as purpose,
            if(purpose = 'partner_sharing', 'partner_ads', null) as recipient,
            case when purpose is null then 'presumed_denial' when u5 < 0.78 then 'grant' when u5 < 0.92 then 'withdraw'
                when u5 < 0.96 then 'deny' when u5 < 0.98 then 'object' else 'opt_out' end as decision,
            if(u6 < 0.96, 'explicit_click', 'pre_ticked') as method,
            controller = 'clinic' or u7 < 0.97 as is_separate,
            case when controller = 'clinic' then 'clinic-separate' when purpose = 'partner_sharing' then 'partner'
                else 'privacy' end as notice_id,
            case when u8 < 0.02 then '9' when effective_at >= timestamp '2026-09-01' and controller = 'clinic' then '2'
                when effective_at >= timestamp '2026-03-01' and notice_id = 'privacy' then '2' else '1' end
                as notice_version,
            case when u9 < 0.45 then 'CN' when u9 < 0.46 then 'DE' when u9 < 0.47 then 'US-CA' end as jurisdiction,
            effective_at,
            effective_at as recorded_at,
            if(u9 > 0.95, effective_at + interval 90 days, null) as valid_until,
            'consent_center' as feed
        from said;

        insert into ledger.contracts by name
        select
            {size.events} + p as seq, token('member', p) as token, 'member' as kind, 'bench' as issuer,
            'shop' as controller, 'membership' as fact,
            timestamp '{AS_OF:%Y-%m-%d}' - to_days((draw(p, 20) * 400)::integer) as effective_at,
            effective_at as recorded_at
        from people where has_member(p);

        insert into ledger.statuses by name
        select
            {2 * size.events} + p as seq, token('account', p) as token, 'account' as kind, 'bench' as issuer,
            'shop' as controller, if(p % 3000 = 7, 'erased', 'restricted') as status, 'on' as state,
            timestamp '2026-06-01' as effective_at, effective_at as recorded_at
        from people where p % 1000 = 7;
        drop table said;
    """)


def _write_source(con: duckdb.DuckDBPyConnection, home: Home, source: str, columns: Columns, size: Size) -> None:
    """One Parquet file a day, compressed as the lake is, and the view that staging would make."""
    days = range(0, size.days, CHUNK_DAYS)
    rows = round(size.touchpoints * SHARES[source] / len(days))
    folder = home.lake / source
    for number, first in enumerate(days):
        query = _touchpoints(source, columns, size, first, number * rows, rows)
        con.execute(
            f"copy ({query}) to '{folder}' (format parquet, partition_by (p_day), overwrite_or_ignore, "
            "compression zstd, compression_level 1)"
        )
    files = sorted(str(path) for path in folder.glob("p_day=*/*.parquet"))
    names = ", ".join(f"'{name}'" for name in files)
    typed = ", ".join(f'cast("{name}" as {kind}) as "{name}"' for name, kind in columns.items())
    con.execute(
        f'create view lake."{source}" as select {typed} '
        f"from read_parquet([{names}], union_by_name = true, hive_partitioning = false)"
    )


def _touchpoints(source: str, columns: Columns, size: Size, first_day: int, start: int, rows: int) -> str:
    """`rows` touchpoints of the 30 days that begin `first_day` days before T. Few people have many of them."""
    salt = list(SHARES).index(source) * 10**10
    events = RAW_EVENTS[source]
    made = {
        "touchpoint_key": f"md5('{source}' || i::varchar)",
        "source": f"'{source}'",
        "feed": "'feed'",
        "controller": "if(is_clinic, 'clinic', 'shop')",
        "subject_token": "if(u5 < 0.01, null, token(kind, p))",
        "subject_kind": "if(u5 < 0.01, null, kind)",
        "subject_issuer": "if(u5 < 0.01, null, 'bench')",
        "occurred_at": "occurred_at",
        "business_day": "cast(occurred_at + interval 8 hours as date)",
        "raw_event": f"{events}[1 + (u4 * {len(events)})::integer % {len(events)}]",
        "body_hash": f"md5('body{source}' || i::varchar)",
        "batch": "'batch'",
        **{name: sql.format(sensitive=SENSITIVE_ITEMS) for name, sql in OWN_COLUMNS.items()},
    }
    listed = ", ".join(f'cast({made.get(name, "null")} as {kind}) as "{name}"' for name, kind in columns.items())
    seconds = f"({first_day} * 86400 + 1 + (draw(i, 3) * {CHUNK_DAYS * 86400 - 1})::bigint)"
    return f"""
        with rows as (
            select range + {salt + start} as i, (pow(draw(range + {salt + start}, 1), 2) * {size.people})::bigint
                % {size.people} as p
            from range({rows})
        ),
        drawn as (
            select i, p, hash(i) as h, draw(i, 4) as u4, draw(i, 5) as u5, draw(i, 6) as u6,
                '{source}' = 'in_store' and in_clinic(p) as is_clinic,
                if(is_clinic, 'member', kind_of(p, draw(i, 2))) as kind,
                timestamp '{AS_OF:%Y-%m-%d}' - to_seconds({seconds}) as occurred_at
            from rows
        )
        select cast(occurred_at as date) as p_day, {listed} from drawn
    """
