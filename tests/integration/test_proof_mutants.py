"""The library of mutants against the proof: each is caught, by exactly the parts that the table says; no refactoring is
flagged. A sample is in CI, the whole library is slow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from orchestration.home import Home
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.policy.schema import Policy
from orchestration.proof.analysis import Analysis
from orchestration.proof.compiled import compiled_project
from orchestration.proof.project import Project
from orchestration.proof.static import prove_statically
from orchestration.proof.verdict import Verdict, are_proved
from tests.proof_mutants import Change, applied, is_changed, mutants, refactorings

AS_OF = datetime(2026, 11, 22, tzinfo=UTC)
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
PARTS = ("static",)
KEPT = ("the mask is asked in WHERE", "absence by EXISTS", "the gate in a CTE")


@dataclass(frozen=True)
class Shipped:
    """The shipped project, compiled once, and the twins' worlds, made once."""

    project: Project
    policy: Policy
    analysis: Analysis

    def statically(self, project: Project) -> tuple[Verdict, ...]:
        return prove_statically(project, self.policy, as_of=AS_OF, like=self.analysis)

    def caught_by(self, change: Change) -> tuple[str, ...]:
        """The parts that flag the changed project."""
        project = applied(change, self.project)
        return tuple(part for part in PARTS if any(v.failures for v in self.verdicts(part, project)))

    def verdicts(self, part: str, project: Project) -> tuple[Verdict, ...]:
        return self.statically(project)


def known(change: Change) -> tuple[str, ...]:
    """The parts that the table names, of those that there are."""
    return tuple(part for part in change.caught_by if part in PARTS)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    home, policy = Home.open(tmp_path_factory.mktemp("mutants") / "home"), load_policy()
    with home.lock():
        project = compiled_project(home, policy, SHIPPED)
    return Shipped(project, policy, Analysis.of(project, policy))


def test_shipped_project_is_proved(shipped: Shipped) -> None:
    """Without this, every mutant would be caught for nothing."""
    verdicts = shipped.statically(shipped.project)
    assert are_proved(verdicts), [verdict for verdict in verdicts if not verdict.is_proved]


def test_library_is_large_and_says_who_catches_what() -> None:
    assert len(mutants()) >= 60 and len(refactorings()) >= 30
    assert [name for name, change in mutants().items() if not change.caught_by] == []
    assert {part for change in mutants().values() for part in change.caught_by} == {"static", "twins"}
    assert set(SAMPLE) <= mutants().keys() and set(KEPT) <= refactorings().keys()


def test_each_change_changes_the_sql(shipped: Shipped) -> None:
    """A mutant that changed blanks only would be caught by nobody, or by chance."""
    for change in mutants().values():
        assert is_changed(change, shipped.project), change.name
    for change in refactorings().values():
        applied(change, shipped.project)


def test_change_that_does_not_fit_the_sql_is_an_error(shipped: Shipped) -> None:
    for change in (
        Change("gone", "marts.wechat_engaged", (("what was there once", "x"),)),
        Change("idle", "marts.wechat_engaged", (("touches", "touches"),)),
    ):
        with pytest.raises(AssertionError):
            applied(change, shipped.project)
    blank = Change("blank", "marts.wechat_engaged", (("group by person_key", "group  by person_key -- same"),))
    assert not is_changed(blank, shipped.project)


@pytest.mark.parametrize("name", SAMPLE)
def test_mutant_of_the_sample_is_caught_as_the_table_says(name: str, shipped: Shipped) -> None:
    assert shipped.caught_by(mutants()[name]) == known(mutants()[name])


@pytest.mark.parametrize("name", KEPT)
def test_refactoring_of_the_sample_is_not_flagged(name: str, shipped: Shipped) -> None:
    """By the static part alone: where nothing differs the twins go through all their worlds, half a minute each."""
    assert not any(v.failures for v in shipped.statically(applied(refactorings()[name], shipped.project)))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in mutants() if name not in SAMPLE])
def test_mutant_is_caught_as_the_table_says(name: str, shipped: Shipped) -> None:
    assert shipped.caught_by(mutants()[name]) == known(mutants()[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in refactorings() if name not in KEPT])
def test_refactoring_is_not_flagged(name: str, shipped: Shipped) -> None:
    assert shipped.caught_by(refactorings()[name]) == ()
