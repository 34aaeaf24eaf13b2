"""Answers what the ledger holds about one subject: the last record per scope, or all of them in order.

Not the decision: that also needs the person's other identifiers, notices, ages and retention, and is the build's."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from orchestration.consent.judge import Identifiers
from orchestration.consent.ledger import open_ledger
from orchestration.consent.models import Subject, microseconds, moment
from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.schema import Policy
from orchestration.policy.vocabulary import vocabulary
from orchestration.settings import IN_HOME, LedgerAt

CAVEAT = "These are the records of one identifier. Who may be used for what is decided by the build."
SCOPE = ("type", "controller", "purpose", "category", "recipient", "channel", "fact")
SHOWN = (
    *("seq", *SCOPE, "decision", "state", "basis", "method", "notice_id", "notice_version", "notice_language"),
    *("locale", "jurisdiction", "feed"),
)


def read_identifier(policy: Policy, keys: Keys, line: str) -> Subject:
    """The subject of a line `kind:issuer:value`. Errors never repeat it."""
    kind, _, rest = line.strip().partition(":")
    identifiers = Identifiers(policy, keys)
    for issuer in sorted(identifiers.issuers_of(kind), key=len, reverse=True):  # an issuer may hold colons itself
        if rest.startswith(f"{issuer}:"):
            values = {"subject_kind": kind, "subject_issuer": issuer, "subject_value": rest[len(issuer) + 1 :]}
            subject, _contact = identifiers.read(values, "subject")
            if subject is not None:
                return subject
    raise AssentError(
        "the identifier cannot be read",
        where="--identifier-file",
        remedy="Write kind:issuer:value, e.g. phone:e164:+86…, with a kind and issuer of the policy",
    )


def state(
    home: Home, policy: Policy, keys: Keys, identifier: str, as_of: datetime, ledger_at: LedgerAt = IN_HOME
) -> list[dict[str, Any]]:
    """The last record per scope at `as_of`. What permits waits for its time; what restricts counts at once (design §4);
    at equal times the restriction is last."""
    at = microseconds(as_of)
    last: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in _rows(home, policy, keys, identifier, ledger_at):
        if row["effective_at"] > at and not _restricts(row):
            continue
        scope = tuple(row[name] for name in SCOPE) + ((row["object_ref"],) if row["type"] == "link" else ())
        if scope not in last or _order(last[scope]) < _order(row):
            last[scope] = row
    return [_shown(row) for row in sorted(last.values(), key=lambda row: int(row["seq"]))]


def history(
    home: Home, policy: Policy, keys: Keys, identifier: str, ledger_at: LedgerAt = IN_HOME
) -> list[dict[str, Any]]:
    """Every record of the subject by the time that it took effect, with its detail where that is not erased."""
    rows = sorted(_rows(home, policy, keys, identifier, ledger_at), key=_order)
    return [{**_shown(row), **_detail(row)} for row in rows]


def _rows(home: Home, policy: Policy, keys: Keys, identifier: str, ledger_at: LedgerAt) -> Iterable[dict[str, Any]]:
    subject = read_identifier(policy, keys, identifier)
    with open_ledger(home, keys, ledger_at) as (ledger, registry):
        ref = registry.lookup(subject.token)
        return [] if ref is None else ledger.subject_rows([ref])


def _restricts(row: dict[str, Any]) -> bool:
    closing = {"permission": "closed", "status": "on", "link": "on"}
    return row["decision"] in vocabulary().restricting or row["state"] == closing.get(row["type"], "")


def _order(row: dict[str, Any]) -> tuple[int, bool, int]:
    return int(row["effective_at"]), _restricts(row), int(row["seq"])


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in SHOWN if row[name] is not None}
    shown |= {name: bool(row[name]) for name in ("is_separate", "is_guardian") if row[name] is not None}
    times = {"effective_at": "effective_at", "recorded_at": "recorded_at"}
    times["until_at"] = "minor_until" if row["type"] == "age" else "valid_until"
    return shown | {name: _iso(row[column]) for column, name in times.items() if row[column] is not None}


def _detail(row: dict[str, Any]) -> dict[str, Any]:
    detail = row["detail"]
    return {"is_detail_erased": True} if detail is None else {"event_id": detail.event_id, **detail.rest}


def _iso(value: int) -> str:
    return moment(value).astimezone(UTC).isoformat()
