"""Stage policy: each policy file as an asset, so that lineage runs from a rule to the exports that it shapes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import dagster as dg

from orchestration.defs.failures import attempt
from orchestration.defs.metadata import Made, measured
from orchestration.defs.partitions import ONE_DAY, daily
from orchestration.defs.resources import POOL
from orchestration.defs.site import TEAM, Site
from orchestration.policy import loader

GROUP = "policy"


def definitions(site: Site) -> dg.Definitions:
    return dg.Definitions(assets=[policy_files(site)])


def policy_files(site: Site) -> dg.AssetsDefinition:
    specs = [
        dg.AssetSpec(
            site.key("policy", name),
            group_name=GROUP,
            owners=[TEAM],
            kinds={"yaml"},
            description=(model.__doc__ or f"What {name}.yaml states.").strip(),
        )
        for name, model in loader.FILES.items()
    ]
    check = dg.AssetCheckSpec(
        "policy_is_the_one_loaded",
        asset=specs[0].key,
        blocking=True,
        description="The files are what these definitions were made from; if not, reload the code location.",
    )

    @dg.multi_asset(
        name="policy_files",
        specs=specs,
        check_specs=[check],
        partitions_def=daily(site),
        backfill_policy=ONE_DAY,
        pool=POOL,
        required_resource_keys={"build_lock"},
    )
    def read_policy() -> Iterator[Made]:
        current = attempt(lambda: _hash_now(site))
        for name, spec in zip(loader.FILES, specs, strict=True):
            digest = hashlib.sha256(loader.policy_file(site.policy_dir, name).read_bytes()).hexdigest()
            metadata = measured({"file_sha256": digest, "policy_hash": current})
            yield dg.MaterializeResult(asset_key=spec.key, metadata=metadata, data_version=dg.DataVersion(digest))
        yield dg.AssetCheckResult(passed=current == site.policy_hash, asset_key=check.asset_key, check_name=check.name)

    return read_policy


def _hash_now(site: Site) -> str:
    loader.load_policy.cache_clear()
    return loader.policy_hash(loader.load_policy(site.policy_dir), site.policy_dir)
