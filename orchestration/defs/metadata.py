"""The one way to attach metadata. Dagster keeps it for ever and shows it to everybody: numbers and hashes only, and of
column lineage names of columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import dagster as dg

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)?")
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


def column_lineage(columns: Mapping[str, Sequence[tuple[dg.AssetKey, str]]]) -> dict[str, dg.TableColumnLineage]:
    """Column → the columns of other assets that its values come from. Raises ValueError for what is no name."""
    names = [*columns, *(name for sources in columns.values() for _, name in sources)]
    if not all(map(_NAME.fullmatch, names)):
        raise ValueError("lineage holds something that is no column's name")
    deps = {
        column: [dg.TableColumnDep(asset_key=key, column_name=name) for key, name in sources]
        for column, sources in columns.items()
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(deps_by_column=deps)}
