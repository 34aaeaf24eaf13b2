"""Refuses models that keep rows from build to build: each generation is made whole from lake and ledger, so that who
was erased is in none that comes after (faults F3, F4). Not here: finding the models (`models.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestration.errors import AssentError, ExitCode

MADE_ANEW = ("table", "view", "ephemeral", "test", "unit")  # by every build, in the file of that build alone
BESIDE = {"pre-hook": "hook", "post-hook": "hook", "sql_header": "sql_header"}  # statements that run beside the model's


class KeepsRowsError(AssentError):
    """A model of the policy would bring rows of an earlier build back."""

    exit_code = ExitCode.POLICY


def refuse_kept_rows(manifest: Mapping[str, Any]) -> None:
    """Raises KeepsRowsError where a parsed project has an incremental model, a snapshot, a seed, or one that writes
    elsewhere than into the build's file."""
    wrong = sorted(f"{node['name']} ({why})" for node in manifest["nodes"].values() if (why := _why(node)))
    if wrong:
        raise KeepsRowsError(
            f"models that keep rows from build to build would bring back who was erased: {', '.join(wrong)}",
            where="models/",
            remedy="Make them table or view; read what they kept from the lake, which is erased in its bytes",
        )


def _why(node: Mapping[str, Any]) -> str:
    config = node.get("config", {})
    if node["resource_type"] in ("snapshot", "seed"):
        return str(node["resource_type"])
    if node["resource_type"] != "model":
        return ""
    kind = config.get("materialized")
    if kind not in MADE_ANEW:
        return str(kind)
    return next((said for name, said in BESIDE.items() if config.get(name)), "")
