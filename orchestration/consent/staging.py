"""Hands the ledger to the warehouse as Arrow tables, one per record type. Not here: any judgement of the records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection

from orchestration.consent.store import raw_chunks
from orchestration.policy.schema import Policy

AT = pa.timestamp("us")  # always UTC
# Table → the ledger's type, and its columns: name, column of `events`, Arrow type.
Columns = tuple[tuple[str, str, pa.DataType], ...]
_SEQ = (("seq", "seq", pa.int64()),)
_SUBJECT = (("subject_ref", "subject_ref", pa.string()), ("controller", "controller", pa.string()))
_CLOCKS = (("effective_at", "effective_at", AT), ("recorded_at", "recorded_at", AT))
_VALID_UNTIL = (("valid_until", "until_at", AT),)


def _texts(*names: str) -> Columns:
    return tuple((name, name, pa.string()) for name in names)


TABLES: dict[str, tuple[str, Columns]] = {
    "consent_events": (
        "consent",
        (
            *_SEQ,
            *_SUBJECT,
            *_texts("purpose", "category", "recipient", "channel", "decision", "method"),
            ("is_separate", "is_separate", pa.bool_()),
            ("is_guardian", "is_guardian", pa.bool_()),
            *_texts("notice_id", "notice_version", "jurisdiction"),
            *_CLOCKS,
            *_VALID_UNTIL,
            *_texts("feed"),
        ),
    ),
    "permissions": ("permission", (*_SEQ, *_SUBJECT, *_texts("channel", "state"), *_CLOCKS)),
    "contracts": ("contract", (*_SEQ, *_SUBJECT, *_texts("fact"), _CLOCKS[0], *_VALID_UNTIL, _CLOCKS[1])),
    "ages": ("age", (*_SEQ, *_SUBJECT, ("minor_until", "until_at", AT), *_CLOCKS)),
    "statuses": ("status", (*_SEQ, *_SUBJECT, ("status", "fact", pa.string()), *_texts("state"), *_CLOCKS)),
    "links": (
        "link",
        (
            *_SEQ,
            *_SUBJECT,
            *_texts("object_ref", "method"),
            ("is_unlink", "state = 'off'", pa.bool_()),
            *_CLOCKS,
        ),
    ),
    "feeds": ("feed", (*_SEQ, *_texts("feed", "batch", "state"), *_CLOCKS)),
}
LAST = 2**63 - 1


def export_arrow(connection: Connection, since: int, until: int | None) -> dict[str, pa.Table]:
    """One table per record type, with `subject_ref`."""
    end = LAST if until is None else until
    return {name: _table(connection, kind, columns, since, end) for name, (kind, columns) in TABLES.items()}


def _table(connection: Connection, kind: str, columns: Columns, since: int, until: int) -> pa.Table:
    sql = (
        f"SELECT {', '.join(source for _, source, _ in columns)} FROM events "
        "WHERE type = ? AND seq > ? AND seq <= ? ORDER BY seq"
    )
    schema = pa.schema([(name, arrow) for name, _, arrow in columns])
    batches = [
        pa.record_batch([_array(v, c[2]) for v, c in zip(zip(*rows, strict=True), columns, strict=True)], schema=schema)
        for rows in raw_chunks(connection, sql, (kind, since, until))
    ]
    return pa.Table.from_batches(batches, schema)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    stored = pa.string() if kind == pa.string() else pa.int64()
    return pa.array(values, stored).cast(kind)


def resolve_subjects(tables: dict[str, pa.Table], mapping: pa.Table, policy: Policy) -> dict[str, pa.Table]:
    """Replaces refs by token, kind and issuer; rows whose subject is unknown to `mapping` are left out."""
    staged = {name: _resolved(table, mapping, "subject_ref", "") for name, table in tables.items() if name != "feeds"}
    staged["links"] = _resolved(_suffixed(staged["links"], "_a"), mapping, "object_ref", "_b")
    staged["feeds"] = _feeds(tables["feeds"], policy)
    return staged


def _resolved(table: pa.Table, mapping: pa.Table, column: str, suffix: str) -> pa.Table:
    found = pc.index_in(table[column], value_set=mapping["subject_ref"])
    table, found = table.filter(pc.is_valid(found)), found.drop_null()
    place = table.column_names.index(column)
    for offset, name in enumerate(("token", "kind", "issuer")):
        table = table.add_column(place + offset, name + suffix, mapping[name].take(found))
    return table.drop_columns([column])


def _suffixed(table: pa.Table, suffix: str) -> pa.Table:
    own = ("token", "kind", "issuer")
    return table.rename_columns([name + suffix if name in own else name for name in table.column_names])


def _feeds(reports: pa.Table, policy: Policy) -> pa.Table:
    """When each consent feed of the policy was last heard, and whether any of its deliveries is still incomplete."""
    seen: dict[str, Any] = {}
    states: dict[tuple[str, str], str] = {}
    for row in reports.to_pylist():  # one row per delivery, not per event
        if row["state"] == "complete":
            seen[row["feed"]] = max(seen.get(row["feed"], row["effective_at"]), row["effective_at"])
        states[row["feed"], row["batch"]] = row["state"]
    incomplete = {feed for (feed, _), state in states.items() if state != "complete"}
    feeds = policy.sources.consent_feeds
    return pa.table(
        {
            "feed": pa.array([feed.name for feed in feeds], pa.string()),
            "last_seen_at": pa.array([seen.get(feed.name) for feed in feeds], AT),
            "is_incomplete": pa.array([feed.name in incomplete for feed in feeds], pa.bool_()),
            "max_staleness_hours": pa.array([feed.max_staleness_hours for feed in feeds], pa.int64()),
        }
    )
