"""What is exposed for an audience, and how it differs between two worlds: counts and columns, never a value.

Exposed are the segments' marts, whole, and what exports read of their people: a contact only where it may leave.
Counts of governance are of everybody, and declared so; they are exposed for no purpose. Not here: why there should be
no difference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import duckdb

from orchestration.ingestion.quoting import ident, text
from orchestration.proof.project import Project
from orchestration.proof.twins.forbidden import Audience
from orchestration.proof.twins.world import World

# What must hold of a twin: the same rows; nobody new, where it has more that may take people away.
Rule = Literal["same", "nobody gained"]
ACTIVATIONS = "intermediate.int_activations_decided"
REACH = "governance.reach_by_channel"
KEY = "audience_key"
_UNEXPORTED = ("person_key",)  # of what exports read: theirs to join by, in no file


@dataclass(frozen=True)
class Exposed:
    """A relation, and which of its rows: of one segment, or all but others' segments, and of one channel."""

    relation: str
    purpose: str | None
    segments: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    channel: str | None = None
    is_excluding: bool = False  # what is hidden of its people may remove them

    def query(self, world: World) -> str:
        """SQL of what is exposed in a world. Raises duckdb.Error where the relation is not what exports read."""
        columns = world.columns(self.relation)
        if self.relation != ACTIVATIONS:
            chosen = [ident(name) for name in columns]
        else:
            chosen = [ident(name) for name in columns if name not in _UNEXPORTED]
            masked = 'case when reason is null then "contact_token" end as "contact_token"'
            chosen = [masked if name == '"contact_token"' else name for name in chosen]
        conditions = [f"segment is distinct from {text(other)}" for other in self.others]
        conditions += [f"channel = {text(self.channel)}"] if self.channel else []
        where = " where " + " and ".join(conditions) if conditions else ""
        return f"select {', '.join(chosen)} from {world.place_of(self.relation)}{where}"

    def keys(self, world: World) -> str:
        """SQL of who is exposed. Of activations, those who may leave."""
        columns = world.columns(self.relation)
        names = [name for name in ("segment", "destination", KEY) if name in columns]
        where = " where reason is null" if self.relation == ACTIVATIONS else ""
        return f"select distinct {', '.join(names) or '*'} from ({self.query(world)}){where}"


IDENTIFIED = ("intermediate.int_audience_keys", "intermediate.int_identifiers_resolved")


def newcomers(base: World, twin: World, exposed: Exposed, touched: str | None) -> int:
    """How many are exposed in the twin only, by any of their identifiers: a key changes when somebody's identifiers
    part.

    `touched` is a table of the tokens whose people have more denied. Where somebody may no longer be contacted, what
    they had of a limit may be another's: of activations, then only the touched count."""
    old, new = _identified(base, exposed), _identified(twin, exposed)
    if old is None or new is None:
        return _only_in(base.con, exposed.keys(twin), exposed.keys(base), "except")
    gone = _only_in(base.con, exposed.keys(base), exposed.keys(twin), "except")
    is_handed_on = bool(gone and touched) and exposed.relation == ACTIVATIONS
    among = f"and key in (select key from ({new}) where token in (select token from {touched}))" if is_handed_on else ""
    found = base.con.execute(
        f"select count(distinct (place, key)) from ({new}) where (place, key) not in "
        f"(select (n.place, n.key) from ({new}) as n inner join ({old}) as o on "
        f"n.place = o.place and n.token = o.token) {among}"
    )
    return int(found.fetchall()[0][0])


def _identified(world: World, exposed: Exposed) -> str | None:
    """SQL of who is exposed where, by each identifier of theirs; none where the models do not say whose a key is."""
    columns = world.columns(exposed.relation)
    if KEY not in columns or not all(name in world.versions for name in IDENTIFIED):
        return None
    keys, identifiers = (world.place_of(name) for name in IDENTIFIED)
    place = " || '/' || ".join(name for name in ("segment", "destination") if name in columns) or "''"
    return (
        f"select {place} as place, e.{KEY} as key, i.token from ({exposed.keys(world)}) as e "
        f"inner join {keys} as k on e.{KEY} = k.{KEY} inner join {identifiers} as i on k.person_key = i.person_key"
    )


@dataclass(frozen=True)
class Difference:
    """Rows that are in one world only, the columns in which rows of the same people differ, and who is new."""

    gained: int
    lost: int
    columns: tuple[str, ...]
    people_gained: int
    people_lost: int


def exposures(project: Project, audience: Audience, everyone: Iterable[Audience]) -> list[Exposed]:
    """What is exposed for an audience."""
    found = [
        Exposed(f"marts.{name}", audience.purpose, (name,), is_excluding=name in audience.excluding)
        for name in audience.segments
    ]
    known = {name for each in everyone for name in each.segments}
    for is_excluding in (False, True):
        mine = tuple(name for name in audience.segments if (name in audience.excluding) is is_excluding)
        others = tuple(sorted(known - set(mine)))
        found += [
            Exposed(relation, audience.purpose, mine, others, is_excluding=is_excluding)
            for relation in (ACTIVATIONS, REACH)
            if mine and (relation == ACTIVATIONS or relation in project)
        ]
    return found


def difference(
    base: World, twin: World, exposed: Exposed, rule: Rule = "same", touched: str | None = None
) -> Difference | None:
    """How `exposed` breaks the rule in the twin. Raises duckdb.Error where it cannot be read in both."""
    con = base.con
    if base.versions[exposed.relation] == twin.versions[exposed.relation]:
        return None
    before, after = exposed.query(base), exposed.query(twin)
    if base.digest(exposed.relation, before) == twin.digest(exposed.relation, after):
        return None
    if rule == "nobody gained" and not newcomers(base, twin, exposed, touched):
        return None
    gained, lost = _only_in(con, after, before), _only_in(con, before, after)
    old, new = exposed.keys(base), exposed.keys(twin)
    return Difference(
        gained, lost, _columns(con, base, exposed, before, after),
        _only_in(con, new, old, "except"), _only_in(con, old, new, "except"),
    )  # fmt: skip


def _only_in(con: duckdb.DuckDBPyConnection, these: str, those: str, minus: str = "except all") -> int:
    """How many rows of `these` are not in `those`, byte for byte."""
    written = "select columns(*)::varchar from ({})"
    query = f"select count(*) from ({written.format(these)} {minus} {written.format(those)})"
    return int(con.execute(query).fetchall()[0][0])


def _columns(con: duckdb.DuckDBPyConnection, base: World, exposed: Exposed, before: str, after: str) -> tuple[str, ...]:
    """The columns that differ for people who are in both worlds."""
    columns = base.columns(exposed.relation)
    keys = [name for name in ("segment", "destination", KEY) if name in columns]
    if KEY not in keys:
        return ()
    same = " and ".join(f"x.{name} is not distinct from y.{name}" for name in keys)
    found = con.execute(f"describe {before}").fetchall()
    names = [row[0] for row in found if row[0] not in keys]
    counts = ", ".join(f"count(*) filter (x.{ident(n)} is distinct from y.{ident(n)})" for n in names)
    row = con.execute(
        f"select {counts or 'count(*)'} from ({before}) as x inner join ({after}) as y on {same}"
    ).fetchall()[0]
    return tuple(name for name, count in zip(names, row, strict=False) if count)
