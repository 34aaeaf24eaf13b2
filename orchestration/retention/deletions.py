"""How the items of each dataset go, physically. Each may be called again after a kill: what has gone already is passed
by then, and only then; on a first call a missing target is an error (F8). Not here: what is to go (`plan.py`)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.atomic import fsync_folder
from orchestration.backup.register import delete_backup
from orchestration.errors import HomeError
from orchestration.exports.manifest import retract
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.vault import Vault
from orchestration.retention import run_history
from orchestration.retention.contact_notes import contact_notes
from orchestration.retention.facts import OTHERS, Known, days_of_contacts, due_contacts, is_held
from orchestration.retention.plan import Item
from orchestration.retention.rewrite import remove_rows, unlink_files
from orchestration.retention.settle import remove_due
from orchestration.retention.strip import Strip, strip
from orchestration.retention.swap import swap_in_place, written_aside
from orchestration.warehouse.publish import published, release_path


@dataclass(frozen=True)
class Going:
    """What deletions need beside the items."""

    home: Home
    keys: Keys
    known: Known  # by the generation in force
    days: int
    clock: datetime  # the earlier of T and the wall clock
    now: datetime  # for notes
    is_again: bool  # a call after a kill


def delete_items(going: Going, dataset: str, items: Sequence[Item]) -> int:
    """Makes the items of one dataset go; returns how many units went now. Raises HomeError where fewer went than were
    counted, but for a call after a kill."""
    gone = DELETIONS[dataset](going, items)
    counted = sum(item.units for item in items)
    if gone != counted and not going.is_again:
        raise HomeError(
            f"{gone} of {counted} counted were there to delete",
            where=dataset,
            remedy="Run `assent retention plan` again",
        )
    return gone


def _from_lake(going: Going, items: Sequence[Item]) -> int:
    whole = [item.name for item in items if not item.name.endswith(OTHERS)]
    removed = unlink_files(going.home, whole, now=going.now) if whole else None
    gone = removed.rows + removed.links if removed is not None else 0
    for item in items:
        if item.name.endswith(OTHERS):
            gone += _others(going, item)
    return gone


def _others(going: Going, item: Item) -> int:
    """The rows of a file but those of people whose data must be kept."""
    name = item.name.removesuffix(OTHERS)
    path = going.home.lake / name
    if not path.is_file():
        return 0
    table = pq.read_table(path, columns=["touchpoint_key", "subject_token"])
    free = table.filter(pc.invert(is_held(table.select(["subject_token"]), going.known.held)))
    keys = pa.table({"path": pa.array([name] * free.num_rows, pa.string()), "touchpoint_key": free["touchpoint_key"]})
    return remove_rows(going.home, str(item.source), keys, "retention", now=going.now).rows


def _settled(going: Going, items: Sequence[Item]) -> int:
    """The rows of these sources, by the generation of the plan: after another build they are planned anew."""
    due = going.known.due
    if due is None or any(item.name.split("/")[0] != due.generation for item in items):
        return 0
    sources = pa.array([str(item.source) for item in items], pa.string())
    rows = due.rows.filter(pc.is_in(due.rows["source"], value_set=sources))
    return remove_due(going.home, replace(due, rows=rows), now=going.now).rows


def _contacts(going: Going, items: Sequence[Item]) -> int:
    contacts = going.known.contacts
    if contacts is None:
        return 0
    names = pa.array([item.name for item in items], pa.string())
    of_them = pc.and_(pc.is_in(days_of_contacts(contacts), value_set=names), pc.is_null(contacts["held_by"]))
    free = contacts.filter(pc.and_(of_them, due_contacts(contacts, going.days, going.clock)))
    with Vault(going.home, going.keys) as vault:
        return vault.erase(free["token"].to_pylist())


def _logs(going: Going, items: Sequence[Item]) -> int:
    there = [
        (going.home.root / item.name, item.units, None) for item in items if (going.home.root / item.name).is_file()
    ]
    swap_in_place(going.home, there, "retention", now=going.now)
    return sum(rows for _, rows, _ in there)


def _contact_log(going: Going, items: Sequence[Item]) -> int:
    """The rows of contact points that left: the numbered files stay, since the builds count them."""
    rows = contact_notes(going.home)
    last = pa.array([int(item.name) for item in items], pa.int64())
    of_them = rows.filter(pc.and_(pc.invert(rows["is_there"]), pc.is_in(rows["last"], value_set=last)))
    what = Strip(pc.unique(of_them["token"].combine_chunks()), ("token",))
    changes = []
    with written_aside(going.home, "retention") as folder:
        for path in sorted((going.home.evidence / "contact_points").glob("*.parquet")):
            lost = strip(path, what, folder / path.name, keep_empty=True)
            if lost is not None:
                changes.append((path, lost.rows, lost.rest))
        swap_in_place(going.home, changes, "retention", now=going.now)
    return sum(rows for _, rows, _ in changes)


def _files(going: Going, items: Sequence[Item]) -> int:
    return sum(item.units for item in items if _unlink(going.home.root / item.name))


def _exports(going: Going, items: Sequence[Item]) -> int:
    """The manifest goes first: half an export is not deliverable."""
    gone = 0
    for item in items:
        folder = going.home.root / item.name
        if folder.is_dir():
            retract(folder)
            folder.rmdir()
            fsync_folder(folder.parent)
            gone += item.units
    return gone


def _generations(going: Going, items: Sequence[Item]) -> int:
    current = published(going.home)
    gone = 0
    for item in items:
        path = going.home.root / item.name
        if current is not None and path.parent == going.home.warehouse and path.stem == current.generation:
            raise HomeError("the generation is in force", where=path.name, remedy="Run `assent retention plan` again")
        release_path(going.home, path.stem).unlink(missing_ok=True)
        gone += item.units if _unlink(path) else 0
    return gone


def _dbt(going: Going, items: Sequence[Item]) -> int:
    there = [item for item in items if (going.home.root / item.name).is_dir()]
    for item in there:
        shutil.rmtree(going.home.root / item.name)
    return sum(item.units for item in there)


def _runs(going: Going, items: Sequence[Item]) -> int:
    before = going.clock - timedelta(days=going.days)
    return run_history.delete_runs(going.home, [item.name for item in items], before=before)


def _backups(going: Going, items: Sequence[Item]) -> int:
    for item in items:
        delete_backup(going.home, item.name, now=going.now)
    return len(items)


def _unlink(path: Path) -> bool:
    if not path.is_file():
        return False
    path.unlink()
    fsync_folder(path.parent)
    return True


DELETIONS: dict[str, Callable[[Going, Sequence[Item]], int]] = {
    "touchpoints": _from_lake,
    "settled": _settled,
    "links": _from_lake,
    "quarantine": _files,
    "archive": _files,
    "vault": _contacts,
    "deliveries": _logs,
    "removals": _logs,
    "contact_points": _contact_log,
    "exports": _exports,
    "generations": _generations,
    "dbt": _dbt,
    "runs": _runs,
    "backups": _backups,
}
