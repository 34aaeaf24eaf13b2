"""Answers what the ledger holds about one subject on both clocks: what stands at T, as it was known at K; or all of it.

Not the decision: that also needs the person's other identifiers, methods, ages and retention, and is the build's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from orchestration.consent.answers.notices import NoticeBook
from orchestration.consent.answers.standing import SCOPE, Limits, Standing, order, standings
from orchestration.consent.identifiers import Identifiers
from orchestration.consent.ledger import Ledger, open_ledger
from orchestration.consent.models import EVENTS, Subject, microseconds, moment
from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.schema import Policy
from orchestration.settings import IN_HOME, LedgerAt

CAVEAT = "These are the records of one identifier. Who may be used for what is decided by the build."
SHOWN = (
    *("seq", *SCOPE, "decision", "state", "basis", "method", "notice_id", "notice_version", "notice_language"),
    *("locale", "jurisdiction", "feed"),
)
LAST = 2**63 - 1


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


@dataclass(frozen=True)
class Asked:
    """About what is asked: `known_at` None is all that is on record; the names narrow the answer."""

    known_at: datetime | None = None
    controller: str | None = None
    purpose: str | None = None

    def narrows(self, row: Any) -> bool:
        """Whether `row` is asked about. A record without a purpose reaches all of them."""
        is_purpose = self.purpose is None or row["purpose"] in (None, self.purpose)
        return is_purpose and (self.controller is None or row["controller"] in (None, self.controller))


EVERYTHING = Asked()


def known_through(connection: Connection, at: datetime | None) -> int:
    """The last sequence recorded by `at`: what we knew is a prefix of the ledger. Clocks jump and differ between
    hosts, sequences do not (fault B8): a record with a later time before that one was known with it."""
    if at is None:
        return LAST
    query = select(EVENTS.c.seq).where(EVENTS.c.recorded_at <= microseconds(at)).order_by(EVENTS.c.seq.desc()).limit(1)
    return connection.execute(query).scalar_one_or_none() or 0


def state(
    home: Home,
    policy: Policy,
    keys: Keys,
    identifier: str,
    as_of: datetime,
    ledger_at: LedgerAt = IN_HOME,
    *,
    asked: Asked = EVERYTHING,
) -> list[dict[str, Any]]:
    """The last record per scope in force at `as_of`, or why it is not, as known at `asked.known_at`."""
    with open_ledger(home, keys, ledger_at) as (ledger, registry):
        ref = registry.lookup(read_identifier(policy, keys, identifier).token)
        rows = _known_rows(ledger, ref, asked.known_at)
        with ledger.reading() as connection:
            learned = known_through(connection, as_of)
    found = standings(rows, microseconds(as_of), learned, Limits(policy))
    book = NoticeBook(home, policy)
    return [_standing(standing, book) for standing in found if asked.narrows(standing.row)]


def history(
    home: Home,
    policy: Policy,
    keys: Keys,
    identifier: str,
    ledger_at: LedgerAt = IN_HOME,
    *,
    asked: Asked = EVERYTHING,
) -> list[dict[str, Any]]:
    """Every record of the subject by the time that it took effect, with its detail where that is not erased."""
    with open_ledger(home, keys, ledger_at) as (ledger, registry):
        ref = registry.lookup(read_identifier(policy, keys, identifier).token)
        rows = [row for row in _known_rows(ledger, ref, asked.known_at) if asked.narrows(row)]
    together = _purposes_of_one_act(rows)
    book = NoticeBook(home, policy)
    return [
        {**_shown(row, book), **_detail(row), **({"one_act_for": together[s]} if (s := row["seq"]) in together else {})}
        for row in sorted(rows, key=order)
    ]


def history_of(home: Home, policy: Policy, ledger: Ledger, subject_refs: Sequence[str]) -> list[dict[str, Any]]:
    """Every record of one person's subjects, each once, by the time that it took effect."""
    book = NoticeBook(home, policy)
    rows = ledger.subject_rows(subject_refs) if subject_refs else []
    return [
        {"type": row["type"], "fact": row["fact"], **_shown(row, book), **_detail(row)}
        for row in sorted(rows, key=order)
    ]


def _known_rows(ledger: Ledger, ref: str | None, known_at: datetime | None) -> list[dict[str, Any]]:
    if ref is None:
        return []
    with ledger.reading() as connection:
        through = known_through(connection, known_at)
    return [row for row in ledger.subject_rows([ref]) if row["seq"] <= through]


def _purposes_of_one_act(rows: Sequence[dict[str, Any]]) -> dict[int, list[str]]:
    """Grants for several purposes with the same evidence at the same moment: perhaps one tick for all (R-13)."""
    acts: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        evidence = row["detail"] and row["detail"].rest.get("evidence")
        if row["decision"] == "grant" and evidence:
            acts[row["controller"], row["effective_at"], row["method"], evidence].append(row)
    named = [(act, sorted({row["purpose"] for row in act})) for act in acts.values()]
    return {row["seq"]: purposes for act, purposes in named if len(purposes) > 1 for row in act}


def _standing(standing: Standing, book: NoticeBook) -> dict[str, Any]:
    shown = _shown(standing.row, book) | {"in_force": standing.in_force}
    more = {"why": standing.why, "restricted_by": standing.by, "narrowed_by": list(standing.narrowed_by) or None}
    return shown | {name: value for name, value in more.items() if value is not None}


def _shown(row: Any, book: NoticeBook) -> dict[str, Any]:
    shown = {name: row[name] for name in SHOWN if row[name] is not None}
    shown |= {name: bool(row[name]) for name in ("is_separate", "is_guardian") if row[name] is not None}
    digest = book.sha256(row["notice_id"], row["notice_version"], row["notice_language"])
    shown |= {} if digest is None else {"notice_text_sha256": digest}
    times = {"effective_at": "effective_at", "recorded_at": "recorded_at"}
    times["until_at"] = "minor_until" if row["type"] == "age" else "valid_until"
    return shown | {name: iso(row[column]) for column, name in times.items() if row[column] is not None}


def _detail(row: dict[str, Any]) -> dict[str, Any]:
    detail = row["detail"]
    return {"is_detail_erased": True} if detail is None else {"event_id": detail.event_id, **detail.rest}


def iso(value: int) -> str:
    return moment(value).astimezone(UTC).isoformat()
