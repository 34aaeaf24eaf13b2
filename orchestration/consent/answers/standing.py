"""What stands of one subject's records at T: the last per scope, whether it is in force, and if not, why. Pure.

Not here: reading the records (`state.py`), and the decision about a person, which is the build's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestration.consent.models import microseconds
from orchestration.policy.schema import Policy
from orchestration.policy.vocabulary import vocabulary

Row = Mapping[str, Any]
Why = Literal["restricted", "waits", "expired", "notice_superseded", "ended"]
SCOPE = ("type", "controller", "purpose", "category", "recipient", "channel", "fact")
DAY = 86_400_000_000  # microseconds
_RESTRICTING_STATES = {"permission": "closed", "status": "on", "link": "on"}
_ENDED = {"permission": "closed", "status": "off", "link": "off"}


@dataclass(frozen=True)
class Standing:
    """One scope's last record. `by`: the wider record that restricts it; `narrowed_by`: those that restrict a part."""

    row: Row
    in_force: bool
    why: Why | None = None
    by: int | None = None
    narrowed_by: tuple[int, ...] = ()


class Limits:
    """What of the policy ends a grant by itself: the age of the consent (R-64), and a notice that asks for it anew."""

    def __init__(self, policy: Policy) -> None:
        self._days = {purpose.name: purpose.max_consent_age_days for purpose in policy.purposes.purposes}
        self._renewals: dict[tuple[str, str, str], int] = {}
        for notice in policy.notices.notices:
            for index, version in enumerate(notice.versions):
                newer = [v.published_at for v in notice.versions[index + 1 :] if v.renews_consent]
                for purpose in notice.purposes if newer else ():
                    self._renewals[notice.id, version.version, purpose] = microseconds(newer[0])

    def end(self, grant: Row) -> tuple[int, Why] | None:
        """When a grant ends, and why; None while nothing ends it."""
        days = self._days.get(grant["purpose"])
        ends: list[tuple[int | None, Why]] = [
            (grant["until_at"], "expired"),
            (None if days is None else grant["effective_at"] + days * DAY, "expired"),
            (
                self._renewals.get((grant["notice_id"], grant["notice_version"], grant["purpose"])),
                "notice_superseded",
            ),
        ]
        return min(((end, why) for end, why in ends if end is not None), default=None)


def restricts(row: Row) -> bool:
    return row["decision"] in vocabulary().restricting or row["state"] == _RESTRICTING_STATES.get(row["type"], "")


def order(row: Row) -> tuple[int, bool, int]:
    """By the time of effect; at equal times what restricts is last (design §4)."""
    return int(row["effective_at"]), restricts(row), int(row["seq"])


def standings(rows: Sequence[Row], at: int, learned: int, limits: Limits) -> list[Standing]:
    """What stands at `at`, by sequence. What permits waits for its time; what restricts acts from its time or from when
    we learned of it, whichever is first: `learned` is the last sequence on record at `at`."""
    acting = [row for row in rows if row["effective_at"] <= at or (restricts(row) and row["seq"] <= learned)]
    last = _last_per_scope(acting)
    waiting = _last_per_scope(row for row in rows if row["effective_at"] > at and not restricts(row))
    refusals = [row for row in acting if row["type"] == "consent" and restricts(row)]
    blocks = {row["controller"]: int(row["seq"]) for row in last.values() if _blocks(row)}
    found = [_judged(row, at, refusals, limits, blocks.get(row["controller"])) for row in last.values()]
    found += [Standing(row, False, "waits") for scope, row in waiting.items() if scope not in last]
    return sorted(found, key=lambda standing: int(standing.row["seq"]))


def _last_per_scope(rows: Iterable[Row]) -> dict[tuple[Any, ...], Row]:
    last: dict[tuple[Any, ...], Row] = {}
    for row in sorted(rows, key=order):
        last[(*(row[name] for name in SCOPE), row["object_ref"])] = row
    return last


def _blocks(row: Row) -> bool:
    """Whether a status ends all use: erased, restricted, held. Who is suppressed is only not contacted."""
    return bool(row["type"] == "status" and row["state"] != "off" and row["fact"] != "suppressed")


def _judged(row: Row, at: int, refusals: Sequence[Row], limits: Limits, blocked_by: int | None) -> Standing:
    if row["type"] != "consent":
        return _judged_fact(row, at)
    if restricts(row):
        return Standing(row, False, "restricted")
    if blocked_by is not None:
        return Standing(row, False, "restricted", by=blocked_by)
    later = [refusal for refusal in refusals if order(refusal) > order(row) and _touches(refusal, row)]
    whole = [refusal for refusal in later if _covers(refusal, row)]
    if whole:
        return Standing(row, False, "restricted", by=int(max(whole, key=order)["seq"]))
    end = limits.end(row)
    if end is not None and end[0] <= at:
        return Standing(row, False, end[1])
    return Standing(row, True, narrowed_by=tuple(sorted(int(refusal["seq"]) for refusal in later)))


def _judged_fact(row: Row, at: int) -> Standing:
    if row["until_at"] is not None and row["until_at"] <= at:
        return Standing(row, False, "expired")
    if row["state"] is not None and row["state"] == _ENDED.get(row["type"]):
        return Standing(row, False, "restricted" if row["type"] == "permission" else "ended")
    return Standing(row, True)


def _touches(refusal: Row, grant: Row) -> bool:
    """Whether a refusal reaches any of a grant. A part it leaves out is read as the widest; one that names a purpose
    means it, whichever recipient it names beside it, as in the build."""
    if refusal["controller"] != grant["controller"] or refusal["purpose"] not in (None, grant["purpose"]):
        return False
    if refusal["purpose"] is None and refusal["recipient"] not in (None, grant["recipient"] or "own"):
        return False
    if refusal["category"] == "sensitive" and grant["category"] is None:
        return False  # a grant that names no category never covered what is sensitive
    return all(refusal[part] in (None, grant[part]) or grant[part] is None for part in ("category", "channel"))


def _covers(refusal: Row, grant: Row) -> bool:
    return all(refusal[part] in (None, grant[part]) for part in ("category", "channel"))
