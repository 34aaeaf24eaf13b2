"""Stage proof: what is exposed of a build came through the gate and depends on nothing forbidden."""

from collections.abc import Iterator, Sequence

import dagster as dg

from orchestration.defs import notes
from orchestration.defs.failures import attempt, stop
from orchestration.defs.metadata import measured
from orchestration.defs.partitions import moment
from orchestration.defs.resources import POOL
from orchestration.defs.site import Site
from orchestration.proof import checks
from orchestration.proof.build import prove_build
from orchestration.proof.verdict import Verdict
from orchestration.warehouse.build import Build
from orchestration.warehouse.checks import CheckResult
from orchestration.warehouse.repeat import Check, checks_of, repeated

NOTE = "proof"
SHOWN = 3  # failures in the message of a failed run; all are in the evidence, and `assent prove` tells them


def definitions(site: Site) -> dg.Definitions:
    return dg.Definitions(asset_checks=[proof(site)])


def wanted(site: Site) -> set[Check]:
    """What a build must have passed, so that another may repeat it."""
    return {(part, name) for part, _, name in checks.wanted(site.policy)}


def proof(site: Site) -> dg.AssetChecksDefinition:
    specs = {
        (part, name): dg.AssetCheckSpec(
            checks.SENTENCES[part],
            asset=site.key(*relation.split(".")),
            blocking=True,
            description=DESCRIPTIONS[part],
        )
        for part, relation, name in checks.wanted(site.policy)
    }

    @dg.multi_asset_check(
        name="proof_checks", specs=list(specs.values()), pool=POOL, required_resource_keys={"build_lock"}
    )
    def check_proof(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        build = attempt(lambda: Build.load(site.home))
        receipt = attempt(lambda: repeated(site.home, build))
        verdicts: Sequence[Verdict] = ()
        if receipt is None:
            site.say("proof      every path to what is exposed, and worlds that differ in what is forbidden")
            now = moment(context, site).now
            verdicts = attempt(lambda: prove_build(site.home, site.policy, site.keys, build, now=now)).verdicts
            results = checks.checks_of(site.policy, verdicts)
        else:
            results = [result for part in checks.SENTENCES for result in checks_of(receipt, part)]
        notes.leave(site.home, NOTE, results)
        for result in results:
            spec = specs.get((result.stage, result.name))
            if spec is not None:
                yield dg.AssetCheckResult(
                    passed=result.passed,
                    asset_key=spec.asset_key,
                    check_name=spec.name,
                    metadata=_counts(result, verdicts, is_unchanged=receipt is not None),
                )
        if any(result.blocks for result in results):
            said = checks.why_blocked(results, verdicts)
            more = f"; and {len(said) - SHOWN} more" if len(said) > SHOWN else ""
            raise stop(f"not proved: {'; '.join(said[:SHOWN])}{more}. See `assent prove`")

    return check_proof


def _counts(result: CheckResult, verdicts: Sequence[Verdict], *, is_unchanged: bool) -> dict[str, int | float | str]:
    of_it = [v for v in verdicts if (v.part, checks.name_of(v.part, v.relation)) == (result.stage, result.name)]
    obligations = sum(verdict.obligations for verdict in of_it)
    discharged = sum(verdict.discharged for verdict in of_it)
    numbers = {} if is_unchanged else {"obligations": obligations, "discharged": discharged}
    return measured({**numbers, "is_unchanged": int(is_unchanged)})


DESCRIPTIONS = {
    "static": "From the SQL that ran: every path from a personal source passes the gate for its purpose.",
    "twins": "Over worlds that differ only in what policy forbids for its purpose: it is the same in each.",
}
