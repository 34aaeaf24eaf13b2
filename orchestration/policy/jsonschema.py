"""The JSON Schema of each policy file, for editors. It knows shapes; cross-references are `assent policy check`'s."""

from __future__ import annotations

from typing import Any

from orchestration.policy.loader import FILES


def json_schemas() -> dict[str, dict[str, Any]]:
    """File name of the policy → its JSON Schema (draft 2020-12)."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {f"{name}.yaml": {**dialect, **model.model_json_schema(by_alias=True)} for name, model in FILES.items()}
