"""The command `assent lineage`: what a column is made of, and where a field goes. Not here: the answers."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestration.atomic import write_bytes
from orchestration.consent.options import AS_JSON, print_json
from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.policy.loader import load_policy, policy_hash
from orchestration.policy.schema import Policy
from orchestration.settings import Settings, load_settings

if TYPE_CHECKING:
    from orchestration.proof.lineage.graph import Lineage

NAME = re.compile(r"[A-Za-z_][\w.-]*")
REMEDY = "`assent lineage` without arguments lists what can be asked"
OUT = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("column", required=False, metavar="[TABLE.COLUMN]")
@click.option("--from", "field", metavar="SOURCE.FIELD", help="Where this field of a source goes, and for what.")
@click.option("--paths", is_flag=True, help="Every step on the way, for what decides too.")
@click.option("--html", "page", type=OUT, help="Write all of it there as one page in Chinese and English.")
@click.option("--openlineage", "events", type=OUT, help="Write it there as OpenLineage events of what is published.")
@AS_JSON
@click.pass_context
def lineage(
    context: click.Context,
    column: str | None,
    field: str | None,
    paths: bool,
    page: Path | None,
    events: Path | None,
    as_json: bool,
) -> None:
    """Say what a column is made of and decided by, with the gates in between; or where a field goes, and for what.

    TABLE.COLUMN is of a segment, a governance table, a file (`exports.SEGMENT__DESTINATION`) or any model, such as
    marts.dormant_90.days_since_purchase. --from starts at a field of a source, such as web.page, and tells everything
    that it reaches. Without either it lists what can be asked.

    "through GATE" means that no way goes around that gate. It is worked out from today's policy and models, as dbt
    compiles them: names and codes only, no data is read.
    """
    if column is not None and field is not None:
        raise AssentError("a column and a field", where="--from", remedy="Ask for one of them at a time")
    _require_names(column, field)
    settings = context.obj if isinstance(context.obj, Settings) else load_settings()
    from orchestration.proof.lineage.read import read_lineage

    policy = load_policy(settings.policy_dir)
    home = Home.open(settings.home)
    graph = read_lineage(home, policy, settings.policy_dir, say=lambda line: click.echo(line, err=True))
    if page is not None:
        _write_page(page, policy, graph, policy_hash(policy, settings.policy_dir))
    if events is not None:
        _write_events(events, home, policy, graph)
    if column is not None or field is not None:
        _answer(policy, graph, column, field, paths, as_json)
    elif page is None and events is None:
        _overview(graph, as_json)


def _require_names(column: str | None, field: str | None) -> None:
    """Before anything is compiled; what was typed is not said again, since it may be somebody's."""
    for asked, where in ((column, "TABLE.COLUMN"), (field, "--from")):
        if asked is not None and not NAME.fullmatch(asked):
            raise AssentError("that is no name of a column", where=where, remedy=REMEDY)


def _answer(policy: Policy, graph: Lineage, column: str | None, field: str | None, paths: bool, as_json: bool) -> None:
    from orchestration.proof.lineage import answers, text
    from orchestration.proof.lineage.facts import Facts
    from orchestration.proof.lineage.graph import SHOWN
    from orchestration.proof.lineage.names import find_column
    from orchestration.proof.lineage.origins import FEEDS, LANDING

    facts = Facts(policy)
    if field is not None:
        goes = answers.goes_of(graph, facts, find_column(graph, field, "--from", (LANDING, FEEDS)))
        print_json(asdict(goes)) if as_json else click.echo("\n".join(text.goes_lines(goes, paths=paths)))
    elif column is not None:
        made = answers.origins_of(graph, facts, find_column(graph, column, "TABLE.COLUMN", SHOWN))
        print_json(asdict(made)) if as_json else click.echo("\n".join(text.origins_lines(made, paths=paths)))


def _overview(graph: Lineage, as_json: bool) -> None:
    from orchestration.proof.lineage.text import overview_lines

    if as_json:
        print_json({"gates": graph.gates, "relations": graph.relations})
    else:
        click.echo("\n".join(overview_lines(graph)))


def _write_page(path: Path, policy: Policy, graph: Lineage, digest: str) -> None:
    from orchestration.proof.lineage.page import render_lineage

    write_bytes(path, render_lineage(policy, graph, policy_hash=digest).encode())
    click.echo(f"written to {path}", err=True)


def _write_events(path: Path, home: Home, policy: Policy, graph: Lineage) -> None:
    from orchestration.proof.lineage import openlineage
    from orchestration.warehouse.publish import published

    current = published(home)
    if current is None:
        raise AssentError("nothing is published", where="--openlineage", remedy="Run `assent run` first")
    run = openlineage.Run(
        current.generation,
        current.as_of,
        datetime.now(UTC),
        openlineage.namespace(policy.organisation.beside.asset_prefix),
    )
    written = openlineage.write_events(path, graph, run, openlineage.tags_of(policy, graph))
    click.echo(f"{written} events written to {path}", err=True)
