"""Records withdrawals that a person tells somebody of the company, and gives their receipts.

Not here: withdrawals that arrive by a feed (`importer.py`)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import get_args

from orchestration.consent.answers.notices import archive_policy
from orchestration.consent.answers.receipts import Receipt, receipts_by_key
from orchestration.consent.ledger import open_ledger
from orchestration.consent.models import DESK, Record, Subject
from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.schema import Channel, Policy
from orchestration.settings import IN_HOME, LedgerAt


@dataclass(frozen=True)
class Withdrawal:
    """What a person takes back: `purposes` empty means all that rests on consent; `channel` None every channel."""

    controllers: tuple[str, ...]
    effective_at: datetime
    purposes: tuple[str, ...] = ()
    channel: str | None = None
    feed: str = DESK
    detail: dict[str, str] = field(default_factory=dict)  # surface, actor, place


def check(policy: Policy, asked: Withdrawal) -> None:
    """Raises AssentError for what policy does not know: a withdrawal that binds nothing must not look like one."""
    controllers = {controller.name for controller in policy.organisation.controllers}
    purposes = {p.name: set(p.controllers) for p in policy.purposes.purposes}
    feeds = {feed.name: set(feed.controllers) for feed in policy.sources.consent_feeds} | {DESK: controllers}
    _known(asked.controllers, controllers, "controller", "--controller")
    _known(asked.purposes, set(purposes), "purpose", "--purpose")
    _known([asked.channel] if asked.channel else [], set(get_args(Channel)), "channel", "--channel")
    _known([asked.feed], set(feeds), "consent feed", "--feed")
    for controller in asked.controllers:
        known = {purpose for purpose, of in purposes.items() if controller in of}
        _known(asked.purposes, known, f"purpose of `{controller}`", "--purpose")
        if controller not in feeds[asked.feed]:
            raise AssentError("the feed does not speak for this controller", where="--feed", remedy=f"Use {DESK}")


def _known(names: Sequence[str], known: set[str], what: str, where: str) -> None:
    if not known.issuperset(names):
        raise AssentError(
            f"the policy has no such {what}", where=where, remedy=f"There are: {', '.join(sorted(known))}"
        )


def withdraw(
    home: Home,
    policy: Policy,
    keys: Keys,
    subjects: Sequence[Subject],
    asked: Withdrawal,
    *,
    now: datetime,
    ledger_at: LedgerAt = IN_HOME,
) -> list[list[Receipt]]:
    """Appends the withdrawals of all `subjects` at once; the receipts of each, given only when they are durable."""
    check(policy, asked)
    archive_policy(home, policy)
    records = [_records(subject, asked) for subject in subjects]
    with open_ledger(home, keys, ledger_at) as (ledger, _):
        if ledger.erased is not None and ledger.erased.holds([subject.token for subject in subjects]):
            raise AssentError(
                "one of them was erased on request, so nothing is on record and nothing is used",
                where="--identifier-file",
                remedy="Leave them out; `assent request readmit` takes a person again who has come back",
            )
        ledger.append([record for of_one in records for record in of_one], now)
        ids = [[ledger.sealer.event_key(record.feed, record.event_id) for record in of_one] for of_one in records]
        found = {r.receipt_id: r for r in receipts_by_key(ledger, policy, [key for of_one in ids for key in of_one])}
    return [[found[key] for key in of_one] for of_one in ids]


def _records(subject: Subject, asked: Withdrawal) -> list[Record]:
    return [
        Record(
            event_id=str(uuid.uuid4()),
            type="consent",
            feed=asked.feed,
            effective_at=asked.effective_at,
            subject=subject,
            controller=controller,
            purpose=purpose,
            channel=asked.channel,
            decision="withdraw",
            is_separate=False,
            is_guardian=False,
            detail=asked.detail,
        )
        for controller in asked.controllers
        for purpose in asked.purposes or (None,)
    ]
