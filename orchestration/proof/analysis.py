"""Everything that the SQL of a whole project tells, relation by relation, and what is asked of it again and again.

Not here: what must hold (`segments.py`, `aggregates.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from orchestration.ingestion.contracts import kept_fields, lake_column
from orchestration.policy.schema import FieldRule, Policy, Reclassification
from orchestration.proof.atoms import AUDIENCE_KEY, PERMIT, is_touchpoint
from orchestration.proof.domain import Atom, Column, Rows
from orchestration.proof.flow import evaluated
from orchestration.proof.project import Project, Relation
from orchestration.proof.query import Query
from orchestration.proof.sources import cut_rows, source_rows
from orchestration.retention.places import Place, inventory

STAGING, MARTS, GOVERNANCE = "staging", "marts", "governance"
INSIDE = (STAGING, "intermediate")  # layers that nobody outside reads
DECLARED, MART = "declared ", "mart "  # how the atoms of relations that stand by themselves begin
_KEYS = frozenset({"touchpoint_key", "subject_token", "body_hash", "batch"})  # of every touchpoint


@dataclass
class Analysis:
    """A project as far as its SQL tells."""

    project: Project
    policy: Policy
    told: dict[str, Rows] = field(default_factory=dict)  # model → what its own SQL tells
    queries: dict[str, Query] = field(default_factory=dict)
    tables: dict[str, Rows] = field(default_factory=dict)  # as others read them

    @classmethod
    def of(cls, project: Project, policy: Policy, like: Analysis | None = None) -> Analysis:
        """Reads every model once, each after those that it reads. What is as in another analysis of the same policy,
        with all that it reads, is taken from there."""
        found = cls(project, policy)
        known = like if like is not None and like.policy is policy and like.keys == found.keys else None
        for relation in project:
            if known is not None and found._is_as_in(known, relation):
                found._take(known, relation.name)
            elif relation.kind == "source":
                found.tables[relation.name] = source_rows(relation.name, relation.columns)
            else:
                query, rows = evaluated(relation, found.tables, found.keys)
                found.told[relation.name], found.queries[relation.name] = rows, query
                found.tables[relation.name] = found._as_read(relation, rows)
        return found

    def _is_as_in(self, other: Analysis, relation: Relation) -> bool:
        if other.project.by_name.get(relation.name) != relation:
            return False
        query = other.queries.get(relation.name)
        reads = {*relation.reads, *(read.relation for read in query.reads)} if query is not None else ()
        return all(self.tables.get(read) is other.tables.get(read) for read in reads)

    def _take(self, other: Analysis, name: str) -> None:
        self.tables[name] = other.tables[name]
        if name in other.told:
            self.told[name], self.queries[name] = other.told[name], other.queries[name]

    @cached_property
    def reviewed(self) -> dict[str, Reclassification]:
        """Relation → what was reviewed of it."""
        given = {one.relation: one for one in self.policy.reclassifications.reclassifications}
        return {r.name: given[r.table] for r in self.project.models if r.table in given}

    @cached_property
    def keys(self) -> dict[str, str]:
        """Atom of a relation that stands by itself → the column that says whose its rows are."""
        denials = {DECLARED + name: one.key for name, one in self.reviewed.items() if one.key is not None}
        return {**denials, **{MART + r.name: AUDIENCE_KEY for r in self.project.models if r.layer == MARTS}}

    @cached_property
    def fields(self) -> dict[Column, FieldRule]:
        """Column of the lake → the field that it holds."""
        return {
            Column(f"lake.{source.name}", lake_column(one, rule)[0]): rule
            for source in self.policy.sources.sources
            for one, rule in kept_fields(self.policy, source)
        }

    @cached_property
    def places(self) -> list[Place]:
        """Where the warehouse lies, with its tables and columns, by the inventory of places."""
        return [place for place in inventory(self.policy) if place.of_policy == "warehouse"]

    @cached_property
    def pseudonyms(self) -> frozenset[Column]:
        """The columns of the warehouse by which the inventory of places says that a person is known."""
        marked = (place.pseudonyms for place in self.places)
        return frozenset(Column(table, column) for found in marked for table, column in found)

    def identifies(self, column: Column) -> bool:
        """Whether a column tells one person, or one touchpoint, from another."""
        if is_touchpoint(column.relation):
            rule = self.fields.get(column)
            return column.name in _KEYS if rule is None else rule.verb == "token"
        return column in self.pseudonyms

    def rows(self, name: str) -> Rows:
        """What a relation's own SQL tells; of a source, that it is itself."""
        if name in self.told:
            return self.told[name]
        return source_rows(name, self.project[name].columns)

    def stands_alone(self, name: str) -> bool:
        return self.project[name].layer == MARTS or (name in self.reviewed and self.reviewed[name].key is not None)

    def above(self, name: str) -> Iterator[str]:
        """Every relation from which this one is made, itself first."""
        seen, waiting = {name}, [name]
        while waiting:
            one = waiting.pop()
            yield one
            for read in self.project[one].reads:
                if read not in seen and read in self.project:
                    seen.add(read)
                    waiting.append(read)

    def direct(self, column: Column) -> frozenset[Column]:
        """The columns of sources, or of relations that stand by themselves, of which a column has the value."""
        return self._origins(column, {})

    def values(self, name: str, column: str) -> frozenset[Column]:
        """The columns that an exposed column tells, by value or by what chose the value."""
        value = self.told[name].columns[column]
        told = frozenset(c for c, _ in value.direct) | frozenset(c for c, _ in value.indirect)
        return self._behind_gate(told)

    def choosing(self, name: str) -> frozenset[Column]:
        """The columns that decide which rows an exposed relation has, as far as its SQL and what it reads behind the
        gate says."""
        found: set[Column] = set()
        waiting, seen = [name], {name}
        while waiting:
            one = waiting.pop()
            found |= self._behind_gate(frozenset(c for c, _ in self.told[one].influences))
            for read in self.project[one].reads:
                if read not in seen and read in self.told and not self.stands_alone(read) and self.is_behind_gate(read):
                    seen.add(read)
                    waiting.append(read)
        return frozenset(found)

    def is_behind_gate(self, name: str) -> bool:
        """Whether all touchpoints that a model reads have passed the gate before."""
        atoms = [a for read in self.project[name].reads if not self.stands_alone(read) for a in self.rows(read).atoms]
        touched = [atom for atom in atoms if is_touchpoint(atom.source)]
        return bool(touched) and all(PERMIT in atom.guards for atom in touched)

    def atoms(self, name: str) -> frozenset[Atom]:
        """Every dependence of an exposed relation: of its rows, and of the values in them."""
        rows = self.told[name]
        return rows.atoms.union(*(value.atoms for value in rows.columns.values()))

    def _as_read(self, relation: Relation, rows: Rows) -> Rows:
        if relation.layer == MARTS:
            return cut_rows(MART + relation.name, rows.columns, is_anchored=True)
        if self.stands_alone(relation.name):
            return cut_rows(DECLARED + relation.name, rows.columns, is_anchored=False)
        return rows

    def _behind_gate(self, columns: frozenset[Column]) -> frozenset[Column]:
        found: set[Column] = set()
        waiting, seen = list(columns), set(columns)
        while waiting:
            one = waiting.pop()
            if one.relation not in self.told or self.stands_alone(one.relation):
                found.add(one)
                continue
            value = self.told[one.relation].columns.get(one.name)
            edges = set() if value is None else {c for c, _ in value.direct}
            if value is not None and self.is_behind_gate(one.relation):
                edges |= {c for c, _ in value.indirect}
            waiting += edges - seen
            seen |= edges
        return frozenset(found)

    def _origins(self, column: Column, known: dict[Column, frozenset[Column]]) -> frozenset[Column]:
        if column not in known:
            known[column] = frozenset()
            if column.relation not in self.told or self.stands_alone(column.relation):
                known[column] = frozenset({column})
            else:
                value = self.told[column.relation].columns.get(column.name)
                sources = () if value is None else [self._origins(c, known) for c, _ in value.direct]
                known[column] = frozenset().union(*sources)
        return known[column]


def atoms_by_source(atoms: frozenset[Atom]) -> Mapping[str, list[Atom]]:
    found: dict[str, list[Atom]] = {}
    for atom in sorted(atoms, key=lambda a: (a.source, str(a))):
        found.setdefault(atom.source, []).append(atom)
    return found
