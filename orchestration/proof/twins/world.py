"""Worlds: databases in memory that hold staged inputs, and the compiled models that were run over them.

A model is run again only where its SQL or something that it reads is not what it was, so a world that differs in one
table costs what reads that table, and a changed model what is downstream of it. Not here: what is in a world."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from graphlib import CycleError, TopologicalSorter

import duckdb

from orchestration.identity.resolve import resolve
from orchestration.ingestion.quoting import text
from orchestration.proof.project import Project

BASE = "base"
NAMING = ("controller", "token", "kind", "issuer", "subject_token", "subject_kind", "subject_issuer")
DERIVED = ("identity.identifiers", "identity.denial_reach")  # made anew in each world
Digest = tuple[object, ...]
_QUALIFIED = re.compile(r'"[^"]+"\."(?P<schema>[^"]+)"\."(?P<table>[^"]+)"')


class ModelFailedError(Exception):
    """A model did not run. What DuckDB said is not kept: it may quote a value."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model


@dataclass(frozen=True)
class Model:
    """A model's SQL, free of the database that it was compiled for, and the tables that it reads: all, not dbt's
    refs."""

    name: str
    sql: str
    reads: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """The models that some relations are made from, in an order in which they can run."""

    models: tuple[Model, ...]

    @classmethod
    def of(cls, con: duckdb.DuckDBPyConnection, project: Project, wanted: Iterable[str]) -> Plan:
        """Raises ModelFailedError for a model without SQL that DuckDB can read."""
        models: dict[str, Model] = {}
        open_names = [name for name in wanted if name in project]
        while open_names:
            name = open_names.pop()
            if name not in models and project[name].kind == "model":
                models[name] = _model(con, project, name)
                open_names.extend(read for read in models[name].reads if read in project)
        graph = {name: [r for r in model.reads if r in models] for name, model in sorted(models.items())}
        try:
            return cls(tuple(models[name] for name in TopologicalSorter(graph).static_order()))
        except CycleError:
            raise ModelFailedError(min(models)) from None

    def up_to(self, names: Iterable[str]) -> Plan:
        """Only what the named relations are made from."""
        wanted = set(names)
        for model in reversed(self.models):
            if model.name in wanted:
                wanted.update(model.reads)
        return Plan(tuple(model for model in self.models if model.name in wanted))

    @property
    def reads(self) -> dict[str, tuple[str, ...]]:
        return {model.name: model.reads for model in self.models}


def _model(con: duckdb.DuckDBPyConnection, project: Project, name: str) -> Model:
    sql = project[name].sql
    if sql is None:
        raise ModelFailedError(name)
    sql = _QUALIFIED.sub(lambda m: _unqualified(m, project), sql)
    try:
        found = con.get_table_names(sql, qualified=True)
    except duckdb.Error:
        found = None
    if found is None:
        raise ModelFailedError(name)
    return Model(name, sql, tuple(sorted({_table_of(reference) for reference in found})))


def _table_of(reference: str) -> str:
    """`schema.table` of `"database".schema."table" AS alias`, as DuckDB names what a query reads."""
    return ".".join(reference.partition(" AS ")[0].replace('"', "").lower().split(".")[-2:])


def _unqualified(match: re.Match[str], project: Project) -> str:
    known = f"{match['schema']}.{match['table']}".lower() in project
    return f'"{match["schema"]}"."{match["table"]}"' if known else match[0]


@dataclass
class World:
    """One database. `versions` say what each of its tables is: equal versions, equal content. What a world shares with
    the one that it is compared with is not in it: its names are looked up there."""

    con: duckdb.DuckDBPyConnection
    name: str
    base: World | None = None
    versions: dict[str, str] = field(default_factory=dict)
    own: set[str] = field(default_factory=set)
    schemas: tuple[str, ...] = ("main",)
    writes: int = 0
    digests: dict[tuple[str | None, str], Digest] = field(default_factory=dict)

    @property
    def origin(self) -> World:
        """The world that this one is compared with, by the same connection."""
        assert self.base is not None
        return self.base

    def open(self, schemas: Iterable[str]) -> World:
        self.con.execute(f"attach ':memory:' as \"{self.name}\"")
        self.schemas = ("main", *sorted(set(schemas) - {"main"}))
        for schema in self.schemas:
            self.con.execute(f'create schema if not exists "{self.name}"."{schema}"')
        return self

    def use(self) -> None:
        """Names without a database are this world's from here on, or else those of the world that it shares with."""
        path = [f'"{world.name}"."{schema}"' for world in (self, self.base) if world for schema in world.schemas]
        self.con.execute(f"set search_path = {text(','.join(path))}")

    def close(self) -> None:
        self.con.execute("use memory")
        self.con.execute(f'detach "{self.name}"')

    def write(self, table: str, query: str) -> None:
        """Makes an input table of the rows of `query`."""
        self._replace(table, query)
        self.writes += 1
        self.versions[table] = f"{self.name}:{table}:{self.writes}"

    def resolve(self, as_of: datetime, sources: Sequence[str]) -> None:
        """Makes the identity tables of what the world holds, as a build does."""
        if self.base is not None and not any(self._names_others(table) for table in self.versions):
            for table in DERIVED:
                self.share(table)
            return
        for table in DERIVED:
            self.write(table, "select 1 as replaced")
        self.use()
        resolve(self.con, as_of, sources)
        if self.base is not None:
            for table in DERIVED:
                if not self.differs(table):
                    self.versions[table] = self.base.versions[table]

    def _names_others(self, table: str) -> bool:
        """Whether an input differs in what resolving reads: whom it names, or all of a link or a status."""
        is_read = table.startswith(("lake.", "ledger.")) or table == "identity.links"
        if not is_read or self.versions[table] == self.origin.versions.get(table):
            return False
        columns = self.columns(table)
        names = [name for name in NAMING if name in columns]
        if table in ("identity.links", "ledger.statuses") or not names:
            return True
        chosen = f"distinct {', '.join(names)}"
        return self._digest_of(table, chosen) != self.origin._digest_of(table, chosen)

    def share(self, table: str) -> None:
        """The table is what it is in the world that this one is compared with."""
        if table in self.own:
            self.con.execute(f"drop table {quoted(self.name, table)}")
            self.own.remove(table)
        self.versions[table] = self.origin.versions[table]

    def run(self, plan: Plan) -> None:
        """Runs what is not as it should be. Raises ModelFailedError, of the first that fails, after all that do not
        read it: what reads it has no version."""
        self.use()
        failed: list[str] = []
        for model in plan.models:
            if not {*failed}.isdisjoint(model.reads):
                self._fail(model, failed)
                continue
            version = self._version(model)
            if self.versions.get(model.name) == version:
                continue
            if self.base is not None and self.base.versions.get(model.name) == version:
                self.share(model.name)
                continue
            try:
                self._replace(model.name, model.sql)
            except duckdb.Error:
                self._fail(model, failed)
            else:
                self.versions[model.name] = version
        if failed:
            raise ModelFailedError(failed[0])

    def _fail(self, model: Model, failed: list[str]) -> None:
        self.versions.pop(model.name, None)
        failed.append(model.name)

    def _version(self, model: Model) -> str:
        parts = [model.sql, *(self.versions.get(read, f"no {read}") for read in model.reads)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _replace(self, table: str, query: str) -> None:
        self.con.execute(f"create or replace table {quoted(self.name, table)} as {query}")
        self.own.add(table)

    def place_of(self, table: str) -> str:
        """The table, as SQL, wherever it lies."""
        return quoted(self.name if self.base is None or table in self.own else self.base.name, table)

    def columns(self, table: str) -> Mapping[str, str]:
        """Column → DuckDB type, in order."""
        return columns_of(self.con, self.place_of(table))

    def differs(self, table: str) -> bool:
        """Whether a table has other rows than in the world that this one is compared with."""
        if self.versions.get(table) == self.origin.versions.get(table):
            return False
        return self._digest_of(table, "*") != self.origin._digest_of(table, "*")

    def _digest_of(self, table: str, chosen: str) -> Digest:
        return self.digest(table, f"select {chosen} from {self.place_of(table)}")

    def digest(self, table: str, query: str) -> Digest:
        """Of the rows of a query that reads this table alone: the same for the same rows in whatever order; for others
        the same once in 2^128."""
        key = (self.versions.get(table), query)
        if key[0] is None or key not in self.digests:
            written = f"select columns(*)::varchar from ({query})"
            found = f"select count(*), sum(hash(t)), bit_xor(hash(hash(t))) from ({written}) as t"
            self.digests[key] = self.con.execute(found).fetchall()[0]
        return self.digests[key]


def quoted(database: str, table: str) -> str:
    """`schema.table` in a database, as SQL."""
    schema, _, name = table.partition(".")
    return f'"{database}"."{schema}"."{name}"'


def columns_of(con: duckdb.DuckDBPyConnection, place: str) -> Mapping[str, str]:
    """Column → DuckDB type, in order."""
    return {row[0]: row[1] for row in con.execute(f"describe {place}").fetchall()}
