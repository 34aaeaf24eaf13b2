"""SQL that turns accepted rows into lake rows: identifiers become tokens, and of every other field only what policy's
verb leaves. After this step nothing plain is written anywhere but to the vault."""

from __future__ import annotations

import duckdb

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


def tokenise(con: duckdb.DuckDBPyConnection, policy: Policy, source: Source, rows: str) -> None:
    """Makes a table per identifier field: its plain value (f), canonical form (i) and token (t), each value once.

    An HMAC costs as much as everything else that happens to a row, and a subject comes back in many rows."""
    for known in identifiers_of(policy, source):
        canonical = canonical_sql(kind_of(policy, known.kind), "f")
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE {identifier_table(known)} AS "
            f"SELECT f, i, token({text(known.kind)}, {text(known.issuer)}, i) AS t FROM (SELECT f, {canonical} AS i "
            f"FROM (SELECT DISTINCT f_{known.field} AS f FROM ({rows}) WHERE f_{known.field} IS NOT NULL))"
        )


def identifier_table(known: Identifier) -> str:
    """Made by `tokenise`: f, i and t of each value that accepted rows have."""
    return f"identifier_{known.field}"


def minimised_sql(policy: Policy, source: Source, feed: Feed, rows: str) -> str:
    """The lake's columns but `batch`, with file_no, row_no, and t_<field> (token) per identifier, from judged rows;
    `tokenise` must have run on them."""
    identifiers = identifiers_of(policy, source)
    found = ", ".join(["r.*", *(f"{identifier_table(i)}.t AS t_{i.field}" for i in identifiers)])
    joins = " ".join(f"LEFT JOIN {identifier_table(i)} ON r.f_{i.field} = {identifier_table(i)}.f" for i in identifiers)
    tokened = f"SELECT {found} FROM ({rows}) AS r {joins}"
    fields = {i.field for i in identifiers}
    kept = [
        f"{value_sql(source, field, rule, field.name in fields)} AS {lake_column(field, rule)[0]}"
        for field, rule in kept_fields(policy, source)
    ]
    columns = [
        "file_no, row_no, touchpoint_key",
        f"{text(source.name)} AS source, {text(feed.name)} AS feed",
        f"{text(feed.controller or source.controller)} AS controller",
        *_subject(identifiers),
        f"occurred_at, {business_day_sql(policy.organisation.zone, 'occurred_at')} AS business_day",
        f"{_event(source)} AS raw_event, body_hash",
        *kept,
        *(f"t_{i.field}" for i in identifiers),
    ]
    return f"SELECT {', '.join(columns)} FROM ({tokened})"


def _event(source: Source) -> str:
    """The event where policy names it. Another is free text: nobody may use it, so nobody keeps it (R-60)."""
    return event_sql(source, f"f_{source.event}")


def event_sql(source: Source, value: str) -> str:
    """The raw event `value` where policy names it, else nothing."""
    known = sorted({event.raw for event in source.events} | {signal.raw for signal in source.permissions})
    return f"CASE WHEN {value} IN ({', '.join(map(text, known))}) THEN {value} END" if known else "NULL::VARCHAR"


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


def value_sql(source: Source, field: SourceField, rule: FieldRule, is_identifier: bool) -> str:
    """What a rule's verb leaves of a field: from its plain value f_<field>, or of an identifier its token t_<field>."""
    value = f"f_{field.name}"
    if rule.verb == "keep":
        return value
    if rule.verb == "token" and field.name == source.event_id and not is_identifier:
        return f"CASE WHEN {value} IS NOT NULL THEN touchpoint_key END"  # already the keyed hash of the id
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
