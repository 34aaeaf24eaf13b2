"""Stage exports: one asset per segment and destination, from the published generation and the ledger as it is now."""

from collections.abc import Iterator
from datetime import datetime

import dagster as dg

from orchestration.defs import notes
from orchestration.defs.failures import attempt, stop
from orchestration.defs.metadata import Made, Measured, measured
from orchestration.defs.partitions import ONE_DAY, daily, moment
from orchestration.defs.resources import POOL
from orchestration.defs.site import Site
from orchestration.exports.export import ExportResult, export_generation
from orchestration.policy.schema import Destination, Segment
from orchestration.warehouse.build import Build
from orchestration.warehouse.publish import published

GROUP = "exports"
CHECK = "what_leaves_is_what_policy_names"


def definitions(site: Site) -> dg.Definitions:
    return dg.Definitions(assets=[audiences(site)] if pairs(site) else [])


def pairs(site: Site) -> list[tuple[Segment, Destination]]:
    known = {destination.name: destination for destination in site.policy.destinations.destinations}
    return [(segment, known[name]) for segment in site.policy.segments.segments for name in segment.destinations]


def asset_key(site: Site, segment: str, destination: str) -> dg.AssetKey:
    return site.key("exports", f"{segment}__{destination}")


def audiences(site: Site) -> dg.AssetsDefinition:
    specs = [_spec(site, segment, destination) for segment, destination in pairs(site)]

    @dg.multi_asset(
        name="audiences",
        specs=specs,
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=spec.key,
                blocking=True,
                description="Columns, contact form, row limit and formula safety hold (great-expectations).",
            )
            for spec in specs
        ],
        partitions_def=daily(site),
        backfill_policy=ONE_DAY,
        pool=POOL,
        required_resource_keys={"build_lock"},
    )
    def export(context: dg.AssetExecutionContext) -> Iterator[Made]:
        current, build = published(site.home), attempt(lambda: Build.load(site.home))
        if current is None or current.generation != build.generation:
            site.say("exports    none: this build is for an older day than the published one, it is evidence only")
            for spec in specs:
                yield dg.MaterializeResult(asset_key=spec.key, metadata=measured({"rows": 0, "is_evidence_only": 1}))
                yield dg.AssetCheckResult(passed=True, asset_key=spec.key, check_name=CHECK)
            return
        site.say("exports    rechecking the ledger, writing files")
        results = _export(site, moment(context, site).now)
        notes.leave(site.home, "exports", [check for result in results for check in result.checks])
        for result in results:
            key = asset_key(site, result.segment, result.destination)
            yield dg.MaterializeResult(asset_key=key, metadata=measured(_counts(result)))
            yield dg.AssetCheckResult(
                passed=result.status != "failed",
                asset_key=key,
                check_name=CHECK,
                metadata=measured({"expectations": len(result.checks), "failed": _failed(result)}),
            )

    return export


def export_op(site: Site) -> dg.OpDefinition:
    """The same export as a step of the re-export: nothing new is a no-op."""

    @dg.op(
        name="export_again",
        ins={"imported": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
        pool=POOL,
        required_resource_keys={"build_lock"},
        description="The published generation minus those withdrawn since, with removal lists.",
    )
    def export_again(context: dg.OpExecutionContext) -> None:
        results = _export(site, moment(context, site).now)
        for result in results:
            key = asset_key(site, result.segment, result.destination)
            context.log_event(dg.AssetMaterialization(key, metadata=measured(_counts(result))))
        failed = [f"{result.segment} to {result.destination}" for result in results if result.status == "failed"]
        if failed:
            raise stop(f"{len(failed)} exports failed: {', '.join(failed)}")

    return export_again


def _export(site: Site, now: datetime) -> list[ExportResult]:
    return attempt(
        lambda: export_generation(
            site.home,
            site.policy,
            site.keys,
            now=now,
            ledger_at=site.settings.ledger_at,
            policy_hash=site.policy_hash,
        )
    )


def _spec(site: Site, segment: Segment, destination: Destination) -> dg.AssetSpec:
    return dg.AssetSpec(
        asset_key(site, segment.name, destination.name),
        deps=[
            site.key("warehouse", "generation"),
            site.key("marts", segment.name),
            site.key("ledger", "consent_events"),
            site.key("policy", "destinations"),
        ],
        group_name=GROUP,
        owners=[segment.owner],
        kinds={"parquet" if destination.format == "parquet" else "csv", "greatexpectations"},
        description=f"{segment.label.en} ({segment.label.zh}) for {destination.label.en} by {destination.channel}.",
    )


def _failed(result: ExportResult) -> int:
    return sum(not check.passed for check in result.checks)


def _counts(result: ExportResult) -> dict[str, Measured]:
    counts: dict[str, Measured] = {"rows": result.rows, "removals": result.removals}
    counts |= {f"withheld_{reason}": people for reason, people in result.withheld.items()}
    return counts | ({"sha256": result.sha256} if result.sha256 else {})
