"""The log of what people ask for: erasure, access, restriction, rectification; with clocks, states and evidence.

Who asked is sealed under a key of that request alone, which lies in the registry: destroying it is the end of the
tombstone, in every copy of this file. Not here: what is done about a request (`respond.py`, `erasure.py`)."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Self, get_args

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.identity.keys import NONCE_BYTES, SubjectRegistry
from orchestration.identity.private_sqlite import connect, transaction

Kind = Literal["erasure", "access", "restriction", "rectification"]
State = Literal[
    "received", "use_stopped", "logically_erased", "physically_erased", "backups_expired", "answered", "undone"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
ENDED = ("backups_expired", "answered", "undone")
ID_BYTES = 6  # random, so that an id says nothing of who asked or how many did
SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, received_at TEXT NOT NULL, due_at TEXT NOT NULL,
  feed TEXT NOT NULL,      -- by which it came; desk
  event_key TEXT UNIQUE,   -- of the record of the ledger, so that a feed's request is taken once
  undo_until TEXT,         -- of an erasure that is confirmed
  tombstone BLOB           -- sealed: who it is about; NULL when nothing is left to undo or to verify
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS states (
  id TEXT NOT NULL REFERENCES requests, place INTEGER NOT NULL, state TEXT NOT NULL, at TEXT NOT NULL,
  evidence TEXT NOT NULL,  -- counts and hashes as JSON: never a token or a value
  PRIMARY KEY (id, place)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Named:
    """One identifier of a person as the tombstone keeps it."""

    token: str
    kind: str
    issuer: str


@dataclass(frozen=True)
class Person:
    """Whom a request is about: the identifiers that are the person alone, and those that others share."""

    asked: Named
    identifiers: tuple[Named, ...]
    shared: tuple[Named, ...] = ()
    refs: tuple[str, ...] = ()  # in the ledger, since the physical erasure began

    @property
    def tokens(self) -> list[str]:
        return sorted({one.token for one in self.identifiers})


@dataclass(frozen=True)
class Reached:
    """A state of a request, since when, and what was counted or signed."""

    state: State
    at: datetime
    evidence: Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """One request. It names nobody."""

    id: str
    kind: Kind
    received_at: datetime
    due_at: datetime
    feed: str
    undo_until: datetime | None
    has_tombstone: bool
    states: tuple[Reached, ...]

    @property
    def state(self) -> State:
        return self.states[-1].state

    def reached(self, state: State) -> Reached | None:
        return next((one for one in reversed(self.states) if one.state == state), None)

    @property
    def is_open(self) -> bool:
        return self.state not in ENDED and not (self.kind == "restriction" and self.state == "use_stopped")

    def is_overdue(self, now: datetime) -> bool:
        """Whether the person still waits beyond the clock. Copies that expire later are no part of it."""
        return self.is_open and self.state != "physically_erased" and now > self.due_at

    def as_json(self, now: datetime) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "received_at": self.received_at.isoformat(),
            "due_at": self.due_at.isoformat(),
            "is_overdue": self.is_overdue(now),
            "undo_until": None if self.undo_until is None else self.undo_until.isoformat(),
            "feed": self.feed,
            "states": [{**asdict(one), "at": one.at.isoformat()} for one in self.states],
        }


class RequestLog:
    """`requests.sqlite` of one home; use it as a context manager, with the home's lock held to write."""

    def __init__(self, home: Home, registry: SubjectRegistry) -> None:
        self._con = connect(home.requests_db, SCHEMA)
        self._registry = registry

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._con.close()

    def receive(
        self, kind: Kind, person: Person, *, now: datetime, due_days: int, feed: str, event_key: str | None = None
    ) -> str:
        """Notes a new request and returns its id."""
        name = f"{kind}-{secrets.token_hex(ID_BYTES)}"
        due = now + timedelta(days=due_days)
        sealed = self._sealed(name, person)
        with transaction(self._con):
            self._con.execute(
                "INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, NULL, ?)",
                (name, kind, _written(now), _written(due), feed, event_key, sealed),
            )
            self._note(name, "received", now, {})
        return name

    def known_events(self) -> set[str]:
        """The records of the ledger that were taken."""
        return {str(key) for (key,) in self._con.execute("SELECT event_key FROM requests WHERE event_key IS NOT NULL")}

    def note(self, name: str, state: State, now: datetime, evidence: Mapping[str, Any] | None = None) -> None:
        """Notes that a request has reached `state`. Noting the last state again changes nothing."""
        with transaction(self._con):
            last = self._con.execute(
                "SELECT state FROM states WHERE id = ? ORDER BY place DESC LIMIT 1", (name,)
            ).fetchone()
            if last is None or last[0] != state:
                self._note(name, state, now, evidence or {})

    def _note(self, name: str, state: State, now: datetime, evidence: Mapping[str, Any]) -> None:
        self._con.execute(
            "INSERT INTO states SELECT ?, count(*), ?, ?, ? FROM states WHERE id = ?",
            (name, state, _written(now), json.dumps(evidence, sort_keys=True), name),
        )

    def confirm(self, name: str, person: Person, undo_until: datetime) -> None:
        """Fixes who is to be erased, as it was shown, and until when it can be undone."""
        sealed = self._sealed(name, person)
        with transaction(self._con):
            self._con.execute(
                "UPDATE requests SET undo_until = ?, tombstone = ? WHERE id = ?", (_written(undo_until), sealed, name)
            )

    def reseal(self, name: str, person: Person) -> None:
        """Puts another tombstone in the place of the first."""
        sealed = self._sealed(name, person)
        with transaction(self._con):
            self._con.execute("UPDATE requests SET tombstone = ? WHERE id = ?", (sealed, name))

    def end_undo(self, name: str, now: datetime) -> None:
        """Ends the time in which it can be undone, if it is not over."""
        with transaction(self._con):
            self._con.execute(
                "UPDATE requests SET undo_until = ? WHERE id = ? AND undo_until > ?",
                (_written(now), name, _written(now)),
            )

    def person(self, name: str) -> Person:
        """Who it is about. Raises AssentError where the tombstone is destroyed: then nobody can say."""
        row = self._con.execute("SELECT tombstone FROM requests WHERE id = ?", (name,)).fetchone()
        key = self._registry.existing_seal_key(name)
        if row is not None and row[0] is not None and key is not None:
            with contextlib.suppress(InvalidTag, ValueError):
                plain = AESGCM(key).decrypt(row[0][:NONCE_BYTES], row[0][NONCE_BYTES:], name.encode())
                said = json.loads(plain)
                asked, identifiers, shared = Named(*said["asked"]), _named(said["identifiers"]), _named(said["shared"])
                return Person(asked, identifiers, shared, tuple(said.get("refs", ())))
        raise AssentError("who it was about is destroyed", where=name, remedy="Nothing more can be done about it")

    def destroy_tombstone(self, name: str) -> None:
        """From here on nobody can say who this request was about: the key goes, then what it opened."""
        self._registry.destroy_seal_key(name)
        with transaction(self._con):
            self._con.execute("UPDATE requests SET tombstone = NULL WHERE id = ?", (name,))

    def get(self, name: str) -> Request:
        found = [one for one in self.all() if one.id == name]
        if not found:
            raise AssentError("no such request", where=name, remedy="`assent request list` names them")
        return found[0]

    def all(self) -> list[Request]:
        """Every request, the oldest first."""
        states: dict[str, list[Reached]] = {}
        for name, state, at, evidence in self._con.execute("SELECT id, state, at, evidence FROM states ORDER BY place"):
            states.setdefault(name, []).append(Reached(state, datetime.fromisoformat(at), json.loads(evidence)))
        rows = self._con.execute(
            "SELECT id, kind, received_at, due_at, feed, undo_until, tombstone IS NOT NULL FROM requests "
            "ORDER BY received_at, id"
        ).fetchall()
        return [
            Request(name, kind, datetime.fromisoformat(received), datetime.fromisoformat(due), feed,
                    undo and datetime.fromisoformat(undo), bool(sealed), tuple(states[name]))
            for name, kind, received, due, feed, undo, sealed in rows
        ]  # fmt: skip

    def _sealed(self, name: str, person: Person) -> bytes:
        plain = json.dumps(
            {
                "asked": _parts(person.asked),
                "identifiers": [_parts(one) for one in person.identifiers],
                "shared": [_parts(one) for one in person.shared],
                "refs": person.refs,
            }
        )
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self._registry.seal_key(name)).encrypt(nonce, plain.encode(), name.encode())


def _parts(one: Named) -> tuple[str, str, str]:
    return one.token, one.kind, one.issuer


def _named(said: Sequence[Sequence[str]]) -> tuple[Named, ...]:
    return tuple(Named(*parts) for parts in said)


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
