"""Stage evidence: the suites on every mart, the release gate that needs them, and the report of the generation."""

from collections.abc import Iterator
from datetime import datetime

import dagster as dg

from orchestration.defs import exports, identity, notes
from orchestration.defs.failures import attempt
from orchestration.defs.metadata import measured
from orchestration.defs.partitions import ONE_DAY, daily, moment
from orchestration.defs.resources import POOL
from orchestration.defs.site import TEAM, Site
from orchestration.evidence import counts, expectations, report
from orchestration.proof.lineage.record import record_lineage
from orchestration.warehouse.build import Build
from orchestration.warehouse.checks import CheckResult
from orchestration.warehouse.content import contents
from orchestration.warehouse.duckdb_settings import connect
from orchestration.warehouse.gate import Receipt, release
from orchestration.warehouse.publish import published, require_intact
from orchestration.warehouse.repeat import checks_of, repeated

GROUP = "evidence"
# The sentences of `expectations.mart_suite`, which cannot be asked: importing great-expectations takes seconds.
MART_SENTENCES = (
    "columns_are_those_of_its_contract",
    "columns_are_those_its_purpose_shows",
    "every_person_appears_once_under_a_key",
    "no_column_holds_a_direct_identifier",
    "nothing_is_past_its_retention",
)


def definitions(site: Site) -> dg.Definitions:
    return dg.Definitions(assets=[receipt(site), generation_report(site)], asset_checks=[marts(site)])


def mart_check_specs(site: Site) -> dict[str, dg.AssetCheckSpec]:
    """Name of a check result → the check on its mart."""
    return {
        f"{segment.name}: {sentence}": dg.AssetCheckSpec(
            sentence,
            asset=site.key("marts", segment.name),
            blocking=True,
            description="great-expectations on what leaves: retention and minimisation.",
        )
        for segment in site.policy.segments.segments
        for sentence in MART_SENTENCES
    }


def marts(site: Site) -> dg.AssetChecksDefinition:
    specs = mart_check_specs(site)

    @dg.multi_asset_check(
        name="marts_checks", specs=list(specs.values()), pool=POOL, required_resource_keys={"build_lock"}
    )
    def check_marts(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        receipt = attempt(lambda: repeated(site.home, Build.load(site.home)))
        if receipt is None:
            site.say("checks     great-expectations on every mart")
            results = attempt(lambda: _check_marts(site))
        else:
            results = checks_of(receipt, "marts")
        notes.leave(site.home, "marts", results)
        metadata = measured({"is_unchanged": int(receipt is not None)})
        for result in results:
            spec = specs[result.name]
            yield dg.AssetCheckResult(
                passed=result.passed, asset_key=spec.asset_key, check_name=spec.name, metadata=metadata
            )

    return check_marts


def _check_marts(site: Site) -> list[CheckResult]:
    build = Build.load(site.home)
    con = connect(site.home, build.path(site.home), read_only=True)
    try:
        return expectations.check_marts(con, site.policy, as_of=build.as_of)
    finally:
        con.close()


def receipt(site: Site) -> dg.AssetsDefinition:
    segments = [site.key("marts", segment.name) for segment in site.policy.segments.segments]
    governance = [site.key("governance", name) for name in ("decisions_by_purpose", "segment_waterfalls", "coverage")]

    @dg.asset(
        key=site.key("warehouse", "release"),
        deps=[*segments, *governance],
        group_name="warehouse",
        owners=[TEAM],
        kinds={"json"},
        description="The receipt that every check passed, bound to the bytes of the file. Nothing leaves without it.",
        partitions_def=daily(site),
        backfill_policy=ONE_DAY,
        pool=POOL,
        required_resource_keys={"build_lock"},
    )
    def pass_gate(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        given, is_unchanged = attempt(lambda: _receipt(site))
        site.say(f"release    {given.checks_passed} checks passed, {given.checks_failed} warnings")
        return dg.MaterializeResult(
            metadata=measured(
                {
                    "checks_passed": given.checks_passed,
                    "file_sha256": given.file_sha256,
                    "is_unchanged": int(is_unchanged),
                }
            )
        )

    return pass_gate


def _receipt(site: Site) -> tuple[Receipt, bool]:
    """The receipt of the build, given now or, where it repeats the generation in force, when that was released."""
    build = Build.load(site.home)
    given = repeated(site.home, build)
    current = published(site.home) if given is not None else None  # damage is mended by the build that replaces it
    if given is None or current is None:
        return release(site.home, build, notes.all_checks(site.home)), False
    require_intact(site.home, current)
    return given, True


def generation_report(site: Site) -> dg.AssetsDefinition:
    delivered = [exports.asset_key(site, segment.name, place.name) for segment, place in exports.pairs(site)]

    @dg.asset(
        key=site.key("evidence", "report"),
        deps=[site.key("warehouse", "generation"), site.key("governance", "segment_waterfalls"), *delivered],
        group_name=GROUP,
        owners=[TEAM],
        kinds={"html", "json"},
        description="What was measured about the generation, in Chinese and English, and that it sums up.",
        partitions_def=daily(site),
        backfill_policy=ONE_DAY,
        pool=POOL,
        required_resource_keys={"build_lock"},
    )
    def write_report(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        site.say("evidence   summary and report")
        summary = attempt(lambda: _write_report(site, moment(context, site).now))
        return dg.MaterializeResult(
            metadata=measured(
                {
                    "generation": summary["generation"],
                    "content_hash": summary["content_hash"],
                    "checks_passed": summary["checks"]["passed"],
                    "checks_failed": summary["checks"]["failed"],
                }
            )
        )

    return write_report


def _write_report(site: Site, now: datetime) -> counts.Summary:
    build, found = Build.load(site.home), notes.all_counts(site.home)
    prefix = "ingestion_"
    delivered = {step.removeprefix(prefix): numbers for step, numbers in found.items() if step.startswith(prefix)}
    checks = notes.all_checks(site.home)
    content_hash, tables = contents(site.home, build.generation)
    summary = counts.summarise(
        site.home,
        site.policy,
        build,
        checks=checks,
        content_hash=content_hash,
        tables=tables,
        redelivered={source: numbers["redelivered_files"] for source, numbers in delivered.items()},
        people=found.get(identity.NOTE),
    )
    counts.save(site.home, summary)
    report.save_checks(site.home, build.generation, checks)
    report.write_report(site.home, site.policy, build.generation)
    if record_lineage(site.home, site.policy, site.policy_dir, build, now=now) is None:
        site.say("evidence   lineage: not known of this build; `assent lineage` says why")
    return summary
