"""The library of mutants against the proof: each is caught, by the parts that the table says; no refactoring is.

Of `static` the table holds both ways. Of `twins` it says which mutants they must catch: what else they notice depends
on who is in their worlds. The library is slow; `test_proof_shipped.py` and `test_twins.py` have a sample in CI."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import pytest

from orchestration.home import Home
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.policy.schema import Policy
from orchestration.proof.analysis import Analysis
from orchestration.proof.compiled import compiled_project
from orchestration.proof.project import Project
from orchestration.proof.static import prove_statically
from orchestration.proof.twins.prove import Prover
from orchestration.proof.verdict import Verdict, are_proved
from tests.proof_mutants import Change, applied, is_changed, mutants, others, refactorings
from tests.staged import stage_worlds
from tests.worlds import random_world, seeded

AS_OF = datetime(2026, 11, 22, tzinfo=UTC)
WORLDS, OF_WORLDS = 20, 7  # beside the people whom the twins invent
SEED = 1  # that of a build; others miss some of those that need a rare person
STATIC, TWINS = "static", "twins"
SAMPLE = (
    "a left join admits members whom nobody permitted",
    "any permit opens every purpose",
    "a segment reads the touchpoints before the gate",
    "a segment is filtered by EXISTS before the gate",
    "the average over everyone decides",
    "a table is named, not referred to",
    "a column in JSON",
    "absence is not proved",
)
KEPT = ("the mask is asked in WHERE", "absence by EXISTS", "the gate in a CTE")


@dataclass(frozen=True)
class Shipped:
    """The shipped project, compiled once."""

    home: Home
    project: Project
    policy: Policy
    analysis: Analysis

    def statically(self, project: Project) -> tuple[Verdict, ...]:
        return prove_statically(project, self.policy, as_of=AS_OF, like=self.analysis)

    def is_flagged(self, change: Change) -> bool:
        return any(verdict.failures for verdict in self.statically(applied(change, self.project)))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    home, policy = Home.open(tmp_path_factory.mktemp("mutants") / "home"), load_policy()
    with home.lock():
        project = compiled_project(home, policy, SHIPPED)
    return Shipped(home, project, policy, Analysis.of(project, policy))


@pytest.fixture(scope="module")
def prover(shipped: Shipped) -> Iterator[Prover]:
    """The twins' worlds, made once."""
    file, dice = shipped.home.building / "mutants.duckdb", seeded(OF_WORLDS)
    with duckdb.connect(str(file)) as con:
        worlds = [random_world(dice, shipped.policy, number) for number in range(1, WORLDS + 1)]
        stage_worlds(con, shipped.policy, worlds)
    with Prover.load(shipped.home, file, shipped.project, shipped.policy, seed=SEED) as made:
        yield made


def is_noticed(prover: Prover, change: Change, shipped: Shipped) -> bool:
    verdicts = prover.prove(applied(change, shipped.project), shrink=False, stop_at_first=True)
    return any(verdict.failures for verdict in verdicts)


@pytest.mark.slow
def test_shipped_project_is_proved(shipped: Shipped) -> None:
    """Without this, every mutant would be caught for nothing."""
    verdicts = shipped.statically(shipped.project)
    assert are_proved(verdicts), [verdict for verdict in verdicts if not verdict.is_proved]


def test_library_is_large_and_says_who_catches_what() -> None:
    assert len(mutants()) >= 60 and len(refactorings()) >= 30
    assert [name for name, change in mutants().items() if not change.caught_by] == []
    assert {part for change in mutants().values() for part in change.caught_by} == {STATIC, TWINS}
    assert all(change.because for change in others().values()) and len(others()) < 10
    assert set(SAMPLE) <= mutants().keys() and set(KEPT) <= refactorings().keys()


@pytest.mark.slow
def test_each_change_changes_the_sql(shipped: Shipped) -> None:
    """A mutant that changed blanks only would be caught by nobody, or by chance."""
    for change in (*mutants().values(), *others().values()):
        assert is_changed(change, shipped.project), change.name
    for change in refactorings().values():
        applied(change, shipped.project)


@pytest.mark.slow
def test_change_that_does_not_fit_the_sql_is_an_error(shipped: Shipped) -> None:
    for change in (
        Change("gone", "marts.wechat_engaged", (("what was there once", "x"),)),
        Change("idle", "marts.wechat_engaged", (("touches", "touches"),)),
    ):
        with pytest.raises(AssertionError):
            applied(change, shipped.project)
    blank = Change("blank", "marts.wechat_engaged", (("group by person_key", "group  by person_key -- same"),))
    assert not is_changed(blank, shipped.project)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_mutant_of_the_sample_is_caught_as_the_table_says(name: str, shipped: Shipped) -> None:
    assert shipped.is_flagged(mutants()[name]) == (STATIC in mutants()[name].caught_by)


@pytest.mark.slow
@pytest.mark.parametrize("name", KEPT)
def test_refactoring_of_the_sample_is_not_flagged(name: str, shipped: Shipped) -> None:
    assert not shipped.is_flagged(refactorings()[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in mutants() if name not in SAMPLE])
def test_mutant_is_caught_by_the_static_part_as_the_table_says(name: str, shipped: Shipped) -> None:
    assert shipped.is_flagged(mutants()[name]) == (STATIC in mutants()[name].caught_by)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in refactorings() if name not in KEPT])
def test_refactoring_is_not_flagged_by_the_static_part(name: str, shipped: Shipped) -> None:
    assert not shipped.is_flagged(refactorings()[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, change in mutants().items() if TWINS in change.caught_by])
def test_mutant_is_noticed_by_the_twins(name: str, prover: Prover, shipped: Shipped) -> None:
    assert is_noticed(prover, mutants()[name], shipped)


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("name", KEPT)
def test_refactoring_is_not_flagged_by_the_twins(name: str, prover: Prover, shipped: Shipped) -> None:
    """A few: where nothing differs the twins go through all their worlds, 12 s of CPU each."""
    assert not is_noticed(prover, refactorings()[name], shipped)
