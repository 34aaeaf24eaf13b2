"""`activation_table.yaml`, decided three ways that must agree: the oracle, the SQL on bare DuckDB, dbt's unit tests.

dbt's run is in `test_decision.py`, with the models' own unit tests: starting dbt costs more than the tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from orchestration.policy.vocabulary import vocabulary
from tests import decision_table
from tests.activation_table import ANSWERS, UP_TO, Row, batch_of, batches, stage, table
from tests.integration.conftest import Bench, Decided
from tests.oracle.activation import activate
from tests.staged import Chain

# Each rule broken on purpose: what to change in the models, and a case of the table that must notice.
MUTANTS = {
    "an absence needs no proof": (
        "bool_and(l.mask_then & a.scope_mask <> 0)", "true", "agreed_lately",
    ),
    "an absence is proved of half a person": (
        "having bool_and(is_whole)", "", "shared_number",
    ),
    "one channel open for one scope is enough": (
        "count(*) = max(t.scopes) as is_granted", "count(*) > 0 as is_granted", "one_of_two_scopes_lacks_the_channel",
    ),
    "a channel refused for one scope is open": (
        "bool_and(n.is_open) as is_open", "bool_or(n.is_open) as is_open", "refused_this_channel_for_one_of_two_scopes",
    ),
    "a closed contact point is used": (
        "(a.needs_permission and not c.is_open) or c.is_closed", "(a.needs_permission and not c.is_open)",
        "number_closed",
    ),
    "an unproved exclusion is none": (
        "where c.is_hidden or", "where false or", "hidden_in_the_other",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def activation(decided: Decided) -> Iterator[Bench]:
    chain = Chain.of(decided.manifest, *UP_TO)
    with chain.open() as con:
        yield Bench(chain, con)


def said_by_models(bench: Bench, batch: Sequence[Row], old: str = "", new: str = "") -> dict[str, str]:
    stage(bench.con, batch)
    assert not bench.chain.run(bench.con, old, new)
    return dict(bench.con.execute(ANSWERS.format(schema="intermediate.")).fetchall())


def said_by_oracle(batch: Sequence[Row]) -> dict[str, str]:
    found: dict[str, str] = {}
    for place in {(row.member.segment, row.member.destination) for row in batch}:
        asked = [row for row in batch if (row.member.segment, row.member.destination) == place]
        answers = activate([row.known for row in asked], *place)
        found |= {row.key: answer for row, answer in zip(asked, answers, strict=True)}
    return found


def expected(batch: Sequence[Row]) -> dict[str, str]:
    return {row.key: row.expected for row in batch}


@pytest.mark.parametrize("build", batches())
def test_oracle_says_what_the_activation_table_says(build: str) -> None:
    batch = batches()[build]
    assert said_by_oracle(batch) == expected(batch)


@pytest.mark.parametrize("build", batches())
def test_models_say_what_the_activation_table_says(build: str, activation: Bench) -> None:
    batch = batches()[build]
    assert said_by_models(activation, batch) == expected(batch)


@pytest.mark.parametrize("name", MUTANTS)
def test_broken_activation_is_noticed(name: str, activation: Bench) -> None:
    old, new, case = MUTANTS[name]
    batch = batch_of(case)
    found, right = said_by_models(activation, batch, old, new), expected(batch)
    assert any(found[key] != answer for key, answer in right.items() if key.startswith(f"{case}/"))


def test_both_tables_name_every_reason() -> None:
    here = {row.expected for batch in batches().values() for row in batch} - {"permit", "not selected"}
    there = {row.expected for row in decision_table.rows()} - {"permit"}
    elsewhere = decision_table.table().elsewhere
    assert here | there | {"unknown_purpose"} == {reason.name for reason in vocabulary().reasons}
    assert {reason for reason, where in elsewhere.items() if "activation_table.yaml" in where} == here - there
    assert {case.case for case in table().cases} == {row.member.case for batch in batches().values() for row in batch}
