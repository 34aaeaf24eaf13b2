"""Whether a segment is sensitive, derived from what its SQL and its parameters name, predicates included; and which
columns a source fills from what policy holds back (sensitive fields, fields of a later stage).

A segment that is not sensitive is fed non-sensitive rows only, so a value missed here hides rows; it leaks none."""

from __future__ import annotations

import contextlib
import re

import sqlglot
from sqlglot import exp

from orchestration.errors import AssentError, ExitCode
from orchestration.policy.schema import FieldRule, Policy, Segment, SensitiveValue, Source
from orchestration.warehouse.models import CANONICAL_COLUMNS, DESCRIPTIVE_COLUMNS, Models

_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_STATEMENT = re.compile(r"\{%.*?%\}", re.DOTALL)
_EXPRESSION = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
# What a Jinja expression may stand for: a table, a value or a whole query; else a name.
_PLACEHOLDERS = ("(select 1)", "jinja_name")
_WILDCARD = re.compile(r"[%_]")


class SqlUnreadableError(AssentError):
    """A segment's SQL cannot be read, so nothing can be said about what it reveals."""

    exit_code = ExitCode.POLICY


def sensitive_segments(policy: Policy, models: Models) -> frozenset[str]:
    """The segments that need sensitive consent. Leaving out the people of a sensitive segment reveals them too."""
    columns = sensitive_columns(policy, models)
    found = {
        segment.name
        for segment in policy.segments.segments
        if reads_sensitive(models.segment(segment).read_text(encoding="utf-8"), segment, policy, columns)
    }
    while True:
        more = {s.name for s in policy.segments.segments if s.name not in found and found & set(s.excludes)}
        if not more:
            return frozenset(found)
        found |= more


def reads_sensitive(sql: str, segment: Segment, policy: Policy, columns: frozenset[str]) -> bool:
    """Does the model `sql` with the segment's parameters name a sensitive value, or read one of `columns`?"""
    tree, quoted = parse_model(sql, f"the model of segment {segment.name}")
    values = [*_texts(segment), *quoted, *(str(node.this) for node in tree.find_all(exp.Literal) if node.is_string)]
    if any(_is_sensitive(value, rule) for value in values for rule in policy.minimisation.sensitive_values):
        return True
    read = columns_read(tree) | {column.name for column in segment.columns}
    return bool(columns & read) or (bool(columns) and reads_unnamed(tree))


def sensitive_columns(policy: Policy, models: Models) -> frozenset[str]:
    """The canonical columns that some source fills from a field of category `sensitive`."""
    found = [
        _filled_by(source, {rule.field for rule in rules if rule.category == "sensitive"}, models)
        for source, rules in _field_rules(policy)
    ]
    return frozenset().union(*found)


def staged_columns(policy: Policy, models: Models) -> dict[str, dict[str, str]]:
    """Canonical column → source → the latest stage of a field that fills it there (R-10)."""
    order = {stage.name: place for place, stage in enumerate(policy.purposes.stages)}
    found: dict[str, dict[str, str]] = {}
    for source, rules in _field_rules(policy):
        for stage in sorted({rule.stage for rule in rules if rule.stage}, key=lambda name: order[name]):
            fields = {rule.field for rule in rules if rule.stage == stage}
            for column in sorted(_filled_by(source, fields, models) & set(DESCRIPTIVE_COLUMNS)):
                found.setdefault(column, {})[source.name] = stage
    return found


def stages_read(policy: Policy, models: Models) -> dict[str, frozenset[str]]:
    """Segment → the stages that the columns in its SQL wait for: taking such a consent back concerns the segment."""
    staged = staged_columns(policy, models)
    found = {}
    for segment in policy.segments.segments if staged else ():
        sql = models.segment(segment).read_text(encoding="utf-8")
        tree, _ = parse_model(sql, f"the model of segment {segment.name}")
        read = set(staged) if reads_unnamed(tree) else columns_read(tree) & set(staged)
        found[segment.name] = frozenset(stage for column in read for stage in staged[column].values())
    return found


def _field_rules(policy: Policy) -> list[tuple[Source, tuple[FieldRule, ...]]]:
    rules = {rule.source: rule.fields for rule in policy.minimisation.sources}
    return [(source, rules.get(source.name, ())) for source in policy.sources.sources]


def _filled_by(source: Source, fields: set[str], models: Models) -> frozenset[str]:
    """The columns that the source's staging model fills from one of `fields`: all of them where it cannot be told."""
    if not fields:
        return frozenset()
    tree, _ = parse_model(
        models.staging(source).read_text(encoding="utf-8"), f"the staging model of source {source.name}"
    )
    if reads_unnamed(tree):
        return frozenset(CANONICAL_COLUMNS)
    projections = (p for select in tree.find_all(exp.Select) for p in select.expressions)
    return frozenset(p.alias_or_name for p in projections if any(_comes_from(c, fields) for c in columns_read(p)))


def parse_model(sql: str, what: str) -> tuple[exp.Expr, list[str]]:
    """The syntax tree of a model with its Jinja taken out, and the texts quoted inside the Jinja."""
    bare = _COMMENT.sub(" ", sql)
    jinja = [match.group() for pattern in (_STATEMENT, _EXPRESSION) for match in pattern.finditer(bare)]
    quoted = [a or b for block in jinja for a, b in _QUOTED.findall(block)]
    bare = _STATEMENT.sub(" ", bare)
    for placeholder in _PLACEHOLDERS:
        with contextlib.suppress(sqlglot.errors.SqlglotError):
            tree = sqlglot.parse_one(_EXPRESSION.sub(placeholder, bare), dialect="duckdb")
            if isinstance(tree, exp.Query):
                return tree, quoted
    raise SqlUnreadableError(
        f"{what} cannot be read",
        where="sensitivity",
        remedy="Write one plain SELECT in which each {{ }} stands for a table, a column, a value or a query",
    )


def reads_unnamed(tree: exp.Expr) -> bool:
    """Does some part read columns that it does not name? A bare `select * from one` only hands them on: whatever is
    used of them is named later. With DISTINCT, GROUP BY or a join the star is a use; so is a row as a value."""
    rows = {table.alias_or_name.lower() for table in tree.find_all(exp.Table)}
    rows |= {alias.name.lower() for alias in tree.find_all(exp.TableAlias)}
    return bool(rows & columns_read(tree)) or any(
        any(projection.is_star for projection in select.expressions) and not _hands_on(select)
        for select in tree.find_all(exp.Select)
    )


def _hands_on(select: exp.Select) -> bool:
    using = ("distinct", "group", "joins", "pivots", "windows", "qualify")
    return len(select.expressions) == 1 and not any(select.args.get(part) for part in using)


def columns_read(tree: exp.Expr) -> set[str]:
    joined = {name.name.lower() for join in tree.find_all(exp.Join) for name in join.args.get("using") or ()}
    return joined | {column.name.lower() for column in tree.find_all(exp.Column) if not column.is_star}


def _texts(segment: Segment) -> list[str]:
    texts: list[str] = []
    for value in segment.parameters.values():
        texts.extend(value if isinstance(value, tuple) else [value] if isinstance(value, str) else [])
    return texts


def _is_sensitive(value: str, rule: SensitiveValue) -> bool:
    start = rule.value.removesuffix("*")
    if not rule.value.endswith("*"):
        return value == start
    pattern = _WILDCARD.split(value, maxsplit=1)[0]  # of LIKE: what is before the first wildcard
    return value.startswith(start) or (pattern != value and pattern != "" and start.startswith(pattern))


def _comes_from(column: str, fields: set[str]) -> bool:
    """Is it a lake column of one of the fields (`field`, `field_token`, `field_on`, `field_<bucket>`)?"""
    return any(column == field or column.startswith(f"{field}_") for field in fields)
