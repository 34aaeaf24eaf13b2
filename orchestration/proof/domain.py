"""The words in which the proof speaks of SQL: what a value may depend on, and what holds of every row.

A *lineage* is one row of one table in FROM: two reads of a table are two lineages. An *atom* is a dependence on the
rows of a table, with the guards that they passed. Not here: how they are found (`blocks.py`, `knowledge.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

How = Literal["copy", "compute", "aggregate"]
Why = Literal["filter", "join", "group", "window", "sort", "conditional", "exists"]
T = TypeVar("T")
_STRENGTH: dict[str, int] = {"copy": 0, "compute": 1, "aggregate": 2}


# What is known of a scope's mask in a row: a consent admits it, it is young enough to keep, it has no sign.
CONSENT: Literal["consent"] = "consent"
RETENTION: Literal["retention"] = "retention"
UNSIGNED = "unsigned"


class Column(NamedTuple):
    """A column of a table or view, `schema.table` and name."""

    relation: str
    name: str


class Symbol(NamedTuple):
    """The value that one lineage has under a name."""

    lineage: int
    name: str


class Const(NamedTuple):
    """A literal: `kind` tells 1 from '1'. An `instant` is the one for which the build is made."""

    kind: Literal["text", "number", "boolean", "instant"]
    value: str


Term = Symbol | Const


class Factor(NamedTuple):
    """An upper bound of a mask: of the scopes that a consent admits, that retention keeps, or that one row of policy's
    scopes is. `linked` are the lineages joined to it by equality; `bound` those of the touchpoints whose mask it is."""

    kind: Literal["scope", "consent", "retention", "sum"]
    lineage: int
    evidence: frozenset[str] = frozenset()
    purpose: Term | None = None
    controller: Term | None = None
    category: Term | None = None
    linked: frozenset[int] = frozenset()
    riders: frozenset[int] = frozenset()
    bound: frozenset[int] = frozenset()


class Guard(NamedTuple):
    """What the rows behind an atom passed: `permit`, a column held to a value, the branch of a union they are of."""

    what: str
    value: Term | None = None
    of: Term | None = None


class Atom(NamedTuple):
    """A dependence on rows of `source`. `own`: on this row alone; else on others too, and no later filter clears it."""

    source: str
    lineage: int | None
    is_own: bool
    guards: frozenset[Guard] = frozenset()
    is_counted: bool = False  # it went into an aggregate or a window


class Fact(NamedTuple):
    """Something true of every row: `equal`, `unequal`, `less` (or equal), `null`, `among`, `present`, `nonzero`."""

    what: str
    left: Term | int | frozenset[Factor]
    right: Term | frozenset[Const] | None = None


Direct = frozenset[tuple[Column, How]]
Indirect = frozenset[tuple[Column, Why]]
Facts = frozenset[Fact]
Mask = frozenset[Factor]
Pending = frozenset[tuple[frozenset[int], Fact]]


class Value(NamedTuple):
    """What is known of an expression in every row."""

    term: Term | None = None  # it is this very value
    is_null: bool = False
    roles: frozenset[Column] = frozenset()  # copied unchanged from these columns of sources
    mask: Mask | None = None  # None: no mask. Of a mask every factor is an upper bound
    is_zero: bool = False
    is_count: bool = False
    strict: frozenset[int] = frozenset()  # lineages without which it is null
    atoms: frozenset[Atom] = frozenset()
    truths: Facts = frozenset()  # what holds where it is true
    falses: Facts = frozenset()
    direct: Direct = frozenset()
    indirect: Indirect = frozenset()
    parts: tuple[tuple[str, Value], ...] = ()  # of a struct


@dataclass(frozen=True)
class Rows:
    """What is known of a table, a subquery or a CTE. `pending` facts hold where one of their lineages has a row."""

    columns: Mapping[str, Value]
    atoms: frozenset[Atom] = frozenset()  # on which it depends which rows there are
    facts: Facts = frozenset()
    pending: Pending = frozenset()
    lineages: tuple[int, ...] = ()  # the first is that of the rows themselves
    influences: Indirect = frozenset()
    anchors: frozenset[int] = frozenset()  # lineages of touchpoints, or of groups of them, that every row has
    is_grouped: bool = False  # its rows are groups, or policy's: none is a person's own
    keys: frozenset[frozenset[Column]] = frozenset()  # of which columns each key of the groups is made


@dataclass
class Counter:
    """Hands out lineages."""

    last: int = 0

    def __call__(self) -> int:
        self.last += 1
        return self.last


def combined(values: Iterable[Value], how: How = "compute") -> Value:
    """A value computed from others: it depends on whatever they do, and is null where any of them is."""
    each = tuple(values)
    return Value(
        strict=union(value.strict for value in each),
        atoms=union(value.atoms for value in each),
        direct=stronger(union(value.direct for value in each), how),
        indirect=union(value.indirect for value in each),
    )


def conditional(value: Value, *conditions: Value) -> Value:
    """`value`, where the conditions choose it: they are told by it too."""
    return value._replace(
        atoms=value.atoms | union(c.atoms for c in conditions),
        indirect=value.indirect | seen(conditions, "conditional"),
    )


def sure(lineages: Iterable[int], pending: Iterable[tuple[frozenset[int], Fact]]) -> frozenset[int]:
    """Those of a side's reads that have a row wherever the side has one: not what is optional within it."""
    return frozenset(lineages) - union(when for when, _ in pending)


def stronger(direct: Direct, how: How) -> Direct:
    return frozenset((column, max(had, how, key=_STRENGTH.__getitem__)) for column, had in direct)


def seen(values: Iterable[Value], why: Why) -> Indirect:
    """The columns behind values that decide which rows there are."""
    return union(frozenset((c, why) for c, _ in value.direct) | value.indirect for value in values)


def union(sets: Iterable[frozenset[T]]) -> frozenset[T]:
    return frozenset().union(*sets)
