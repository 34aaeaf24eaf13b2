"""The columns of the tables that a foreign project reads and does not make: as YAML declares them, and as its queries
name them, through models that hand every column on. In a company the warehouse would tell; here is none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.scope import Scope, build_scope, traverse_scope

Asked = dict[str, set[str]]


Guess = frozenset[tuple[str, str]]  # model, and a column that it names without saying of which table


def read_columns(
    models: Mapping[str, str], declared: Mapping[str, tuple[str, ...]], guess: Guess = frozenset()
) -> dict[str, tuple[str, ...]]:
    """Table → columns, of every table that a model reads and no model makes. A column of a join that is named without
    its table is taken for one of the first table that may have it where it is in `guess`."""
    trees = {f"models.{name}": parsed(sql) for name, sql in models.items()}
    asked: Asked = {name: set(columns) for name, columns in declared.items()}
    handed: dict[str, set[str]] = {}
    for name, tree in trees.items():
        for table, column in _named(tree, {column for model, column in guess if model == name}):
            asked.setdefault(table, set()).update(() if column is None else {column})
        root = build_scope(tree)
        handed[name] = set(_tables(root)) if root is not None else set()
    _hand_on(trees, asked, handed)
    return {table: tuple(sorted(columns)) for table, columns in asked.items() if table not in trees}


def parsed(sql: str) -> exp.Expr:
    """The tree of a model; an empty query where it cannot be parsed."""
    try:
        return sqlglot.parse_one(sql, dialect="duckdb")
    except sqlglot.errors.SqlglotError:
        return exp.select("1")


def _hand_on(trees: Mapping[str, exp.Expr], asked: Asked, handed: Mapping[str, set[str]]) -> None:
    """What is asked of a model that selects every column is asked of what it reads."""
    for _ in trees:  # as long as a chain of models can be
        before = sum(map(len, asked.values()))
        for name, tables in handed.items():
            own = set(trees[name].named_selects) if isinstance(trees[name], exp.Query) else set()
            for table in tables:
                asked.setdefault(table, set()).update(asked.get(name, set()) - own)
        if sum(map(len, asked.values())) == before:
            return


def _named(tree: exp.Expr, guess: set[str]) -> Iterator[tuple[str, str | None]]:
    for table in tree.find_all(exp.Table):
        if table.db:
            yield f"{table.db}.{table.name}".lower(), None
    for scope in traverse_scope(tree):
        for column in scope.columns:
            for source in _sources(scope, column, guess):
                for table in _tables(source):
                    yield table, column.name.lower()
        for join in scope.expression.args.get("joins") or ():
            for name in join.args.get("using") or ():
                first = next(iter(scope.selected_sources), "") if name.name.lower() in guess else ""
                for source in (join.alias_or_name, first):
                    for table in _tables(scope.sources.get(source)):
                        yield table, name.name.lower()


def _sources(scope: Scope, column: exp.Column, guess: set[str]) -> Iterable[object]:
    """The source that a column is of: by its table's name, or as there is one source."""
    if column.table:
        return [scope.sources[column.table]] if column.table in scope.sources else []
    sources = [source for _, source in scope.selected_sources.values()]
    if len(sources) == 1 or column.name.lower() not in guess:
        return sources if len(sources) == 1 else []
    return [source for source in sources if any(_tables(source))][:1]


def _tables(source: object) -> Iterator[str]:
    """The tables whose every column a source hands on."""
    if isinstance(source, exp.Table):
        if source.db:
            yield f"{source.db}.{source.name}".lower()
    elif isinstance(source, Scope):
        selected = source.selected_sources
        for star in (p for p in source.expression.args.get("expressions") or () if p.is_star):
            named = star.table if isinstance(star, exp.Column) else next(iter(selected), "")
            if named in selected:
                yield from _tables(selected[named][1])
