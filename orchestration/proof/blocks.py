"""What one query tells of its rows: FROM and joins, WHERE, GROUP BY, windows, CTEs and subqueries.

Not here: expressions (`expressions.py`), set operations (`unions.py`), what facts add up to (`facts.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from sqlglot import exp

from orchestration.proof.domain import (
    Atom,
    Column,
    Counter,
    Fact,
    Facts,
    Indirect,
    Rows,
    Symbol,
    Value,
    Why,
    combined,
    seen,
    union,
)
from orchestration.proof.expressions import Unresolved, evaluate, field_of, parts_of
from orchestration.proof.facts import CONSENTS, Knowledge, counted, kept, left_out, owners_of, visible
from orchestration.proof.functions import is_aggregate
from orchestration.proof.grouping import Groups
from orchestration.proof.predicates import is_true
from orchestration.proof.remedies import JOINS, NAME_COLUMNS, of_table, remedy
from orchestration.proof.rename import read_again
from orchestration.proof.unions import told_apart, united

_SELECT = {
    "with_", "expressions", "from_", "joins", "where", "group", "having", "qualify", "windows", "distinct", "order",
    "limit", "offset",
}  # fmt: skip
_JOIN = {"this", "side", "kind", "method", "on", "using"}
_TABLE = {"this", "db", "catalog", "alias"}
_SET_OPERATION = {"with_", "this", "expression", "distinct", "by_name", "order", "limit", "offset"}
_PLAIN_UNION = {"this", "expression", "distinct", "by_name"}
_GROUP = {"expressions", "all"}
_GENERATORS = (exp.GenerateSeries, exp.GenerateDateArray, exp.Explode, exp.Unnest)


@dataclass(frozen=True)
class Read:
    """One read of a table: how it is joined, and what its rows must meet there, as SQL."""

    relation: str
    alias: str
    join: str  # from, inner, left, right, full, cross, semi, anti
    conditions: tuple[exp.Expr, ...] = field(repr=False)

    @cached_property
    def predicates(self) -> tuple[str, ...]:
        return tuple(condition.sql("duckdb") for condition in self.conditions)


@dataclass
class Query:
    """What the evaluation of one model shares: the tables that there are, and what is found on the way.

    `allowed` are the relations that its refs and sources name; `keys` are of those proved or reviewed by themselves."""

    relation: str
    tables: Mapping[str, Rows]
    database: str = ""
    allowed: frozenset[str] = frozenset()
    keys: Mapping[str, str] = field(default_factory=dict)
    counter: Counter = field(default_factory=Counter)
    unresolved: list[Unresolved] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)  # CTEs of which nothing is known: said once, not of each column

    def missing(self, construct: str, remedy: str) -> None:
        found = Unresolved(construct, self.relation, remedy)
        if found not in self.unresolved:
            self.unresolved.append(found)


def rows_of(node: exp.Expr, query: Query, ctes: Mapping[str, Rows], parent: Block | None = None) -> Rows:
    """What a SELECT, a set operation or a parenthesised one tells."""
    if isinstance(node, exp.Subquery):
        _refuse(node, {"this", "alias", "with_"}, query)
        return rows_of(node.this, query, _with(node, query, ctes, parent), parent)
    if isinstance(node, exp.Select):
        return Block(query, _with(node, query, ctes, parent), parent).rows(node)
    if isinstance(node, exp.SetOperation):
        return _set_operation(node, query, _with(node, query, ctes, parent), parent)
    if isinstance(node, exp.Table):
        return rows_of(exp.select("*").from_(node), query, ctes, parent)
    query.missing(f"`{_word(node)}`", remedy(_word(node), "Write one SELECT"))
    return Rows({})


def _set_operation(node: exp.SetOperation, query: Query, ctes: Mapping[str, Rows], parent: Block | None) -> Rows:
    _refuse(node, _SET_OPERATION, query)
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


def _with(node: exp.Expr, query: Query, ctes: Mapping[str, Rows], parent: Block | None) -> Mapping[str, Rows]:
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
        known[cte.alias.lower()] = _named(rows, cte.args["alias"], query)
    return known


def _named(rows: Rows, alias: exp.Expr | None, query: Query) -> Rows:
    """Rows whose columns the alias names anew: `as t (a, b)`."""
    names = [] if alias is None else [column.name.lower() for column in alias.args.get("columns") or ()]
    if not names:
        return rows
    if len(names) > len(rows.columns):
        query.missing("an alias with more columns than its table", NAME_COLUMNS)
    columns = dict(zip(names, rows.columns.values(), strict=False))
    rest = list(rows.columns.items())[len(names) :]
    return replace(rows, columns={**columns, **dict(rest)})


def _refuse(node: exp.Expr, allowed: set[str], query: Query) -> None:
    """Whatever part of a clause has no rule is unresolved."""
    for name, value in node.args.items():
        if value and name not in allowed:
            part = value[0] if isinstance(value, list) else value
            word = _word(part) if isinstance(part, exp.Expr) else name.rstrip("_")
            otherwise = "Write it with joins, WHERE, GROUP BY and windows"
            query.missing(f"`{word.upper()}` in {node.key.upper()}", remedy(word, otherwise))


def _word(node: exp.Expr) -> str:
    return "unpivot" if isinstance(node, exp.Pivot) and node.args.get("unpivot") else node.key


@dataclass
class Block:
    """One SELECT while it is read: which tables it has so far, and what is known of its rows."""

    query: Query
    ctes: Mapping[str, Rows]
    parent: Block | None = None
    tables: dict[str, dict[str, Value]] = field(default_factory=dict)
    merged: dict[str, Value] = field(default_factory=dict)  # columns of USING, which have no table
    lost: set[str] = field(default_factory=set)  # tables of FROM of which nothing is known
    parts: list[Rows] = field(default_factory=list)
    atoms: frozenset[Atom] = frozenset()
    facts: Facts = frozenset()
    pending: frozenset[tuple[frozenset[int], Fact]] = frozenset()
    influences: Indirect = frozenset()
    anchors: frozenset[int] = frozenset()
    aliases: dict[str, exp.Expr] = field(default_factory=dict)
    resolving: set[str] = field(default_factory=set)
    windows: dict[str, exp.Window] = field(default_factory=dict)

    def rows(self, node: exp.Select) -> Rows:
        _refuse(node, _SELECT, self.query)
        self._from(node)
        self.windows = {w.this.name.lower(): w for w in node.args.get("windows") or () if w.this is not None}
        self.aliases = {p.alias.lower(): p.this for p in node.expressions if isinstance(p, exp.Alias)}
        if (where := node.args.get("where")) is not None:
            self._filter(where.this, "filter")
        groups = self._group(node)
        columns = self._projections(node, groups)
        self._after(node, columns, groups)
        return self._settled(columns, groups)

    # names

    def column(self, node: exp.Column) -> Value:
        names = [part.name.lower() for part in node.parts]
        block: Block | None = self
        while block is not None:
            found = block._find(names, node)
            if found is not None:
                return found
            if block.lost:
                return Value()  # it may be of a table that was found unresolved
            block = block.parent
        return self.unresolved(f"`{node.sql('duckdb')}`", _whole_row(self, names))

    def _find(self, names: list[str], node: exp.Column) -> Value | None:
        table = self.tables.get(names[0]) if len(names) > 1 else None
        if table is not None and names[1] in table:
            return _fields(table[names[1]], names[2:])
        if isinstance(node.this, exp.Star):
            return None
        found = [columns[names[0]] for columns in self.tables.values() if names[0] in columns]
        if names[0] in self.merged:
            found = [self.merged[names[0]]]
        if len(found) == 1:
            return _fields(found[0], names[1:])
        if found:
            return self.unresolved(f"`{names[0]}`, which two tables have", "Write it with the alias of its table")
        return self._alias(names)

    def _alias(self, names: list[str]) -> Value | None:
        """A column of this SELECT by its alias, as DuckDB lets one be used beside it."""
        name = names[0]
        if name not in self.aliases or name in self.resolving:
            return None
        self.resolving.add(name)
        try:
            return _fields(evaluate(self.aliases[name], self), names[1:])
        finally:
            self.resolving.discard(name)

    def subquery(self, query: exp.Expr) -> Rows:
        return rows_of(query, self.query, self.ctes, self)

    def unresolved(self, construct: str, remedy: str) -> Value:
        self.query.missing(construct, remedy)
        return Value()

    def guarded(self, atoms: frozenset[Atom], facts: Facts) -> frozenset[Atom]:
        """The atoms with the guards that they have where these facts hold too."""
        return replace(self.knowledge(), facts=self.facts | facts).atoms(atoms)

    def others(self) -> frozenset[Atom]:
        """What an aggregate or a window over these rows depends on."""
        return self.knowledge().atoms(self.atoms)

    def window(self, name: str) -> exp.Window | None:
        return self.windows.get(name)

    def evidence(self, value: Value) -> Value:
        if not value.mask:
            return value
        knowledge = self.knowledge()
        return replace(value, mask=frozenset(knowledge.evidence(factor) for factor in value.mask))

    def knowledge(self) -> Knowledge:
        values = [value for table in self.tables.values() for value in table.values()]
        values += self.parent.known_values() if self.parent is not None else []
        known = {value.term: value for value in values if isinstance(value.term, Symbol)}
        return Knowledge(
            facts=self.facts,
            pending=self.pending,
            known=known,
            consents=frozenset(atom for atom in self.atoms if atom.source == CONSENTS),
            reads=tuple(frozenset(part.lineages) for part in self.parts),
            owners=owners_of(self.atoms.union(*(value.atoms for value in values))),
            anchors=self.anchors | (self.parent.anchors if self.parent is not None else frozenset()),
            keys=self.query.keys,
        )

    def known_values(self) -> list[Value]:
        above = self.parent.known_values() if self.parent is not None else []
        return [*above, *(value for table in self.tables.values() for value in table.values())]

    # FROM

    def _from(self, node: exp.Select) -> None:
        first = node.args.get("from_")
        if first is None:
            return
        self._add(*self._read(first.this, "from", ()))
        for join in node.args.get("joins") or ():
            self._join(join)

    def _add(self, alias: str, rows: Rows) -> None:
        if alias in self.tables:
            self.query.missing(f"two tables called `{alias}`", "Give each its own alias")
        self.tables[alias] = dict(rows.columns)
        self.parts.append(rows)
        self.atoms |= rows.atoms
        self.facts |= rows.facts
        self.pending |= rows.pending
        self.influences |= rows.influences
        self.anchors |= rows.anchors

    def _join(self, join: exp.Join) -> None:
        _refuse(join, _JOIN, self.query)
        kind = _kind(join)
        if kind is None:
            word = str(join.args.get("method") or "").lower()
            self.query.missing(f"`{join.sql('duckdb').split(' ON ')[0][:40]}`", remedy(word, JOINS))
            self._lose(join.alias_or_name.lower())
            return
        alias, rows = self._read(join.this, kind, _conjuncts(join.args.get("on")))
        using = [column.name.lower() for column in join.args.get("using") or ()]
        if kind in ("semi", "anti"):
            self._semi(alias, rows, join, using, is_anti=kind == "anti")
            return
        before = self._state()
        self._add(alias, rows)
        condition = self._condition(join, alias, using)
        if kind in ("left", "full"):
            self._optional(rows, condition, before)
        if kind in ("right", "full"):
            self._preserve(rows, condition, before, is_full=kind == "full")
        if kind == "inner" or kind == "cross":
            self._holds(condition, "join")
        for name in using:
            self._merge(name, alias, is_left=kind in ("left", "inner"))

    def _state(self) -> Block:
        return replace(self, tables=dict(self.tables), parts=list(self.parts))

    def _condition(self, join: exp.Join, alias: str, using: list[str]) -> Value:
        on = join.args.get("on")
        conditions = [] if on is None else [on]
        for name in using:
            left = self._left_of(name, alias)
            if left is None or name not in self.tables[alias]:
                return self.unresolved(f"USING ({name})", "Write ON with both columns")
            conditions.append(exp.EQ(this=left, expression=exp.column(name, table=alias)))
        if not conditions:
            return Value()
        return is_true(evaluate(exp.and_(*conditions, copy=False), self))

    def _left_of(self, name: str, alias: str) -> exp.Expr | None:
        if name in self.merged:
            return exp.column(name)
        tables = [other for other, columns in self.tables.items() if other != alias and name in columns]
        return exp.column(name, table=tables[0]) if len(tables) == 1 else None

    def _merge(self, name: str, alias: str, *, is_left: bool) -> None:
        """The one column of USING: the left side's, and where that may lack a row, either's."""
        given = [self.merged.get(name), *(c[name] for other, c in self.tables.items() if other != alias and name in c)]
        left = next((value for value in given if value is not None), Value())
        right = self.tables[alias].get(name, Value())
        self.merged[name] = left if is_left else replace(combined([left, right]), strict=frozenset())

    def _optional(self, rows: Rows, condition: Value, before: Block) -> None:
        """LEFT JOIN: what holds of the right side, and of its match, holds where there is one."""
        here = frozenset(rows.lineages)
        facts = rows.facts | condition.truths | frozenset(Fact("present", lineage) for lineage in here)
        self.facts = before.facts
        self.pending |= frozenset((here, fact) for fact in facts)
        self.anchors = before.anchors
        matched = replace(self.knowledge(), facts=before.facts | facts)
        self.atoms = before.atoms | matched.atoms(rows.atoms | condition.atoms)
        self.influences |= seen([condition], "join")

    def _preserve(self, rows: Rows, condition: Value, before: Block, *, is_full: bool) -> None:
        """RIGHT JOIN: what held of the left side holds where it has a match."""
        here = frozenset(lineage for part in before.parts for lineage in part.lineages)
        facts = before.facts | condition.truths | frozenset(Fact("present", lineage) for lineage in here)
        self.facts = frozenset() if is_full else rows.facts
        self.pending |= frozenset((here, fact) for fact in facts)
        self.anchors = frozenset() if is_full else rows.anchors
        self.atoms |= condition.atoms
        self.influences |= seen([condition], "join")

    def _semi(self, alias: str, rows: Rows, join: exp.Join, using: list[str], *, is_anti: bool) -> None:
        """SEMI JOIN: a row of the right side is like this one. ANTI JOIN: none is."""
        before = self._state()
        self._add(alias, rows)
        condition = self._condition(join, alias, using)
        matched = replace(self.knowledge(), facts=self.facts | condition.truths)
        told = matched.atoms(rows.atoms | condition.atoms)
        if is_anti:
            self.facts, self.pending, self.anchors = before.facts, before.pending, before.anchors
            told = frozenset(left_out(atom) for atom in told)
        else:
            self.facts |= condition.truths
            self._unlock()
        self.atoms = before.atoms | told
        self.influences |= seen([condition], "exists")
        del self.tables[alias]

    def _read(self, node: exp.Expr, join: str, predicates: tuple[exp.Expr, ...]) -> tuple[str, Rows]:
        """One item of FROM, with lineages of its own."""
        if isinstance(node, exp.Lateral):
            node = node.this if isinstance(node.this, exp.Subquery) and not node.alias else node
        if isinstance(node, exp.Table):
            return self._table(node, join, predicates)
        if isinstance(node, exp.Subquery | exp.Lateral):
            inner = node.this if isinstance(node, exp.Lateral) else node
            rows = rows_of(inner, self.query, self.ctes, self)
            alias = node.args.get("alias")
            name = node.alias.lower() or f"subquery {len(self.parts)}"
            if not rows.columns:
                return self._lose(name)
            return name, read_again(_named(rows, alias, self.query), self.query.counter)
        if isinstance(node, exp.Values):
            return self._values(node)
        if isinstance(node, exp.Unnest):
            return self._generated(node, node)
        self.query.missing(f"`{node.sql('duckdb')[:60]}` in FROM", "Read a ref(), a source() or a subquery")
        return self._lose(f"unknown {len(self.parts)}")

    def _lose(self, alias: str) -> tuple[str, Rows]:
        """A table of FROM of which nothing is known, which has been said."""
        self.lost.add(alias)
        return alias, Rows({})

    def _table(self, node: exp.Table, join: str, predicates: tuple[exp.Expr, ...]) -> tuple[str, Rows]:
        _refuse(node, _TABLE, self.query)
        name = node.name.lower()
        alias = node.alias.lower() or name
        if not node.db and not node.catalog and name in self.ctes and isinstance(node.this, exp.Identifier):
            if name in self.query.lost:
                return self._lose(alias)
            rows = _named(self.ctes[name], node.args.get("alias"), self.query)
            return alias, read_again(rows, self.query.counter)
        if isinstance(node.this, _GENERATORS):
            return self._generated(node.this, node)
        full = f"{node.db}.{name}".lower()
        is_ours = not node.catalog or not self.query.database or node.catalog == self.query.database
        if not isinstance(node.this, exp.Identifier) or full not in self.query.tables or not is_ours:
            written = node.sql("duckdb")[:60]
            function = "" if isinstance(node.this, exp.Identifier) else _name(node.this)
            self.query.missing(f"`{written}`, which is no model or source", of_table(function, full.lstrip(".")))
            return self._lose(alias)
        if full not in self.query.allowed:
            self.query.missing(
                f"`{full}`, written as a name", "Read it by ref() or source(), so that dbt knows the path"
            )
        asked = tuple(p for p in predicates if _mentions(p, alias))
        self.query.reads.append(Read(full, alias, join, asked))
        rows = read_again(self.query.tables[full], self.query.counter)
        columns = {
            column: replace(value, direct=frozenset({(Column(full, column), "copy")}), indirect=frozenset())
            for column, value in rows.columns.items()
        }
        return alias, _named(replace(rows, columns=columns, influences=frozenset()), node.args.get("alias"), self.query)

    def _generated(self, node: exp.Expr, table: exp.Expr) -> tuple[str, Rows]:
        """Rows made of a list or a range: as many as its arguments say."""
        given = table.args.get("alias")
        parts = [part for part in parts_of(node) if part is not given]
        value = replace(combined(evaluate(part, self) for part in parts), strict=frozenset())
        rows = Rows({_generator(node): value}, atoms=value.atoms, lineages=(1,), is_grouped=True)
        alias = table.alias.lower() or f"generated {len(self.parts)}"
        return alias, read_again(_named(rows, given, self.query), self.query.counter)

    def _values(self, node: exp.Values) -> tuple[str, Rows]:
        width = max((len(row.expressions) for row in node.expressions), default=0)
        values = [evaluate(cell, self) for row in node.expressions for cell in row.expressions]
        told = replace(values[0], term=None) if len(values) == 1 else Value(atoms=union(v.atoms for v in values))
        rows = Rows({f"col{place}": told for place in range(width)})
        name = node.alias.lower() or f"values {len(self.parts)}"
        return name, read_again(_named(rows, node.args.get("alias"), self.query), self.query.counter)

    # WHERE and what follows it

    def _filter(self, node: exp.Expr, why: Why) -> None:
        self._note_predicates(node)
        self._holds(is_true(evaluate(node, self)), why)

    def _holds(self, condition: Value, why: Why) -> None:
        self.atoms |= condition.atoms
        self.facts |= condition.truths | frozenset(Fact("present", lineage) for lineage in condition.strict)
        self.influences |= seen([condition], why)
        self._unlock()

    def _unlock(self) -> None:
        """What holds of an optional side holds of every row, once every row must have one."""
        while True:
            present = {fact.left for fact in self.facts if isinstance(fact.left, int)}
            for fact in self.facts:
                if fact.what == "nonzero" and isinstance(fact.left, frozenset):
                    present |= {factor.lineage for factor in fact.left}
            found = {(when, fact) for when, fact in self.pending if when & present}
            if not found:
                return
            self.pending -= found
            self.facts |= {fact for _, fact in found}

    def _note_predicates(self, node: exp.Expr) -> None:
        for place, read in enumerate(self.query.reads):
            if read.alias in self.tables:
                asked = tuple(p for p in _conjuncts(node) if _mentions(p, read.alias))
                self.query.reads[place] = replace(read, conditions=(*read.conditions, *asked))

    def _group(self, node: exp.Select) -> Groups | None:
        group = node.args.get("group")
        counted = [
            n for part in (*node.expressions, node.args.get("having")) if part is not None for n in _aggregates(part)
        ]
        if group is None and not counted:
            return None
        if group is not None:
            _refuse(group, _GROUP, self.query)
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
        _refuse(star, {"except_", "replace", "rename"}, self.query)
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
                yield renamed.get(name, name), evaluate(replaced[name], self) if name in replaced else value

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
        if on is not None:
            values.append(evaluate(on, self))
        if node.args.get("limit") is not None or node.args.get("offset") is not None or on is not None:
            told = self.others() | union(value.atoms for value in values)
            cut = frozenset(_absent(atom) for atom in counted(told))
            self.atoms |= cut
            if groups is not None:
                groups.atoms |= cut
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
        symbols = visible(rows)
        pending = frozenset((when, fact) for when, fact in self.pending if kept(frozenset({fact}), symbols))
        return replace(rows, facts=kept(self.facts, symbols), pending=pending)


def _generator(node: exp.Expr) -> str:
    """The name that DuckDB gives the column of a table function."""
    if isinstance(node, exp.GenerateSeries):
        return "range" if node.args.get("is_end_exclusive") else "generate_series"
    return "unnest" if isinstance(node, exp.Unnest | exp.Explode) else node.key


def _name(function: exp.Expr) -> str:
    return function.name if isinstance(function, exp.Anonymous) else str(function.sql_names()[0])


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
    return replace(value, atoms=knowledge.atoms(value.atoms), mask=mask)


def _fields(value: Value, names: list[str]) -> Value:
    for name in names:
        value = field_of(value, name)
    return value


def _absent(atom: Atom) -> Atom:
    return atom._replace(lineage=None, is_own=False)


def _whole_row(block: Block, names: list[str]) -> str:
    if len(names) == 1 and names[0] in block.tables:
        return "A whole row as a value hides its columns: name those that you need, `{'a': t.a}`"
    return "Write a column of a table in FROM, with its alias"


def _kind(join: exp.Join) -> str | None:
    side, kind, method = (str(join.args.get(part) or "").lower() for part in ("side", "kind", "method"))
    if method:
        return None
    if kind in ("semi", "anti"):
        return kind if side in ("", "left") else None
    if side in ("left", "right", "full"):
        return side
    if kind in ("", "inner"):
        return "inner" if join.args.get("on") is not None or join.args.get("using") else "cross"
    return kind if kind == "cross" else None


def _conjuncts(node: exp.Expr | None) -> tuple[exp.Expr, ...]:
    if node is None:
        return ()
    bare = node.unnest()
    return tuple(bare.flatten()) if isinstance(bare, exp.And) else (bare,)


def _mentions(node: exp.Expr, alias: str) -> bool:
    return any(column.table.lower() in ("", alias) for column in node.find_all(exp.Column))


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
