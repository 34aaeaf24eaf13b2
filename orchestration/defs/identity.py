"""Stage identity: identifiers joined into groups, written into the build's own file."""

import dagster as dg

from orchestration.defs import notes
from orchestration.defs.failures import attempt
from orchestration.defs.metadata import Measured, measured
from orchestration.defs.partitions import ONE_DAY, daily
from orchestration.defs.resources import POOL
from orchestration.defs.site import TEAM, Site
from orchestration.identity.changes import Counts
from orchestration.identity.resolve import resolve_identities
from orchestration.warehouse.build import Build
from orchestration.warehouse.repeat import repeated

GROUP = "identity"
NOTE = "identity"


def definitions(site: Site) -> dg.Definitions:
    return dg.Definitions(assets=[identifiers(site)])


def identifiers(site: Site) -> dg.AssetsDefinition:
    @dg.asset(
        key=site.key("identity", "identifiers"),
        deps=[site.key("warehouse", "inputs"), site.key("policy", "organisation")],
        group_name=GROUP,
        owners=[TEAM],
        kinds={"numpy", "duckdb"},
        description="Every identifier with its group: joined by links in force at T, cut where people share one.",
        partitions_def=daily(site),
        backfill_policy=ONE_DAY,
        pool=POOL,
        required_resource_keys={"build_lock"},
    )
    def resolve(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        build = attempt(lambda: Build.load(site.home))
        is_unchanged = attempt(lambda: repeated(site.home, build)) is not None
        counts: Counts = {}
        if not is_unchanged:
            site.say("identity   joining identifiers")
            counts = attempt(lambda: resolve_identities(site.home, build, site.policy))
            notes.leave(site.home, NOTE, counts=counts)
        metadata: dict[str, Measured] = {"generation": build.generation, "is_unchanged": int(is_unchanged), **counts}
        return dg.MaterializeResult(metadata=measured(metadata))

    return resolve
