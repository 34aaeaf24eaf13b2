"""Consent records as JSON lines, many at a time: parts that are the same for all are written once.

Which records there are is `consent.py`'s business; the form is the one that `consent/importer.py` reads."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orchestration.demo.rows import Calendar, Ints, Objects, Rows, join, rows
from orchestration.demo.shapes import local
from orchestration.policy.schema import Notice, Policy


def subjects(kind: str, issuer: str, values: Objects) -> Objects:
    """The `subject` part for each identifier; None where there is none."""
    out = np.empty(len(values), dtype=object)
    out[:] = [
        None if value is None else f'"subject":{{"kind":"{kind}","issuer":"{issuer}","value":"{value}"}}'
        for value in values.tolist()
    ]
    return out


@dataclass(frozen=True)
class Notices:
    """The versions of each notice by publication, to name the one that was shown at an instant."""

    published: dict[str, Ints]
    parts: dict[str, list[str]]

    @classmethod
    def of(cls, policy: Policy) -> Notices:
        published, parts = {}, {}
        for notice in policy.notices.notices:
            versions = sorted(notice.versions, key=lambda version: version.published_at)
            published[notice.id] = np.array([int(v.published_at.timestamp() * 1000) for v in versions], dtype=np.int64)
            parts[notice.id] = [_notice(notice, v.version) for v in versions]
        return cls(published, parts)

    def shown(self, notice: str, at: Ints) -> list[str]:
        """The `notice` part at each instant: the latest published, the first where none was yet."""
        index = np.maximum(np.searchsorted(self.published[notice], at, side="right") - 1, 0)
        return [self.parts[notice][i] for i in index.tolist()]

    def first_published(self, notice: str) -> int:
        return int(self.published[notice][0])


def _notice(notice: Notice, version: str) -> str:
    return f'"notice":{{"id":"{notice.id}","version":"{version}","language":"zh-CN"}}'


@dataclass
class History:
    """Collects records; `rows` gives them with one column, `line`."""

    calendar: Calendar
    parts: list[Rows] = field(default_factory=list)
    count: int = 0

    def add(
        self, kind: str, who: Objects, at: Ints, received: Ints, each: list[str] | None = None, **same: Any
    ) -> None:
        """Adds one record of type `kind` per entry of `who`: `same` are shared members, `each` one part apiece."""
        shared = json.dumps({"type": kind, **same}, ensure_ascii=False, separators=(",", ":"))[1:-1]
        numbers = range(self.count + 1, self.count + 1 + len(at))
        extra = [f",{part}" for part in each] if each is not None else [""] * len(at)
        lines = [
            f'{{"event_id":"c-{n:08d}",{shared},{subject}{part},"effective_at":"{when}"}}'
            for n, subject, part, when in zip(
                numbers, who.tolist(), extra, local(at, self.calendar.offset), strict=True
            )
        ]
        self.count += len(at)
        column = np.empty(len(at), dtype=object)
        column[:] = lines
        self.parts.append(rows(at, np.maximum(received, self.calendar.start), line=column))

    def rows(self) -> Rows:
        return join(self.parts)
