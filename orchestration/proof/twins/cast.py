"""Invented people who join the sample: of every regime, with and without permits, so that twins can differ in
everything.

What is drawn is bounded by policy alone (purposes, notices, sources, destinations), so it works for any. Values come
from the sample's own and from what the models ask for, or a segment that names stores would have nobody in it. Not
here: which of their data is forbidden (`forbidden.py`)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256

import duckdb

from orchestration.ingestion.contracts import kept_fields, lake_column
from orchestration.ingestion.quoting import ident
from orchestration.policy.schema import Policy, Source
from orchestration.proof.project import Project
from orchestration.proof.twins.world import World

SETTLED = 60  # people of each controller of whom all is permitted: few segments of several conditions have others
TOUCHPOINTS = 24  # of each identifier at each source; most are left out again. With 12 a segment had nobody
LATE = 4  # of these, of people who agreed again: done just before that
UNASKED = 0.25  # of people grant what no segment is for: some do, or what counts it for another purpose is not seen
RENEWED = 3  # days ago, at most, they did
# Shares of the people, and of the single rows, that are forbidden: removed, and copied; the rest is changed. What is
# not there takes no time to compare: measured, with half of the rows removed too, models take 1.2 of the time, and
# of 120 mutants by averages over everybody (15, at eight seeds) 95 are seen instead of 93.
REMOVED, ROWS_REMOVED, COPIED = 0.5, 0.7, 0.15
_LITERAL = r"'(?:[^'\n]|''){1,40}'"
_MOST_VALUES = 10


def invent_people(world: World, policy: Policy, project: Project, *, seed: int, people: int) -> None:
    """Adds `people` of each controller to the world, and the settled ones."""
    con = world.con
    world.use()
    make_dice(con, seed)
    _make_pools(world, policy, project)
    _make_kinds(con, policy)
    con.execute(_CAST, {"people": people, "settled": SETTLED})
    for statement in (_IDENTIFIERS, _LINKS, _GRANTS, _REFUSALS, _CONTRACTS, _AGES, _STATUSES, _PERMISSIONS, _CONTACTS):
        con.execute(statement)
    for source in policy.sources.sources:
        con.execute(_touchpoints(world, policy, source))


def make_dice(con: duckdb.DuckDBPyConnection, seed: int) -> None:
    """`twin_u(x)`: a number below 1 that x and the seed decide; `twin_pick(list, x)`: one of the list; `twin_fate(x,
    removed)`: what becomes of something forbidden: 0 removed (that share), 1 changed, 2 changed and followed by another
    of its like."""
    con.execute(f"create or replace macro twin_u(x) as (hash('{seed:d}|' || x) % 1000003) / 1000003.0")
    con.execute("create or replace macro twin_pick(l, x) as l[1 + floor(twin_u(x) * len(l))::integer]")
    con.execute(
        f"create or replace macro twin_fate(x, removed) as case when twin_u('fate' || x) < removed then 0 "
        f"when twin_u('fate' || x) < {1 - COPIED} then 1 else 2 end"
    )
    con.execute(f"create or replace macro twin_token(x) as 'z00000000000' || hash('{seed:d}|' || x)::varchar")
    as_of = con.execute("select as_of from meta.builds").fetchall()[0][0]  # a subquery in each use would cost planning
    con.execute(
        f"create or replace macro twin_ago(x, days) as "
        f"timestamp '{as_of}' - to_minutes((twin_u(x) * days * 1440)::integer)"
    )


def _make_pools(world: World, policy: Policy, project: Project) -> None:
    """`twin_pool_<source>`: one row with the values that each column of text may take: plain ones, and ones that policy
    lists as sensitive. A table, because values of the home must not stand in SQL."""
    con = world.con
    marts = [model.sql for model in project.models if model.layer == "marts" and model.sql]
    listed = [(v.field, v.value) for v in policy.minimisation.sensitive_values]
    for source in policy.sources.sources:
        lists: dict[str, list[str]] = {}
        for name, kind in world.columns(f"lake.{source.name}").items():
            if kind != "VARCHAR":
                continue
            found = con.execute(
                f'select distinct "{name}" from lake."{source.name}" where "{name}" is not null '
                f'order by hash("{name}"), 1 limit {_MOST_VALUES}'
            ).fetchall()
            rules = [rule for field, rule in listed if field == name]
            values = {row[0] for row in found} | _asked(marts, name) | {f"invented {number}" for number in range(3)}
            plain = [value for value in sorted(values) if not any(_is_listed(value, rule) for _, rule in listed)]
            sensitive = [value for value in sorted(values) if any(_is_listed(value, rule) for rule in rules)]
            sensitive += [rule.replace("*", "invented") for rule in rules]
            lists |= {f"plain {name}": plain, f"sensitive {name}": sensitive}
        declared = ", ".join(f"{ident(name)} varchar[]" for name in lists)
        con.execute(f"create or replace table {pool_of(source.name)} ({declared})")
        con.execute(
            f"insert into {pool_of(source.name)} values ({', '.join('?' for _ in lists)})", list(lists.values())
        )


def pool_of(place: str) -> str:
    """The table of a source's pools, as SQL."""
    return ident(f"twin_pool_{place}")


def _asked(marts: Iterable[str], name: str) -> set[str]:
    """The texts that marts compare the column with; where none does, some of all their texts, for it may be renamed."""
    compared = rf"\b{re.escape(name)}\b\s*(?:=|<>|in)\s*\(?((?:\s*{_LITERAL}\s*,?)+)"
    near = {text for sql in marts for texts in re.findall(compared, sql) for text in re.findall(_LITERAL, texts)}
    some = sorted(
        {text for sql in marts for text in re.findall(_LITERAL, sql)}, key=lambda text: sha256(text.encode()).digest()
    )
    return {text.strip("'").replace("''", "'") for text in near or some[:5]}


def _is_listed(value: str, rule: str) -> bool:
    return value.startswith(rule[:-1]) if rule.endswith("*") else value == rule


def _make_kinds(con: duckdb.DuckDBPyConnection, policy: Policy) -> None:
    """`twin_kinds`: the identifiers that people have at each controller, by the sources and destinations of policy."""
    rows = {
        (controller, identifier.kind, identifier.issuer)
        for source in policy.sources.sources
        for controller in controllers_of(source)
        for identifier in source.identifiers
    }
    destinations = {d.name: d for d in policy.destinations.destinations}
    rows |= {
        (segment.controller, destinations[name].kind, destinations[name].issuer)
        for segment in policy.segments.segments
        for name in segment.destinations
    }
    con.execute("create or replace table twin_kind_rows (controller varchar, kind varchar, issuer varchar)")
    con.executemany("insert into twin_kind_rows values (?, ?, ?)", [list(row) for row in sorted(rows)])
    con.execute(
        "create or replace table twin_kinds as select r.*, k.is_strong, k.is_anchor from twin_kind_rows as r "
        "inner join policy.identifier_kinds as k on r.kind = k.kind"
    )


def controllers_of(source: Source) -> set[str]:
    """For whom a source collects: its controller, or a feed's own."""
    return {feed.controller or source.controller for feed in source.feeds} | {source.controller}


# Beside people of all sorts, some who agreed to all of it, up to a stage, before they did anything. Of a third of them
# nothing is hidden. The others agreed again, days ago: a no just before that hides what they did lately, and nobody may
# be thought idle for it.
_CAST = """
    create or replace table twin_cast as
    with numbered as (
        select c.controller, n.number, c.controller || '|' || n.number as person,
            n.number >= $people and n.number % 3 = 0 as is_plain, n.number >= $people and n.number % 3 > 0 as is_renewed
        from policy.controllers as c, range($people + $settled) as n (number)
    )
    select
        *,
        not is_plain and not is_renewed and twin_u('kind' || person) < 0.2 as is_anonymous,
        is_plain or is_renewed or twin_u('kind' || person) > 0.55 or twin_u('kind' || person) < 0.1 as is_open,
        twin_pick((select list(code order by code) || [null, null] from policy.jurisdictions), 'code'
            || person) as code,
        twin_pick((select list(stage_order order by stage_order) from policy.stages), 'stage' || person) as last_stage,
        case
            when is_plain then if(twin_u('quiet' || person) < 0.5, 15 + twin_u('days' || person) * 120, 0)
            when twin_u('quiet' || person) < 0.35 then 30 + twin_u('days' || person) * 90
            else 0
        end as quiet_days,
        case when is_open then 1 else twin_u('minor' || person) end as minor,
        case when is_open then 1 else twin_u('status' || person) end as status
    from numbered
"""

_IDENTIFIERS = """
    create or replace table twin_cast_identifiers as
    with possible as (
        select
            p.*, k.kind, k.issuer, k.is_strong, p.person || '|' || k.kind || '|' || k.issuer as own,
            row_number() over (
                partition by p.person, k.is_strong
                order by k.is_anchor desc, twin_u('first' || p.person || k.kind || k.issuer), k.kind, k.issuer
            ) as place
        from twin_cast as p inner join twin_kinds as k on p.controller = k.controller
    )
    select
        *,
        -- the same people at each controller, so that what one of them may do says nothing of another
        'y' || left(md5(concat_ws('|', number, kind, issuer, twin_u('token'))), 31) as token,
        row_number() over (partition by person order by is_strong desc, place) = 1 as is_first
    from possible
    where (not is_anonymous or not is_strong) and (place = 1 or not is_anonymous
        and (is_open or twin_u('has' || own) < 0.6))
"""

_LINKS = """
    insert into identity.links by name
    select
        a.controller, a.token as token_a, a.kind as kind_a, a.issuer as issuer_a,
        b.token as token_b, b.kind as kind_b, b.issuer as issuer_b, 'login' as method, false as is_unlink,
        twin_ago('link' || b.own, 600) as effective_at, twin_ago('link' || b.own, 600) as recorded_at
    from twin_cast_identifiers as a
    inner join twin_cast_identifiers as b on a.person = b.person and a.is_first and not b.is_first;
    insert into ledger.links by name
    select l.*, 7000000000 + row_number() over (order by l.token_b, l.controller) as seq
    from identity.links as l
    inner join twin_cast_identifiers as i on l.token_b = i.token and l.controller = i.controller
"""

# a yes to each purpose, or none: mostly whole, by the first identifier; some of one channel, expired, renewed, implied
_GRANTS = f"""
    create or replace table twin_grants as
    with serving as (  -- purposes of no segment without which one has nobody, or sends to nobody
        select identity_purpose as purpose from policy.settings
        union all select purpose from policy.stages
        union all select transfer_purpose from policy.destinations
    ),
    asked as (
        select
            i.*, s.purpose, s.recipient, s.category, u.max_consent_age_days as days, r.round,
            concat_ws('|', i.person, s.purpose, r.round, s.category) as what, i.person || '|' || s.purpose as who
        from twin_cast_identifiers as i
        inner join (
            select distinct controller, purpose, recipient, null as category from policy.scopes
            union all select controller, purpose, recipient, category from policy.scopes where needs_separate
        ) as s on i.controller = s.controller
        inner join policy.purposes as u on s.purpose = u.purpose
        left join policy.stages as g on s.purpose = g.purpose
        cross join range(2) as r (round)
        where twin_u('granted' || i.person || s.purpose) < case
                when (s.controller, s.purpose) not in (select (controller, purpose) from policy.segments)
                    and s.purpose not in (select purpose from serving where purpose is not null)
                    then {UNASKED}
                when i.is_plain or i.is_renewed then coalesce(g.stage_order <= i.last_stage, true)::integer
                when s.purpose in (select purpose from policy.stages) then 0.5 when i.is_open then 0.95
                when s.purpose = (select identity_purpose from policy.settings) then 0.9 else 0.65 end
            and (r.round = 0 or i.is_renewed
                or (not i.is_plain and twin_u('again' || i.person || s.purpose) < if(i.is_open, 0.6, 0.2)))
            and (s.category is null or i.is_plain or i.is_renewed or twin_u('named' || i.person || s.purpose) < 0.8)
            and (i.is_first or twin_u('other' || i.own || s.purpose) < 0.1)
    ),
    renewals as (
        select purpose, max(published_at) as renewed_at from policy.notices
        where renews_consent and published_at <= (select as_of from meta.builds) group by purpose
    ),
    spans as (
        select *, case
            when is_open or twin_u('old' || who) < 0.85 then least(coalesce(days, 700), 700) else 1000
        end as span,
        -- half of those who agree to everything agree to this long ago, the other half lately, after much was collected
        case when is_open then if(is_plain or is_renewed or twin_u('late' || who) < 0.5, 0.4, 0.03) else 0 end as least
        from asked
    ),
    dated as (
        select s.*, greatest(
            -- who says yes again lately: a no before it hides what was done lately, and makes nobody idle
            case when is_renewed and round = 1 then twin_ago('again at' || person, {RENEWED})
                when is_open and round = 1 then twin_ago('again at' || who, 25) else
                twin_ago('granted at' || who || round,
                    span * case when is_open then if(least < 0.1, 0.1, 0.5) else 1 end)
                - to_days((span * least)::integer)
            end,
            case when is_open then r.renewed_at + to_days(1) else '-infinity' end
        ) as effective_at
        from spans as s left join renewals as r on s.purpose = r.purpose
    ),
    noticed as (
        select d.what, d.own, arg_max({{'id': n.notice_id, 'version': n.version}}, n.published_at) as notice
        from dated as d
        inner join policy.notices as n on d.purpose = n.purpose and n.published_at <= d.effective_at
        group by d.what, d.own
    )
    select
        d.controller, d.token, d.kind, d.issuer, d.purpose, d.category, nullif(d.recipient, 'own') as recipient,
        case when not d.is_open and twin_u('narrow' || d.who) < 0.4 then twin_pick(c.channels, 'channel'
            || d.who) end as channel,
        (select min(decision) from policy.decisions where not restricts) as decision,
        (select min(method) from policy.methods where is_explicit = (d.is_open or twin_u('implied'
            || d.who) > 0.1)) as method,
        d.is_open or twin_u('separate' || d.who) < 0.8 as is_separate, d.minor < 0.02 as is_guardian,
        n.notice.id as notice_id, n.notice.version as notice_version, d.code as jurisdiction, d.effective_at,
        d.effective_at as recorded_at, 'invented' as feed, d.person,
        case when not d.is_open and twin_u('until' || d.who) < 0.15 then d.effective_at + to_days(30) end as valid_until
    from dated as d
    left join noticed as n on d.what = n.what and d.own = n.own
    left join (select purpose, list(channel order by channel) as channels from policy.purpose_channels
        group by purpose) as c
        on d.purpose = c.purpose;
    insert into ledger.consent_events by name
    select * exclude (person), 1000000000 + row_number() over (
        order by controller, token, purpose, category, recipient, effective_at
    ) as seq from twin_grants
"""

# a no: to a purpose or to all, by whom granted or by another identifier; in opt-out regimes often by each of them
_REFUSALS = """
    insert into ledger.consent_events by name
    select
        i.controller, i.token, i.kind, i.issuer,
        case when twin_u('all' || i.person) < 0.9 then s.purpose end as purpose,
        twin_pick((select list(decision order by decision) from policy.decisions where restricts), 'no'
            || i.own) as decision,
        case when twin_u('one' || i.person || s.purpose) < 0.15 then (
            select min(channel) from policy.purpose_channels as c where c.purpose = s.purpose
        ) end as channel,
        i.code as jurisdiction, twin_ago('refused' || i.person || s.purpose, 250) as effective_at,
        twin_ago('refused' || i.person || s.purpose, 250) as recorded_at, 'invented' as feed, false as is_separate,
        2000000000 + row_number() over (order by i.controller, i.token, s.purpose) as seq
    from twin_cast_identifiers as i
    inner join (select distinct controller, purpose from policy.scopes) as s on i.controller = s.controller
    where not i.is_open and twin_u('refuses' || i.person || s.purpose) < 0.3
        and (i.is_first or twin_u('each' || i.person || s.purpose) < 0.5)
"""

_CONTRACTS = """
    insert into ledger.contracts by name
    select
        i.controller, i.token, i.kind, i.issuer, f.fact, twin_ago('contract' || i.person || f.fact,
            500) as effective_at,
        twin_ago('contract' || i.person || f.fact, 500) as recorded_at,
        3000000000 + row_number() over (order by i.controller, i.token, f.fact) as seq,
        case when twin_u('ended' || i.person || f.fact) < 0.3 then twin_ago('end' || i.person, 60) end as valid_until
    from twin_cast_identifiers as i cross join (select distinct fact from policy.purpose_contract_facts) as f
    where i.is_first and twin_u('contract of' || i.person || f.fact) < 0.5
"""

_AGES = """
    insert into ledger.ages by name
    select
        controller, token, kind, issuer, twin_ago('told' || person, 300) as effective_at, twin_ago('told'
            || person, 300) as recorded_at,
        4000000000 + row_number() over (order by controller, token) as seq,
        (select as_of from meta.builds) + to_days((case when minor < 0.06
            then 500 else -100 end)::integer) as minor_until
    from twin_cast_identifiers where minor < 0.1
"""

_STATUSES = """
    insert into ledger.statuses by name
    select
        controller, token, kind, issuer, twin_ago('status at' || person, 200) as effective_at,
        twin_ago('status at' || person, 200) as recorded_at,
            5000000000 + row_number() over (order by controller, token) as seq, 'on' as state,
        twin_pick(['restricted', 'legal_hold', 'suppressed', 'erased'], 'which' || person) as status
    from twin_cast_identifiers where status < 0.08
"""

_PERMISSIONS = """
    insert into ledger.permissions by name
    select
        i.controller, i.token, i.kind, i.issuer, c.channel,
        case when not i.is_open and twin_u('closed' || i.own || c.channel) < 0.2 then 'closed' else 'open' end as state,
        twin_ago('permission' || i.own, 300) as effective_at, twin_ago('permission' || i.own, 300) as recorded_at,
        6000000000 + row_number() over (order by i.controller, i.token, c.channel) as seq
    from twin_cast_identifiers as i inner join policy.identifier_channels as c on i.kind = c.kind
    where i.is_open or twin_u('told of' || i.own || c.channel) < 0.8
"""

_CONTACTS = """
    insert into activity.contact_points by name
    select i.token, i.kind, i.issuer from twin_cast_identifiers as i
    inner join policy.identifier_kinds as k on i.kind = k.kind
    where k.is_contact and (i.is_open or twin_u('contact' || i.own) < 0.8);
    insert into activity.deliveries by name
    select i.token, d.destination, twin_ago('delivered' || i.own || n.number, 40) as delivered_at
    from twin_cast_identifiers as i
    inner join policy.destinations as d on i.kind = d.kind and i.issuer = d.issuer
    cross join range(6) as n (number)
    where not i.is_open and twin_u('delivers' || i.own || d.destination) < 0.25
"""


def _touchpoints(world: World, policy: Policy, source: Source) -> str:
    """What they did at a source: mostly lately, some of it long ago; now and then nobody's, unknown, or sensitive."""
    columns = world.columns(f"lake.{source.name}")
    kept = {lake_column(field, rule)[0] for field, rule in kept_fields(policy, source)}
    kinds = ", ".join(f"('{k}', '{i}')" for k, i in sorted({(x.kind, x.issuer) for x in source.identifiers}))
    controllers = ", ".join(f"'{name}'" for name in sorted(controllers_of(source)))
    values = "".join(
        f', {_own_value(name, columns[name])} as "{name}"'
        for name in sorted(kept & columns.keys())
        if not name.endswith("_token")
    )
    return f"""
        insert into lake."{source.name}" by name
        with touched as (
            select i.*, concat_ws('|', '{source.name}', i.own, n.number) as what, n.number < {LATE} as is_late,
                case when i.is_plain or twin_u('when' || i.own || n.number) < 0.6 then 30 when twin_u('when' || i.own
                    || n.number) < 0.85 then 200
                    else 900 end as span
            from twin_cast_identifiers as i cross join range({TOUCHPOINTS}) as n (number)
            where i.controller in ({controllers}) and (i.kind, i.issuer) in ({kinds})
                and twin_u('touches' || i.own || n.number || '{source.name}') < (1.2 - twin_u('active'
                    || i.person)) * case when i.is_anonymous then 0.9 else 0.35 end
        ),
        dated as (
            select *, case
                when is_renewed then (select as_of from meta.builds) - to_minutes((1440 * case
                    when is_late then {RENEWED} + twin_u('touched' || what) * 8
                    else 32 + twin_u('touched' || what) * 60
                end)::integer)
                else twin_ago('touched' || what, span) - to_days(quiet_days::integer)
            end as occurred_at
            from touched
        )
        select
            twin_token('touchpoint' || t.what) as touchpoint_key, '{source.name}' as source, t.controller,
            case when twin_u('nobody' || t.what) > 0.03 then t.token end as subject_token,
            t.kind as subject_kind, t.issuer as subject_issuer, t.occurred_at, t.occurred_at::date as business_day,
            case when not t.is_plain and twin_u('odd' || t.what) < 0.04 then 'invented' else twin_pick((
                select list(raw_event order by raw_event) from policy.events where source = '{source.name}'
            ), 'event' || t.what) end as raw_event
            {values}
        from dated as t, {pool_of(source.name)} as pool
    """


def _own_value(name: str, kind: str) -> str:
    """Of the settled a bucket is the person's own, such as the month of birth; who agreed again told it lately only."""
    value = invented_value(name, kind, "t.what")
    if kind != "BIGINT":
        return value
    own = invented_value(name, kind, "t.person")
    return f"case when t.is_plain or (t.is_renewed and t.is_late) then {own} when not t.is_renewed then {value} end"


def invented_value(name: str, kind: str, what: str, *, with_sensitive: bool = True) -> str:
    """SQL of a value for a kept column: of `pool`, or a number of a plausible size; sometimes none."""
    if kind == "VARCHAR":
        value = f"twin_pick(pool.{ident(f'plain {name}')}, 'value {name}' || {what})"
        if with_sensitive:
            pool = f"pool.{ident(f'sensitive {name}')}"
            rare = f"len({pool}) > 0 and twin_u('sensitive {name}' || {what}) < 0.25"
            value = f"case when {rare} then twin_pick({pool}, 'value {name}' || {what}) else {value} end"
    elif kind == "DOUBLE":
        value = f"round(pow(twin_u('value {name}' || {what}), 3) * 16000) / 4"
    elif kind == "BOOLEAN":
        value = f"twin_u('value {name}' || {what}) < 0.5"
    elif kind == "DATE":
        value = f"twin_ago('value {name}' || {what}, 900)::date"
    else:
        number = f"1 + floor(twin_u('value {name}' || {what}) * 12)::bigint"
        now = "month((select as_of from meta.builds))"  # a number is a bucket: of months, most often
        value = f"case when twin_u('now {name}' || {what}) < 0.5 then {now} else {number} end"
    return f"case when twin_u('has {name}' || {what}) < 0.9 then {value} end"
