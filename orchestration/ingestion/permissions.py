"""Turns events that open or close a contact point (R-101) into permission records of the consent ledger."""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb

from orchestration.consent.ledger import open_ledger
from orchestration.consent.models import Record, Subject
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.normalise import canonical_sql
from orchestration.ingestion.minimise import identifiers_of, kind_of
from orchestration.ingestion.quoting import text
from orchestration.policy.schema import Feed, Policy, Source
from orchestration.settings import LedgerAt


def permission_records(con: duckdb.DuckDBPyConnection, policy: Policy, source: Source, accepted: str) -> list[Record]:
    """The permission records of accepted rows (minimised), in the order of their files and lines."""
    identifiers = {identifier.field: identifier for identifier in identifiers_of(policy, source)}
    parts = [
        f"SELECT file_no, row_no, touchpoint_key, controller, t_{signal.field}, "
        f"{text(known.kind)}, {text(known.issuer)}, {text(signal.channel)}, {text(signal.state)}, occurred_at "
        f"FROM {accepted} WHERE raw_event = {text(signal.raw)} AND t_{signal.field} IS NOT NULL"
        for signal in source.permissions
        if (known := identifiers.get(signal.field)) is not None
    ]
    if not parts:
        return []
    rows = con.execute(" UNION ALL ".join(parts) + " ORDER BY ALL").fetchall()
    return [
        Record(
            event_id=f"{source.name}:{key}:{channel}",
            type="permission",
            feed=source.name,
            effective_at=occurred_at.replace(tzinfo=UTC),
            subject=Subject(token, kind, issuer),
            controller=controller,
            channel=channel,
            state=state,
        )
        for _, _, key, controller, token, kind, issuer, channel, state, occurred_at in rows
    ]


def presumed_closings(
    con: duckdb.DuckDBPyConnection, policy: Policy, source: Source, feed: Feed, quarantined: str, now: datetime
) -> list[Record]:
    """A row that was not accepted but says whose contact point closed closes it all the same (H1). `quarantined` is a
    query of judged rows; those without a readable time close it now."""
    identifiers = {identifier.field: identifier for identifier in identifiers_of(policy, source)}
    parts = []
    for signal in source.permissions:
        known = identifiers.get(signal.field)
        if signal.state == "closed" and known is not None:
            plain = canonical_sql(kind_of(policy, known.kind), f"f_{known.field}")
            parts.append(
                f"SELECT keyed_hash(line) AS line, token({text(known.kind)}, {text(known.issuer)}, {plain}) AS token, "
                f"{text(known.kind)}, {text(known.issuer)}, {text(signal.channel)}, occurred_at FROM ({quarantined}) "
                f"WHERE f_{source.event} = {text(signal.raw)} AND {plain} IS NOT NULL"
            )
    rows = con.execute(" UNION ".join(parts) + " ORDER BY ALL").fetchall() if parts else []
    return [
        Record(
            event_id=f"{source.name}:presumed:{line}:{channel}",
            type="permission",
            feed=source.name,
            effective_at=min(occurred_at.replace(tzinfo=UTC), now) if occurred_at else now,
            subject=Subject(token, kind, issuer),
            controller=feed.controller or source.controller,
            channel=channel,
            state="closed",
        )
        for line, token, kind, issuer, channel, occurred_at in rows
    ]


def append_permissions(
    home: Home, keys: Keys, records: list[Record], presumed: list[Record], now: datetime, ledger_at: LedgerAt
) -> None:
    """Appends them; a rerun after a crash appends nothing twice."""
    if not records and not presumed:
        return
    with open_ledger(home, keys, ledger_at) as (ledger, _):
        ledger.append(records, now, once=presumed)
