"""The proof by twins: the shipped project holds for any seed, and each way around the gate is found, told, and small.

The mutants change what dbt compiled; the large library of them is elsewhere. Here: one of each kind of flow."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.proof.project import Project, columns_in, read_project
from orchestration.proof.twins import Prover
from orchestration.proof.twins.changes import Change
from orchestration.proof.twins.forbidden import KINDS
from orchestration.proof.twins.lane import Lane
from orchestration.proof.twins.pairs import Pair
from orchestration.proof.twins.sample import personal_tables, staged_tables
from orchestration.proof.twins.shrink import fewest
from orchestration.proof.twins.tally import Tallies
from orchestration.proof.twins.world import DERIVED, quoted
from orchestration.proof.verdict import Failure, are_proved
from orchestration.warehouse.duckdb_settings import connect
from tests.integration.conftest import Decided

POLICY = load_policy(SHIPPED)
SEED = 1
GATED = "intermediate.int_touchpoints_gated_by_purpose"

# model, what is replaced, and by what
MUTANTS = {
    "what no scope permits passes": (GATED, "and (t.permitted_mask & s.scope_mask) <> 0", ""),
    "consent at collection is not asked": (
        "intermediate.int_touchpoints_masked",
        "l.t0 <= t.occurred_at and t.occurred_at < l.t1",
        "l.t1 = 'infinity'",
    ),
    "sensitive touchpoints are read": ("marts.wechat_engaged", "and category <> 'sensitive'", ""),
    "a later stage's field is not held back": (
        "intermediate.int_touchpoints_gated",
        "t.mask_then & coalesce(stage_full.stage_mask, 0) = 0",
        "false",
    ),
    "a threshold counts everybody": (
        "marts.advocates",
        "having touches >= 2",
        "having touches >= (select 0.75 * count(*) / count(distinct subject_token) from lake.app)",
    ),
    "an ungated branch is united": (
        "marts.advocates",
        "from touchpoints",
        "from (select person_key from touchpoints "
        "union all select person_key from intermediate.int_touchpoints_masked)",
    ),
    "ranked before the gate": (
        "marts.advocates",
        "count(*) as touches",
        "(select max(r.place) from (select person_key, dense_rank() over (order by count(*)) as place "
        "from intermediate.int_touchpoints_masked group by person_key) as r "
        "where r.person_key = touchpoints.person_key) as touches",
    ),
    "values leave in JSON": (
        "marts.advocates",
        "count(*) as touches",
        "(select length(to_json(list(m.raw_event order by m.touchpoint_key))) from lake.app as m) as touches",
    ),
    "those above the average of all who may be used": (
        "marts.advocates",
        "having touches >= 2",
        "having touches > (select count(*) / count(distinct person_key) from touchpoints)",
    ),
    "a throw of dice": ("marts.advocates", "having touches >= 2", "having touches >= 2 and random() < 0.9"),
    "who has anything hidden is left out": (
        "marts.advocates",
        "having touches >= 2",
        "having touches >= 2 and person_key not in (select person_key from intermediate.int_touchpoints_masked "
        "where permitted_mask = 0 and person_key is not null)",
    ),
}


def mutated(project: Project, model: str, old: str, new: str) -> Project:
    assert old in (project[model].sql or ""), "there is nothing to change"
    changed = replace(project[model], sql=(project[model].sql or "").replace(old, new))
    return Project(tuple(changed if relation.name == model else relation for relation in project))


def failures(verdicts: object) -> list[Failure]:
    return [failure for verdict in verdicts for failure in verdict.failures]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def project(decided: Decided) -> Project:
    return read_project(decided.target, columns_in(decided.home, decided.file))


@pytest.fixture(scope="module")
def prover(decided: Decided, project: Project) -> Iterator[Prover]:
    with Prover.load(decided.home, decided.file, project, POLICY, seed=SEED) as loaded:
        yield loaded


def test_shipped_project_is_proved(prover: Prover, project: Project) -> None:
    verdicts = prover.prove(project)
    assert not failures(verdicts)
    assert are_proved(verdicts)
    exposed = {(verdict.relation, verdict.purpose) for verdict in verdicts}
    assert {(f"marts.{s.name}", s.purpose) for s in POLICY.segments.segments} <= exposed
    assert [v.relation for v in verdicts if v.relation.startswith("marts.") and not v.rows] == []  # not over nobody
    kinds = {kind for told in prover.touched.values() for kind, _ in told}
    assert kinds >= KINDS.keys() - {"key", "stage"}  # those two are not of touchpoints of their own
    regimes = {regime for told in prover.touched.values() for _, regime in told}
    assert {"PIPL", "GDPR", "CCPA"} <= regimes


def shares_of_settled_people_who_grant(prover: Prover) -> dict[tuple[str, str], float]:
    """By controller and purpose."""
    granted = prover.con.execute("""
        select s.controller, s.purpose, count(distinct g.person) / any_value(c.people)
        from (select distinct controller, purpose from base.policy.scopes) as s
        inner join (
            select controller, count(distinct person) as people from base.main.twin_cast_identifiers
            where is_plain or is_renewed group by controller
        ) as c on s.controller = c.controller
        left join base.main.twin_grants as g
            on s.controller = g.controller and s.purpose = g.purpose and g.person in (
                select person from base.main.twin_cast_identifiers where is_plain or is_renewed
            )
        group by s.controller, s.purpose
    """).fetchall()
    return {(controller, purpose): share for controller, purpose, share in granted}


def test_settled_people_grant_whatever_a_segment_rests_on(prover: Prover) -> None:
    """Else marts would be compared over few; what nothing rests on is granted by some, lest it count for another."""
    shares = shares_of_settled_people_who_grant(prover)
    asked = {(segment.controller, segment.purpose) for segment in POLICY.segments.segments}
    asked |= {pair for pair in shares if pair[1] == POLICY.purposes.identity_purpose}
    assert {pair for pair in asked if shares[pair] < 1} == set()
    assert any(0 < share < 0.5 for pair, share in shares.items() if pair not in asked)


def test_settled_people_grant_what_a_destination_abroad_rests_on(
    decided: Decided, project: Project, prover: Prover, tmp_path: Path
) -> None:
    """Else nobody would be sent there, and activations be compared over nobody."""
    staged = {row[0] for row in prover.con.execute("select purpose from base.policy.stages").fetchall()}
    few = {of for (_, of), share in shares_of_settled_people_who_grant(prover).items() if share < 0.5}
    purpose = min(few - staged)
    file = tmp_path / "abroad.duckdb"
    shutil.copy(decided.file, file)
    with duckdb.connect(str(file)) as con:
        con.execute("update policy.destinations set transfer_purpose = ?", [purpose])
    with Prover.load(decided.home, file, project, POLICY, seed=SEED) as abroad:
        shares = shares_of_settled_people_who_grant(abroad)
    assert {share for (_, of), share in shares.items() if of == purpose} == {1}


def test_lanes_find_what_one_lane_finds(prover: Prover, project: Project) -> None:
    one = replace(prover, lanes=prover.lanes[:1])
    for changed in (project, mutated(project, *MUTANTS["sensitive touchpoints are read"])):
        assert prover.prove(changed, shrink=False) == one.prove(changed, shrink=False)


def test_pair_that_a_lane_does_not_end_is_not_proved(prover: Prover, project: Project) -> None:
    class Broken(Lane):
        def compare(self, pair: Pair, *_: object, **__: object) -> Tallies:
            raise IndexError(pair.name)

    lanes = [prover.lanes[0], Broken(**vars(prover.lanes[1]))]
    with pytest.raises(IndexError):
        replace(prover, lanes=lanes).prove(project, shrink=False)


@pytest.mark.parametrize("name", MUTANTS)
def test_way_around_the_gate_is_found(name: str, prover: Prover, project: Project) -> None:
    model, old, new = MUTANTS[name]
    assert failures(prover.prove(mutated(project, model, old, new), shrink=False, stop_at_first=True))


@pytest.mark.slow  # two dozen worlds, twenty seconds
def test_difference_is_traced_to_what_it_depends_on(prover: Prover, project: Project) -> None:
    model, old, new = MUTANTS["sensitive touchpoints are read"]
    found = failures(prover.prove(mutated(project, model, old, new), stop_at_first=True))
    told = next(failure for failure in found if failure.what.startswith("marts.wechat_engaged"))
    assert "sensitive touchpoints" in told.path[0] and " of 1 person" in told.path[0]
    assert told.path[1].startswith("lake.") and told.path[-1] == "marts.wechat_engaged"
    assert "sensitive" in told.remedy


def test_every_personal_column_differs_in_some_twin(prover: Prover, project: Project) -> None:
    prover.prove(project)
    con, base = prover.con, prover.base
    same = []
    for table in [*personal_tables(POLICY), *DERIVED]:
        twins = [twin for twin in prover.twins.values() if twin.versions[table] != base.versions[table]]
        for (column,) in con.execute(f"select column_name from (describe {quoted(base.name, table)})").fetchall():
            pairs = [(quoted(twin.name, table), quoted(base.name, table)) for twin in twins]
            column_differs = (
                con.execute(f'select "{column}" from {a} except all select "{column}" from {b} limit 1').fetchall()
                for a, b in pairs
            )
            if not any(column_differs):
                same.append(f"{table}.{column}")
    assert same == []


def test_model_that_reads_a_file_fails(prover: Prover, project: Project) -> None:
    changed = mutated(project, "marts.advocates", "from touchpoints", "from touchpoints, read_csv('/etc/passwd')")
    found = failures(prover.prove(changed, stop_at_first=True))
    assert any("marts.advocates does not run over the staged tables" in failure.what for failure in found)


def test_what_is_staged_in_memory_is_read_once_and_gone(prover: Prover, decided: Decided, project: Project) -> None:
    """The same world as from the file, in whatever order its rows come, which throw dice by their numbers; and a model
    that names the memory reads nothing beside its world."""
    staged = connect(decided.home)
    staged.execute(f"attach '{decided.file}' as file (read_only)")
    for table in staged_tables(POLICY):
        staged.execute(f"create schema if not exists memory.{table.partition('.')[0]}")
        order = "order by random()" if table in personal_tables(POLICY) else ""
        staged.execute(f"create table memory.{table} as from {quoted('file', table)} {order}")
    staged.execute("detach file")
    hidden = mutated(project, "marts.advocates", "from touchpoints", "from touchpoints, memory.lake.app as m")
    with Prover.load(decided.home, staged, project, POLICY, seed=SEED) as other:
        for table in sorted(prover.base.versions.keys() & {*staged_tables(POLICY)}):
            query = f"select count(*), sum(hash(t, rowid)) from {quoted('base', table)} as t"
            assert other.con.execute(query).fetchall() == prover.con.execute(query).fetchall(), table
        assert other.con.execute("select * from duckdb_tables() where database_name = 'memory'").fetchall() == []
        told = {failure.what for failure in failures(other.prove(hidden, shrink=False, stop_at_first=True))}
    assert any("marts.advocates" in what and "does not run" in what for what in told), told
    staged.close()


def failing(project: Project, relation: str, condition: str) -> Project:
    """With a model that fails where the condition holds."""
    sql = f"select * from ({project[relation].sql}) where case when {condition} then error('no') is null else true end"
    changed = replace(project[relation], sql=sql)
    return Project(tuple(changed if one.name == relation else one for one in project))


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("true", "does not run over the staged tables"),
        ("(select max(seq) from ledger.consent_events) > 8000000000", "runs or fails by what policy forbids"),
    ],
)  # fmt: skip
def test_model_that_fails_is_told_of_and_others_are_compared(
    condition: str, says: str, prover: Prover, project: Project
) -> None:
    """Everywhere, or in a twin only."""
    verdicts = prover.prove(failing(project, "marts.advocates", condition), shrink=False)
    found = {verdict.relation: [failure.what for failure in verdict.failures] for verdict in verdicts}
    assert any(says in what for what in found["marts.advocates"])
    assert found["marts.wechat_engaged"] == []


def test_nothing_is_proved_where_what_says_whose_a_key_is_fails(prover: Prover, project: Project) -> None:
    verdicts = prover.prove(failing(project, "intermediate.int_audience_keys", "true"), shrink=False)
    assert verdicts
    assert all(verdict.failures for verdict in verdicts)


def test_mart_without_a_purpose_fails(prover: Prover, project: Project) -> None:
    stray = replace(project["marts.advocates"], name="marts.everybody")
    found = failures(prover.prove(Project((*project.relations, stray)), stop_at_first=True))
    assert [failure.what for failure in found] == ["marts.everybody is exposed for no purpose"]


def test_missing_mart_fails(prover: Prover, project: Project) -> None:
    left = Project(tuple(relation for relation in project if relation.name != "marts.dormant_90"))
    verdicts = prover.prove(left, shrink=False)
    assert any(verdict.relation == "marts.dormant_90" and not verdict.is_proved for verdict in verdicts)


def test_fewest_keeps_what_fails_together() -> None:
    assert fewest(range(100), lambda some: {17, 83} <= set(some)) == [17, 83]
    assert fewest([Change("old", "changed")], lambda some: True) == [Change("old", "changed")]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 22))
def test_shipped_project_is_proved_for_any_seed(seed: int, decided: Decided, project: Project) -> None:
    with Prover.load(decided.home, decided.file, project, POLICY, seed=seed) as prover:
        assert not failures(prover.prove(project))
