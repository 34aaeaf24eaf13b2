"""The jobs: the build (all assets, or none) and the re-export of what is published."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from orchestration.defs import consent, exports
from orchestration.defs.partitions import daily
from orchestration.defs.site import Site

BUILD = "build_job"
RE_EXPORT = "re_export_job"
# A run whose process died is tried again whole: only from where it failed, it would be partial and refused (A12).
TAGS = {"dagster/max_runtime": str(6 * 3600), "dagster/retry_strategy": "ALL_STEPS"}


def build_job(site: Site, keys: Sequence[dg.AssetKey]) -> UnresolvedAssetJobDefinition:
    """From landing files to exports and the report, in one process: imports dominate (design §7)."""
    return dg.define_asset_job(
        BUILD,
        selection=dg.AssetSelection.assets(*keys),
        partitions_def=daily(site),
        executor_def=dg.in_process_executor,
        description="The nightly build, whole or not at all; a failed one leaves the published generation in force.",
        tags=TAGS,
    )


def re_export_job(site: Site) -> dg.JobDefinition:
    """Imports consent, then writes the published generation's exports again, minus those withdrawn since."""
    take_in, write = consent.import_op(site), exports.export_op(site)

    @dg.job(
        name=RE_EXPORT,
        executor_def=dg.in_process_executor,
        description="Withdrawals at once: exports without a rebuild, with removal lists and minimum sizes rechecked.",
        tags=TAGS,
    )
    def re_export() -> None:
        write(take_in())

    return re_export
