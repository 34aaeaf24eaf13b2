"""Tells the personas' stories in the raw: rows for each feed, records for the consent feed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np

from orchestration.demo.personas import ALIASES, Persona, Step, Touch, offset_ms
from orchestration.demo.records import Notices
from orchestration.demo.rows import Calendar, Rows, rows
from orchestration.policy.schema import Policy

EVENT_COLUMN = {"events": "name", "till": "type", "clinic_till": "type"}
TILLS = ("till", "clinic_till")


def touch_rows(personas: tuple[Persona, ...], feed: str, calendar: Calendar) -> Rows:
    """The personas' rows of one feed."""
    told = [
        (touch, _columns(persona, touch, calendar)) for persona in personas for touch in persona.touchpoints
        if touch.feed == feed
    ]  # fmt: skip
    names = sorted({name for _, columns in told for name in columns})
    return rows(
        _instants([touch.at for touch, _ in told], calendar),
        _arrivals([touch for touch, _ in told], calendar),
        **{name: _column([columns.get(name) for _, columns in told]) for name in names},
    )


def consent_rows(personas: tuple[Persona, ...], calendar: Calendar, policy: Policy) -> Rows:
    """The personas' consent records, one column `line`."""
    told: list[tuple[Step, str]] = []
    notices = Notices.of(policy)
    for persona in personas:
        records = [(step, purpose) for step in persona.consents for purpose in step.purposes or (None,)]
        for number, (step, purpose) in enumerate(records, start=1):
            record = {"event_id": step.event_id or f"p-{persona.name}-{number}"}
            record |= _record(persona, step, purpose, calendar, policy, notices)
            told.append((step, json.dumps(record, ensure_ascii=False, separators=(",", ":"))))
    steps = [step for step, _ in told]
    return rows(
        _instants([step.at for step in steps], calendar),
        _arrivals(steps, calendar),
        line=_column([line for _, line in told]),
    )


def _columns(persona: Persona, touch: Touch, calendar: Calendar) -> dict[str, Any]:
    columns: dict[str, Any] = {ALIASES[alias][2]: persona.identifiers[alias] for alias in touch.by}
    columns |= {EVENT_COLUMN.get(touch.feed, "event"): touch.event, "item": touch.item, "amount": touch.amount}
    if touch.birthday:
        month = (_local(calendar.as_of, calendar).month - 1 + (touch.birthday == "other_month") * 4) % 12 + 1
        columns["birthday"] = f"1990-{month:02d}-15"
    if touch.phone:
        columns["phone"] = touch.phone
    if touch.event == "subscribe" and "member" in columns:
        columns["key"] = f"qrscene_{columns['member']}"
    if touch.feed in TILLS:
        columns |= {"store": touch.store, "customer_name": persona.who, "item": touch.item or "sku-001"}
        columns["amount"] = touch.amount if touch.amount is not None else 100.0
    return columns


def _record(
    persona: Persona, step: Step, purpose: str | None, calendar: Calendar, policy: Policy, notices: Notices
) -> dict[str, Any]:
    """One record without its id; members that say nothing are left out."""
    at = calendar.as_of + offset_ms(step.at)
    record: dict[str, Any] = {
        "type": step.type,
        "subject": _identifier(persona, step.by),
        "controller": step.controller,
        "effective_at": _local(at, calendar).isoformat(),
        "valid_until": _later(step.valid_until, calendar),
        "jurisdiction": step.jurisdiction,
    }
    if step.type == "consent":
        is_grant = step.decision == "grant"
        record |= {name: getattr(step, name) for name in ("decision", "method", "category", "recipient", "channel")}
        record |= {"purpose": purpose, "surface": "app", "locale": "zh-CN"}
        record |= {"separate": step.separate, "guardian": step.guardian} if is_grant else {}
        record["notice"] = _notice(step, purpose, at, policy, notices) if is_grant else None
    elif step.type == "link" and step.other is not None:
        record |= {"other": _identifier(persona, step.other), "unlink": step.unlink}
    else:
        record |= {name: getattr(step, name) for name in ("fact", "status", "state", "channel")}
        record["minor_until"] = _later(step.minor_until, calendar)
    return {name: value for name, value in record.items() if value is not None}


def _notice(step: Step, purpose: str | None, at: int, policy: Policy, notices: Notices) -> dict[str, str] | None:
    if step.notice == "none":
        return None
    notice = step.notice or next(n.id for n in policy.notices.notices if purpose in n.purposes)
    if step.version is not None:
        return {"id": notice, "version": step.version, "language": "zh-CN"}
    shown: dict[str, dict[str, str]] = json.loads("{" + notices.shown(notice, np.array([at]))[0] + "}")
    return shown["notice"]


def _identifier(persona: Persona, alias: str) -> dict[str, str]:
    kind, issuer, _ = ALIASES[alias]
    return {"kind": kind, "issuer": issuer, "value": persona.identifiers[alias]}  # type: ignore[index]


def _later(relative: str | None, calendar: Calendar) -> str | None:
    return None if relative is None else _local(calendar.as_of + offset_ms(relative), calendar).isoformat()


def _local(instant: int, calendar: Calendar) -> datetime:
    zone = timezone(timedelta(milliseconds=calendar.offset))
    return datetime.fromtimestamp(instant / 1000, UTC).astimezone(zone)


def _instants(relatives: list[str], calendar: Calendar) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([calendar.as_of + offset_ms(relative) for relative in relatives], dtype=np.int64)


def _arrivals(told: list[Touch] | list[Step], calendar: Calendar) -> np.ndarray[Any, np.dtype[np.int64]]:
    """When each reached us: as told, otherwise at once; within the days that have files."""
    at = _instants([one.arrives or one.at for one in told], calendar)
    return np.asarray(np.clip(at, calendar.start, calendar.as_of - 1), dtype=np.int64)


def _column(values: list[Any]) -> Any:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
