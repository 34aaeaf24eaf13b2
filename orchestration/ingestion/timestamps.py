"""SQL that reads a source's times into UTC. What is not one certain instant is NULL: its row is then `bad_timestamp`.

Naive local times need the source's zone. A time that the zone skips is NULL; of one that it repeats, the later instant
counts (a touchpoint is never dated before it happened)."""

from __future__ import annotations

from orchestration.ingestion.quoting import text
from orchestration.policy.schema import OccurredAt

_DATE_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
_OFFSET = r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)"
EPOCH_DIGITS = {"epoch_s": (11, 1_000_000), "epoch_ms": (14, 1_000)}


def occurred_at_sql(rule: OccurredAt, value: str) -> str:
    """The TIMESTAMP (UTC) that the VARCHAR expression `value` stands for, or NULL."""
    if rule.format in EPOCH_DIGITS:
        digits, micros = EPOCH_DIGITS[rule.format]
        whole = f"regexp_full_match({value}, '[0-9]{{1,{digits}}}')"
        return f"CASE WHEN {whole} THEN make_timestamp(try_cast({value} AS BIGINT) * {micros}) END"
    if rule.format == "iso8601":
        instant = _utc(f"try_cast({value} AS TIMESTAMPTZ)")
        aware = f"WHEN regexp_full_match({value}, {text(_DATE_TIME + _OFFSET)}) THEN {instant}"
        return f"CASE {aware} {_naive_iso(rule, value)} END"
    parsed = f"try_strptime({value}, {text(rule.format)})"
    if "%z" in rule.format:
        return _utc(parsed)
    return _local(rule.zone, parsed) if rule.zone else "NULL::TIMESTAMP"


def _naive_iso(rule: OccurredAt, value: str) -> str:
    if rule.zone is None:
        return ""
    local = _local(rule.zone, f"try_cast({value} AS TIMESTAMP)")
    return f"WHEN regexp_full_match({value}, {text(_DATE_TIME)}) THEN {local}"


def _utc(aware: str) -> str:
    return f"timezone('UTC', {aware})"


def _local(zone: str, naive: str) -> str:
    instant = f"timezone({text(zone)}, {naive})"
    return f"CASE WHEN timezone({text(zone)}, {instant}) = {naive} THEN {_utc(instant)} END"


def business_day_sql(zone: str, occurred_at: str) -> str:
    """The DATE of a UTC TIMESTAMP in the organisation's zone."""
    return f"CAST(timezone({text(zone)}, timezone('UTC', {occurred_at})) AS DATE)"
