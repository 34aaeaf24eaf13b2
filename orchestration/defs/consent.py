"""Stage consent: the ledger, from consent feeds and the platform permissions that touchpoints signal."""

from collections.abc import Iterator
from datetime import datetime

import dagster as dg

from orchestration.consent.feeds.importer import import_feeds
from orchestration.consent.ledger import open_ledger
from orchestration.defs import notes
from orchestration.defs.failures import RETRY, attempt
from orchestration.defs.metadata import Made, Measured, measured
from orchestration.defs.partitions import ONE_DAY, daily, moment
from orchestration.defs.resources import POOL
from orchestration.defs.site import TEAM, Site

GROUP = "consent"
RECONCILES = "every_record_is_accounted_for"
CHAIN_HOLDS = "the_hash_chain_holds"


def definitions(site: Site) -> dg.Definitions:
    return dg.Definitions(assets=[landing(site), events(site)])


def landing(site: Site) -> dg.AssetSpec:
    feeds = site.policy.sources.consent_feeds
    return dg.AssetSpec(
        site.key("landing", "consent"),
        group_name=GROUP,
        owners=sorted({feed.owner for feed in feeds if "@" in feed.owner}) or [TEAM],
        kinds={"file"},
        description="Consent records as delivered: " + "; ".join(feed.label.en for feed in feeds) + ".",
    )


def events(site: Site) -> dg.AssetsDefinition:
    """The append-only ledger, up to its new head."""
    key = site.key("ledger", "consent_events")
    lakes = [site.key("lake", source.name) for source in site.policy.sources.sources if source.permissions]

    @dg.asset(
        key=key,
        deps=[site.key("landing", "consent"), site.key("policy", "sources"), site.key("policy", "notices"), *lakes],
        group_name=GROUP,
        owners=[TEAM],
        kinds={"sqlite", "sqlalchemy"},
        description="Consent, permissions, contracts and statuses: append-only, hash-chained, two clocks.",
        check_specs=[
            dg.AssetCheckSpec(
                RECONCILES, asset=key, blocking=True, description="Read = accepted + duplicates + quarantined."
            ),
            dg.AssetCheckSpec(
                CHAIN_HOLDS, asset=key, blocking=True, description="No event was edited, removed or inserted."
            ),
        ],
        partitions_def=daily(site),
        backfill_policy=ONE_DAY,
        pool=POOL,
        retry_policy=RETRY,
        required_resource_keys={"build_lock"},
    )
    def append(context: dg.AssetExecutionContext) -> Iterator[Made]:
        at = moment(context, site)
        counts, holds = attempt(lambda: _import(site, at.now))
        yield dg.MaterializeResult(asset_key=key, metadata=measured(counts))
        whole = counts["read"] == int(counts["accepted"]) + int(counts["duplicates"]) + int(counts["quarantined"])
        yield dg.AssetCheckResult(asset_key=key, check_name=RECONCILES, passed=whole)
        yield dg.AssetCheckResult(asset_key=key, check_name=CHAIN_HOLDS, passed=holds)

    return append


def import_op(site: Site) -> dg.OpDefinition:
    """The same import as a step of the re-export."""

    @dg.op(
        name="import_consent",
        out=dg.Out(dg.Nothing),
        pool=POOL,
        retry_policy=RETRY,
        required_resource_keys={"build_lock"},
        description="Appends what the consent feeds delivered since.",
    )
    def import_consent(context: dg.OpExecutionContext) -> None:
        at = moment(context, site)
        counts, _ = attempt(lambda: _import(site, at.now))
        context.log.info(f"{counts['accepted']} new consent records")

    return import_consent


def _import(site: Site, now: datetime) -> tuple[dict[str, Measured], bool]:
    site.say("consent    importing")
    at = site.settings.ledger_at
    reports = import_feeds(site.home, site.policy, site.keys, site.landing, now=now, ledger_at=at)
    names = ("read", "accepted", "duplicates", "quarantined")
    counts: dict[str, Measured] = {name: sum(getattr(report, name) for report in reports.values()) for name in names}
    counts["refused_files"] = sum(len(report.refused) for report in reports.values())
    for report in reports.values():
        for file, reason in report.refused.items():
            site.say(f"           refused {file}: {reason}")
    notes.leave(site.home, "consent", counts={name: int(number) for name, number in counts.items()})
    with open_ledger(site.home, site.keys, at) as (ledger, _):
        holds = ledger.verify() is None
        counts["head_seq"], counts["head"] = ledger.head()
    site.say(f"           {counts['accepted']:,} new records, head {counts['head_seq']}")
    return counts, holds
