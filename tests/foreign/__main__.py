"""`python -m tests.foreign FOLDER`: the share of the models of the dbt projects below a folder whose columns the proof
can follow, and what it says of the rest."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sqlglot import exp

from orchestration.proof.flow import Unresolved, flows
from orchestration.proof.project import Project, Relation
from tests.foreign.columns import Guess, parsed, read_columns
from tests.foreign.render import Rendered, render_project

MOST_GUESSES = 5  # rounds in which columns that no table is known to have are looked for in the next
NO_COLUMN = ("a_column",)  # of a table of which no query names a column


@dataclass
class Found:
    """What came of the models of one project."""

    name: str
    resolved: int = 0
    unresolved: dict[str, list[Unresolved]] = field(default_factory=dict)
    not_rendered: dict[str, str] = field(default_factory=dict)

    @property
    def models(self) -> int:
        return self.resolved + len(self.unresolved)


def read_foreign(root: Path) -> Found:
    """Renders the dbt project at `root` and follows the columns of each model."""
    rendered = render_project(root)
    found = Found(root.name, not_rendered=rendered.failed)
    guess: Guess = frozenset()
    for _ in range(MOST_GUESSES):
        made = flows(as_project(rendered, guess))
        asked = {(flow.relation, _column(one)) for flow in made.values() for one in flow.unresolved}
        if asked <= guess:
            break
        guess |= asked
    for flow in made.values():
        if flow.unresolved:
            found.unresolved[flow.relation] = list(flow.unresolved)
        else:
            found.resolved += 1
    return found


def _column(unresolved: Unresolved) -> str:
    """The name of the column that is missing, where one is: `a`, or USING (a)."""
    return unresolved.construct.removeprefix("USING (").removesuffix(")").strip("`").lower()


def as_project(rendered: Rendered, guess: Guess) -> Project:
    """The rendered models as relations, each after those that it reads."""
    columns = read_columns(rendered.sql, rendered.sources, guess)
    sources = [
        Relation(name, "source", name.partition(".")[0], columns=of or NO_COLUMN) for name, of in columns.items()
    ]
    models = {f"models.{name}": sql for name, sql in rendered.sql.items()}
    reads = {name: _reads(sql) & (models.keys() | columns.keys()) - {name} for name, sql in models.items()}
    ordered: list[Relation] = []
    while models.keys() - {relation.name for relation in ordered}:
        done = {relation.name for relation in ordered}
        ready = sorted(n for n in models.keys() - done if not (reads[n] & models.keys()) - done)
        for name in ready or sorted(models.keys() - done):  # a circle cannot be ordered: its models stay unresolved
            of = tuple(sorted(reads[name]))
            ordered.append(Relation(name, "model", "models", sql=models[name], reads=of))
    return Project((*sources, *ordered))


def _reads(sql: str) -> set[str]:
    tables = parsed(sql).find_all(exp.Table)
    return {f"{table.db}.{table.name}".lower() for table in tables if table.db}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.foreign", description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder with dbt projects somewhere below it")
    parser.add_argument("--all", action="store_true", help="every construct of every model")
    options = parser.parse_args()
    projects = [read_foreign(path.parent) for path in sorted(options.folder.rglob("dbt_project.yml"))]
    constructs: Counter[tuple[str, str]] = Counter()
    for found in projects:
        if found.models or found.not_rendered:
            print(
                f"{found.name:24} {found.resolved:4} of {found.models:4} models, not rendered {len(found.not_rendered)}"
            )
        for model, unresolved in found.unresolved.items():
            constructs.update({(one.construct, one.remedy) for one in unresolved})
            for one in unresolved if options.all else ():
                print(f"    {model}: {one.construct} ({one.where}). {one.remedy}")
    total, resolved = sum(found.models for found in projects), sum(found.resolved for found in projects)
    print(f"{'together':24} {resolved:4} of {total:4} models resolve: {resolved / max(total, 1):.1%}")
    for (construct, remedy), number in constructs.most_common():
        print(f"    {number:4} models  {construct}. {remedy}")


if __name__ == "__main__":
    main()
