"""The dbt YAML that is generated from a policy: sources, groups, staging and marketing models, vars.

Everything that people wrote (labels, descriptions) reaches dbt as text; Jinja in it is not evaluated (fault C16)."""

from __future__ import annotations

import re
from typing import Any

from orchestration import safe_yaml
from orchestration.policy.schema import Policy, Segment, Source
from orchestration.policy.vocabulary import vocabulary
from orchestration.warehouse.models import CANONICAL_COLUMNS, staging_name
from orchestration.warehouse.relations import Columns, relations

GROUPS = {
    "staging": "Lake tables under canonical names, one model per source",
    "intermediate": "The decision and the gate",
    "marts": "Segments for marketing",
    "governance": "What the build decided, counted",
}
SEGMENT_COLUMNS = {  # why they are there, and of which category, says the vocabulary
    "audience_key": ("varchar", "Pseudonym of the person for this purpose only"),
    "admitted_by": ("bigint", "Sequence number of the ledger event that admits the person; empty under opt-out"),
    "notice": ("varchar", "Notice and version under which the consent was given"),
    "consent_until": ("timestamp", "When that consent ends (UTC)"),
}  # fmt: skip
# Which policy file a policy table is compiled from: its upstream asset.
POLICY_FILE = {
    "organisation": ("controllers", "identifier_kinds", "identifier_channels", "jurisdictions", "settings", "versions"),
    "purposes": ("purposes", "purpose_basis", "purpose_channels", "purpose_contract_facts", "scopes", "stages"),
    "sources": ("sources", "events", "consent_feeds", "feed_controllers"),
    "minimisation": ("sensitive_values",),
    "retention": ("retention",),
    "notices": ("notices",),
    "segments": ("segments", "segment_channels", "segment_destinations", "segment_stages", "segment_excludes"),
    "destinations": ("destinations",),
    "vocabulary": ("methods", "decisions", "bases", "reasons"),
}
UPSTREAM = {
    "meta": ["warehouse", "inputs"],
    "activity": ["warehouse", "inputs"],
    "ledger": ["ledger", "consent_events"],
    "identity": ["identity", "identifiers"],
}
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_JINJA = re.compile(r"\{(?=[{%#])")


def generated_files(policy: Policy) -> dict[str, str]:
    """Path in the project → text of every generated YAML file."""
    groups = [{"name": name, "owner": {"name": "Assent"}, "description": text} for name, text in GROUPS.items()]
    documents: dict[str, dict[str, Any]] = {
        "models/_groups.yml": {"groups": groups},
        "models/staging/_lake__sources.yml": {"sources": _sources(policy)},
        "models/staging/_staging__models.yml": {"models": [_staging_model(s) for s in policy.sources.sources]},
        "models/marts/marketing/_marketing__models.yml": {
            "models": [_segment_model(segment) for segment in policy.segments.segments]
        },
    }
    return {path: safe_yaml.dump({"version": 2, **document}) for path, document in documents.items()}


def variables(
    policy: Policy, policy_hash: str, sensitive: frozenset[str], staged: dict[str, dict[str, str]]
) -> dict[str, Any]:
    """dbt's vars: what the SQL macros know of the policy beside the tables `policy.*`. No value of any person."""
    return {
        "policy_hash": policy_hash,
        "sources": [source.name for source in policy.sources.sources],
        "staged_columns": staged,
        "sensitive_values": [
            {"field": v.field, "value": v.value.removesuffix("*"), "is_prefix": v.value.endswith("*")}
            for v in policy.minimisation.sensitive_values
        ],
        "segments": {s.name: _segment_variables(s, policy, s.name in sensitive) for s in policy.segments.segments},
    }


def text(value: str) -> str:
    """`value` such that dbt renders it to itself: a `{` that would open Jinja is written as an expression."""
    return _JINJA.sub("{{ '{' }}", value)


def _segment_variables(segment: Segment, policy: Policy, is_sensitive: bool) -> dict[str, Any]:
    purpose = next(p for p in policy.purposes.purposes if p.name == segment.purpose)
    return {
        "purpose": segment.purpose,
        "controller": segment.controller,
        "recipient": purpose.recipient,
        "lookback_days": segment.lookback_days,
        "parameters": {k: list(v) if isinstance(v, tuple) else v for k, v in segment.parameters.items()},
        "absent": None if segment.absent is None else segment.absent.model_dump(),
        "excludes": list(segment.excludes),
        "stages": list(segment.stages),
        "minimum_size": segment.minimum_size,
        "channels": list(segment.channels),
        "columns": [{"name": column.name, "type": column.type} for column in segment.columns],
        "reads_sensitive": is_sensitive,
    }


def _sources(policy: Policy) -> list[dict[str, Any]]:
    return [
        {
            "name": schema,
            "schema": schema,
            "tables": [_source_table(schema, table, columns) for table, columns in tables.items()],
        }
        for schema, tables in relations(policy).items()
    ]


def _source_table(schema: str, table: str, columns: Columns) -> dict[str, Any]:
    return {
        "name": table,
        "config": {"meta": {"dagster": {"asset_key": asset_key(schema, table)}}},
        "columns": [{"name": name, "data_type": kind.lower()} for name, kind in columns.items()],
    }


def asset_key(schema: str, table: str) -> list[str]:
    """The Dagster asset that a table is staged from; several tables may share one."""
    if schema == "policy":
        file = next((name for name, tables in POLICY_FILE.items() if table in tables), None)
        return ["warehouse", "inputs"] if file is None else ["policy", file]
    if schema == "lake" and table != "completeness":
        return ["lake", table]
    return UPSTREAM.get(schema, ["warehouse", "inputs"])


def _staging_model(source: Source) -> dict[str, Any]:
    return {
        "name": staging_name(source),
        "description": text(f"{source.label.en} ({source.label.zh}). Provenance: {source.provenance}"),
        "config": {"meta": {"dagster": {"owners": _owners(source.owner)}}},
        "columns": [
            {"name": name, **({"data_tests": ["not_null"]} if name in ("touchpoint_key", "occurred_at") else {})}
            for name in CANONICAL_COLUMNS
        ],
    }


def _segment_model(segment: Segment) -> dict[str, Any]:
    categories = {column.name: column.category for column in vocabulary().shown_columns}
    standard: list[dict[str, Any]] = [
        {"name": name, "data_type": kind, "description": description, **_meta(categories[name])}
        for name, (kind, description) in SEGMENT_COLUMNS.items()
    ]
    standard[0] = {**standard[0], "data_tests": ["unique", "not_null"]}
    own = [
        {"name": c.name, "data_type": c.type, "description": text(c.description), **_meta(c.category)}
        for c in segment.columns
    ]
    label, description = segment.label, segment.description
    return {
        "name": segment.name,
        "description": text(f"{label.en} ({label.zh}). {description.en} / {description.zh}"),
        "config": {
            "contract": {"enforced": True},
            "meta": {
                "purpose": segment.purpose,
                "owner": text(segment.owner),
                "label": {"zh-CN": text(label.zh), "en": text(label.en)},
                "dagster": {"owners": _owners(segment.owner)},
            },
        },
        "columns": [*standard, *own],
    }


def _meta(category: str) -> dict[str, Any]:
    return {"config": {"meta": {"category": category}}}


def _owners(owner: str) -> list[str]:
    """Dagster knows owners as e-mail addresses and teams."""
    return [owner] if _EMAIL.fullmatch(owner) else [f"team:{re.sub(r'[^A-Za-z0-9_]+', '_', owner)[:60]}"]
