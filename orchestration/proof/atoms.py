"""Atoms, the dependences of rows and values, and what becomes of them: counted, left out, in doubt; and the guards that
they pass. Not here: which guards they have passed (`knowledge.py`)."""

from __future__ import annotations

from collections.abc import Iterable

from orchestration.proof.domain import (
    Atom,
    Column,
    Const,
    Guard,
    Symbol,
    Value,
)

TOUCHPOINTS = "lake"  # the schema whose rows are gated one by one
SUBJECT, TIME = "subject_token", "occurred_at"
TOKEN = Column("identity.identifiers", "token")
HOLDER = Column("identity.identifiers", "controller")
CATEGORY, CONTROLLER = Column("policy.scopes", "category"), Column("policy.scopes", "controller")
RETENTION_DAYS = Column("policy.scopes", "retention_days")
SCOPE_BIT = Column("policy.scopes", "scope_bit")
AS_OF_COLUMN = Column("meta.builds", "as_of")
AS_OF = Const("instant", "as_of")
SINCE = "since"  # a guard of touchpoints: not older than so many days before T
AUDIENCE_KEY = "audience_key"
NOW = "now"  # a guard of consents: in force at T, for a scope
CONSENTS = "ledger.consent_events"
IDENTITY = "identity."
SENSITIVE = Const("text", "sensitive")
PERMIT, ORDINARY = Guard("permit"), Guard("ordinary")
KEYED, INNER, ABSENT = Guard("keyed"), Guard("inner"), Guard("absent")


def before(days: int) -> Const:
    """The instant so many days before T."""
    return Const("instant", f"{AS_OF.value} - {days} days")


def is_touchpoint(source: str) -> bool:
    return source.startswith(f"{TOUCHPOINTS}.")


def is_cut(source: str) -> bool:
    """A relation that is proved or reviewed by itself; what it reads is not looked at again."""
    return source.startswith(("declared ", "mart "))


def counted(atoms: Iterable[Atom]) -> frozenset[Atom]:
    """The atoms of what went into an aggregate or a window; it matters of reviewed relations only."""
    return frozenset(atom._replace(is_counted=True) if is_cut(atom.source) else atom for atom in atoms)


def of_others(atoms: Iterable[Atom], shared: Iterable[Value]) -> frozenset[Atom]:
    """The atoms of a window's other rows: what this row passes later, they need not pass. What they share with it, the
    values by which the window is parted, they do."""
    terms = {value.term for value in shared}
    return frozenset(
        atom._replace(
            lineage=None if is_touchpoint(atom.source) else atom.lineage,
            is_own=False,
            guards=frozenset(g for g in atom.guards if not isinstance(g.value, Symbol) or g.value in terms),
        )
        for atom in counted(atoms)
    )


def left_out(atom: Atom) -> Atom:
    """An atom of what a row must not have."""
    return atom._replace(lineage=None, is_own=False, guards=(atom.guards - {INNER}) | {ABSENT})


def unsure(atoms: Iterable[Atom], optional: frozenset[int] | None = None) -> frozenset[Atom]:
    """The atoms of what a row may lack: of these lineages, or of all."""
    return frozenset(
        atom._replace(guards=atom.guards - {INNER}) if optional is None or atom.lineage in optional else atom
        for atom in atoms
    )


def owners_of(atoms: Iterable[Atom]) -> frozenset[int]:
    return frozenset(
        atom.lineage for atom in atoms if atom.is_own and atom.lineage is not None and is_touchpoint(atom.source)
    )
