"""Stage retention: the purge and the erasures that end every build, after publication and never in its way."""

from collections.abc import Iterator
from datetime import datetime

import dagster as dg

from orchestration.defs import notes
from orchestration.defs.failures import attempt
from orchestration.defs.metadata import Made, Measured, measured
from orchestration.defs.partitions import ONE_DAY, daily, moment, wall_clock_of
from orchestration.defs.resources import POOL
from orchestration.defs.site import TEAM, Site
from orchestration.errors import AssentError
from orchestration.retention.commands import told
from orchestration.retention.due_erasures import Erased, erase_due
from orchestration.retention.purge import At, PurgeReport, purge
from orchestration.retention.respond import Site as RequestSite

GROUP = "retention"
NOTE = "retention"  # of the step, for the command line
CHECK = "nothing_waits_past_its_days"


def definitions(site: Site) -> dg.Definitions:
    return dg.Definitions(assets=[deletions(site)])


def deletions(site: Site) -> dg.AssetsDefinition:
    key = site.key("retention", "deletions")

    @dg.asset(
        key=key,
        deps=[site.key("evidence", "report"), site.key("policy", "retention")],
        group_name=GROUP,
        owners=[TEAM],
        kinds={"json"},
        description="What is past its days is deleted, physically, and counted; evidence/purges/ says what went.",
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=key,
                description="Nothing is stopped by policy's max_share, and every deletion that began has ended.",
            )
        ],
        partitions_def=daily(site),
        backfill_policy=ONE_DAY,
        pool=POOL,
        required_resource_keys={"build_lock"},
    )
    def delete(context: dg.AssetExecutionContext) -> Iterator[Made]:
        at = moment(context, site)
        clocks = At(
            home=site.home,
            policy=site.policy,
            keys=site.keys,
            as_of=min(at.as_of, at.now),
            now=wall_clock_of(context),  # of a demo `now` is where its world ends, which may lie ahead (H7)
            policy_hash=site.policy_hash,
            landing=site.landing,
            ledger_at=site.settings.ledger_at,
        )
        report = attempt(lambda: _purge(site, clocks))
        erased = attempt(lambda: _erase(site, at.now))
        counts: dict[str, int] = {"is_done": 0} if report is None else report.counts()
        if erased is not None:
            counts |= {"erased": sum(one.is_done for one in erased)}
            counts |= {"erasures_waiting": sum(not one.is_done for one in erased)}
        is_good = report is not None and report.is_good and erased is not None
        notes.leave(site.home, NOTE, counts={"is_good": int(is_good), **counts})
        metadata: dict[str, Measured] = dict(counts)
        yield dg.MaterializeResult(asset_key=key, metadata=measured(metadata))
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=CHECK,
            passed=is_good,
            severity=dg.AssetCheckSeverity.WARN if counts["is_done"] else dg.AssetCheckSeverity.ERROR,
            metadata=measured(metadata),
        )

    return delete


def _erase(site: Site, now: datetime) -> list[Erased] | None:
    """Goes on with every erasure that is due: one waits for the generation that the next build publishes without the
    person. None where it could not."""
    at = RequestSite(site.home, site.policy, site.keys, site.settings.ledger_at)
    try:
        erased = erase_due(at, now=now, erase_url=site.settings.ledger_owner_url)
    except AssentError as error:
        site.say(f"erasure    FAILED: {error}")
        return None
    for one in erased:
        state = one.request.state if one.is_done else f"still to do: {', '.join(one.pending)}"
        site.say(f"erasure    {one.request.id}: {state}")
    return erased


def _purge(site: Site, at: At) -> PurgeReport | None:
    """None where it could not even begin. The generation is in force already: the check says it, and the exit code."""
    try:
        report = purge(at)
    except AssentError as error:
        site.say(f"retention  FAILED: {error}")
        return None
    for number, line in enumerate(told(report)):
        site.say(f"retention  {line}" if number == 0 else f"           {line}")
    return report
