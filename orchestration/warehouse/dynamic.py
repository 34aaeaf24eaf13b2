"""Refuses models whose SQL depends on more than their text: what dbt compiles once, as the proof reads it, must be what
runs in every build. Not here: what the SQL itself may do (`orchestration/proof/`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, meta

from orchestration.errors import AssentError, ExitCode

ALLOWED = frozenset({"config", "ref", "source", "var"})  # beside the project's own macros; all tell the same each time
PACKAGE = "assent"


class DynamicSqlError(AssentError):
    """A model of the policy asks the warehouse, or its surroundings, what SQL it shall be."""

    exit_code = ExitCode.POLICY


def refuse_dynamic_sql(manifest: Mapping[str, Any]) -> None:
    """Raises DynamicSqlError where the template of a model names more than refs, sources, variables and our macros:
    `run_query`, `adapter`, `env_var`, `graph` and the like."""
    macros = {macro["name"] for macro in manifest["macros"].values() if macro["package_name"] == PACKAGE}
    nodes = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    wrong = {node["name"]: names for node in nodes if (names := _names(node["raw_code"]) - macros - ALLOWED)}
    if wrong:
        told = "; ".join(f"{model} ({', '.join(sorted(names))})" for model, names in sorted(wrong.items()))
        raise DynamicSqlError(
            f"models whose SQL would differ from what is proved: {told}",
            where="models/",
            remedy=f"Write plain SQL with {', '.join(sorted(ALLOWED))} and the project's macros",
        )


def _names(template: str) -> set[str]:
    """What a template takes from outside itself."""
    try:
        return set(meta.find_undeclared_variables(Environment(extensions=["jinja2.ext.do"]).parse(template)))
    except TemplateSyntaxError:
        return {"a tag of dbt's own"}
