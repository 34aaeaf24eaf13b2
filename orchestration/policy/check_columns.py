"""Cross-checks columns both ways: nothing is shown or sent that is not declared, nothing declared that is not used.

What is stored for no use is more than is needed (R-60), and a purpose that may show what no segment shows invites
somebody to. Not here: names and types of what a model really gives (`warehouse/declared.py`, and dbt's contracts)."""

from __future__ import annotations

import re
from pathlib import Path

from orchestration.policy import schema
from orchestration.policy.findings import Findings
from orchestration.policy.loader import SHIPPED

SHIPPED_MODELS = SHIPPED.parents[1] / "dbt_project" / "models"
_COMMENTS = re.compile(r"--[^\n]*|/\*.*?\*/|\{#.*?#\}", re.DOTALL)
_SUFFIX = {"keep": "", "token": "_token", "truncate_day": "_on"}


def check_columns(policy: schema.Policy, found: Findings, folder: Path) -> None:
    """`folder` may hold the company's models."""
    _check_categories(policy, found)
    _check_shows(policy, found)
    _check_destinations(policy, found)
    _check_fields(policy, found, folder)


def _check_categories(policy: schema.Policy, found: Findings) -> None:
    purposes = {purpose.name: purpose for purpose in policy.purposes.purposes}
    for index, segment in enumerate(policy.segments.segments):
        purpose = purposes.get(segment.purpose)
        for place, column in enumerate(segment.columns if purpose else ()):
            if purpose is not None and column.category not in purpose.categories:
                what = f"purpose `{purpose.name}` may not use category {column.category}, of which `{column.name}` is"
                remedy = f"Write one of: {', '.join(purpose.categories)}; or remove the column"
                found.add("segments", ("segments", index, "columns", place, "category"), what, remedy)


def _check_shows(policy: schema.Policy, found: Findings) -> None:
    """A column that a purpose may show, and no segment of it does."""
    shown = {(segment.purpose, column.name) for segment in policy.segments.segments for column in segment.columns}
    for index, purpose in enumerate(policy.purposes.purposes):
        for place, name in enumerate(purpose.shows):
            if (purpose.name, name) not in shown:
                what = f"no segment of purpose `{purpose.name}` shows `{name}`: it is declared, but unused"
                found.add("purposes", ("purposes", index, "shows", place), what, "Remove it from `shows:`")


def _check_destinations(policy: schema.Policy, found: Findings) -> None:
    used = {name for segment in policy.segments.segments for name in segment.destinations}
    for index, destination in enumerate(policy.destinations.destinations):
        if destination.name not in used:
            what = f"no segment is delivered to `{destination.name}`: its columns are declared, but unused"
            remedy = "Name it in `destinations:` of a segment, or remove it"
            found.add("destinations", ("destinations", index, "name"), what, remedy)


def _check_fields(policy: schema.Policy, found: Findings, folder: Path) -> None:
    """A field that is stored, though no model reads it and it identifies, dates, names and permits nothing."""
    sources = {source.name: source for source in policy.sources.sources}
    for index, rules in enumerate(policy.minimisation.sources):
        source = sources.get(rules.source)
        sql = None if source is None else _staging_sql(folder, source)
        if source is None or sql is None:
            continue  # said elsewhere
        own = _own_fields(source)
        for place, rule in enumerate(rules.fields):
            if rule.verb == "drop" or rule.field in own or _reads(sql, rule):
                continue
            what = f"`{source.name}.{rule.field}` is stored, but no model reads it: it is declared, but unused"
            remedy = f"Write `verb: drop`, or read it in stg_{source.name}__touchpoints.sql"
            found.add("minimisation", ("sources", index, "fields", place, "verb"), what, remedy)


def _own_fields(source: schema.Source) -> set[str]:
    """Fields with a use of their own: they name the event, its time and id, identify somebody, or permit contact."""
    identifiers = {identifier.field for identifier in source.identifiers}
    signals = {signal.field for signal in source.permissions}
    return {source.event, source.occurred_at.field, source.event_id or "", *identifiers, *signals}


def _staging_sql(folder: Path, source: schema.Source) -> str | None:
    relative = Path("staging") / f"stg_{source.name}__touchpoints.sql"
    for root in (folder / "models", SHIPPED_MODELS):
        if (root / relative).is_file():
            return _COMMENTS.sub(" ", (root / relative).read_text(encoding="utf-8"))
    return None


def _reads(sql: str, rule: schema.FieldRule) -> bool:
    """Whether the SQL names the column that the field is stored in; a star reads whatever there is."""
    column = f"{rule.field}{_SUFFIX.get(rule.verb, f'_{rule.bucket}')}"
    return re.search(rf"\b{column}\b", sql) is not None or re.search(r"select\s+(\w+\.)?\*", sql, re.I) is not None
