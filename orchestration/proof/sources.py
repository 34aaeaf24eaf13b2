"""What the proof takes for given of the tables that are not proved: dbt's sources, and relations proved by themselves.

Personal is every source but the policy's own tables and the record of the build. Not here: what is made of them
(`blocks.py`), what was reviewed (the policy's reclassifications)."""

from __future__ import annotations

from collections.abc import Iterable

from orchestration.proof.atoms import INNER, SUBJECT, TIME, is_touchpoint
from orchestration.proof.domain import UNSIGNED, Atom, Column, Factor, Rows, Symbol, Value

PUBLIC = ("policy.", "meta.")
SCOPES, SCOPE_MASK = "policy.scopes", "scope_mask"
_ROW = 1  # the lineage of a source's row


def is_personal(source: str) -> bool:
    return not source.startswith(PUBLIC)


def source_rows(name: str, columns: Iterable[str]) -> Rows:
    """A source: each column is itself, and tells of its own row only."""
    names = tuple(columns)
    atoms = frozenset({Atom(name, _ROW, is_own=is_touchpoint(name))}) if is_personal(name) else frozenset[Atom]()
    values = {
        column: Value(
            term=Symbol(_ROW, column),
            roles=frozenset({Column(name, column)}),
            strict=frozenset({_ROW}),
            atoms=atoms,
            mask=frozenset({_scope()}) if (name, column) == (SCOPES, SCOPE_MASK) else None,
        )
        for column in names
    }
    anchored = is_touchpoint(name) and {SUBJECT, TIME} <= set(names)
    return Rows(
        values, atoms, lineages=(_ROW,), anchors=frozenset({_ROW}) if anchored else frozenset(), is_grouped=not atoms
    )


def cut_rows(label: str, columns: Iterable[str], *, is_anchored: bool) -> Rows:
    """A relation that is proved, or was reviewed, by itself: what it reads is not looked at again."""
    atoms = frozenset({Atom(label, _ROW, is_own=True, guards=frozenset({INNER}))})
    values = {name: Value(term=Symbol(_ROW, name), strict=frozenset({_ROW}), atoms=atoms) for name in columns}
    return Rows(values, atoms, lineages=(_ROW,), anchors=frozenset({_ROW}) if is_anchored else frozenset())


def _scope() -> Factor:
    purpose, controller, category = (Symbol(_ROW, name) for name in ("purpose", "controller", "category"))
    return Factor("scope", _ROW, frozenset({UNSIGNED}), purpose=purpose, controller=controller, category=category)
