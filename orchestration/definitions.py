"""The Dagster code location `assent`. Everything in it is assembled from the home and the policy that settings name."""

from __future__ import annotations

import dagster as dg

from orchestration.defs.assembly import assemble
from orchestration.defs.site import Site
from orchestration.settings import load_settings, quieten


@dg.definitions
def defs() -> dg.Definitions:
    quieten()
    return assemble(Site.load(load_settings()))
