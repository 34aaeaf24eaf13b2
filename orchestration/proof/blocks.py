"""What one query tells of its rows: set operations, CTEs, and of a SELECT what follows FROM.

Not here: FROM (`joins.py`), expressions (`expressions.py`), how branches are united (`unions.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sqlglot import exp

from orchestration.proof import expressions, windows  # noqa: F401 - each registers its rules
from orchestration.proof.atoms import counted
from orchestration.proof.domain import (
    Atom,
    Rows,
    Value,
    Why,
    seen,
    union,
)
from orchestration.proof.facts import kept, keys_in, visible
from orchestration.proof.functions import is_aggregate
from orchestration.proof.grouping import Groups
from orchestration.proof.joins import Joins, conjuncts, mentions
from orchestration.proof.knowledge import Knowledge
from orchestration.proof.names import Names
from orchestration.proof.predicates import is_true
from orchestration.proof.query import Query, named, refuse, word
from orchestration.proof.remedies import NAME_COLUMNS, remedy
from orchestration.proof.rules import evaluate
from orchestration.proof.unions import told_apart, united

_SELECT = {
    "with_", "expressions", "from_", "joins", "where", "group", "having", "qualify", "windows", "distinct", "order",
    "limit", "offset",
}  # fmt: skip


_SET_OPERATION = {"with_", "this", "expression", "distinct", "by_name", "order", "limit", "offset"}


_PLAIN_UNION = {"this", "expression", "distinct", "by_name"}


_GROUP = {"expressions", "all"}


def rows_of(node: exp.Expr, query: Query, ctes: Mapping[str, Rows], parent: Names | None = None) -> Rows:
    """What a SELECT, a set operation or a parenthesised one tells."""
    if isinstance(node, exp.Subquery):
        refuse(node, {"this", "alias", "with_"}, query)
        return rows_of(node.this, query, _with(node, query, ctes, parent), parent)
    if isinstance(node, exp.Select):
        return Block(query, _with(node, query, ctes, parent), parent).rows(node)
    if isinstance(node, exp.SetOperation):
        return _set_operation(node, query, _with(node, query, ctes, parent), parent)
    if isinstance(node, exp.Table):
        return rows_of(exp.select("*").from_(node), query, ctes, parent)
    query.missing(f"`{word(node)}`", remedy(word(node), "Write one SELECT"))
    return Rows({})


def _set_operation(node: exp.SetOperation, query: Query, ctes: Mapping[str, Rows], parent: Names | None) -> Rows:
    refuse(node, _SET_OPERATION, query)
    if node.args.get("limit") is not None or node.args.get("offset") is not None:
        query.missing("LIMIT on a union", "Put the union into a CTE and limit that")
    by_name = bool(node.args.get("by_name"))
    parts = _branches(node, by_name=by_name) if isinstance(node, exp.Union) else [node.this, node.expression]
    branches = [rows_of(part, query, ctes, parent) for part in parts]
    if not by_name and len({len(branch.columns) for branch in branches if branch.columns}) > 1:
        query.missing("a union of unequal columns", NAME_COLUMNS)
    if isinstance(node, exp.Union):
        return united(branches, by_name=by_name, counter=query.counter)
    return told_apart(*branches)


def _branches(node: exp.Expr, *, by_name: bool) -> list[exp.Expr]:
    """The branches of a chain of unions of one kind, to be read at once: else each would read all those before it."""
    found: list[exp.Expr] = []
    while isinstance(node, exp.Union) and bool(node.args.get("by_name")) == by_name:
        if found and any(value for name, value in node.args.items() if name not in _PLAIN_UNION):
            break
        found.append(node.expression)
        node = node.this
    return [node, *reversed(found)]


def _with(node: exp.Expr, query: Query, ctes: Mapping[str, Rows], parent: Names | None) -> Mapping[str, Rows]:
    found = node.args.get("with_")
    if found is None:
        return ctes
    if found.args.get("recursive"):
        query.missing("WITH RECURSIVE", "Write the steps as models of their own, or resolve them before dbt")
        query.lost |= {cte.alias.lower() for cte in found.expressions}
        return {**ctes, **{cte.alias.lower(): Rows({}) for cte in found.expressions}}
    known = dict(ctes)
    for cte in found.expressions:
        rows = rows_of(cte.this, query, known, parent)
        known[cte.alias.lower()] = named(rows, cte.args["alias"], query)
    return known


@dataclass
class Block(Joins):
    """One SELECT while it is read."""

    def rows(self, node: exp.Select) -> Rows:
        refuse(node, _SELECT, self.query)
        self._from(node)
        self.windows = {w.this.name.lower(): w for w in node.args.get("windows") or () if w.this is not None}
        self.aliases = {p.alias.lower(): p.this for p in node.expressions if isinstance(p, exp.Alias)}
        if (where := node.args.get("where")) is not None:
            self._filter(where.this, "filter")
        groups = self._group(node)
        columns = self._projections(node, groups)
        self._after(node, columns, groups)
        return self._settled(columns, groups)

    def _filter(self, node: exp.Expr, why: Why) -> None:
        self._note_predicates(node)
        self._holds(is_true(evaluate(node, self)), why)

    def _note_predicates(self, node: exp.Expr) -> None:
        for place, read in enumerate(self.query.reads):
            if read.alias in self.tables:
                asked = tuple(p for p in conjuncts(node) if mentions(p, read.alias))
                self.query.reads[place] = replace(read, conditions=(*read.conditions, *asked))

    def _group(self, node: exp.Select) -> Groups | None:
        group = node.args.get("group")
        counted = [
            n for part in (*node.expressions, node.args.get("having")) if part is not None for n in _aggregates(part)
        ]
        if group is None and not counted:
            return None
        if group is not None:
            refuse(group, _GROUP, self.query)
        keys = self._keys(node, group)
        values = [evaluate(key, self) for key in keys]
        self.influences |= seen(values, "group")
        self.atoms |= union(value.atoms for value in values)
        return Groups.of(self.knowledge(), values, self.query.counter(), self.atoms)

    def _keys(self, node: exp.Select, group: exp.Group | None) -> list[exp.Expr]:
        if group is None:
            return []
        if group.args.get("all"):
            return [
                p.unalias() for p in node.expressions if not _aggregates(p) and not isinstance(p.unalias(), exp.Literal)
            ]
        places = {str(place): p.unalias() for place, p in enumerate(node.expressions, 1)}
        return [
            places.get(k.name, k) if isinstance(k, exp.Literal) and not k.is_string else k for k in group.expressions
        ]

    def _projections(self, node: exp.Select, groups: Groups | None) -> dict[str, Value]:
        columns: dict[str, Value] = {}
        for place, projection in enumerate(node.expressions):
            for name, value in self._projected(projection, place):
                one = value if groups is None else groups.value(value)
                _show(columns, name, one)
        return columns

    def _projected(self, node: exp.Expr, place: int) -> Iterable[tuple[str, Value]]:
        star = node.this if isinstance(node, exp.Column) and isinstance(node.this, exp.Star) else node
        if isinstance(star, exp.Star):
            yield from self._star(star, node.table.lower() if isinstance(node, exp.Column) else "")
            return
        value = evaluate(node, self)
        if any(isinstance(part, exp.Explode | exp.Unnest) for part in node.walk()):
            self.atoms |= value.atoms
        named = isinstance(node, exp.Alias | exp.Column | exp.Dot)
        yield (node.alias_or_name.lower() if named else f"column {place}"), value

    def _star(self, star: exp.Star, table: str) -> Iterable[tuple[str, Value]]:
        refuse(star, {"except_", "replace", "rename"}, self.query)
        left_out = {column.name.lower() for column in star.args.get("except_") or ()}
        replaced = {e.alias.lower(): e.this for e in star.args.get("replace") or ()}
        renamed = {e.this.name.lower(): e.alias.lower() for e in star.args.get("rename") or ()}
        chosen = {table: self.tables.get(table, {})} if table else self.tables
        if table and table not in self.tables and table not in self.lost:
            self.query.missing(f"`{table}.*` of no table here", NAME_COLUMNS)
        given: set[str] = set()
        for alias, columns in chosen.items():
            if not columns and alias not in self.lost:
                self.query.missing(f"`*` of `{alias}`, whose columns are not known", NAME_COLUMNS)
            for name, value in columns.items():
                if name in left_out or (name in self.merged and name in given and not table):
                    continue
                given.add(name)
                kept = self.merged[name] if name in self.merged and not table else value
                yield renamed.get(name, name), evaluate(replaced[name], self) if name in replaced else kept

    def _after(self, node: exp.Select, columns: dict[str, Value], groups: Groups | None) -> None:
        having, qualify = node.args.get("having"), node.args.get("qualify")
        self._having(having, "filter", groups)
        self._having(qualify, "window", groups)
        self._cut(node, columns, groups)

    def _having(self, clause: exp.Expr | None, why: Why, groups: Groups | None) -> None:
        if clause is None:
            return
        condition = is_true(evaluate(clause.this, self))
        if groups is None:
            self._holds(condition, why)
        else:
            groups.hold(groups.value(condition))
            self.influences |= seen([condition], why)

    def _cut(self, node: exp.Select, columns: dict[str, Value], groups: Groups | None) -> None:
        """LIMIT and DISTINCT ON choose rows by all the others; a mere DISTINCT or ORDER BY tells nothing."""
        order = node.args.get("order")
        keys = () if order is None else order.expressions
        values = [value for key in keys for value in self._ordering(key.this, columns)]
        distinct = node.args.get("distinct")
        on = None if distinct is None else distinct.args.get("on")
        self.query.require_plain(node.args.get("limit"), "LIMIT")
        self.query.require_plain(node.args.get("offset"), "OFFSET")
        if on is not None:
            values.append(evaluate(on, self))
        if node.args.get("limit") is not None or node.args.get("offset") is not None or on is not None:
            told = self.others() | union(value.atoms for value in values)
            cut = frozenset(absent(atom) for atom in counted(told))
            self.atoms |= cut
            if groups is not None:
                groups.atoms |= cut
        else:  # who reads these rows may cut them in this order
            here = {lineage for part in self.parts for lineage in part.lineages}
            loose = {atom for value in values for atom in value.atoms if atom.lineage not in here}
            self.atoms |= frozenset(absent(atom) for atom in counted(loose))
            if groups is not None:
                groups.atoms |= frozenset(absent(atom) for atom in counted(loose - groups.atoms))
        self.influences |= seen(values, "sort")

    def _ordering(self, key: exp.Expr, columns: dict[str, Value]) -> list[Value]:
        """What a key of ORDER BY tells: a column of the result by name or place, all of them, or an expression."""
        if isinstance(key, exp.Literal) or (isinstance(key, exp.Column | exp.Var) and key.name.lower() == "all"):
            return list(columns.values())
        if isinstance(key, exp.Column) and not key.table and key.name.lower() in columns:
            return [columns[key.name.lower()]]
        return [evaluate(key, self)]

    def _settled(self, columns: Mapping[str, Value], groups: Groups | None) -> Rows:
        """The rows as whoever reads them knows them: each atom with the guards that it has passed."""
        if groups is not None:
            return groups.rows(columns, self.influences)
        knowledge = self.knowledge()
        settled = {name: _settle(value, knowledge) for name, value in columns.items()}
        lineages = [lineage for part in self.parts for lineage in part.lineages]
        rows = Rows(
            columns=settled,
            atoms=knowledge.atoms(self.atoms),
            pending=self.pending,
            lineages=tuple(lineages),
            influences=self.influences,
            anchors=self.anchors,
            is_grouped=all(part.is_grouped for part in self.parts),
            keys=union(part.keys for part in self.parts),
        )
        if self.parent is not None:  # what holds inside an EXISTS holds of the row that has one
            return replace(rows, facts=self.facts)
        symbols = visible(rows) | keys_in(knowledge.maybe, self.query.keys.values())
        pending = frozenset((when, fact) for when, fact in self.pending if kept(frozenset({fact}), symbols))
        return replace(rows, facts=kept(self.facts, symbols), pending=pending)


def _show(columns: dict[str, Value], name: str, value: Value) -> None:
    """A second column of one name is renamed by DuckDB; the name then may mean either."""
    if name not in columns:
        columns[name] = value
        return
    first = columns[name]
    columns[name] = Value(
        atoms=first.atoms | value.atoms,
        direct=first.direct | value.direct,
        indirect=first.indirect | value.indirect,
    )
    place = next(n for n in range(1, len(columns) + 1) if f"{name}_{n}" not in columns)
    columns[f"{name}_{place}"] = value


def _settle(value: Value, knowledge: Knowledge) -> Value:
    mask = None
    if value.mask is not None:
        mask = knowledge.mask(frozenset(knowledge.evidence(factor) for factor in value.mask))
    return value._replace(atoms=knowledge.atoms(value.atoms), mask=mask)


def absent(atom: Atom) -> Atom:
    return atom._replace(lineage=None, is_own=False)


def _aggregates(node: exp.Expr) -> list[exp.Expr]:
    """The aggregates of this very SELECT: not those of its subqueries, nor those that are windows."""
    found: list[exp.Expr] = []
    for part in node.walk(prune=lambda n: isinstance(n, exp.Query) or (isinstance(n, exp.Window) and not _nested(n))):
        if isinstance(part, exp.Window | exp.Query):
            continue
        if is_aggregate(part) and not _is_windowed(part):
            found.append(part)
    return found


def _nested(node: exp.Window) -> bool:
    return any(is_aggregate(part) for part in node.this.walk() if part is not node.this and part is not node.this.this)


def _is_windowed(node: exp.Expr) -> bool:
    parent = node.parent
    while isinstance(parent, exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
        parent = parent.parent
    return isinstance(parent, exp.Window)
