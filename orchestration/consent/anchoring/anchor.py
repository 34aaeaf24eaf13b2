"""The anchor: a folder outside the home that says which states the ledger has reached, and what it must never lose.

A ledger or a registry that is older than its anchor, cut, or rewritten is refused (faults D2, D3, D4, H11). Not here:
checking every line of it (`verify.py`), and what a restore appends (`restrictions.py`)."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from orchestration.atomic import fsync_folder, write_bytes
from orchestration.consent.anchoring.journal import START, Journal
from orchestration.consent.anchoring.restrictions import Entry, Restriction
from orchestration.consent.anchoring.signed_heads import (
    REMEDY,
    AnchorError,
    Checkpoint,
    Head,
    Mark,
    Position,
    SignedHeads,
)
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.settings import IN_HOME, LedgerAt

WAIT_SECONDS = 30.0  # for another writer
PAUSE_SECONDS = 0.002  # an append of one record takes 3 ms
Holds = Callable[[Head], bool]  # whether a head is on record in the ledger


class Registry(Protocol):
    """What the anchor asks of the registry of subjects."""

    def mark(self) -> tuple[int, str]: ...

    def holds(self, mark: tuple[int, str], /) -> bool: ...


class Anchor:
    """The anchor of one home, in a subfolder of its own: several homes may share the folder. Opening writes nothing."""

    def __init__(self, home: Home, keys: Keys, at: LedgerAt = IN_HOME) -> None:
        self.home = home
        home_id = home.info.home_id or keys.derive("home id").hex()[:32]  # a home made before it had an id
        self.folder = anchor_folder(home, at) / home_id
        self.heads = SignedHeads(self.folder / "heads.jsonl", keys, home_id)
        self.journal = Journal(self.folder / "journal.log", keys, home_id)

    def check(self, head: Head, holds: Holds, registry: Registry) -> Checkpoint | None:
        """The last checkpoint; the ledger, at `head`, and the registry may be ahead of it. None before the first
        record. Raises AnchorError where one of them does not reach it. Reads two lines, whatever the length."""
        must_be_there = self._must_be_there(holds_records=head[0] > 0)  # asked first: another process may anchor it now
        last = self.heads.last()
        if last is None:
            if must_be_there:
                raise self._missing()
            return None
        if not holds(last.head):
            raise self._older(f"the ledger does not hold record {last.seq} as its anchor has signed it")
        for entry, _ in self.journal.entries(last.journal):
            if not (holds(entry.head) or holds(entry.after)):
                raise self._older(f"the ledger does not reach record {entry.after[0]}, which its anchor names")
        if not registry.holds(last.subjects):
            raise self._older("the registry of subjects is older than the anchor, and has forgotten who refused since")
        return last

    @contextmanager
    def writing(self, registry: Registry, now: datetime) -> Iterator[Pen]:
        """Holds the anchor's lock, among threads and processes, around one transaction of the ledger."""
        must_be_there = self._must_be_there()
        if must_be_there and not self.folder.is_dir():
            raise self._missing()
        with writable(self.folder):
            _make_private(self.folder)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with writable(self.folder):
                self._lock(descriptor)
            yield Pen(self, registry, now)
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        """Waits for other writers, as long as the ledger's own database does."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                pass
            if time.monotonic() >= deadline:
                remedy = "Wait until it ends, then run again"
                raise AnchorError("another process is writing to the ledger", where=str(self.folder), remedy=remedy)
            time.sleep(PAUSE_SECONDS)

    def entries(self) -> Iterator[Entry]:
        """The journal from its beginning, at least as far as the last checkpoint knows it."""
        last, reached = self.heads.last(), START
        known = START if last is None else last.journal
        for entry, reached in self.journal.entries():
            if reached.entries == known.entries and reached != known:
                break
            yield entry
        if reached.entries < known.entries or (reached.entries == known.entries and reached != known):
            raise AnchorError("the journal is not the one that was signed", where=str(self.folder), remedy=REMEDY)

    def has_signed(self, head: Head) -> bool:
        """Whether the ledger was ever at `head`: a backup whose head never was is of another ledger, or was altered."""
        return head in [line.head for line in self.heads.all()]  # all are read: the last line vouches for the rest

    def refuse_if_anchored(self) -> None:
        """Raises AnchorError where there must be an anchor."""
        if self._must_be_there():
            raise self._missing()

    def _must_be_there(self, *, holds_records: bool = False) -> bool:
        """Only the ledger of a home from before anchors may hold records without one."""
        info = self.home.info
        return info.anchored or self.journal.is_begun or (holds_records and info.home_id is not None)

    def _missing(self) -> AnchorError:
        return AnchorError(
            "the anchor of this home is missing",
            where=str(self.folder),
            remedy="Mount its folder, or set ASSENT_ANCHOR to where it lies, for a moved home beside its old place. A "
            "home that never had one: the ledger at ASSENT_LEDGER_URL is of another home",
        )

    def _older(self, what: str) -> AnchorError:
        remedy = (
            "Check that ASSENT_LEDGER_URL is set as ever. Else it was cut, rewritten, or put back from an older copy: "
            "run `assent restore`; nothing was read"
        )
        return AnchorError(what, where=str(self.home.root), remedy=remedy)


class Pen:
    """Writes the anchor around one transaction of the ledger: `begin`, `journal`, COMMIT, `sign`, in this order."""

    def __init__(self, anchor: Anchor, registry: Registry, now: datetime) -> None:
        self._anchor, self._registry, self._now = anchor, registry, now
        self._last: Checkpoint | None = None
        self._after: Head = (0, "")
        self._at = START

    def begin(self, head: Head, holds: Holds) -> None:
        """Checks that the ledger, at `head`, reaches its anchor. Anchors a home that never was."""
        self._last = self._anchor.check(head, holds, self._registry)
        with writable(self._anchor.folder):
            if self._last is None:
                write_bytes(self._anchor.folder / "public.pem", self._anchor.heads.public_pem)
                self._anchor.journal.make()
                self.sign(head)
            if not self._anchor.home.info.anchored:
                self._anchor.home.update(anchored=True)
        self._after, self._at = head, self._end()

    def journal(self, head: Head, restrictions: Sequence[Restriction]) -> None:
        """Keeps what restricts of the transaction that leads to `head`, durably. Before its COMMIT."""
        if restrictions:
            with writable(self._anchor.folder):
                self._at = self._anchor.journal.append(self._at, Entry(self._after, head, tuple(restrictions)))

    def sign(self, head: Head) -> None:
        """Signs `head`, durably. After the COMMIT; a receipt may be given when this returns."""
        self._write("head", head, None)

    def sign_restored(self, departs_from: Head, head: Head) -> None:
        """Signs that the ledger was put back to `departs_from`, and has grown from there to `head`. Instead of `begin`,
        when everything `missing` is appended."""
        self._last, self._at = self._anchor.heads.last(), self._end()
        self._write("restore", head, departs_from)

    def _end(self) -> Position:
        known = START if self._last is None else self._last.journal
        positions = (at for _, at in self._anchor.journal.entries(known))
        return max(positions, default=known)

    def _write(self, kind: Literal["head", "restore"], head: Head, departs_from: Head | None) -> None:
        state = head, self._at, self._registry.mark()
        if kind == "head" and self._last and state == (self._last.head, self._last.journal, self._last.subjects):
            return
        self._last = Checkpoint(
            kind=kind,
            seq=head[0],
            hash=head[1],
            recorded_at=self._now.isoformat(),
            journal=self._at,
            subjects=Mark(*state[2]),
            departs_from=departs_from,
        )
        with writable(self._anchor.folder):
            self._anchor.heads.append(self._last)


def anchor_folder(home: Home, at: LedgerAt = IN_HOME) -> Path:
    """The folder of anchors: as set, or beside the home. Refuses one inside the home, which is lost with it."""
    root = home.root.resolve()  # the same anchor by whichever path the home is named: through a link, or as `..`
    chosen = (at.anchor or root.with_name(f"{root.name}.anchor")).expanduser().absolute()
    if chosen.resolve().is_relative_to(root):
        raise AnchorError(
            "an anchor inside the home is lost, or put back, together with it",
            where=str(chosen),
            remedy="Set ASSENT_ANCHOR to a folder elsewhere, best one that another machine keeps",
        )
    return chosen


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Tells what the system says when the anchor cannot be written; then nothing may be committed, or acknowledged."""
    failed = ""
    try:
        yield
    except OSError as error:
        failed = error.strerror or "cannot write"
    if failed:
        remedy = "Check the folder and its disk, or set ASSENT_ANCHOR; nothing is acknowledged without it"
        raise AnchorError(f"the anchor cannot be written ({failed})", where=str(folder), remedy=remedy)


def _make_private(folder: Path) -> None:
    for path in (folder.parent, folder):
        if not path.is_dir():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            fsync_folder(path.parent)
