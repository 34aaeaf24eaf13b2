"""Holds the columns that people are shown to their declarations, both ways, before anything is built.

Every column of a mart says for which purpose it is there and of which category of data it tells; every column of a
governance table whether it is a code of the policy or a count. Not here: the policy's own declarations
(`policy/check_columns.py`), and the types, which dbt's contracts enforce as they build."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from orchestration.errors import AssentError, ExitCode
from orchestration.policy.schema import Policy
from orchestration.policy.vocabulary import vocabulary
from orchestration.warehouse.sensitivity import SqlUnreadableError, parse_model

MARTS, GOVERNANCE = "marts", "governance"
ACCOUNTABILITY = "accountability"  # what governance tables are for: no purpose of use, and nobody's rows
CODE, COUNT = "code", "count"
SHOWN = 5
# A segment's model ends so; what it then gives is what segments.yaml declares.
_MEMBERS = re.compile(r"select \* from \{\{ segment_members\('\w+'\) \}\}\s*;?\s*$")

Model = Mapping[str, Any]


class ColumnsUndeclaredError(AssentError):
    """A column is shown that nobody declared, or declared and not there."""

    exit_code = ExitCode.POLICY


def require_declared(manifest: Mapping[str, Any], policy: Policy) -> None:
    """Raises ColumnsUndeclaredError, naming tables and columns, where a declaration and the SQL differ."""
    found = problems(manifest, policy)
    if found:
        raise ColumnsUndeclaredError(
            f"{len(found)} columns are not as they are declared: {'; '.join(found[:SHOWN])}",
            where="marts and governance tables",
            remedy="Declare purpose and category of each column (segments.yaml, _governance__models.yml), or remove it",
        )


def problems(manifest: Mapping[str, Any], policy: Policy) -> list[str]:
    """What is undeclared, wrongly declared, or declared and unused."""
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    shown = [node for node in models if node["schema"] in (MARTS, GOVERNANCE)]
    found = [f"{node['name']}{what}" for node in shown for what in _of_model(node, policy)]
    counted = {name for node in shown for name, column in node["columns"].items() if _category(column) == COUNT}
    unused = [c.name for c in vocabulary().count_columns if c.name not in counted]
    return [*found, *(f"{name} is declared a count, and no table has it" for name in unused)]


def _of_model(node: Model, policy: Policy) -> Iterator[str]:
    if not node["config"].get("contract", {}).get("enforced"):
        yield " has no enforced contract"
    purposes = {segment.name: segment.purpose for segment in policy.segments.segments}
    wanted = ACCOUNTABILITY if node["schema"] == GOVERNANCE else purposes.get(node["name"])
    if wanted is None or node["config"].get("meta", {}).get("purpose") != wanted:
        yield " has no purpose of this policy"
    for name, column in node["columns"].items():
        if _category(column) not in _categories(node, name):
            yield f".{name} has no category"
    yield from _differences(node)


def _category(column: Mapping[str, Any]) -> str | None:
    category: str | None = column.get("config", {}).get("meta", {}).get("category")
    return category


def _categories(node: Model, column: str) -> set[str]:
    """What may be said of a column."""
    words = vocabulary()
    if node["schema"] == GOVERNANCE:
        return {COUNT if column in {c.name for c in words.count_columns} else CODE}
    return set(words.names("categories"))


def _differences(node: Model) -> Iterator[str]:
    """Columns of the SQL that are not declared, and the other way round."""
    sql = node["raw_code"].strip()
    if node["schema"] == MARTS and _MEMBERS.search(sql):
        return
    try:
        given = set(parse_model(sql, f"the model {node['name']}")[0].named_selects)
    except SqlUnreadableError:
        yield " cannot be read"
        return
    for name in sorted(given - node["columns"].keys()):
        yield f".{name} is not declared"
    for name in sorted(node["columns"].keys() - given):
        yield f".{name} is declared, and not there"
