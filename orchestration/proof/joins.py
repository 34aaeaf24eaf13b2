"""FROM: tables, subqueries and joins of every kind, and what holds of the rows that they leave.

Not here: what follows FROM (`blocks.py`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlglot import exp

from orchestration.proof.atoms import left_out
from orchestration.proof.domain import (
    Column,
    Fact,
    Rows,
    Value,
    combined,
    seen,
    sure,
)
from orchestration.proof.names import Names
from orchestration.proof.predicates import is_true
from orchestration.proof.query import Read, named, refuse
from orchestration.proof.remedies import JOINS, of_table, remedy
from orchestration.proof.rename import read_again
from orchestration.proof.rules import evaluate, parts_of

_JOIN = {"this", "side", "kind", "method", "on", "using"}


_TABLE = {"this", "db", "catalog", "alias"}


_GENERATORS = (exp.GenerateSeries, exp.GenerateDateArray, exp.Explode, exp.Unnest)


@dataclass
class Joins(Names):
    """The tables of one SELECT as they are joined."""

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
        refuse(join, _JOIN, self.query)
        kind = _kind(join)
        if kind is None:
            word = str(join.args.get("method") or "").lower()
            self.query.missing(f"`{join.sql('duckdb').split(' ON ')[0][:40]}`", remedy(word, JOINS))
            self._lose(join.alias_or_name.lower())
            return
        alias, rows = self._read(join.this, kind, conjuncts(join.args.get("on")))
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

    def _state(self) -> Names:
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
        self.merged[name] = left if is_left else combined([left, right])._replace(strict=frozenset())

    def _optional(self, rows: Rows, condition: Value, before: Names) -> None:
        """LEFT JOIN: what holds of the right side, and of its match, holds where there is one."""
        here = frozenset(rows.lineages)
        facts = rows.facts | condition.truths | frozenset(Fact("present", one) for one in sure(here, rows.pending))
        self.facts = before.facts
        self.pending |= frozenset((here, fact) for fact in facts)
        self.anchors = before.anchors
        matched = replace(self.knowledge(), facts=before.facts | facts)
        self.atoms = before.atoms | matched.atoms(rows.atoms | condition.atoms)
        self.influences |= seen([condition], "join")

    def _preserve(self, rows: Rows, condition: Value, before: Names, *, is_full: bool) -> None:
        """RIGHT JOIN: what held of the left side holds where it has a match."""
        here = frozenset(lineage for part in before.parts for lineage in part.lineages)
        facts = before.facts | condition.truths | frozenset(Fact("present", one) for one in sure(here, before.pending))
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
            rows = self.query.read(inner, self.ctes, self)
            alias = node.args.get("alias")
            name = node.alias.lower() or f"subquery {len(self.parts)}"
            if not rows.columns:
                return self._lose(name)
            return name, read_again(named(rows, alias, self.query), self.query.counter)
        if isinstance(node, exp.Values):
            return self._values(node)
        if isinstance(node, exp.Unnest):
            return self._generated(node, node)
        self.query.missing(f"`{node.sql('duckdb')[:60]}` in FROM", "Read a ref(), a source() or a subquery")
        return self._lose(f"unknown {len(self.parts)}")

    def _table(self, node: exp.Table, join: str, predicates: tuple[exp.Expr, ...]) -> tuple[str, Rows]:
        refuse(node, _TABLE, self.query)
        name = node.name.lower()
        alias = node.alias.lower() or name
        if not node.db and not node.catalog and name in self.ctes and isinstance(node.this, exp.Identifier):
            if name in self.query.lost:
                return self._lose(alias)
            rows = named(self.ctes[name], node.args.get("alias"), self.query)
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
        asked = tuple(p for p in predicates if mentions(p, alias))
        self.query.reads.append(Read(full, alias, join, asked))
        rows = read_again(self.query.tables[full], self.query.counter)
        columns = {
            column: value._replace(direct=frozenset({(Column(full, column), "copy")}), indirect=frozenset())
            for column, value in rows.columns.items()
        }
        return alias, named(replace(rows, columns=columns, influences=frozenset()), node.args.get("alias"), self.query)

    def _generated(self, node: exp.Expr, table: exp.Expr) -> tuple[str, Rows]:
        """Rows made of a list or a range: as many as its arguments say."""
        given = table.args.get("alias")
        parts = [part for part in parts_of(node) if part is not given]
        value = combined(evaluate(part, self) for part in parts)._replace(strict=frozenset())
        rows = Rows({_generator(node): value}, atoms=value.atoms, lineages=(1,), is_grouped=True)
        alias = table.alias.lower() or f"generated {len(self.parts)}"
        return alias, read_again(named(rows, given, self.query), self.query.counter)

    def _values(self, node: exp.Values) -> tuple[str, Rows]:
        width = max((len(row.expressions) for row in node.expressions), default=0)
        values = [evaluate(cell, self) for row in node.expressions for cell in row.expressions]
        told = combined(values)._replace(strict=frozenset())
        rows = Rows({f"col{place}": told for place in range(width)})
        name = node.alias.lower() or f"values {len(self.parts)}"
        return name, read_again(named(rows, node.args.get("alias"), self.query), self.query.counter)


def _generator(node: exp.Expr) -> str:
    """The name that DuckDB gives the column of a table function."""
    if isinstance(node, exp.GenerateSeries):
        return "range" if node.args.get("is_end_exclusive") else "generate_series"
    return "unnest" if isinstance(node, exp.Unnest | exp.Explode) else node.key


def _name(function: exp.Expr) -> str:
    return function.name if isinstance(function, exp.Anonymous) else str(function.sql_names()[0])


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


def conjuncts(node: exp.Expr | None) -> tuple[exp.Expr, ...]:
    if node is None:
        return ()
    bare = node.unnest()
    return tuple(bare.flatten()) if isinstance(bare, exp.And) else (bare,)


def mentions(node: exp.Expr, alias: str) -> bool:
    return any(column.table.lower() in ("", alias) for column in node.find_all(exp.Column))
