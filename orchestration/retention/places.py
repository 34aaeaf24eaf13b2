"""The inventory: every place that can hold personal data or a token, with its retention and its erasure (R-99).

`uncovered` holds what is found in a home against it: a file, table or column that nobody declared, or one of people for
which no rule says what ends it, is named. Not here: finding them (`discover.py`), and the deletions themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from orchestration import safe_yaml
from orchestration.ingestion.contracts import lake_columns
from orchestration.policy.schema import Policy
from orchestration.policy.tables import TABLES as POLICY_TABLES

FILE = Path(__file__).with_name("places.yaml")
# What ends data by time: the datasets of the plan that carry it out, or in words what else does.
RETENTION: dict[str, tuple[str, ...] | str] = {
    "categories": ("touchpoints", "settled"),
    "links": ("links",),
    "quarantine": ("quarantine",),
    "archive": ("archive",),
    "vault": ("vault",),
    "deliveries": ("deliveries", "removals"),
    "contact_points": ("contact_points",),
    "exports": ("exports",),
    "generations": ("generations",),
    "dbt": ("dbt",),
    "runs": ("runs",),
    "landing": "after_ingest of the source; refused files are named until they are replaced or taken away",
    "ledger": "kept as the proof of consent, under random references; erasure destroys the map, details and salts",
    "subjects": "kept while the ledger knows the subject: denials must be recognised; erasure forgets it",
    "journal": "kept as long as a restore may have to replay it; erasure forgets the entries",
    "requests": "kept as the proof of the answer; who it was about is sealed, and destroyed when an erasure ends",
    "suppressions": "kept so that what comes again of an erased person is known, as hashes that name nobody",
    "suppression_files": "taken back before the erasure is physical",
    "working": "replaced by each build",
    "swept": "removed when the next run starts, or by the database itself",
}
# The steps of an erasure (`erasure.py`), each of which ends one person's data in the places that name it; a tombstone
# ends with the erasure itself.
ERASURE = (
    "suppress", "outbox", "quarantine", "archive", "landing", "vault", "ledger", "journal", "lake", "registry",
    "working", "generations", "tombstone",
)  # fmt: skip
STAGING = "touchpoint_key source controller subject_token occurred_at raw_event item store account city tier amount"
MART = "audience_key admitted_by notice consent_until"

Holds = Literal["people", "sealed", "nothing"]
Columns = frozenset[str]


@dataclass(frozen=True)
class Place:
    """Files of one pattern, what they hold, what ends it, and the columns of their tables (None: no table)."""

    path: str
    holds: Holds
    retention: str | None = None
    erasure: str | None = None
    tables: Mapping[str, Columns] | None = None
    pseudonyms: frozenset[tuple[str, str]] = frozenset()  # (table, column)
    of_policy: str | None = None

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        parts = re.split(r"(\*\*/|\*\*|\*)", self.path)
        forms = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*"}
        return re.compile("".join(forms.get(part, re.escape(part)) for part in parts))


@dataclass(frozen=True)
class Found:
    """Something in a home: a file, and where it holds tables one column of one of them."""

    path: str
    table: str | None = None
    column: str | None = None

    def __str__(self) -> str:
        return " ".join(filter(None, (self.path, self.table, self.column)))


def inventory(policy: Policy) -> list[Place]:
    """Every place, with the tables and columns that this policy makes."""
    content = safe_yaml.load(FILE.read_text(encoding="utf-8"))
    return [_completed(_place(entry), policy) for entry in content["places"]]


def uncovered(found: Iterable[Found], places: Sequence[Place]) -> list[str]:
    """What is found and not covered, one sentence each; and what no rule ends."""
    problems = [problem for place in places if (problem := _without_rule(place)) is not None]
    for one in found:
        of_it = [place for place in places if place.pattern.fullmatch(one.path)]
        if len(of_it) != 1:
            problems.append(f"{one}: {'no place declares it' if not of_it else 'several places declare it'}")
        elif one.table is not None:
            problems += _undeclared(one, of_it[0])
    return sorted(set(problems))


def _without_rule(place: Place) -> str | None:
    if place.retention is not None and place.retention not in RETENTION:
        return f"{place.path}: there is no retention rule {place.retention}"
    if place.holds == "nothing":
        marked = sorted(f"{table}.{column}" for table, column in place.pseudonyms)
        return f"{place.path}: it holds nothing, and yet a pseudonym ({marked[0]})" if marked else None
    if place.retention is None:
        return f"{place.path}: no retention rule"
    if place.erasure not in ERASURE:
        return f"{place.path}: no erasure rule"
    return None


def _undeclared(one: Found, place: Place) -> list[str]:
    if place.tables is None:
        return [f"{one}: the place declares no tables"]
    columns = place.tables.get(str(one.table))
    if columns is None:
        return [f"{one.path} {one.table}: the place does not declare this table"]
    return [] if one.column in columns else [f"{one}: the place does not declare this column"]


def _place(entry: dict[str, Any]) -> Place:
    tables = entry.pop("tables", None)
    if tables is None:
        return Place(**entry)
    words = {table: str(columns).split() for table, columns in tables.items()}
    names = {table: frozenset(word.rstrip("*") for word in listed) for table, listed in words.items()}
    marked = {(table, word.rstrip("*")) for table, listed in words.items() for word in listed if word.endswith("*")}
    return Place(**entry, tables=names, pseudonyms=frozenset(marked))


def _completed(place: Place, policy: Policy) -> Place:
    if place.of_policy == "warehouse":
        return replace(place, tables={**(place.tables or {}), **_warehouse(policy)})
    if place.of_policy == "lake":
        return replace(place, tables={"rows": frozenset().union(*_lake(policy).values())})
    if place.of_policy == "exports":
        columns = {column for one in policy.destinations.destinations for column in one.columns}
        return replace(place, tables={"rows": frozenset({"contact", *columns})})
    return place


def _warehouse(policy: Policy) -> dict[str, Columns]:
    staging = frozenset((*STAGING.split(), "birth_month"))
    return {
        **{f"policy.{table}": _named(ddl) for table, ddl in POLICY_TABLES.items()},
        **{f"lake.{source}": columns for source, columns in _lake(policy).items()},
        "lake.completeness": frozenset({"source", "day"}),
        **{f"staging.stg_{source.name}__touchpoints": staging for source in policy.sources.sources},
        **{
            f"marts.{segment.name}": frozenset((*MART.split(), *(column.name for column in segment.columns)))
            for segment in policy.segments.segments
        },
    }


def _lake(policy: Policy) -> dict[str, Columns]:
    return {s.name: frozenset(name for name, _ in lake_columns(policy, s)) for s in policy.sources.sources}


def _named(ddl: str) -> Columns:
    return frozenset(part.split()[0] for part in ddl.split(","))
