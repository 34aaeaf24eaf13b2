"""SQL that turns accepted rows into lake rows: identifiers become tokens, and of every other field only what policy's
verb leaves. After this step nothing plain is written anywhere but to the vault."""

from __future__ import annotations

from orchestration.identity.normalise import canonical_sql
from orchestration.ingestion.contracts import kept_fields, lake_column, rules_of
from orchestration.ingestion.quoting import text
from orchestration.ingestion.timestamps import business_day_sql
from orchestration.policy.schema import Feed, FieldRule, Identifier, IdentifierKind, Policy, Source, SourceField


def identifiers_of(policy: Policy, source: Source) -> list[Identifier]:
    """The source's identifiers in order of precedence; one that policy does not tokenise is none."""
    rules = rules_of(policy, source)
    return [known for known in source.identifiers if known.field in rules and rules[known.field].verb == "token"]


def kind_of(policy: Policy, name: str) -> IdentifierKind:
    return next(kind for kind in policy.organisation.identifier_kinds if kind.name == name)


def minimised_sql(policy: Policy, source: Source, feed: Feed, rows: str) -> str:
    """The lake's columns but `batch`, with file_no, row_no, and i_<field> (canonical value) and <field>_token per
    identifier, from judged rows."""
    identifiers = identifiers_of(policy, source)
    canonical = [f"{canonical_sql(kind_of(policy, i.kind), f'f_{i.field}')} AS i_{i.field}" for i in identifiers]
    tokens = [f"token({text(i.kind)}, {text(i.issuer)}, i_{i.field}) AS t_{i.field}" for i in identifiers]
    inner = f"SELECT {', '.join(['*', *canonical])} FROM ({rows})"
    tokened = f"SELECT {', '.join(['*', *tokens])} FROM ({inner})"
    fields = {i.field for i in identifiers}
    kept = [
        f"{_value(field, rule, field.name in fields)} AS {lake_column(field, rule)[0]}"
        for field, rule in kept_fields(policy, source)
    ]
    columns = [
        "file_no, row_no, touchpoint_key",
        f"{text(source.name)} AS source, {text(feed.name)} AS feed",
        f"{text(feed.controller or source.controller)} AS controller",
        *_subject(identifiers),
        f"occurred_at, {business_day_sql(policy.organisation.zone, 'occurred_at')} AS business_day",
        f"f_{source.event} AS raw_event, body_hash",
        *kept,
        *(f"i_{i.field}, t_{i.field}" for i in identifiers),
    ]
    return f"SELECT {', '.join(columns)} FROM ({tokened})"


def _subject(identifiers: list[Identifier]) -> list[str]:
    if not identifiers:
        return ["NULL::VARCHAR AS subject_token, NULL::VARCHAR AS subject_kind, NULL::VARCHAR AS subject_issuer"]
    tokens = ", ".join(f"t_{i.field}" for i in identifiers)
    kinds = " ".join(f"WHEN t_{i.field} IS NOT NULL THEN {text(i.kind)}" for i in identifiers)
    issuers = " ".join(f"WHEN t_{i.field} IS NOT NULL THEN {text(i.issuer)}" for i in identifiers)
    return [
        f"coalesce({tokens}) AS subject_token" if len(identifiers) > 1 else f"{tokens} AS subject_token",
        f"CASE {kinds} END AS subject_kind",
        f"CASE {issuers} END AS subject_issuer",
    ]


def _value(field: SourceField, rule: FieldRule, is_identifier: bool) -> str:
    value = f"f_{field.name}"
    if rule.verb == "keep":
        return value
    if rule.verb == "token":
        return f"t_{field.name}" if is_identifier else f"keyed_hash({text(field.name + '|')} || {value}::VARCHAR)"
    day = f"try_cast(left({value}::VARCHAR, 10) AS DATE)"
    return {
        None: day,
        "month_of_year": f"month({day})",
        "year": f"year({day})",
        "hour": f"hour(try_cast({value}::VARCHAR AS TIMESTAMP))",
        "hundreds": f"CAST(floor(try_cast({value}::VARCHAR AS DOUBLE) / 100) * 100 AS BIGINT)",
    }[rule.bucket]
