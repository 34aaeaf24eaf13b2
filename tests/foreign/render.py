"""Renders the models of any dbt project without dbt: its own macros as they are, those of packages by stand-ins.

dbt itself would need the project's packages and its warehouse. What a stand-in writes has the columns and the calls
that the package's macro would write, not its every detail."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import sqlglot
import yaml
from sqlglot import exp

_MACRO = re.compile(r"\{%-?\s*macro\s+(\w+)\s*\(.*?\{%-?\s*endmacro\s*-?%\}", re.DOTALL)
DEPTH = 5  # of Jinja within the values of vars, which packages use to name their models


class ReturnedError(Exception):
    """How a macro returns a value that is no text, as in dbt."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Named(str):
    """A table as a template writes it, with the parts that macros ask for."""

    __slots__ = ()
    database = schema = "main"

    @property
    def identifier(self) -> str:
        return self.rpartition(".")[2]

    name = table = identifier


class Calls:
    """The macros of a package: those with a stand-in, and for any other a call of that name."""

    def __init__(self, known: dict[str, Callable[..., Any]]) -> None:
        self._known = known

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return self._known.get(name) or (lambda *a, **k: f"{name}({', '.join(map(str, a))})")


@dataclass
class Rendered:
    """The models of a project: name → SQL; those that could not be rendered, with the kind of error; what they read."""

    sql: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)  # with the columns that YAML declares


def render_project(root: Path) -> Rendered:
    """Every model under the `models` folders of the dbt project at `root`."""
    config = yaml.safe_load((root / "dbt_project.yml").read_text(encoding="utf-8")) or {}
    rendered = Rendered(sources=dict(_declared(root)))
    environment = _environment(root, config)
    for path in sorted(root.glob("models/**/*.sql")):
        try:
            sql = environment.from_string(path.read_text(encoding="utf-8")).render(
                this=Named(f"models.{path.stem}"), model={"name": path.stem}
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, ReturnedError, RecursionError) as error:
            rendered.failed[path.stem] = type(error).__name__
            continue
        if not sql.strip():
            continue
        if _is_query(sql):
            rendered.sql[path.stem] = sql
        else:
            rendered.failed[path.stem] = "written by a macro of a package"
    return rendered


def _is_query(sql: str) -> bool:
    """Whether SQL came out: of a model that is one call of a package's macro its stand-in leaves a call."""
    try:
        return isinstance(sqlglot.parse_one(sql, dialect="duckdb"), exp.Query | exp.Pivot)
    except sqlglot.errors.SqlglotError:
        return True  # that it cannot be parsed is for the proof to say


def _declared(root: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Sources and seeds with the columns that they declare."""
    for path in sorted([*root.glob("models/**/*.yml"), *root.glob("models/**/*.yaml")]):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except yaml.YAMLError:
            continue
        for source in content.get("sources") or ():
            for table in source.get("tables") or ():
                columns = tuple(str(column["name"]).lower() for column in table.get("columns") or ())
                yield f"{source['name']}.{table['name']}".lower(), columns


def _environment(root: Path, config: dict[str, Any]) -> jinja2.Environment:
    environment = jinja2.Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"])
    environment.globals |= _dbt(environment, _variables(config.get("vars") or {}))
    for path in sorted(root.glob("macros/**/*.sql")):
        for match in _MACRO.finditer(path.read_text(encoding="utf-8")):
            environment.globals[match.group(1)] = _macro(environment, match.group(1), match.group())
    environment.globals[str(config.get("name"))] = Calls(_Globals(environment))
    return environment


class _Globals(dict[str, Any]):
    def __init__(self, environment: jinja2.Environment) -> None:
        self._environment = environment

    def get(self, name: str, default: Any = None) -> Any:
        return self._environment.globals.get(name, default)


def _macro(environment: jinja2.Environment, name: str, text: str) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return getattr(environment.from_string(text).module, name)(*arguments, **named)
        except ReturnedError as returned:
            return returned.value

    return call


def _variables(given: dict[str, Any]) -> dict[str, Any]:
    """Every variable of the project and of its packages, by its own name."""
    flat = {name: value for name, value in given.items() if not isinstance(value, dict)}
    for inner in (value for value in given.values() if isinstance(value, dict)):
        flat |= inner
    return flat


def _dbt(environment: jinja2.Environment, variables: dict[str, Any]) -> dict[str, Any]:
    def variable(name: str, default: Any = None) -> Any:
        value = variables.get(name, default)
        for _ in range(DEPTH):
            if not (isinstance(value, str) and "{{" in value):
                break
            value = environment.from_string(value).render()
        # a package names its staging models by variables: one without a value is that model
        return f"models.{name}" if value is None else value

    def give_back(value: Any = "") -> Any:
        raise ReturnedError(value)

    quiet = lambda *a, **k: ""  # noqa: E731
    return {
        "ref": lambda *names, **k: Named(f"models.{names[-1]}".lower()),
        "source": lambda source, table: Named(f"{source}.{table}".lower()),
        "var": variable, "return": give_back, "config": _Config(), "is_incremental": lambda: False, "execute": False,
        "target": {"type": "duckdb", "name": "dev", "schema": "main", "database": "main"}, "log": quiet,
        "env_var": lambda name, default="": default, "run_query": quiet, "load_result": quiet, "statement": quiet,
        "exceptions": Calls({}), "adapter": _adapter(environment), "api": Calls({}), "modules": Calls({}),
        "graph": {"nodes": {}, "sources": {}}, "flags": Calls({}), "tojson": str, "invocation_id": "1",
        "dbt": Calls(CROSS), "dbt_utils": Calls(UTILS), "fivetran_utils": Calls(FIVETRAN), "elementary": Calls({}),
        "run_started_at": "2026-01-01", "run_started_at_date": "2026-01-01", "database": "main", "schema": "main",
        **{name: made for name, made in CROSS.items() if name.startswith("type_")},
    }  # fmt: skip


class _Config:
    """`config(...)` and `config.get(...)` write nothing."""

    def __call__(self, *arguments: Any, **named: Any) -> str:
        return ""

    def get(self, name: str, default: Any = None) -> Any:
        return default

    require = get


def _adapter(environment: jinja2.Environment) -> Calls:
    def dispatch(name: str, *a: Any, **k: Any) -> Any:
        found = environment.globals
        return found.get(f"duckdb__{name}") or found.get(f"default__{name}") or getattr(Calls(UTILS), name)

    return Calls({
        "dispatch": dispatch, "get_columns_in_relation": lambda relation: [], "get_relation": lambda *a, **k: None,
        "quote": lambda name: f'"{name}"',
    })  # fmt: skip


def _types(*names: str) -> dict[str, Callable[..., str]]:
    return {f"type_{name}": (lambda kind=kind: kind) for name, kind in (one.split(":") for one in names)}


CROSS: dict[str, Callable[..., Any]] = {
    **_types("string:varchar", "boolean:boolean", "timestamp:timestamp", "float:double", "numeric:decimal(28, 6)",
             "int:integer", "bigint:bigint"),
    "datediff": lambda first, second, part: f"date_diff('{part}', {first}::timestamp, {second}::timestamp)",
    "dateadd": lambda datepart, interval, from_date_or_timestamp: (
        f"({from_date_or_timestamp} + ({interval}) * interval 1 {datepart})"
    ),
    "date_trunc": lambda part, date: f"date_trunc('{part}', {date})",
    "current_timestamp": lambda: "current_timestamp",
    "current_timestamp_backcompat": lambda: "current_timestamp",
    "current_timestamp_in_utc_backcompat": lambda: "current_timestamp",
    "concat": lambda fields: " || ".join(fields),
    "safe_cast": lambda column, kind: f"try_cast({column} as {kind})",
    "last_day": lambda date, part: f"last_day({date})",
    "split_part": lambda text, by, part: f"split_part({text}, {by}, {part})",
    "listagg": lambda measure, delimiter_text="','", **k: f"string_agg({measure}, {delimiter_text})",
    "bool_or": lambda column: f"bool_or({column})",
    "hash": lambda column: f"md5(cast({column} as varchar))",
    "string_literal": lambda text: f"'{text}'",
}  # fmt: skip
UTILS: dict[str, Callable[..., Any]] = {
    "generate_surrogate_key": lambda columns, *a: f"md5({' || '.join(f'cast({c} as varchar)' for c in columns)})",
    "surrogate_key": lambda columns, *a: f"md5({' || '.join(f'cast({c} as varchar)' for c in columns)})",
    "group_by": lambda n: f"group by {', '.join(str(at) for at in range(1, n + 1))}",
    "star": lambda *a, **k: "*",
    "date_spine": lambda datepart, start_date, end_date: (
        f"select unnest(generate_series({start_date}::timestamp, {end_date}::timestamp, interval 1 {datepart}))"
        f" as date_{datepart}"
    ),
    "union_relations": lambda relations=(), **k: " union all ".join(f"(select * from {name})" for name in relations),
    "get_column_values": lambda *a, **k: ["a", "b"],
    "get_single_value": lambda *a, default=None, **k: default,
    "slugify": lambda text: str(text).lower(),
    "pivot": lambda column, values, **k: ", ".join(f"count_if({column} = '{value}') as {value}" for value in values),
}  # fmt: skip
FIVETRAN: dict[str, Callable[..., Any]] = {
    "string_agg": lambda field_to_agg, delimiter: f"string_agg({field_to_agg}, {delimiter})",
    "source_relation": lambda *a, **k: ", cast('' as varchar) as source_relation",
    "fill_staging_columns": lambda source_columns, staging_columns: ", ".join(
        f"cast(null as {column['datatype']}) as {column.get('alias') or column['name']}" for column in staging_columns
    ),
    "union_data": lambda table_identifier, default_schema="main", **k: (
        f"select * from {default_schema}.{table_identifier}"
    ),
    "max_bool": lambda column: f"max({column})",
    "enabled_vars_one_true": lambda *a: True, "enabled_vars": lambda *a: True,
    "fill_pass_through_columns": lambda *a: "", "persist_pass_through_columns": lambda *a, **k: "",
}  # fmt: skip
