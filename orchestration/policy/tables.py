"""Writes the policy into a DuckDB file as the tables `policy.*`, upstream of every decision in the lineage."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import duckdb

from orchestration.policy import schema
from orchestration.policy.loader import scopes
from orchestration.policy.vocabulary import vocabulary

Row = tuple[Any, ...]

TABLES: dict[str, str] = {
    "versions": "policy_hash VARCHAR",
    "controllers": "controller VARCHAR, country VARCHAR",
    "identifier_kinds": "kind VARCHAR, is_strong BOOLEAN, is_anchor BOOLEAN, is_contact BOOLEAN, "
    "max_links BIGINT, reissued_after_days BIGINT",
    "identifier_channels": "kind VARCHAR, channel VARCHAR",
    "jurisdictions": "code VARCHAR, regime VARCHAR",
    "settings": "zone VARCHAR, default_regime VARCHAR, unknown_age VARCHAR, minor_below_years BIGINT, "
    "late_consent_window_days BIGINT, withdrawn_days BIGINT, identity_purpose VARCHAR",
    "purposes": "purpose VARCHAR, recipient VARCHAR, is_explicit BOOLEAN, max_consent_age_days BIGINT, "
    "requires_impact_assessment BOOLEAN, impact_assessment_until DATE",
    "purpose_basis": "purpose VARCHAR, regime VARCHAR, basis VARCHAR",
    "purpose_channels": "purpose VARCHAR, channel VARCHAR",
    "purpose_contract_facts": "purpose VARCHAR, fact VARCHAR",
    "stages": "stage VARCHAR, stage_order INTEGER, purpose VARCHAR, label_zh VARCHAR, label_en VARCHAR",
    "scopes": "scope_bit INTEGER, scope_mask BIGINT, controller VARCHAR, purpose VARCHAR, category VARCHAR, "
    "recipient VARCHAR, needs_separate BOOLEAN, retention_days BIGINT, since TIMESTAMP",
    "sources": "source VARCHAR, controller VARCHAR, event_field VARCHAR",
    "events": "source VARCHAR, raw_event VARCHAR, event VARCHAR, category VARCHAR",
    "sensitive_values": "field VARCHAR, value_prefix VARCHAR, is_prefix BOOLEAN",
    "retention": "category VARCHAR, purpose VARCHAR, days BIGINT",
    "notices": "notice_id VARCHAR, version VARCHAR, published_at TIMESTAMP, renews_consent BOOLEAN, purpose VARCHAR",
    "methods": "method VARCHAR, is_explicit BOOLEAN",
    "decisions": "decision VARCHAR, restricts BOOLEAN, reason VARCHAR",
    "bases": "basis VARCHAR, strictness INTEGER",
    "reasons": "reason VARCHAR, reason_order INTEGER, label_zh VARCHAR, label_en VARCHAR",
    "segments": "segment VARCHAR, purpose VARCHAR, controller VARCHAR, recipient VARCHAR, minimum_size BIGINT, "
    "lookback_days BIGINT, reads_sensitive BOOLEAN, absent_source VARCHAR, absent_category VARCHAR, "
    "absent_lookback_days BIGINT, label_zh VARCHAR, label_en VARCHAR, owner VARCHAR",
    "segment_channels": "segment VARCHAR, channel VARCHAR",
    "segment_destinations": "segment VARCHAR, destination VARCHAR",
    "segment_stages": "segment VARCHAR, stage VARCHAR",
    "segment_excludes": "segment VARCHAR, excluded VARCHAR",
    "destinations": "destination VARCHAR, channel VARCHAR, kind VARCHAR, issuer VARCHAR, account VARCHAR, "
    "recipient VARCHAR, role VARCHAR, country VARCHAR, transfer_mechanism VARCHAR, transfer_purpose VARCHAR, "
    "needs_permission BOOLEAN, sends_on_receipt BOOLEAN, quiet_start VARCHAR, quiet_end VARCHAR, "
    "frequency_maximum BIGINT, frequency_days BIGINT, row_limit BIGINT",
    "consent_feeds": "feed VARCHAR, max_staleness_hours BIGINT",
    "feed_controllers": "feed VARCHAR, controller VARCHAR",
}


def write_policy_tables(
    con: duckdb.DuckDBPyConnection,
    policy: schema.Policy,
    *,
    policy_hash: str,
    sensitive_segments: frozenset[str],
    stages_read: Mapping[str, frozenset[str]] | None = None,
) -> None:
    """Replaces schema `policy` in the connection's database. A table without rows is typed and empty.

    `stages_read`: segment → the stages whose columns its SQL reads, beside those that it asks for."""
    rows = policy_rows(policy, policy_hash=policy_hash, sensitive_segments=sensitive_segments)
    rows["segment_stages"] = _segment_stage_rows(policy, stages_read or {})
    con.execute("CREATE SCHEMA IF NOT EXISTS policy")
    for table, columns in TABLES.items():
        con.execute(f"CREATE OR REPLACE TABLE policy.{table} ({columns})")
        if rows[table]:
            one = "(" + ", ".join("?" for _ in rows[table][0]) + ")"
            values = ", ".join([one] * len(rows[table]))
            con.execute(f"INSERT INTO policy.{table} VALUES {values}", [cell for row in rows[table] for cell in row])


def _segment_stage_rows(policy: schema.Policy, read: Mapping[str, frozenset[str]]) -> list[Row]:
    """The stages whose consent a segment rests on."""
    return [
        (segment.name, stage)
        for segment in policy.segments.segments
        for stage in sorted({*segment.stages, *read.get(segment.name, frozenset())})
    ]


def policy_rows(policy: schema.Policy, *, policy_hash: str, sensitive_segments: frozenset[str]) -> dict[str, list[Row]]:
    """The rows of every table, in the order of `TABLES`' columns."""
    return {
        "versions": [(policy_hash,)],
        **_organisation_rows(policy),
        **_purpose_rows(policy),
        **_source_rows(policy),
        **_rule_rows(policy),
        **_vocabulary_rows(),
        **_segment_rows(policy, sensitive_segments),
        **_destination_rows(policy),
    }


def _organisation_rows(policy: schema.Policy) -> dict[str, list[Row]]:
    org = policy.organisation
    kinds = org.identifier_kinds
    return {
        "controllers": [(c.name, c.country) for c in org.controllers],
        "identifier_kinds": [
            (
                k.name, k.strength == "strong", k.anchor, k.contact,
                org.max_links_of(k), k.reissued_after_days,
            )
            for k in kinds
        ],
        "identifier_channels": [(k.name, channel) for k in kinds for channel in k.channels],
        "jurisdictions": [(j.code, j.regime) for j in org.jurisdictions],
        "settings": [
            (
                org.zone, org.default_regime, org.unknown_age, org.minor_below_years,
                policy.retention.late_consent_window_days, policy.retention.withdrawn_days,
                policy.purposes.identity_purpose,
            )
        ],
    }  # fmt: skip


def _purpose_rows(policy: schema.Policy) -> dict[str, list[Row]]:
    purposes = policy.purposes.purposes
    separate = {purpose.name: purpose.separate_consent_for for purpose in purposes}
    since = {(p.name, category): _utc(at) for p in purposes for category, at in p.category_since.items()}
    return {
        "purposes": [
            (
                p.name, p.recipient, p.explicit, p.max_consent_age_days,
                p.requires_impact_assessment, p.impact_assessment_until,
            )
            for p in purposes
        ],
        "purpose_basis": [(p.name, regime, basis) for p in purposes for regime, basis in p.basis.items()],
        "purpose_channels": [(p.name, channel) for p in purposes for channel in p.channels],
        "purpose_contract_facts": [(p.name, fact) for p in purposes for fact in p.contract_facts],
        "stages": [
            (stage.name, order, stage.purpose, stage.label.zh, stage.label.en)
            for order, stage in enumerate(policy.purposes.stages, start=1)
        ],
        "scopes": [
            (
                s.bit, s.mask, s.controller, s.purpose, s.category, s.recipient,
                s.category in separate[s.purpose], retention_days(policy, s.category, s.purpose),
                since.get((s.purpose, s.category)),
            )
            for s in scopes(policy)
        ],
    }  # fmt: skip


def retention_days(policy: schema.Policy, category: schema.CategoryClass, purpose: str) -> int | None:
    """How long data of `category` may be used for `purpose`: the purpose's own rule, else the category's."""
    rules = {(rule.category, rule.purpose): rule.days for rule in policy.retention.rules}
    own = rules.get((category, purpose))
    return rules.get((category, None)) if own is None else own


def _source_rows(policy: schema.Policy) -> dict[str, list[Row]]:
    sources, feeds = policy.sources.sources, policy.sources.consent_feeds
    return {
        "sources": [(s.name, s.controller, s.event) for s in sources],
        "events": [(s.name, e.raw, e.event, e.category) for s in sources for e in s.events],
        "consent_feeds": [(f.name, f.max_staleness_hours) for f in feeds],
        "feed_controllers": [(f.name, controller) for f in feeds for controller in f.controllers],
    }


def _rule_rows(policy: schema.Policy) -> dict[str, list[Row]]:
    return {
        "sensitive_values": [
            (v.field, v.value.removesuffix("*"), v.value.endswith("*")) for v in policy.minimisation.sensitive_values
        ],
        "retention": [(r.category, r.purpose, r.days) for r in policy.retention.rules],
        "notices": [
            (notice.id, version.version, _utc(version.published_at), version.renews_consent, purpose)
            for notice in policy.notices.notices
            for version in notice.versions
            for purpose in notice.named_by(version)
        ],
    }


def _vocabulary_rows() -> dict[str, list[Row]]:
    words = vocabulary()
    return {
        "methods": [(m.name, m.explicit) for m in words.methods],
        "decisions": [(d.name, d.restricts, d.reason) for d in words.decisions],
        "bases": [(basis.name, place) for place, basis in enumerate(words.bases, start=1)],  # 1 is the strictest
        "reasons": [(r.name, order, r.label.zh, r.label.en) for order, r in enumerate(words.reasons, start=1)],
    }


def _segment_rows(policy: schema.Policy, sensitive: frozenset[str]) -> dict[str, list[Row]]:
    segments = policy.segments.segments
    recipients = {purpose.name: purpose.recipient for purpose in policy.purposes.purposes}
    return {
        "segments": [
            (
                s.name, s.purpose, s.controller, recipients[s.purpose], s.minimum_size, s.lookback_days,
                s.name in sensitive, *_absent(s), s.label.zh, s.label.en, s.owner,
            )
            for s in segments
        ],
        "segment_channels": [(s.name, channel) for s in segments for channel in s.channels],
        "segment_destinations": [(s.name, destination) for s in segments for destination in s.destinations],
        "segment_excludes": [(s.name, excluded) for s in segments for excluded in s.excludes],
    }  # fmt: skip


def _absent(segment: schema.Segment) -> Row:
    absent = segment.absent
    return (None, None, None) if absent is None else (absent.source, absent.category, absent.lookback_days)


def _destination_rows(policy: schema.Policy) -> dict[str, list[Row]]:
    return {"destinations": list(map(_destination_row, policy.destinations.destinations))}


def _destination_row(d: schema.Destination) -> Row:
    transfer = (d.transfer.mechanism, d.transfer.purpose) if d.transfer else (None, None)
    quiet = (d.quiet_hours.start, d.quiet_hours.end) if d.quiet_hours else (None, None)
    frequency = (d.frequency.maximum, d.frequency.days) if d.frequency else (None, None)
    where = (d.name, d.channel, d.kind, d.issuer, d.account, d.recipient, d.role, d.country)
    return (*where, *transfer, d.needs_permission, d.sends_on_receipt, *quiet, *frequency, d.row_limit)


def _utc(moment: datetime) -> datetime:
    """The instant as a naive UTC timestamp, as every `_at` column holds it."""
    return moment.astimezone(UTC).replace(tzinfo=None)
