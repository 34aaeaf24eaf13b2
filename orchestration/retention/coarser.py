"""What today's minimisation leaves of a column of the lake that was stored under an older one. Pure.

Only ever towards less: where policy allows more today than is stored, nothing changes. Not here: the files
(`reminimise.py`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestration.identity.normalise import canonical_sql
from orchestration.ingestion.contracts import lake_column, lake_columns, rules_of
from orchestration.ingestion.minimise import identifiers_of, kind_of, value_sql
from orchestration.ingestion.quoting import ident, text
from orchestration.policy.schema import FieldRule, Policy, Source, SourceField

# dropped: policy keeps nothing of it. coarsened: what policy keeps is told from what is stored. lost: policy keeps
# another form, which cannot be told from the stored one (a token of a value that was never stored), so nothing stays.
# kept: policy allows more than is stored.
Fate = Literal["dropped", "coarsened", "lost", "kept"]

FORMS = (
    FieldRule(field="x", category="behaviour", verb="keep"),
    FieldRule(field="x", category="behaviour", verb="token"),
    FieldRule(field="x", category="behaviour", verb="truncate_day"),
    *(
        FieldRule(field="x", category="behaviour", verb="bucket", bucket=bucket)
        for bucket in ("month_of_year", "hour", "hundreds", "year")
    ),
)
OF_A_DAY = ("month_of_year", "year")  # buckets that a day still tells


@dataclass(frozen=True)
class ColumnFate:
    """What becomes of one stored column; `into` and `sql` where another takes its place. `sql` is over the file's
    columns and those that `given` makes of them."""

    column: str
    fate: Fate
    into: str | None = None
    given: str = ""
    sql: str = ""


def fates(policy: Policy, source: Source, stored: Iterable[str]) -> list[ColumnFate]:
    """The fate of each stored column that is none of today's, in the order given."""
    today = {name for name, _ in lake_columns(policy, source)}
    return [_fate(policy, source, column) for column in stored if column not in today]


def _fate(policy: Policy, source: Source, column: str) -> ColumnFate:
    found = _stored_as(source, column)
    rule = rules_of(policy, source).get(found[0].name) if found else None
    if found is None or rule is None or rule.verb == "drop":
        return ColumnFate(column, "dropped")
    field, stored = found
    if _allows(rule, stored):
        return ColumnFate(column, "kept")
    if not _tells(stored, rule):
        return ColumnFate(column, "lost")
    return _coarsened(policy, source, column, field, rule)


def _stored_as(source: Source, column: str) -> tuple[SourceField, FieldRule] | None:
    """The field of today and the form of it that the column holds; the longest name where several would fit."""
    fitting = [(field, form) for field in source.fields for form in FORMS if lake_column(field, form)[0] == column]
    return max(fitting, key=lambda found: len(found[0].name), default=None)


def _allows(rule: FieldRule, stored: FieldRule) -> bool:
    """Does today's verb leave more than the stored form? Of two of which neither tells the other, neither is more."""
    if rule.verb == "keep":
        return True
    return rule.verb == "truncate_day" and stored.bucket in OF_A_DAY


def _tells(stored: FieldRule, rule: FieldRule) -> bool:
    return stored.verb == "keep" or (stored.verb == "truncate_day" and rule.bucket in OF_A_DAY)


def _coarsened(policy: Policy, source: Source, column: str, field: SourceField, rule: FieldRule) -> ColumnFate:
    """Today's verb on what is stored: the same SQL that acts at the door."""
    known = next((i for i in identifiers_of(policy, source) if i.field == field.name), None)
    given = f"{ident(column)} AS f_{field.name}"
    if known is not None:
        canonical = canonical_sql(kind_of(policy, known.kind), ident(column))
        given += f", token({text(known.kind)}, {text(known.issuer)}, {canonical}) AS t_{field.name}"
    into, _ = lake_column(field, rule)
    return ColumnFate(column, "coarsened", into, given, value_sql(source, field, rule, known is not None))


def stranger_sql(policy: Policy, source: Source) -> str:
    """True of a stored row whose subject is of an identifier that policy no longer takes from this source."""
    allowed = ", ".join(f"({text(i.kind)}, {text(i.issuer)})" for i in identifiers_of(policy, source))
    is_allowed = f"coalesce((subject_kind, subject_issuer) IN ({allowed}), false)" if allowed else "false"
    return f"(subject_token IS NOT NULL AND NOT {is_allowed})"


def subject_sql(policy: Policy, source: Source, stored: Collection[str]) -> dict[str, str]:
    """Column → SQL of a row's subject: where it is a stranger's, the first further identifier that policy takes today,
    else nobody. `stored` are the file's columns."""
    known = [(i, ident(f"{i.field}_token")) for i in identifiers_of(policy, source) if f"{i.field}_token" in stored]
    others = {
        "subject_token": [(column, column) for _, column in known],
        "subject_kind": [(column, text(i.kind)) for i, column in known],
        "subject_issuer": [(column, text(i.issuer)) for i, column in known],
    }
    return {
        name: f"CASE WHEN {stranger_sql(policy, source)} THEN {_first(found)} ELSE {name} END"
        for name, found in others.items()
    }


def _first(found: Sequence[tuple[str, str]]) -> str:
    """The value that stands beside the first column with something in it."""
    whens = " ".join(f"WHEN {column} IS NOT NULL THEN {value}" for column, value in found)
    return f"CASE {whens} END" if whens else "NULL::VARCHAR"
