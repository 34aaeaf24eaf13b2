"""The library of mutants and refactorings of the shipped models (`proof_mutants.yaml`), applied to compiled SQL.

Not here: whether the proof catches them (`integration/test_proof_mutants.py`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import sqlglot
import yaml

from orchestration.proof.project import Project, Relation

FILE = Path(__file__).with_suffix(".yaml")
_NAMED = re.compile(r"\{((?:\w+\.)?\w+)\}")
_DATABASE = re.compile(r'("[^"]+")\."meta"\."builds"')


@dataclass(frozen=True)
class Change:
    """One change of one relation's SQL; of a mutant, the parts that must catch it."""

    name: str
    relation: str
    edits: tuple[tuple[str, str], ...]
    append: str = ""
    wrap: str = "{sql}"
    caught_by: tuple[str, ...] = ()
    because: str = ""


def mutants() -> dict[str, Change]:
    return _changes()["mutants"]


def others() -> dict[str, Change]:
    """Changes that open nothing, each alone, and known gaps; `because` says which."""
    return _changes()["others"]


def refactorings() -> dict[str, Change]:
    return _changes()["refactorings"]


@cache
def _changes() -> dict[str, dict[str, Change]]:
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    found = {kind: [_change(entry) for entry in entries] for kind, entries in content.items()}
    for kind, changes in found.items():
        assert len({change.name for change in changes}) == len(changes), f"two {kind} of one name"
    return {kind: {change.name: change for change in changes} for kind, changes in found.items()}


def _change(entry: dict[str, Any]) -> Change:
    edits = entry.get("edits", [{"old": entry["old"], "new": entry["new"]}] if "old" in entry else [])
    return Change(
        name=entry["name"],
        relation=entry["in"],
        edits=tuple((edit["old"], edit["new"]) for edit in edits),
        append=entry.get("append", ""),
        wrap=entry.get("wrap", "{sql}"),
        caught_by=tuple(entry.get("caught_by", ())),
        because=entry.get("because", ""),
    )


def applied(change: Change, project: Project) -> Project:
    """The project with this change, and nothing else. AssertionError where the SQL does not hold what is changed."""
    relation = project[change.relation]
    sql = relation.sql
    assert sql is not None
    for old, new in change.edits:
        wanted = _compiled(old, project)
        assert wanted in sql, f"{change.name}: {change.relation} does not hold {old!r}"
        sql = sql.replace(wanted, _compiled(new, project))
    sql = _compiled(change.wrap, project).replace("{sql}", sql) + _compiled(change.append, project)
    assert sql != relation.sql, f"{change.name} changes nothing"
    added = {name for _, new in change.edits for name in _named(new, project)}
    added |= {name for text in (change.append, change.wrap) for name in _named(text, project)}
    changed = replace(relation, sql=sql, columns=(), reads=tuple(sorted({*relation.reads, *added})))
    return _ordered({**project.by_name, relation.name: changed})


def is_changed(change: Change, project: Project) -> bool:
    """Whether it changes more than blanks and comments: a mutant that does not would be caught by nobody."""
    return _normal(applied(change, project)[change.relation].sql) != _normal(project[change.relation].sql)


def _normal(sql: str | None) -> str:
    return sqlglot.parse_one(sql or "", dialect="duckdb").sql(dialect="duckdb", comments=False)


def _ordered(relations: Mapping[str, Relation]) -> Project:
    """A reference that is new may be to what came later."""
    graph = {name: relation.reads for name, relation in sorted(relations.items())}
    return Project(tuple(relations[name] for name in TopologicalSorter(graph).static_order()))


def _compiled(text: str, project: Project) -> str:
    """`{int_x}`, `{policy.scopes}` as dbt writes a ref or a source."""

    def written(found: re.Match[str]) -> str:
        schema, table = _whole(found[1]).split(".")
        return f'{_database(project)}."{schema}"."{table}"' if _whole(found[1]) in project else found[0]

    return _NAMED.sub(written, text)


def _named(text: str, project: Project) -> set[str]:
    """The refs and sources in a text: dbt would know them."""
    return {_whole(name) for name in _NAMED.findall(text)} & project.by_name.keys()


def _whole(name: str) -> str:
    return name if "." in name else f"intermediate.{name}"


def _database(project: Project) -> str:
    return next(_databases(project))


def _databases(project: Project) -> Iterator[str]:
    for relation in project.models:
        yield from _DATABASE.findall(relation.sql or "")
