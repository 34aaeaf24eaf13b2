"""The state table of work that must be whole in the end: which steps of a purge or an erasure are done, across kills.

"Done" is only what every step of has been noted; a step that was killed before its note is done again, so each must be
idempotent. Names and counts only: never a token. Not here: what the steps do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from orchestration.errors import HomeError
from orchestration.home import Home
from orchestration.identity.private_sqlite import connect, transaction

SCHEMA = """
CREATE TABLE IF NOT EXISTS works (
    work_id TEXT PRIMARY KEY, kind TEXT NOT NULL, begun_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS steps (
    work_id TEXT NOT NULL REFERENCES works, step TEXT NOT NULL, place INTEGER NOT NULL,
    done_at TEXT, counts TEXT, PRIMARY KEY (work_id, step)
) WITHOUT ROWID;
"""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._/-]{0,119}")
TOKEN = re.compile(r"[0-9a-f]{32}")  # the shape of a token: no name holds one (E1)


@dataclass(frozen=True)
class Work:
    """One work that was begun, and how far it is."""

    work_id: str
    kind: str
    begun_at: datetime
    steps: int
    steps_done: int


class Steps:
    """`work.sqlite` of one home; use it as a context manager or `close` it, with the home's lock held."""

    def __init__(self, home: Home) -> None:
        self._con = connect(home.work_db, SCHEMA)

    def begin(self, work_id: str, kind: str, steps: Sequence[str], now: datetime) -> None:
        """Notes what is to be done. Beginning it again changes nothing; with other steps it raises HomeError."""
        for name in (work_id, kind, *steps):
            _require_plain(name)
        if not steps or len(set(steps)) < len(steps):
            raise HomeError("a work needs steps, each of its own name", where=f"work {work_id}")
        with transaction(self._con):
            known = self._con.execute("SELECT kind FROM works WHERE work_id = ?", (work_id,)).fetchone()
            if known is None:
                self._con.execute("INSERT INTO works VALUES (?, ?, ?)", (work_id, kind, _written(now)))
                self._con.executemany(
                    "INSERT INTO steps VALUES (?, ?, ?, NULL, NULL)",
                    [(work_id, step, place) for place, step in enumerate(steps)],
                )
        if known is not None and (known[0] != kind or self._names(work_id) != list(steps)):
            raise HomeError(
                "the work was begun with other steps",
                where=f"work {work_id}",
                remedy="Run it with the version of Assent that began it, or give the new work an id of its own",
            )

    def pending(self, work_id: str) -> list[str]:
        """The steps still to do, in their order. Raises HomeError for a work that was never begun."""
        self._names(work_id)
        rows = self._con.execute(
            "SELECT step FROM steps WHERE work_id = ? AND done_at IS NULL ORDER BY place", (work_id,)
        )
        return [str(step) for (step,) in rows]

    def done(self, work_id: str, step: str, counts: Mapping[str, int], now: datetime) -> None:
        """Notes that `step` is done; its effects must be durable before. Noting it again keeps the first note."""
        if step not in self._names(work_id):
            raise HomeError("the work has no such step", where=f"work {work_id}: {step}")
        for name in counts:
            _require_plain(name)
        numbers = json.dumps({name: int(count) for name, count in counts.items()}, sort_keys=True)
        with transaction(self._con):
            self._con.execute(
                "UPDATE steps SET done_at = ?, counts = ? WHERE work_id = ? AND step = ? AND done_at IS NULL",
                (_written(now), numbers, work_id, step),
            )

    def is_done(self, work_id: str) -> bool:
        """Whether it was begun and every step of it is done."""
        total, done = self._con.execute(
            "SELECT count(*), count(done_at) FROM steps WHERE work_id = ?", (work_id,)
        ).fetchone()
        return bool(total > 0 and total == done)

    def is_begun(self, work_id: str) -> bool:
        return self._con.execute("SELECT 1 FROM works WHERE work_id = ?", (work_id,)).fetchone() is not None

    def counts(self, work_id: str) -> dict[str, dict[str, int]]:
        """What each step that is done has counted."""
        rows = self._con.execute(
            "SELECT step, counts FROM steps WHERE work_id = ? AND done_at IS NOT NULL ORDER BY place", (work_id,)
        )
        return {str(step): json.loads(counts) for step, counts in rows}

    def open_works(self, kind: str) -> list[Work]:
        """The works of `kind` that are not done, the oldest first."""
        return [work for work in self.works(kind) if work.steps_done < work.steps]

    def works(self, kind: str) -> list[Work]:
        """Every work of `kind`, the oldest first."""
        rows = self._con.execute(
            "SELECT work_id, kind, begun_at, count(step), count(done_at) FROM works JOIN steps USING (work_id) "
            "WHERE kind = ? GROUP BY work_id ORDER BY begun_at, work_id",
            (kind,),
        )
        return [Work(name, of, datetime.fromisoformat(at), total, done) for name, of, at, total, done in rows]

    def forget(self, work_id: str) -> None:
        """Removes one work and its steps: when its evidence is written, or when it is given up."""
        with transaction(self._con):
            self._con.execute("DELETE FROM steps WHERE work_id = ?", (work_id,))
            self._con.execute("DELETE FROM works WHERE work_id = ?", (work_id,))

    def _names(self, work_id: str) -> list[str]:
        rows = self._con.execute("SELECT step FROM steps WHERE work_id = ? ORDER BY place", (work_id,)).fetchall()
        if not rows:
            raise HomeError("no such work was begun", where=f"work {work_id}", remedy="Begin it first")
        return [str(step) for (step,) in rows]

    def close(self) -> None:
        self._con.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _require_plain(name: str) -> None:
    """The name is not quoted in the error: it may be what must not be told."""
    if NAME.fullmatch(name) is None or TOKEN.search(name) is not None:
        raise HomeError("a work or step needs a plain name, and never a token", where="work.sqlite")


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
