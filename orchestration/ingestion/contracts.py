"""What a source's rows must look like: the lake's columns by policy, and the pandera contract on what is accepted."""

from __future__ import annotations

from typing import Any

import duckdb

from orchestration.ingestion.refusal import Refused
from orchestration.policy.schema import FieldRule, Policy, Source, SourceField

SQL_TYPES = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}
STANDARD_COLUMNS = (
    ("touchpoint_key", "VARCHAR"),
    ("source", "VARCHAR"),
    ("feed", "VARCHAR"),
    ("controller", "VARCHAR"),
    ("subject_token", "VARCHAR"),
    ("subject_kind", "VARCHAR"),
    ("subject_issuer", "VARCHAR"),
    ("occurred_at", "TIMESTAMP"),
    ("business_day", "DATE"),
    ("raw_event", "VARCHAR"),
    ("body_hash", "VARCHAR"),
    ("batch", "VARCHAR"),
)


def rules_of(policy: Policy, source: Source) -> dict[str, FieldRule]:
    """Field → what becomes of it. A field without a rule is not in here, so it is not ingested (R-60)."""
    return {
        rule.field: rule
        for rules in policy.minimisation.sources
        if rules.source == source.name
        for rule in rules.fields
    }


def kept_fields(policy: Policy, source: Source) -> list[tuple[SourceField, FieldRule]]:
    """The fields that leave a column in the lake, in the source's order; the event's name and time have their own."""
    rules = rules_of(policy, source)
    own = (source.event, source.occurred_at.field)
    return [
        (field, rules[field.name])
        for field in source.fields
        if field.name in rules and field.name not in own and rules[field.name].verb != "drop"
    ]


def lake_column(field: SourceField, rule: FieldRule) -> tuple[str, str]:
    """Name and DuckDB type of the column that a kept field becomes."""
    if rule.verb == "keep":
        return field.name, SQL_TYPES[field.type]
    if rule.verb == "token":
        return f"{field.name}_token", "VARCHAR"
    if rule.verb == "truncate_day":
        return f"{field.name}_on", "DATE"
    return f"{field.name}_{rule.bucket}", "BIGINT"


def lake_columns(policy: Policy, source: Source) -> list[tuple[str, str]]:
    """(name, DuckDB type) of the source's lake files, in order."""
    return [*STANDARD_COLUMNS, *(lake_column(field, rule) for field, rule in kept_fields(policy, source))]


def check_contract(con: duckdb.DuckDBPyConnection, source: Source, relation: str) -> None:
    """Holds `relation` (f_<field>… of accepted rows) to the source's contract. Raises Refused("contract_broken").

    The SQL of `rows.py` has sorted rows out already; this is the second, independent look. pandera's errors hold
    values, so nothing of them is kept."""
    import ibis  # late: half a second that `assent status` need not pay
    import pandera.errors

    table = ibis.duckdb.from_connection(con).table(relation)
    broken = False
    try:
        contract(source).validate(table)
    except (pandera.errors.SchemaError, pandera.errors.SchemaErrors):
        broken = True
    if broken:
        raise Refused("contract_broken")


def contract(source: Source) -> Any:
    """The pandera schema of accepted rows, built from sources.yaml."""
    import ibis.expr.datatypes as dtypes
    import pandera.ibis as pandera

    types = {"string": dtypes.String, "integer": dtypes.Int64, "number": dtypes.Float64, "boolean": dtypes.Boolean}
    columns = {
        f"f_{field.name}": pandera.Column(types[field.type], nullable=not field.required, checks=_checks(field))
        for field in source.fields
    }
    return pandera.DataFrameSchema(columns, name=source.name, strict=True)


def _checks(field: SourceField) -> list[Any]:
    import pandera.ibis as pandera

    checks = []
    if field.type == "string":
        checks.append(pandera.Check.str_length(max_value=field.max_length))
        if field.pattern is not None:
            checks.append(pandera.Check.str_matches(f"^(?:{field.pattern})$"))
    if field.minimum is not None:
        checks.append(pandera.Check.ge(field.minimum))
    if field.maximum is not None:
        checks.append(pandera.Check.le(field.maximum))
    return checks
