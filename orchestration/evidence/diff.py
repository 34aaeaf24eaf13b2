"""Who joined a segment between two generations, who left it, and by which reason: counts, and audience keys on demand.

A leaver's reason is what the later generation says of them, a joiner's what the earlier one said. Not here: opening
generations whose file is gone (`rebuild.py`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.warehouse.duckdb_settings import connect

# Not reasons of a decision, see `labels.py`: what became of somebody whom the other generation does not have under
# this key. Who left and is in under another key has not gone: identifiers were joined or parted.
UNKNOWN = {"left": "no_longer_known", "joined": "newly_known"}
CHANGES = """
with gone as (
    select audience_key from {a}.marts."{segment}" except select audience_key from {b}.marts."{segment}"
),
people as (
    select g.audience_key, k.person_key
    from gone as g
    inner join {a}.intermediate.int_audience_keys as k on g.audience_key = k.audience_key and k.purpose = $purpose_a
),
elsewhere as (
    select
        p.audience_key,
        bool_or(o.is_ambiguous) as is_ambiguous,
        count(m.audience_key) > 0 as is_still_in
    from people as p
    inner join {a}.intermediate.int_identifiers_resolved as i on p.person_key = i.person_key
    inner join {b}.intermediate.int_identifiers_resolved as o on i.controller = o.controller and i.token = o.token
    left join {b}.intermediate.int_audience_keys as n on o.person_key = n.person_key and n.purpose = $purpose_b
    left join {b}.marts."{segment}" as m on n.audience_key = m.audience_key
    group by p.audience_key
)
select
    $segment as segment, g.audience_key, '{change}' as change,
    case
        when s.audience_key is not null then coalesce(s.reason, 'not_selected')
        when k.audience_key is not null then 'not_seen'
        when e.audience_key is null then '{unknown}'
        when e.is_ambiguous and not e.is_still_in then 'ambiguous_identity'
        else 'identity_change'
    end as reason,
    k.audience_key is null and coalesce(e.is_still_in, false) as is_still_in
from gone as g
left join {b}.intermediate.int_segment_people as s on g.audience_key = s.audience_key and s.segment = $segment
left join {b}.intermediate.int_audience_keys as k on g.audience_key = k.audience_key and k.purpose = $purpose_b
left join elsewhere as e on g.audience_key = e.audience_key
"""
PLACES = """
with placed as (
    select destination, audience_key, x.reason as reason_then, y.reason as reason_now,
        x.audience_key is not null as is_then, y.audience_key is not null as is_now
    from (select * from {a}.intermediate.int_activations_decided where segment = $segment) as x
    full outer join (select * from {b}.intermediate.int_activations_decided where segment = $segment) as y
        using (destination, audience_key)
)
select
    destination,
    count(*) filter (where is_then and reason_then is null) as people_then,
    count(*) filter (where is_now and reason_now is null) as people_now,
    count(*) filter (where is_then and reason_then is null and not is_now) as left_segment
from placed group by destination order by destination
"""
KEPT_BACK = """
select y.destination, y.reason, count(*) as people
from {a}.intermediate.int_activations_decided as x
inner join {b}.intermediate.int_activations_decided as y using (segment, destination, audience_key)
where x.segment = $segment and x.reason is null and y.reason is not null
group by y.destination, y.reason order by all
"""
Counts = dict[str, int]


@dataclass(frozen=True)
class PlaceDifference:
    """One destination: who could be delivered then and now; of those lost, who left, and who is kept back and why."""

    destination: str
    people_then: int
    people_now: int
    left_segment: int
    kept_back: Counts


@dataclass(frozen=True)
class SegmentDifference:
    """One segment. `rekeyed`: among left and joined by `identity_change`, those who are in under another key."""

    segment: str
    people_then: int
    people_now: int
    joined: Counts
    left: Counts
    rekeyed: int
    destinations: tuple[PlaceDifference, ...]


@dataclass(frozen=True)
class Difference:
    """Two generations. A segment that only one of them has is named and not compared."""

    then: dict[str, Any]
    now: dict[str, Any]
    same_policy: bool
    segments: tuple[SegmentDifference, ...]
    only_then: tuple[str, ...]
    only_now: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def diff(
    home: Home, then: Path, now: Path, *, segment: str | None = None, tokens: bool = False
) -> tuple[Difference, list[dict[str, str]]]:
    """The difference between two generation files, of every segment or of one; with `tokens` also each joiner and
    leaver by audience key. Raises AssentError for a segment that neither has."""
    try:
        return _diff(home, then, now, segment, tokens)
    except (duckdb.CatalogException, duckdb.BinderException):
        pass
    raise AssentError(
        "another version of Assent built one of the two, and its file lacks what is compared",
        where="diff",
        remedy="Compare with the version that built it",
    )


def _diff(
    home: Home, then: Path, now: Path, segment: str | None, tokens: bool
) -> tuple[Difference, list[dict[str, str]]]:
    con = connect(home)
    try:
        for file in (then, now):
            con.execute(f"attach '{str(file).replace(chr(39), chr(39) * 2)}' as {_name(file)} (read_only)")
        builds = [_build(con, _name(file)) for file in (then, now)]
        have = [_segments(con, _name(file)) for file in (then, now)]
        chosen = [name for name in have[0] if name in have[1] and segment in (None, name)]
        if segment is not None and segment not in have[0].keys() | have[1].keys():
            raise AssentError("no such segment", where=segment, remedy="`assent segments` lists them")
        names = (_name(then), _name(now))
        compared = [_segment(con, names, name, (have[0][name], have[1][name])) for name in chosen]
        listed = (
            con.execute("select segment, audience_key, change, reason from changes order by all") if chosen else None
        )
        rows = listed.to_arrow_table().to_pylist() if tokens and listed is not None else []
    finally:
        con.close()
    result = Difference(
        then=builds[0],
        now=builds[1],
        same_policy=builds[0]["policy_hash"] == builds[1]["policy_hash"],
        segments=tuple(compared),
        only_then=tuple(sorted(have[0].keys() - have[1].keys())),
        only_now=tuple(sorted(have[1].keys() - have[0].keys())),
    )
    return result, rows


def _build(con: duckdb.DuckDBPyConnection, catalog: str) -> dict[str, Any]:
    row = con.execute(
        f"select generation, strftime(as_of, '%Y-%m-%dT%H:%M:%SZ'), policy_hash, ledger_seq from {catalog}.meta.builds"
    ).fetchone()
    names = ("generation", "as_of", "policy_hash", "ledger_seq")
    return dict(zip(names, row or (), strict=True))


def _segments(con: duckdb.DuckDBPyConnection, catalog: str) -> dict[str, str]:
    """Segment → purpose, in the order of the policy of that generation."""
    return dict(con.execute(f"select segment, purpose from {catalog}.policy.segments").fetchall())


def _segment(
    con: duckdb.DuckDBPyConnection, names: tuple[str, str], segment: str, purposes: tuple[str, str]
) -> SegmentDifference:
    values = {"segment": segment}
    con.execute(
        "create temp table if not exists changes "
        "(segment varchar, audience_key varchar, change varchar, reason varchar, is_still_in boolean)"
    )
    for change, (a, b), (purpose_a, purpose_b) in (
        ("left", names, purposes),
        ("joined", names[::-1], purposes[::-1]),
    ):
        sql = CHANGES.format(a=a, b=b, segment=segment, change=change, unknown=UNKNOWN[change])
        con.execute(f"insert into changes {sql}", {**values, "purpose_a": purpose_a, "purpose_b": purpose_b})
    counted = con.execute(
        "select change, reason, count(*) from changes where segment = $segment group by all order by all", values
    ).fetchall()
    people = [con.execute(f'select count(*) from {name}.marts."{segment}"').fetchone() for name in names]
    rekeyed = con.execute(
        "select count(*) from changes where segment = $segment and change = 'left' and is_still_in", values
    ).fetchone()
    return SegmentDifference(
        segment=segment,
        people_then=int((people[0] or (0,))[0]),
        people_now=int((people[1] or (0,))[0]),
        joined={reason: int(number) for change, reason, number in counted if change == "joined"},
        left={reason: int(number) for change, reason, number in counted if change == "left"},
        rekeyed=int((rekeyed or (0,))[0]),
        destinations=_places(con, names, segment),
    )


def _places(con: duckdb.DuckDBPyConnection, names: tuple[str, str], segment: str) -> tuple[PlaceDifference, ...]:
    parts = {"a": names[0], "b": names[1]}
    kept: dict[str, Counts] = {}
    for destination, reason, people in con.execute(KEPT_BACK.format(**parts), {"segment": segment}).fetchall():
        kept.setdefault(destination, {})[reason] = int(people)
    rows = con.execute(PLACES.format(**parts), {"segment": segment}).fetchall()
    return tuple(
        PlaceDifference(destination, people_then, people_now, left, kept.get(destination, {}))
        for destination, people_then, people_now, left in rows
    )


def _name(file: Path) -> str:
    return f'"{file.stem}"'
