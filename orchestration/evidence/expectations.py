"""The one great-expectations adapter: what every mart and every export file must satisfy before it leaves.

`BOOLEAN_ONLY` is forced here: any other format writes personal values into results. Only names and verdicts come out;
an expectation that cannot be evaluated has failed. Not here: dbt's tests inside the build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from orchestration import settings
from orchestration.exports import cells
from orchestration.policy.schema import CategoryClass, Destination, Policy, Segment
from orchestration.policy.tables import retention_days
from orchestration.warehouse.checks import CheckResult

RESULT_FORMAT = "BOOLEAN_ONLY"
CONTRACT = "columns_are_those_of_its_contract"
# without an end, consent_until is infinite in DuckDB; pandas has no such time
MART = (
    """select * replace (case when isfinite(consent_until) then consent_until end as consent_until) from marts."{}" """
)
STANDARD = ("audience_key", "admitted_by", "notice", "consent_until")
DIRECT_IDENTIFIERS = [
    r"[^\s@]+@[^\s@]+\.[^\s@]+",  # an e-mail address
    r"^(?:\+|00)\d{7,15}$",  # a phone in international form
    r"^(?:86)?1[3-9]\d{9}$",  # a mobile number of China
    r"^1[3-9]\d\*{4}\d{4}$",  # a masked one: still a number
    r"^\d{17}[\dXx]$",  # an identity card of China
]
FORMULAS = [r"^[\s\u3000]*[=+\-@\u2212\uff1d\uff0b\uff0d\uff20\ufe62\ufe63\ufe66\ufe6b]", r"^[\t\r\n]"]
CONTACT_PATTERNS = {
    "sha256_hex_of_canonical": r"^[0-9a-f]{64}$",
    "national_digits": r"^\d{3,20}$",
    "e164_digits": r"^[1-9]\d{6,14}$",
}
KIND_PATTERNS = {"phone": r"^\+[1-9]\d{6,14}$", "email": r"^[^\s@]+@[^\s@]+$"}
ANY_CONTACT = r"^\S+$"


@dataclass(frozen=True)
class Expected:
    """One sentence, true when good, and the expectations that together say it."""

    sentence: str
    expectations: Sequence[Any]


def load_ahead() -> None:
    """Starts importing great-expectations in a thread, for a step that only waits for another process: 3 s less."""
    Thread(target=_expectations, name="import great_expectations").start()


def check_marts(con: duckdb.DuckDBPyConnection, policy: Policy, *, as_of: datetime) -> list[CheckResult]:
    """The retention and minimisation suites on every segment's mart in `con`."""
    present = {str(name) for (name,) in con.execute(
        "select table_name from information_schema.tables where table_schema = 'marts'"
    ).fetchall()}  # fmt: skip
    results: list[CheckResult] = []
    for segment in policy.segments.segments:
        if segment.name not in present:
            results.append(CheckResult("marts", f"{segment.name}: {CONTRACT}", False, "error", "there is no table"))
            continue
        frame = con.execute(MART.format(segment.name)).to_arrow_table()
        results.extend(_validate("marts", segment.name, _frame(frame), mart_suite(policy, segment, as_of)))
    return results


def check_export(table: pa.Table, policy: Policy, segment: Segment, destination: Destination) -> list[CheckResult]:
    """The suite of one export file, on what its recipient reads from it."""
    name = f"{segment.name}__{destination.name}"
    return _validate("exports", name, _frame(table), export_suite(segment, destination))


def mart_suite(policy: Policy, segment: Segment, as_of: datetime) -> list[Expected]:
    """What a mart must satisfy: its contract, its purpose's minimisation, and retention."""
    gxe = _expectations()
    purpose = next(p for p in policy.purposes.purposes if p.name == segment.purpose)
    declared = [*STANDARD, *(column.name for column in segment.columns)]
    shown = [name for name in declared if name in STANDARD or name in purpose.shows]
    texts = ["audience_key", "notice", *(column.name for column in segment.columns if column.type == "varchar")]
    return [
        Expected(CONTRACT, [_columns(declared)]),
        Expected("columns_are_those_its_purpose_shows", [_columns(shown)]),
        Expected(
            "every_person_appears_once_under_a_key",
            [
                gxe.ExpectColumnValuesToNotBeNull(column="audience_key"),
                gxe.ExpectColumnValuesToBeUnique(column="audience_key"),
                gxe.ExpectColumnValuesToMatchRegex(column="audience_key", regex=r"^[0-9a-f]{32,64}$"),
            ],
        ),
        Expected(
            "no_column_holds_a_direct_identifier",
            [gxe.ExpectColumnValuesToNotMatchRegexList(column=name, regex_list=DIRECT_IDENTIFIERS) for name in texts],
        ),
        Expected("nothing_is_past_its_retention", _retention(policy, segment, purpose.categories, as_of)),
    ]


def _retention(policy: Policy, segment: Segment, categories: Sequence[CategoryClass], as_of: datetime) -> list[Any]:
    gxe = _expectations()
    limits = [retention_days(policy, category, segment.purpose) for category in categories]
    days = min(segment.lookback_days, max((limit for limit in limits if limit is not None), default=0))
    at = as_of.astimezone(UTC).replace(tzinfo=None)
    oldest = (at - timedelta(days=days)).date().isoformat()
    expected: list[Any] = [gxe.ExpectColumnValuesToBeBetween(column="consent_until", min_value=at, strict_min=True)]
    for column in segment.columns:
        if column.name.startswith("days_since_"):
            expected.append(gxe.ExpectColumnValuesToBeBetween(column=column.name, min_value=0, max_value=days))
        elif column.type == "date":
            expected.append(gxe.ExpectColumnValuesToBeBetween(column=column.name, min_value=oldest))
    return expected


def export_suite(segment: Segment, destination: Destination) -> list[Expected]:
    """What an export file must satisfy: the policy's columns and bounds, exact contacts, no cell that runs."""
    gxe = _expectations()
    columns = list(destination.columns)
    suite = [
        Expected("columns_are_the_policys_in_order", [gxe.ExpectTableColumnsToMatchOrderedList(column_list=columns)]),
        Expected(
            "rows_are_within_its_bounds",
            [gxe.ExpectTableRowCountToBeBetween(min_value=segment.minimum_size, max_value=destination.row_limit)],
        ),
    ]
    for name in ("contact", "audience_key"):
        if name in columns:
            once = [gxe.ExpectColumnValuesToNotBeNull(column=name), gxe.ExpectColumnValuesToBeUnique(column=name)]
            suite.append(Expected(f"every_{name}_appears_once", once))
    if "contact" in columns:
        form = cells.written_as(destination)
        pattern = CONTACT_PATTERNS.get(form) or KIND_PATTERNS.get(destination.kind, ANY_CONTACT)
        match = gxe.ExpectColumnValuesToMatchRegex(column="contact", regex=pattern)
        suite.append(Expected("every_contact_has_the_declared_form", [match]))
    texts = [name for name in columns if name not in ("admitted_by", "consent_until", "contact")]
    plain = [gxe.ExpectColumnValuesToNotMatchRegexList(column=name, regex_list=DIRECT_IDENTIFIERS) for name in texts]
    suite.append(Expected("only_the_contact_column_identifies", plain))
    if destination.format != "parquet":
        safe = [gxe.ExpectColumnValuesToNotMatchRegexList(column=name, regex_list=FORMULAS) for name in columns]
        suite.append(Expected("no_cell_starts_a_formula", safe))
    return suite


def _columns(names: Sequence[str]) -> Any:
    return _expectations().ExpectTableColumnsToMatchSet(column_set=list(names), exact_match=True)


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(date_as_object=False)
    return frame


def _validate(stage: str, subject: str, frame: pd.DataFrame, suite: Sequence[Expected]) -> list[CheckResult]:
    import great_expectations as gx

    batch = _batch(frame)
    results = []
    for expected in suite:
        expectations = gx.ExpectationSuite(name=expected.sentence, expectations=list(expected.expectations))
        verdicts = [
            bool(result.success) for result in batch.validate(expectations, result_format=RESULT_FORMAT).results
        ]
        # great-expectations drops equal expectations; fewer verdicts than that, and something was not looked at
        passed = all(verdicts) and bool(verdicts) == bool(expected.expectations)
        detail = f"{verdicts.count(False)} of {len(verdicts)} expectations failed on {len(frame)} rows"
        results.append(CheckResult(stage, f"{subject}: {expected.sentence}", passed, "error", detail))
    return results


def _batch(frame: pd.DataFrame) -> Any:
    """`frame` in a context that lives in memory only: no store, no Data Docs, no telemetry."""
    settings.quieten()
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
        analytics_enabled=False,
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    asset = context.data_sources.add_pandas("leaving").add_dataframe_asset("frame")
    return asset.add_batch_definition_whole_dataframe("whole").get_batch(batch_parameters={"dataframe": frame})


def _expectations() -> Any:
    settings.quieten()
    from great_expectations import expectations

    return expectations
