"""Judges one row of a consent delivery: a record, or a reason for quarantine and what it restricts all the same.

A row that cannot be accepted but might restrict never lets data pass: it presumes a denial for its subject (H1), and
where the subject cannot be told it leaves the delivery incomplete (H2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from orchestration.consent.feeds.rows import DETAILS, FLAGS, Row
from orchestration.consent.identifiers import Contact, Identifiers
from orchestration.consent.models import EPOCH, MICROSECOND, Record, Subject, microseconds, moment
from orchestration.identity.keys import Keys
from orchestration.identity.pseudonymise import Tokeniser
from orchestration.policy.schema import Basis, CategoryClass, Channel, ConsentFeed, Policy
from orchestration.policy.vocabulary import vocabulary

MAX_TEXT = 1024
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)  # zero clocks: a withdrawal "of 1970" would restrict nothing
LATEST = datetime.max.replace(tzinfo=UTC)
_EARLIEST, _LATEST = microseconds(EARLIEST), microseconds(LATEST)
TYPES = ("consent", "permission", "contract", "age", "status", "link", "request")
STATES = {"permission": ("open", "closed"), "status": ("on", "off"), "request": ("received",)}
STATUSES = ("erased", "restricted", "legal_hold", "suppressed")
REQUESTS = ("access", "erasure", "portability", "rectification", "restriction", "objection")
# What of a contact point a permission is about: a message template, all of them, an adviser. None: the contact point
# itself, which is also what all advisers are.
PERMITTED = re.compile(r"(tpl|adv):[A-Za-z0-9_.@-]{1,44}|tpl:\*")
LINK_METHODS = ("login", "scan", "order", "platform")
REQUIRED = {
    "consent": ("decision",),
    "permission": ("channel", "state"),
    "contract": ("fact",),
    "age": ("minor_until",),
    "status": ("status", "state"),
    "link": ("other_kind", "other_issuer", "other_value"),
    "request": ("fact", "state"),
}
REQUIRED_OF_ALL = ("event_id", "subject_kind", "subject_issuer", "subject_value", "controller", "effective_at")
FORMS = {
    "notice_id": re.compile(r"[a-z][a-z0-9-]{0,47}"),
    "notice_version": re.compile(r"[A-Za-z0-9._-]{1,32}"),
    "notice_language": re.compile(r"[a-z]{2}(-[A-Z]{2})?"),
    "locale": re.compile(r"[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8}){0,2}"),
}
TIMES = ("effective_at", "valid_until", "minor_until")
SCOPE = ("purpose", "category", "recipient", "channel")
NARROWING = frozenset((*SCOPE, "valid_until"))  # a permit that leaves one out is wider
# What restricts, and the types of record that it belongs to: in any other it contradicts the record.
BELONGS_TO = {
    "decision": ("consent",),
    "state": ("permission", "status", "request"),
    "status": ("status",),
    "minor_until": ("age",),
}
MAX_OFFSET = timedelta(hours=14)  # no zone is further from UTC; a wider offset would date a grant days earlier


@dataclass(frozen=True)
class Verdict:
    """What becomes of a row: its record (None: quarantined for `reason`), restrictions, contacts for the vault."""

    record: Record | None
    reason: str | None = None
    restrictions: tuple[Record, ...] = ()
    is_blind: bool = False  # it might restrict, but nobody can say whom
    contacts: tuple[Contact, ...] = ()


class Judge:
    """Judges the rows of one delivery of one feed against the policy, at `now`."""

    def __init__(self, policy: Policy, keys: Keys, feed: ConsentFeed, batch: str, now: datetime) -> None:
        self._feed, self._batch, self._now = feed, batch, now
        self.identifiers = Identifiers(policy, keys)
        self._hash = Tokeniser(keys).keyed_hash
        self._latest = now + timedelta(minutes=policy.organisation.grant_tolerance_minutes)
        self._oldest = now - timedelta(days=feed.max_age_days) if feed.max_age_days else EARLIEST
        self._known = known_values(policy, feed)
        self._published = {
            (notice.id, version.version): version.published_at
            for notice in policy.notices.notices
            for version in notice.versions
        }

    def judge(self, row: Row) -> Verdict:
        subject, contact = self.identifiers.read(row.values, "subject")
        other, other_contact = self.identifiers.read(row.values, "other")
        times = {name: parse_time(row.values[name]) for name in TIMES if name in row.values}
        reason = row.problem or self._reason(row, times, subject, other)
        if reason is None:
            record = self._record(row.values, times, subject, other)
            return Verdict(record, contacts=tuple(c for c in (contact, other_contact) if c is not None))
        if not might_restrict(row.values, row.problem):
            return Verdict(None, reason)
        if subject is None:
            return Verdict(None, reason, is_blind=True)
        return Verdict(None, reason, self._restrictions(row, times, [s for s in (subject, other) if s is not None]))

    def _reason(
        self, row: Row, times: Mapping[str, datetime | None], subject: Subject | None, other: Subject | None
    ) -> str | None:
        values = row.values
        kind = values.get("type", "")
        if row.bad or any(len(value) > MAX_TEXT for value in values.values()) or _contradicts(values):
            return "bad_value"
        if row.blank & NARROWING and not might_restrict(values, row.problem):
            return "bad_value"  # blank is not absent: nobody can say how narrow it was meant to be
        required = (*REQUIRED_OF_ALL, "type", *REQUIRED.get(kind, ()))
        if any(name not in values for name in required) or (is_grant(values) and "purpose" not in values):
            return "missing_required"
        if any(values.get(name, "true") not in ("true", "false") for name in FLAGS):
            return "bad_value"
        if any(name in values and not form.fullmatch(values[name]) for name, form in FORMS.items()):
            return "bad_value"
        if kind not in TYPES or not self._refers_to_known(values, kind):
            return "unknown_reference"
        if subject is None or (kind == "link" and other is None):
            return "bad_value"
        return self._time_reason(values, times)

    def _refers_to_known(self, values: Mapping[str, str], kind: str) -> bool:
        known: Mapping[str, Any] = self._known
        named = known.keys() - {"method", "state", "fact"}
        if any(name in values and values[name] not in known[name] for name in named):
            return False
        if "fact" in values and not _names_known(values["fact"], kind, known["fact"]):
            return False
        if "state" in values and values["state"] not in STATES.get(kind, ()):
            return False
        return values.get("method", None) in (None, *(LINK_METHODS if kind == "link" else known["method"]))

    def _time_reason(self, values: Mapping[str, str], times: Mapping[str, datetime | None]) -> str | None:
        effective_at = times["effective_at"]
        if effective_at is None or None in times.values():
            return "bad_timestamp"
        earliest, latest = self.window(values)
        if effective_at > latest:
            return "future_dated"
        if is_grant(values) and effective_at < self._oldest:
            return "too_old"
        return "notice_unpublished" if effective_at < earliest else None

    def window(self, values: Mapping[str, str]) -> tuple[datetime, datetime]:
        """The first and the last time at which a row, otherwise in order, may take effect."""
        notice = values.get("notice_id", ""), values.get("notice_version", "")
        earliest = max(self._published.get(notice, EARLIEST), self._oldest) if is_grant(values) else EARLIEST
        return earliest, LATEST if acts_at_once(values) else self._latest

    def _record(
        self,
        values: Mapping[str, str],
        times: Mapping[str, datetime | None],
        subject: Subject | None,
        other: Subject | None,
    ) -> Record:
        kind = values["type"]
        flag = {name: values[name] == "true" for name in FLAGS if name in values}
        state = ("off" if flag.get("unlink") else "on") if kind == "link" else values.get("state")
        effective_at = times["effective_at"]
        assert effective_at is not None  # `_time_reason` has seen to it
        named = ("controller", *SCOPE, "decision", "basis", "method", "jurisdiction", *FORMS)
        texts: dict[str, Any] = {name: values.get(name) for name in named}
        return Record(
            event_id=values["event_id"],
            type=kind,  # type: ignore[arg-type]  # one of TYPES
            feed=self._feed.name,
            batch=self._batch,
            effective_at=effective_at,
            until=times.get("minor_until" if kind == "age" else "valid_until"),
            subject=subject,
            other=other if kind == "link" else None,
            fact=values.get("status" if kind == "status" else "fact"),
            state=state,
            is_separate=flag.get("separate", False if kind == "consent" else None),
            is_guardian=flag.get("guardian", False if kind == "consent" else None),
            detail={name: values[name] for name in DETAILS if name in values},
            **texts,
        )

    def _restrictions(
        self, row: Row, times: Mapping[str, datetime | None], subjects: list[Subject]
    ) -> tuple[Record, ...]:
        """Presumed denials, at the row's own time where it has one; of every scope or controller that is unclear."""
        values = row.values
        at = times.get("effective_at")
        # without an id and a time, the same line in a later delivery is somebody saying it again
        is_known_again = at is not None or "event_id" in values
        line = self._hash(row.line) if is_known_again else f"{self._hash(row.line)}:{self._batch}"
        named = values.get("controller")
        controllers = (named,) if named in self._feed.controllers else self._feed.controllers
        template = Record(
            event_id=line,
            type="consent",
            decision="presumed_denial",
            feed=self._feed.name,
            batch=self._batch,
            effective_at=at or self._now,
        )
        scope: dict[str, Any] = {name: values[name] for name in SCOPE if name in values}
        is_clear = all(values[name] in self._known[name] for name in scope) and not row.bad.intersection(SCOPE)
        is_clear = is_clear and row.problem is None and not _contradicts(values)
        if is_clear and values.get("type") == "permission" and "channel" in scope:
            part = values.get("fact", "")
            template = replace(template, type="permission", decision=None, channel=scope["channel"], state="closed")
            template = replace(template, fact=part if PERMITTED.fullmatch(part) else None)
        elif is_clear and values.get("type") == "consent":
            template = replace(template, **scope)
        return tuple(
            replace(template, event_id=f"presumed:{line}:{controller}:{number}", controller=controller, subject=subject)
            for controller in controllers
            for number, subject in enumerate(subjects)
        )


def known_values(policy: Policy, feed: ConsentFeed) -> dict[str, frozenset[str]]:
    """What each field may name. A feed speaks for its own controllers only."""
    purposes = policy.purposes.purposes
    words = vocabulary()
    return {
        "controller": frozenset(feed.controllers),
        "purpose": frozenset(purpose.name for purpose in purposes),
        "category": frozenset(get_args(CategoryClass)),
        "recipient": frozenset({"own", *(purpose.recipient for purpose in purposes)}),
        "channel": frozenset(get_args(Channel)),
        "decision": frozenset(words.names("decisions")),
        "basis": frozenset(get_args(Basis)),
        "method": frozenset(words.names("methods")),
        "jurisdiction": frozenset(jurisdiction.code for jurisdiction in policy.organisation.jurisdictions),
        "fact": frozenset({"membership", "prepaid_card", "appointment"}.union(*(p.contract_facts for p in purposes))),
        "status": frozenset(STATUSES),
    }


def _names_known(fact: str, kind: str, facts: frozenset[str]) -> bool:
    if kind == "permission":
        return PERMITTED.fullmatch(fact) is not None
    return fact in (REQUESTS if kind == "request" else facts)


def is_grant(values: Mapping[str, str]) -> bool:
    return values.get("type") == "consent" and values.get("decision") == "grant"


def acts_at_once(values: Mapping[str, str]) -> bool:
    """What restricts is accepted however far ahead it is dated; what permits is not."""
    kind = values["type"]
    if kind == "consent":
        return values["decision"] in vocabulary().restricting
    return values.get("state") == {"permission": "closed", "status": "on"}.get(kind, "")


def _contradicts(values: Mapping[str, str]) -> bool:
    """Whether the row holds what belongs to a record of another type, such as an opened permission that withdraws."""
    return any(name in values and values.get("type") not in types for name, types in BELONGS_TO.items())


def might_restrict(values: Mapping[str, str], problem: str | None) -> bool:
    """Whether a row that is not accepted may have been a restriction. Only what plainly permits is not."""
    if problem in ("malformed", "oversized", "bad_signature") or _contradicts(values):
        return True
    permits = {
        "consent": values.get("decision") == "grant",
        "permission": values.get("state") == "open",
        "status": values.get("state") == "off",
        "contract": "valid_until" not in values,
    }
    return not permits.get(values.get("type", ""), False)


def parse_time(text: str) -> datetime | None:
    """ISO 8601 with an offset that exists, in UTC; None for naive, impossible and absurdly early times."""
    at = parse_microseconds(text)
    return None if at is None else moment(at)


def parse_microseconds(text: str) -> int | None:
    """The same in microseconds since 1970 UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    offset = at.utcoffset()
    if offset is None or not -MAX_OFFSET <= offset <= MAX_OFFSET:
        return None
    since = (at - EPOCH) // MICROSECOND
    return since if _EARLIEST <= since <= _LATEST else None
