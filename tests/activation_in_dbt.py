"""The activation table as dbt unit tests, as `table_in_dbt.py` does: the whole chain as one model over the sources.

Not here: the decision table's own tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.activation_table import ANSWERS, UP_TO, batches, stage
from tests.staged import Chain
from tests.table_in_dbt import chain_in_one, literal

MODEL = "activation_table"


def add_activation_table(project: Path, manifest: dict[str, Any], most: int | None) -> int:
    """Adds the table to a copy of the prepared project, or the rows of its first builds, `most` of them; and says how
    many unit tests that makes."""
    chain = Chain.of(manifest, *UP_TO)
    sql, sources = chain_in_one(chain, ANSWERS.format(schema=""))
    (project / "models" / "intermediate" / f"{MODEL}.sql").write_text(sql, encoding="utf-8")
    tests = []
    with chain.open() as con:
        for build, batch in [*batches().items()][:most]:
            stage(con, batch)
            answers = ", ".join(f"('{row.key}', '{row.expected}')" for row in batch)
            given = [
                {"input": f"source('{schema}', '{name}')", "format": "sql", "rows": literal(con, f"{schema}.{name}")}
                for schema, name in sources
            ]
            expect = {"format": "sql", "rows": f"select * from (values {answers}) as t (asked, answer)"}
            name = f"{MODEL}_{build}"
            tests.append({"name": name, "model": MODEL, "given": given, "expect": expect})
    file = project / "models" / "intermediate" / f"_{MODEL}__unit_tests.yml"
    file.write_text(yaml.safe_dump({"unit_tests": tests}, width=1000), encoding="utf-8")
    return len(tests)
