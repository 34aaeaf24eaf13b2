"""The one way to attach metadata. Dagster keeps it for ever and shows it to everybody: numbers and hashes only."""

from __future__ import annotations

import re
from collections.abc import Mapping

import dagster as dg

_HASH = re.compile(r"[0-9a-f]{8,64}")
Measured = int | float | str
Made = dg.MaterializeResult[None] | dg.AssetCheckResult


def measured(values: Mapping[str, Measured]) -> dict[str, int | float | str]:
    """`values`, if each is a number or a hex hash. Raises ValueError naming the key, never the value."""
    for name, value in values.items():
        if isinstance(value, str) and not _HASH.fullmatch(value):
            raise ValueError(f"metadata {name!r} is text; only numbers and hashes may be kept")
        if not isinstance(value, int | float | str):
            raise ValueError(f"metadata {name!r} is neither a number nor a hash")
    return dict(values)
