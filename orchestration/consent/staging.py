"""Hands the ledger to the warehouse as Arrow tables, one per record type. Not here: any judgement of the records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, String

from orchestration.consent.database.store import raw_chunks
from orchestration.consent.models import EVENTS, OF_FEEDS
from orchestration.identity.keys import SubjectRegistry
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
    "permissions": ("permission", (*_SEQ, *_SUBJECT, *_texts("channel", "fact", "state"), *_CLOCKS)),
    "contracts": ("contract", (*_SEQ, *_SUBJECT, *_texts("fact"), _CLOCKS[0], *_VALID_UNTIL, _CLOCKS[1])),
    "ages": ("age", (*_SEQ, *_SUBJECT, ("minor_until", "until_at", AT), *_CLOCKS)),
    "statuses": ("status", (*_SEQ, *_SUBJECT, ("status", "fact", pa.string()), *_texts("state"), *_CLOCKS)),
    "links": (
        "link",
        (
            *_SEQ,
            *_SUBJECT,
            *_texts("object_ref", "method"),
            ("is_unlink", "state", pa.bool_()),
            *_CLOCKS,
        ),
    ),
    "feeds": ("feed", (*_SEQ, *_texts("feed", "batch", "state"), *_CLOCKS)),
}
LAST = 2**63 - 1
FEW_SUBJECTS = 50_000  # more are found sooner by reading the whole registry
# What is read of a record, in one pass. Words are kept by dictionary: few of them recur millions of times.
WORD = pa.dictionary(pa.int32(), pa.string())
_READ = {source for _, columns in TABLES.values() for _, source, _ in columns} | {"type"}
_UNIQUE = {"subject_ref", "object_ref"}
RECORDS = pa.schema(
    (name, pa.string() if name in _UNIQUE else WORD if isinstance(column.type, String) else pa.int64())
    for name, column in EVENTS.columns.items()
    if name in _READ
)


def read_records(connection: Connection, since: int = 0, until: int | None = None) -> pa.Table:
    """The records after `since` up to `until` in sequence, with the columns of RECORDS."""
    condition = f"seq > {since:d} AND seq <= {LAST if until is None else until:d} ORDER BY seq"
    return _read(connection, condition)


def read_feed_reports(connection: Connection) -> pa.Table:
    """The records about feeds, by their index: sorted here, lest the engine read all records for their order."""
    return _table(_read(connection, OF_FEEDS.text).sort_by("seq"), *TABLES["feeds"])


def _read(connection: Connection, condition: str) -> pa.Table:
    sql = f"SELECT {', '.join(RECORDS.names)} FROM events WHERE {condition}"
    return pa.Table.from_batches([_batch(rows) for rows in raw_chunks(connection, sql)], RECORDS)


def _batch(rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    values = zip(*rows, strict=True)
    return pa.record_batch([_array(v, field.type) for v, field in zip(values, RECORDS, strict=True)], schema=RECORDS)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if kind == WORD:
        return pa.array(values, pa.string()).dictionary_encode()  # 25 times as fast as asking for WORD itself
    return pa.array(values, kind)


def split_by_type(records: pa.Table) -> dict[str, pa.Table]:
    """One table per record type, with `subject_ref` instead of the subject."""
    return {name: _table(records, kind, columns) for name, (kind, columns) in TABLES.items()}


def _table(records: pa.Table, kind: str, columns: Columns) -> pa.Table:
    chosen = records.select([source for _, source, _ in columns]).filter(pc.equal(records["type"], kind))
    arrays = [
        pc.equal(values, "off") if name == "is_unlink" else values.cast(arrow)
        for (name, _, arrow), values in zip(columns, chosen.columns, strict=True)
    ]
    return pa.table(arrays, pa.schema([(name, arrow) for name, _, arrow in columns]))


def subjects_of(tables: dict[str, pa.Table], registry: SubjectRegistry) -> pa.Table:
    """What the registry knows of the subjects in `tables`: subject_ref, token, kind, issuer. May hold others too."""
    columns = [table["subject_ref"] for name, table in tables.items() if name != "feeds"]
    chunks = [chunk for column in (*columns, tables["links"]["object_ref"]) for chunk in column.chunks]
    refs = pc.unique(pa.chunked_array(chunks, pa.string()))
    if len(refs) > FEW_SUBJECTS:
        return registry.mapping_arrow()
    rows = [(ref, *subject) for ref, subject in registry.named(refs.drop_null().to_pylist()).items()]
    names = ("subject_ref", "token", "kind", "issuer")
    found = zip(*rows, strict=True) if rows else ([] for _ in names)
    return pa.table({name: pa.array(values, pa.string()) for name, values in zip(names, found, strict=True)})


def resolve_subjects(tables: dict[str, pa.Table], mapping: pa.Table, policy: Policy) -> dict[str, pa.Table]:
    """Replaces refs by token, kind and issuer; rows whose subject is unknown to `mapping` are left out."""
    staged = {name: _resolved(table, mapping, "subject_ref", "") for name, table in tables.items() if name != "feeds"}
    staged["links"] = _resolved(_suffixed(staged["links"], "_a"), mapping, "object_ref", "_b")
    staged["feeds"] = feed_states(tables["feeds"], policy)
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


def feed_states(reports: pa.Table, policy: Policy) -> pa.Table:
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
