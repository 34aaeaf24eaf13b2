"""Each rule of the decision, broken on purpose: the oracle's worlds or the models' own tests must notice.

The mutants change what dbt compiled, and bare DuckDB runs it, so each takes a second."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.compared import UP_TO
from tests.integration.conftest import Decided
from tests.staged import Chain

Rows = list[tuple[Any, ...]]
DECISIONS = "select touchpoint_key, purpose, reason from intermediate.int_decisions order by all"
GATED = "select touchpoint_key, purpose from intermediate.int_touchpoints_gated_by_purpose order by all"

MUTANTS = {
    "a grant wins a tie": ("c.effective_at > e.effective_at", "c.effective_at >= e.effective_at"),
    "a denial does not block": ("coalesce(blocked_until > t0, false) as is_blocked", "false as is_blocked"),
    "consent at collection is not asked": ("l.t0 <= t.occurred_at and t.occurred_at < l.t1", "l.t1 = 'infinity'"),
    "consent now is not asked": ("u.status_reason is null and i.reason is null", "u.status_reason is null"),
    "retention is not asked": ("l.mask_then & k.mask_kept", "l.mask_then"),
    "an implied grant counts": ("when c.is_explicit and not coalesce(m.is_explicit, false)", "when false"),
    "separate consent is not asked": ("(c.needs_separate or c.basis = 'separate_consent')", "false"),
    "an unknown notice counts": ("when n.published_at is null or n.published_at > c.effective_at", "when false"),
    "a superseded notice counts": ("n.superseded_at", "null::timestamp"),
    "a future grant acts early": ("not c.restricts and c.effective_at <=", "not c.restricts or c.effective_at <="),
    "a future withdrawal waits": ("least(effective_at, (", "greatest(effective_at, ("),
    "a minor needs no guardian": ("and not coalesce(c.is_guardian, false) then", "and false then"),
    "a controller shares consent": ("e.controller = i.controller and e.token = i.token", "e.token = i.token"),
    "a grant covers sensitive data unasked": ("(d.restricts or s.category <> 'sensitive')", "true"),
    "a grant covers every recipient": ("(d.restricts or s.recipient = 'own')", "true"),
    "a refusal is lost by its recipient": ("or (d.restricts and d.purpose is not null)", "or false"),
    "a restriction is lifted early": ("where state = 'on' or effective_at <=", "where true or effective_at <="),
    "a weak grant spreads": ("i.is_strong or (u.is_own and u.unit_id = i.unit_id)", "true"),
    "a shared identifier is somebody": ("when i.is_ambiguous then null", "when false then null"),
    "joining needs no consent": ("when j.group_id is not null then i.group_token", "when true then i.group_token"),
    "an unknown decision is a grant": ("coalesce(d.restricts, true)", "coalesce(d.restricts, false)"),
    "erasure is forgotten": ("u.status_reason is null and i.reason is null", "i.reason is null"),
    "consent never expires": ("coalesce(c.valid_until, timestamp 'infinity')", "timestamp 'infinity'"),
    "a refusal makes the basis laxer": ("not coalesce(d.restricts, true) and e.effective_at", "e.effective_at"),
    "an unlisted jurisdiction is skipped": ("from evidenced where regime is null", "from evidenced where false"),
    "a child's data is anybody's": ("coalesce(r.t0 < u.minor_until, false)", "false"),
    "silence is a separate consent": ("when s.needs_separate then 'needs_separate_consent'", "when false then null"),
    "a browser tells where a person lives": ("(i.is_strong or i.group_size = 1)", "true"),
    "a former holder's grant counts": ("c.effective_at >= c.held_since", "true"),
    "a former holder touches for the present one": ("greatest(l.t0, coalesce(", "least(l.t0, coalesce("),
    "the silence of a minor permits": ("g.minor_until <= (", "null <= ("),
    "the strictest regime loses": ("arg_min(n.basis, s.strictness)", "arg_max(n.basis, s.strictness)"),
}  # fmt: skip


@dataclass(frozen=True)
class Built:
    """The models that make the decisions and the tests of these, in a copy of the file that dbt built."""

    chain: Chain
    con: duckdb.DuckDBPyConnection

    def run(self, old: str = "", new: str = "") -> tuple[Rows, Rows, list[str]]:
        """Decisions, what passed the gate, and the models' tests that failed. The file stays as it was."""
        self.con.execute("begin")
        try:
            failed = self.chain.changed_by(old).run(self.con, old, new)
            return self.con.execute(DECISIONS).fetchall(), self.con.execute(GATED).fetchall(), failed
        finally:
            self.con.execute("rollback")


@pytest.fixture(scope="module")
def built(decided: Decided, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    file = Path(shutil.copy(decided.file, tmp_path_factory.mktemp("mutants")))
    with duckdb.connect(str(file)) as con:
        con.execute("set timezone = 'UTC'; set threads = 1")
        yield Built(Chain.of(decided.manifest, *UP_TO).with_tests(decided.manifest), con)


@pytest.fixture(scope="module")
def truth(built: Built) -> tuple[Rows, Rows]:
    decisions, gated, failed = built.run()
    assert not failed
    return decisions, gated


@pytest.mark.parametrize("name", MUTANTS)
def test_broken_rule_is_noticed(name: str, built: Built, truth: tuple[Rows, Rows]) -> None:
    decisions, gated, failed = built.run(*MUTANTS[name])
    assert failed or (decisions, gated) != truth
