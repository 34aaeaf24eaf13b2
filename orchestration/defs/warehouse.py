"""Stage warehouse: inputs staged aside, the dbt models and their tests, the release gate, the published generation."""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, dbt_assets

from orchestration.defs import notes, proof
from orchestration.defs.column_lineage import Lineages, lineages
from orchestration.defs.dbt_results import events_of, repeated_events
from orchestration.defs.evidence import mart_check_specs
from orchestration.defs.failures import attempt
from orchestration.defs.metadata import Made, measured
from orchestration.defs.partitions import ONE_DAY, daily, is_rebuild, moment
from orchestration.defs.resources import POOL
from orchestration.defs.site import TEAM, Site
from orchestration.evidence import expectations
from orchestration.warehouse import dbt
from orchestration.warehouse.build import Build
from orchestration.warehouse.checks import dbt_checks, wanted_of_dbt
from orchestration.warehouse.prepare import prepare
from orchestration.warehouse.publish import publish
from orchestration.warehouse.repeat import Check, checks_of, find_repeat, repeated
from orchestration.warehouse.stage import stage_inputs

# dbt's folders are groups of their own, so that the graph of groups reads from left to right.
GROUP, STAGING = "warehouse", "staging"


def definitions(site: Site) -> dg.Definitions:
    project = prepare(site.home, site.policy, site.policy_dir)
    manifest = json.loads((project / "target" / "manifest.json").read_bytes())
    wanted = {("dbt", name) for name in wanted_of_dbt(manifest)} | {("marts", name) for name in mart_check_specs(site)}
    wanted |= proof.wanted(site)
    return dg.Definitions(assets=[inputs(site, wanted), models(site, project, manifest), generation(site)])


def inputs(site: Site, wanted: Collection[Check]) -> dg.AssetsDefinition:
    """The inputs staged. Where they are those of the generation in force, it is verified and nothing is built again:
    every later step tells so with `is_unchanged`, and repeats the checks of its receipt, which must be all `wanted`."""
    lakes = [site.key("lake", source.name) for source in site.policy.sources.sources]
    files = [site.key("policy", name) for name in ("organisation", "purposes", "segments", "destinations", "retention")]

    @dg.asset(
        key=site.key("warehouse", "inputs"),
        deps=[*lakes, site.key("ledger", "consent_events"), *files],
        group_name=STAGING,
        owners=[TEAM],
        kinds={"duckdb"},
        description="A new file for this generation: policy, lake, ledger and activity as SQL sees them, frozen at T.",
        partitions_def=daily(site),
        backfill_policy=ONE_DAY,
        pool=POOL,
        required_resource_keys={"build_lock"},
    )
    def stage(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        at = moment(context, site)
        site.say("warehouse  staging inputs")
        build = attempt(
            lambda: stage_inputs(
                site.home,
                site.policy,
                site.keys,
                as_of=at.as_of,
                policy_dir=site.policy_dir,
                ledger_at=site.settings.ledger_at,
            )
        )
        is_unchanged = not is_rebuild(context) and attempt(lambda: find_repeat(site.home, build, wanted))
        if is_unchanged:
            site.say(f"           unchanged: generation {build.generation} is in force, verified, and not built again")
        return dg.MaterializeResult(
            metadata=measured(
                {
                    "generation": build.generation,
                    "is_unchanged": int(is_unchanged),
                    "policy_hash": build.policy_hash,
                    "ledger_head": build.ledger_head,
                    "lake_hash": build.lake_hash,
                }
            )
        )

    return stage


class Translator(DagsterDbtTranslator):
    """Names of dbt as asset keys `[layer, name]`; dbt's sources are the assets of the stages before."""

    def __init__(self, site: Site) -> None:
        super().__init__(DagsterDbtTranslatorSettings(enable_duplicate_source_asset_keys=True))
        self._site = site
        self._owners = {segment.name: segment.owner for segment in site.policy.segments.segments}
        self._sources = {source.name for source in site.policy.sources.sources}

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        name = dbt_resource_props["name"]
        if dbt_resource_props["resource_type"] == "source":
            return self._source_key(dbt_resource_props["source_name"], name)
        return self._site.key(dbt_resource_props["config"]["schema"], name)

    def _source_key(self, source: str, table: str) -> dg.AssetKey:
        if source == "lake" and table in self._sources:
            return self._site.key("lake", table)
        if source == "ledger":
            return self._site.key("ledger", "consent_events")
        if source == "identity" and table != "purpose_keys":
            return self._site.key("identity", "identifiers")
        return self._site.key("warehouse", "inputs")

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        return super().get_group_name(dbt_resource_props) or str(dbt_resource_props["config"].get("schema", GROUP))

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        return [self._owners.get(dbt_resource_props["name"], TEAM)]


def models(site: Site, project: Path, manifest: Mapping[str, Any]) -> dg.AssetsDefinition:
    """Staging, intermediate, marts, governance: one `dbt build` in a process of its own, tests as blocking checks."""
    translator = Translator(site)

    def of_columns() -> Lineages:
        return attempt(lambda: lineages(site, project, manifest, translator))

    @dbt_assets(
        manifest=manifest,
        name="dbt_models",
        partitions_def=daily(site),
        backfill_policy=ONE_DAY,
        dagster_dbt_translator=translator,
        required_resource_keys={"build_lock"},
        pool=POOL,
    )
    def build_models(context: dg.AssetExecutionContext) -> Iterator[Made]:
        build = attempt(lambda: Build.load(site.home))
        receipt = attempt(lambda: repeated(site.home, build))
        if receipt is not None:
            made = checks_of(receipt, "dbt")
            notes.leave(site.home, "dbt", made)
            yield from repeated_events(context.assets_def, made, build.generation, of_columns())
            return
        site.say("dbt        building and testing the models")
        expectations.load_ahead()
        run = attempt(lambda: dbt.run_build(site.home, build.path(site.home), project))
        checks = attempt(lambda: dbt_checks(run.target, project / "target" / "manifest.json"))
        notes.leave(site.home, "dbt", checks)
        yield from events_of(context.assets_def, run.target, build.generation, of_columns())

    return build_models


def generation(site: Site) -> dg.AssetsDefinition:
    @dg.asset(
        key=site.key("warehouse", "generation"),
        deps=[site.key("warehouse", "release")],
        group_name=GROUP,
        owners=[TEAM],
        kinds={"duckdb"},
        description="The generation in force, published by an atomic rename; a build for an older T is evidence only.",
        partitions_def=daily(site),
        backfill_policy=ONE_DAY,
        pool=POOL,
        required_resource_keys={"build_lock"},
    )
    def publish_generation(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        build = attempt(lambda: Build.load(site.home))
        kept = site.policy.retention.generations_kept
        now = moment(context, site).now
        is_published = attempt(lambda: publish(site.home, build, now=now, generations_kept=kept))
        site.say(f"{'published ' if is_published else 'evidence  '} generation {build.generation}")
        return dg.MaterializeResult(
            metadata=measured({"generation": build.generation, "is_published": int(is_published)})
        )

    return publish_generation
