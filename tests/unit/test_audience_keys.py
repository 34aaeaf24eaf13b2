"""Audience keys are per purpose: the lists of two purposes cannot be joined on them, those of one purpose can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pytest

from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.loader import load_policy
from orchestration.warehouse import stage
from orchestration.warehouse.code_hash import DBT_PROJECT

MACRO = (DBT_PROJECT / "macros" / "audience_key.sql").read_text(encoding="utf-8")
MODEL = (DBT_PROJECT / "models" / "intermediate" / "int_audience_keys.sql").read_text(encoding="utf-8")
PEOPLE = 50


def keys_of(home: Home, *, macro: str = MACRO, model: str = MODEL) -> duckdb.DuckDBPyConnection:
    """The model's own SQL over everybody in a segment of each of two purposes, and in two segments of one."""
    con = duckdb.connect()
    con.execute("create schema identity")
    stage._write_purpose_keys(con, load_policy(), Keys.open(home))
    con.execute(
        "create table considered as select 'p' || n as person_key, segment, purpose from range(?) as t(n) cross join "
        "(values ('a', 'sms_marketing'), ('b', 'sms_marketing'), ('c', 'email_marketing')) as s(segment, purpose)",
        [PEOPLE],
    )
    names: dict[str, Any] = {"ref": lambda _: "considered", "source": lambda schema, table: f"{schema}.{table}"}
    con.execute(f"create table audience as {jinja2.Environment().from_string(macro + model).render(**names)}")
    con.execute(
        "create view members as select c.segment, c.purpose, a.audience_key, c.person_key "
        "from considered c join audience a using (person_key, purpose)"
    )
    return con


def joined(con: duckdb.DuckDBPyConnection, one: str, other: str) -> int:
    found = con.execute(
        "select count(*) from members x join members y on x.audience_key = y.audience_key "
        "where x.segment = ? and y.segment = ?",
        [one, other],
    ).fetchone()
    assert found is not None
    return int(found[0])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def assert_apart(con: duckdb.DuckDBPyConnection) -> None:
    assert joined(con, "a", "b") == PEOPLE, "one purpose: the same people are the same keys"
    assert joined(con, "a", "c") == 0, "two purposes: the same people, and not one key in common"


def test_lists_of_two_purposes_cannot_be_joined(home: Home) -> None:
    con = keys_of(home)
    assert_apart(con)
    assert con.execute("select count(distinct key) = count(*) from identity.purpose_keys").fetchone() == (True,)


def test_keys_say_nothing_without_the_purposes_key(home: Home) -> None:
    """Who has a list and guesses person keys cannot tell whose a key is: no plain hash of them is one."""
    con = keys_of(home)
    guesses = "select unnest([sha256(person_key), left(sha256(person_key), 32), md5(person_key)]) as g from members"
    assert con.execute(f"select count(*) from members join ({guesses}) on audience_key = g").fetchone() == (0,)


@pytest.mark.parametrize("mutant", [
    "{% macro audience_key(key, person_key) %}left(sha256({{ person_key }}), 32){% endmacro %}\n",
    "{% macro audience_key(key, person_key) %}left({{ person_key }} || '-key', 32){% endmacro %}\n",
    "{% macro audience_key(key, person_key) %}left(sha256('salt' || {{ person_key }}), 32){% endmacro %}\n",
])  # fmt: skip
def test_macro_that_forgets_the_purpose_is_caught(home: Home, mutant: str) -> None:
    with pytest.raises(AssertionError, match="two purposes"):
        assert_apart(keys_of(home, macro=mutant))


def test_one_key_for_all_purposes_is_caught(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    derive = Keys.derive
    monkeypatch.setattr(Keys, "derive", lambda self, label: derive(self, label.split(":")[0]))
    with pytest.raises(AssertionError, match="two purposes"):
        assert_apart(keys_of(home))


def test_key_that_changes_within_a_purpose_is_caught(home: Home) -> None:
    random = "{% macro audience_key(key, person_key) %}left(sha256({{ key }} || random()), 32){% endmacro %}\n"
    by_segment = MODEL.replace("select distinct person_key, purpose", "select person_key, purpose")
    with pytest.raises(AssertionError):
        assert_apart(keys_of(home, macro=random, model=by_segment))
