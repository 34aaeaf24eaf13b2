"""Deletes what the plan says, step by step, and writes down what it did: "done" only when every step is (A8).

The evidence is written before anything goes, says "incomplete", and lists what goes: a purge that was killed is gone on
with from there, whatever the clock says then. Not here: what is due (`plan.py`), how it goes (`deletions.py`)."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from orchestration.errors import AssentError, HomeError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.vault import Vault
from orchestration.policy.schema import Policy
from orchestration.retention.deletions import Going, delete_items
from orchestration.retention.facts import Known, Outside, collect, outside, whole_days
from orchestration.retention.plan import Plan, plan_deletions
from orchestration.retention.record import Record, give_up
from orchestration.retention.settle import find_due, find_unsupported_contacts
from orchestration.retention.steps import Steps
from orchestration.settings import IN_HOME, LedgerAt
from orchestration.warehouse.publish import connect_published, published

KIND = "purge"
OF_PEOPLE = ("touchpoints", "settled", "links", "vault")
HELD = """
select distinct i.token
from intermediate.int_identifiers_resolved as i
inner join intermediate.int_people_held as h using (identifier_id)
"""


@dataclass(frozen=True)
class At:
    """The home, its rules, and the two clocks: T of the build, and the wall clock."""

    home: Home
    policy: Policy
    keys: Keys
    as_of: datetime
    now: datetime
    policy_hash: str
    landing: Path
    ledger_at: LedgerAt = IN_HOME

    @property
    def clock(self) -> datetime:
        return min(self.as_of, self.now)


@dataclass(frozen=True)
class PurgeReport:
    """What became of it. `stopped` waits for a confirmation by `plan_id`; `failed` is told by the next run again."""

    evidence: str  # relative to the home
    state: Literal["done", "incomplete"]
    plan_id: str | None
    units: dict[str, int]  # part → units that went
    stopped: dict[str, int]  # part → units
    deferred: dict[str, int]  # part → units under legal hold
    failed: dict[str, str]  # part → why
    outside: tuple[Outside, ...]

    @property
    def is_good(self) -> bool:
        return self.state == "done" and not self.stopped

    def counts(self) -> dict[str, int]:
        """Numbers only, for metadata and notes."""
        return {
            "is_done": int(self.state == "done"),
            "purged": sum(self.units.values()),
            "stopped": sum(self.stopped.values()),
            "deferred": sum(self.deferred.values()),
            "failed_parts": len(self.failed),
            **{f"purged_{name.replace(':', '_')}": number for name, number in self.units.items()},
        }


def look(at: At) -> tuple[Plan, list[Outside]]:
    """What would go now, and why; nothing changes. Call it with the home's lock held."""
    return _planned(at, _known(at))


def _planned(at: At, known: Known) -> tuple[Plan, list[Outside]]:
    items = collect(at.home, at.policy, known, at.clock)
    is_demo = at.home.info.kind == "demo"
    plan = plan_deletions(at.policy, items, as_of=at.as_of, now=at.now, policy_hash=at.policy_hash, is_demo=is_demo)
    if published(at.home) is None:  # nobody can say whose data must be kept
        plan = replace(plan, parts=tuple(p for p in plan.parts if p.dataset not in OF_PEOPLE))
    elsewhere = at.ledger_at.url is not None
    return plan, outside(at.home, at.policy, at.landing, at.clock, is_ledger_elsewhere=elsewhere)


def purge(at: At, *, confirm: str | None = None) -> PurgeReport:
    """Goes on with a purge that was killed, then deletes what is due. What exceeds policy's share waits until its plan
    is confirmed (H8). A part that fails leaves the others alone, and the purge incomplete."""
    failed = ""
    try:
        return _purge(at, confirm)
    except OSError as error:
        failed = error.strerror or "it cannot be written"
    except sqlite3.Error as error:
        failed = type(error).__name__
    raise HomeError(
        f"the purge stopped ({failed})",
        where=str(at.home.root),
        remedy="Free space, then run `assent retention run`: it goes on from there, and nothing is called done before",
    )


def _purge(at: At, confirm: str | None) -> PurgeReport:
    with at.home.lock(), Steps(at.home) as steps:
        earlier: dict[str, str] = {}
        for work in steps.works(KIND):
            record = Record.read(at.home, work.work_id)
            if record.facts["policy_hash"] == at.policy_hash:
                earlier |= _do(at, _known(at), steps, record, is_again=True)
            else:  # the rule that it went by may have been the mistake: what is left is planned anew
                steps.forget(work.work_id)
        give_up(at.home, but={work.work_id for work in steps.works(KIND)})
        known = _known(at)
        plan, elsewhere = _planned(at, known)
        if confirm is not None and confirm != plan.id:
            raise AssentError(
                "the plan is not the one that was confirmed: what would go has changed since",
                where=f"--confirm {confirm}" if confirm.isalnum() else "--confirm",
                remedy="Run `assent retention plan`, look at it, and confirm the id that it shows",
            )
        going = tuple(part for part in plan.going(confirm) if part.name not in earlier)
        named = {one.code: one.count for one in elsewhere}
        record = Record.begin(at.home, plan, going, named, as_of=at.as_of, now=at.now)
        if record.parts:
            steps.begin(record.work_id, KIND, [part.name for part in record.parts], at.now)
        failed = _do(at, known, steps, record, is_again=False)
        return _report(record, plan, confirm, failed | earlier, elsewhere)


def _do(at: At, known: Known, steps: Steps, record: Record, *, is_again: bool) -> dict[str, str]:
    if not record.parts:
        record.write(at.home)
        return {}
    failed = {}
    pending = steps.pending(record.work_id)
    for part in (part for part in record.parts if part.name in pending):
        going = Going(at.home, at.keys, known, part.days, record.clock, at.now, is_again)
        try:
            gone = delete_items(going, part.dataset, part.goes)
        except AssentError as error:
            failed[part.name] = f"{error.what}. {error.remedy}"
            continue
        except OSError as error:  # a full disk: what has gone is noted, what has not stays whole (G1)
            failed[part.name] = error.strerror or "the files cannot be written"
            continue
        # after a kill some went before: then all that was listed is gone by now
        steps.done(record.work_id, part.name, {"units": part.units if is_again else gone}, at.now)
    if steps.is_done(record.work_id):
        replace(record, state="done", gone={n: c["units"] for n, c in steps.counts(record.work_id).items()}).write(
            at.home
        )
        steps.forget(record.work_id)
    return failed


def _report(
    record: Record, plan: Plan, confirm: str | None, failed: dict[str, str], elsewhere: list[Outside]
) -> PurgeReport:
    going = {part.name for part in record.parts}
    return PurgeReport(
        evidence=f"evidence/purges/{record.work_id}.json",
        state="incomplete" if failed else "done",
        plan_id=plan.id if confirm is None else None,
        units={part.name: part.units for part in record.parts if part.name not in failed},
        stopped={part.name: part.units for part in plan.stopped if part.name not in going | set(failed)},
        deferred={p.name: sum(item.units for item in p.deferred) for p in plan.parts if p.deferred},
        failed=failed,
        outside=tuple(elsewhere),
    )


def _known(at: At) -> Known:
    """What the generation in force says; of one from a time that the clock has not reached only whom to keep (H7)."""
    current = published(at.home)
    if current is None:
        return Known(pa.array([], pa.string()), None, None)
    with connect_published(at.home) as con:
        held = con.execute(HELD).to_arrow_table()["token"].combine_chunks()
    if current.as_of > at.clock:
        return Known(held, None, None)
    whole = pa.array(whole_days(at.home, at.policy, at.clock), pa.string())
    due = find_due(at.home, at.policy, now=at.clock)
    due = replace(due, rows=due.rows.filter(pc.invert(pc.is_in(due.rows["path"], value_set=whole))))
    if not at.home.vault_db.is_file():
        return Known(held, due, None)
    with Vault(at.home, at.keys) as vault:
        points = vault.contact_points_arrow()
    contacts = find_unsupported_contacts(at.home)
    there = contacts.filter(pc.is_in(contacts["token"], value_set=points["token"].combine_chunks()))
    return Known(held, due, there, points.num_rows)
