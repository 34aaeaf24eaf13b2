"""SQL that judges parsed rows: values, the reason for quarantine (vocabulary.yaml), keys for duplicates.

Field values keep their raw name with `f_` in front; `f_` columns are plain and never leave the connection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestration.ingestion.parsed import Parsed, columns_of
from orchestration.ingestion.quoting import text
from orchestration.ingestion.timestamps import occurred_at_sql
from orchestration.policy.schema import Feed, Source, SourceField

_SQL_TYPES = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}
# Control characters but tab and line ends, and the marks that reorder text on a screen (fault C9).
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x{80}-\x{9f}\x{202a}-\x{202e}\x{2066}-\x{2069}]"
_WHOLE = r"[+-]?[0-9]{1,18}"
_DECIMAL = r"[+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,3})?"


@dataclass(frozen=True)
class Bounds:
    """What is too late to be true: the later of the wall clock and `as_of`, and policy's tolerance."""

    latest: datetime

    @classmethod
    def of(cls, now: datetime, as_of: datetime, tolerance_minutes: int) -> Bounds:
        return cls(max(now, as_of) + timedelta(minutes=tolerance_minutes))


def judged_sql(source: Source, feed: Feed, parsed: Parsed, bounds: Bounds) -> str:
    """file_no, row_no, line, dropped, f_<field>…, occurred_at, reason, touchpoint_key, body_hash: one row per parsed
    row."""
    fields = source.fields
    values = _field_values(fields, feed, parsed)
    extracted = ", ".join(f"{sql} AS x_{name}" for name, sql in values.items())
    texts = f"SELECT file_no, row_no, line, problem, dropped, {parsed.content} AS content, {extracted}"
    typed = ", ".join(f"{_typed(field)} AS f_{field.name}" for field in fields)
    occurred_at = occurred_at_sql(source.occurred_at, f"x_{source.occurred_at.field}")
    judged = f"SELECT *, {typed}, {occurred_at} AS occurred_at FROM ({texts} FROM ({parsed.relation}))"
    reasoned = f"SELECT *, {_reason(source, bounds)} AS reason FROM ({judged})"
    keyed = f"SELECT *, CASE WHEN reason IS NULL THEN {_key(source, feed)} END AS touchpoint_key FROM ({reasoned})"
    kept = ", ".join(f"f_{field.name}" for field in fields)
    return (
        f"SELECT file_no, row_no, line, dropped, {kept}, occurred_at, reason, touchpoint_key, "
        f"CASE WHEN reason IS NULL THEN {_body(source, feed)} END AS body_hash FROM ({keyed})"
    )


def _field_values(fields: tuple[SourceField, ...], feed: Feed, parsed: Parsed) -> dict[str, str]:
    """Field → VARCHAR expression. Empty is absent, but a group of `extract` that captures nothing is an empty value."""
    columns = columns_of(feed)
    values = {}
    for field in fields:
        column = columns.get(field.name)
        sql = "NULL::VARCHAR"
        if field.name in feed.constants:
            sql = text(feed.constants[field.name])
        elif column is not None:
            sql = f"nullif({parsed.values[column.column]}, '')"
            if column.extract is not None:
                pattern = text(column.extract)
                sql = f"CASE WHEN regexp_matches({sql}, {pattern}) THEN regexp_extract({sql}, {pattern}, 1) END"
        values[field.name] = sql
    return values


def _typed(field: SourceField) -> str:
    value = f"x_{field.name}"
    if field.type == "string":
        return value
    if field.type == "boolean":
        truth, falsehood = f"lower({value}) IN ('true', '1')", f"lower({value}) IN ('false', '0')"
        return f"CASE WHEN {truth} THEN true WHEN {falsehood} THEN false END"
    # Casts alone would round 1.5 to 2 and read `nan`; the form is checked first.
    pattern = _WHOLE if field.type == "integer" else _DECIMAL
    return (
        f"CASE WHEN regexp_full_match({value}, {text(pattern)}) THEN try_cast({value} AS {_SQL_TYPES[field.type]}) END"
    )


def _reason(source: Source, bounds: Bounds) -> str:
    fields = source.fields
    missing = " OR ".join(f"x_{field.name} IS NULL" for field in fields if field.required) or "false"
    oversized = " OR ".join(f"length(x_{field.name}) > {field.max_length}" for field in fields)
    bad = " OR ".join(check for field in fields for check in _broken(field))
    joined = f"concat_ws('', {', '.join(f'x_{field.name}' for field in fields)})"
    return (
        f"CASE WHEN problem IS NOT NULL THEN problem WHEN {missing} THEN 'missing_required' "
        f"WHEN {oversized} THEN 'oversized' "
        f"WHEN regexp_matches({joined}, {text(_CONTROL)}){f' OR {bad}' if bad else ''} THEN 'bad_value' "
        f"{_closes_nothing(source)}WHEN occurred_at IS NULL THEN 'bad_timestamp' "
        f"WHEN occurred_at > TIMESTAMP {text(bounds.latest.strftime('%Y-%m-%d %H:%M:%S'))} THEN 'future_dated' END"
    )


def _closes_nothing(source: Source) -> str:
    """A field that policy does not name is dropped, but where one stands in a row that closes a contact point and does
    not say which, it may be that field under another name: then somebody must look."""
    closing = [
        f"(x_{source.event} = {text(signal.raw)} AND x_{signal.field} IS NULL)"
        for signal in source.permissions
        if signal.state == "closed"
    ]
    return f"WHEN dropped > 0 AND ({' OR '.join(closing)}) THEN 'unknown_field' " if closing else ""


def _broken(field: SourceField) -> list[str]:
    """Conditions that are true where a present value breaks its rule."""
    value, typed = f"x_{field.name}", f"f_{field.name}"
    checks = []
    if field.type != "string":
        checks.append(f"({value} IS NOT NULL AND {typed} IS NULL)")
    if field.type == "number":
        checks.append(f"coalesce(isinf({typed}), false)")
    if field.pattern is not None:
        checks.append(f"coalesce(NOT regexp_full_match({value}, {text(field.pattern)}), false)")
    if field.minimum is not None:
        checks.append(f"coalesce({typed} < {field.minimum!r}, false)")
    if field.maximum is not None:
        checks.append(f"coalesce({typed} > {field.maximum!r}, false)")
    return checks


def _key(source: Source, feed: Feed) -> str:
    """Ids are namespaced by source, not by feed; without an id the content is, under the feed's controller."""
    by_line = f"keyed_hash({text(f'{source.name}|line|{feed.controller or source.controller}|')} || content)"
    if source.event_id is None:
        return by_line
    event_id = f"x_{source.event_id}"
    by_id = f"keyed_hash({text(f'{source.name}|id|')} || {event_id})"
    return f"CASE WHEN {event_id} IS NULL THEN {by_line} ELSE {by_id} END"


def _body(source: Source, feed: Feed) -> str:
    if source.event_id is None:
        return "touchpoint_key"
    parts = ", ".join(f"coalesce(x_{field.name}, chr(30))" for field in source.fields)
    controller = text(feed.controller or source.controller)
    return f"keyed_hash(concat_ws(chr(31), {controller}, {parts}))"
