"""The proof as checks of a build: static and twins, for each exposed relation; without them no receipt is given.

Not here: Dagster's side of it (`defs/proof.py`), and the canaries, which are of a home and not of a build."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestration.policy.schema import Policy
from orchestration.proof.evidence import by_part, counted
from orchestration.proof.verdict import Failure, Verdict
from orchestration.warehouse.checks import CheckResult

# Part → the sentence of its check, true when good. A part is a stage of the release gate.
SENTENCES = {"static": "no_path_passes_beside_its_gate", "twins": "nothing_forbidden_changes_it"}
MART = "marts."


def name_of(part: str, relation: str) -> str:
    """What the check of a mart is called, by its segment; of another relation, by its whole name."""
    return f"{relation.removeprefix(MART)}: {SENTENCES[part]}"


def wanted(policy: Policy) -> list[tuple[str, str, str]]:
    """Part, relation and name of every check that a build must have passed; other exposed relations come beside."""
    relations = [f"{MART}{segment.name}" for segment in policy.segments.segments]
    return [(part, relation, name_of(part, relation)) for part in SENTENCES for relation in relations]


def checks_of(policy: Policy, verdicts: Iterable[Verdict]) -> list[CheckResult]:
    """One result for each relation and part. A relation that a part says nothing of is not proved."""
    found: dict[tuple[str, str], list[Verdict]] = {(part, relation): [] for part, relation, _ in wanted(policy)}
    for verdict in verdicts:
        found.setdefault((verdict.part, verdict.relation), []).append(verdict)
    return [_result(part, relation, of_it) for (part, relation), of_it in sorted(found.items())]


def _result(part: str, relation: str, verdicts: Sequence[Verdict]) -> CheckResult:
    numbers = counted(verdicts)
    is_proved = bool(verdicts) and all(verdict.is_proved for verdict in verdicts)
    detail = f"{numbers['discharged']} of {numbers['obligations']} obligations hold"
    return CheckResult(part, name_of(part, relation), is_proved, "error", detail)


def in_words(verdicts: Iterable[Verdict]) -> list[str]:
    """A paragraph for each failure: of what, where the data came from and by which steps, what to do."""
    lines = []
    for part, some in by_part(verdicts).items():
        for verdict in some:
            where = f"{verdict.relation}" + (f", for {verdict.purpose}" if verdict.purpose else "")
            lines += [f"{part}: {where}: {told(failure)}" for failure in verdict.failures]
            if not verdict.failures and not verdict.is_proved:
                lines.append(f"{part}: {where}: {verdict.discharged} of {verdict.obligations} obligations hold")
    return lines


def why_blocked(results: Iterable[CheckResult], verdicts: Sequence[Verdict]) -> list[str]:
    """What is said of checks that block: in words, and which of them nothing was proved of."""
    known = {(verdict.part, name_of(verdict.part, verdict.relation)) for verdict in verdicts}
    without = [result for result in results if result.blocks and (result.stage, result.name) not in known]
    return in_words(verdicts) + [f"{result.stage}: {result.name} was proved by nothing" for result in without]


def told(failure: Failure) -> str:
    """A failure in one line."""
    return f"{failure.what} ({' → '.join(failure.path)}). {failure.remedy}"
