"""The decision table as dbt unit tests: one model that is the whole chain, each model of it a CTE over the sources.

The SQL is what dbt compiled, with every source named again as one, so that dbt feeds it what the table gives."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import yaml

from tests.compared import UP_TO
from tests.decision_table import Row, by_policy
from tests.staged import Chain, stage_worlds

MODEL = "decision_table"
ANSWERS = """
select d.touchpoint_key as asked, coalesce(d.reason, 'permit') as answer, g.touchpoint_key is not null as passes
from int_decisions as d
left join int_touchpoints_gated_by_purpose as g on d.touchpoint_key = g.touchpoint_key and d.purpose = g.purpose
where d.purpose = split_part(d.touchpoint_key, '/', 3)"""


def with_table(project: Path, manifest: dict[str, Any], folder: Path, most: int | None) -> tuple[Path, int]:
    """A copy of the prepared project that tests the table too, or the first batches of it, `most` of them; and how many
    unit tests that adds."""
    copy = Path(shutil.copytree(project, folder / "dbt"))
    chain = Chain.of(manifest, *UP_TO)
    sql, sources = chain_in_one(chain)
    (copy / "models" / "intermediate" / f"{MODEL}.sql").write_text(sql, encoding="utf-8")
    batches = by_policy()[:most]
    with chain.open() as con:
        tests = [_unit_test(con, number, batch, sources) for number, batch in enumerate(batches)]
    (copy / "models" / "intermediate" / f"_{MODEL}__unit_tests.yml").write_text(
        yaml.safe_dump({"unit_tests": tests}, width=1000), encoding="utf-8"
    )
    return copy, len(tests)


def chain_in_one(chain: Chain, answers: str = ANSWERS) -> tuple[str, list[tuple[str, str]]]:
    """The models as one query, and the sources (schema, table) that it reads."""
    models = {(node["schema"], node["alias"]): node for node in chain.nodes if node["resource_type"] == "model"}
    sources: dict[tuple[str, str], None] = {}

    def renamed(match: re.Match[str]) -> str:
        place = match["schema"], match["table"]
        if place in models:
            return place[1]
        sources[place] = None
        return f"{{{{ source('{place[0]}', '{place[1]}') }}}}"

    relation = re.compile(rf'"{chain.database}"\."(?P<schema>\w+)"\."(?P<table>\w+)"')
    parts = [f"{n['alias']} as materialized (\n{relation.sub(renamed, n['compiled_code'])}\n)" for n in models.values()]
    return "with " + ",\n".join(parts) + answers, list(sources)


def _unit_test(
    con: duckdb.DuckDBPyConnection, number: int, rows: Sequence[Row], sources: list[tuple[str, str]]
) -> dict[str, Any]:
    stage_worlds(con, rows[0].world.policy, [row.world for row in rows])
    answers = ", ".join(f"('{r.key}', '{r.expected}', {str(r.expected == 'permit').lower()})" for r in rows)
    return {
        "name": f"decision_table_{number}",
        "model": MODEL,
        "given": [
            {"input": f"source('{schema}', '{table}')", "format": "sql", "rows": literal(con, f"{schema}.{table}")}
            for schema, table in sources
        ],
        "expect": {
            "format": "sql",
            "rows": f"select * from (values {answers}) as t (asked, answer, passes)",
        },
    }


def literal(con: duckdb.DuckDBPyConnection, table: str) -> str:
    """The table's rows as one query that needs no table."""
    columns = con.execute(f"select column_name, column_type from (describe {table})").fetchall()
    typed = ", ".join(f'cast("{name}" as {kind}) as "{name}"' for name, kind in columns)
    names = ", ".join(f'"{name}"' for name, _ in columns)
    texts = ", ".join(f'cast("{name}" as varchar)' for name, _ in columns)
    rows = con.execute(f"select {texts} from {table}").fetchall()
    if not rows:
        nothing = ", ".join(f'cast(null as {kind}) as "{name}"' for name, kind in columns)
        return f"select {nothing} where false"
    values = ", ".join("(" + ", ".join(map(_quoted, row)) + ")" for row in rows)
    return f"select {typed} from (values {values}) as t ({names})"


def _quoted(value: str | None) -> str:
    return "null" if value is None else "'" + value.replace("'", "''") + "'"
