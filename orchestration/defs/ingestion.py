"""Stage ingestion: one asset per source, from what lands (external assets) to the lake."""

from collections.abc import Iterator

import dagster as dg

from orchestration.defs import notes
from orchestration.defs.failures import RETRY, attempt
from orchestration.defs.metadata import Made, measured
from orchestration.defs.partitions import ONE_DAY, daily, moment
from orchestration.defs.resources import POOL
from orchestration.defs.site import Site
from orchestration.ingestion.ingest import ingest_source
from orchestration.policy.schema import Source
from orchestration.retention.reminimise import stale_columns

GROUP = "ingestion"
RECONCILES = "every_row_is_accounted_for"
NO_REFUSALS = "no_file_was_refused"
OF_TODAY = "stored_columns_are_those_of_todays_policy"


def definitions(site: Site) -> dg.Definitions:
    sources = site.policy.sources.sources
    return dg.Definitions(assets=[*(landing(site, s) for s in sources), *(lake(site, s) for s in sources)])


def landing(site: Site, source: Source) -> dg.AssetSpec:
    """What a company delivers: not ours to make, and downstream of their own assets where the policy names them."""
    return dg.AssetSpec(
        site.key("landing", source.name),
        deps=[dg.AssetKey(list(key)) for key in source.upstream_assets],
        group_name=GROUP,
        owners=[source.owner],
        kinds={"file" if source.feeds[0].format != "table" else "table", source.feeds[0].format},
        description=f"{source.label.en} ({source.label.zh}): {source.provenance}.",
    )


def lake(site: Site, source: Source) -> dg.AssetsDefinition:
    """The touchpoints of one source: tokens only, minimised, every row accounted for."""
    key = site.key("lake", source.name)

    @dg.asset(
        key=key,
        deps=[site.key("landing", source.name), site.key("policy", "sources"), site.key("policy", "minimisation")],
        group_name=GROUP,
        owners=[source.owner],
        kinds={"parquet", "duckdb", "pandera"},
        description=f"Touchpoints of {source.label.en} ({source.label.zh}). Lawful basis: {source.lawful_basis}.",
        check_specs=[
            dg.AssetCheckSpec(
                RECONCILES,
                asset=key,
                blocking=True,
                description="read = accepted + duplicates + quarantined + suppressed.",
            ),
            dg.AssetCheckSpec(
                NO_REFUSALS,
                asset=key,
                description="A refused file stays in landing, reported until it is replaced.",
            ),
            dg.AssetCheckSpec(
                OF_TODAY,
                asset=key,
                description="What an older minimisation stored and today's would not; see `assent minimise --plan`.",
            ),
        ],
        partitions_def=daily(site),
        backfill_policy=ONE_DAY,
        pool=POOL,
        retry_policy=RETRY,
        required_resource_keys={"build_lock"},
    )
    def ingest_landing(context: dg.AssetExecutionContext) -> Iterator[Made]:
        at = moment(context, site)
        site.say(f"ingestion  {source.name}")
        report = attempt(
            lambda: ingest_source(
                site.home,
                site.policy,
                site.keys,
                source,
                site.landing,
                now=at.now,
                as_of=at.as_of,
                ledger_at=site.settings.ledger_at,
            )
        )
        counts = report.counts()
        notes.leave(site.home, f"ingestion_{source.name}", counts=counts)
        site.say(f"           {counts['accepted']:,} accepted, {counts['quarantined']:,} quarantined")
        if counts["dropped_fields"]:
            site.say(f"           {counts['dropped_fields']:,} fields dropped that policy does not name")
        for refused in report.refused:
            site.say(f"           refused {refused}")
        yield dg.MaterializeResult(asset_key=key, metadata=measured(counts))
        whole = counts["read"] == sum(counts[name] for name in ("accepted", "duplicates", "quarantined", "suppressed"))
        yield dg.AssetCheckResult(asset_key=key, check_name=RECONCILES, passed=whole, metadata=measured(counts))
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=NO_REFUSALS,
            passed=counts["refused_files"] == 0,
            severity=dg.AssetCheckSeverity.WARN,
            metadata=measured({"refused_files": counts["refused_files"]}),
        )
        stale = stale_columns(site.home, site.policy, source)
        if stale:
            site.say(f"           {stale} stored columns are not of today's policy: see `assent minimise --plan`")
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=OF_TODAY,
            passed=stale == 0,
            severity=dg.AssetCheckSeverity.WARN,
            metadata=measured({"stale_columns": stale}),
        )

    return ingest_landing
