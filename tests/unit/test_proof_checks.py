"""What verdicts become: checks of a build that block, words for people, signed evidence without a value."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestration.evidence.signing import is_signed
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.loader import load_policy
from orchestration.policy.schema import Policy
from orchestration.proof.checks import SENTENCES, checks_of, in_words, name_of, wanted, why_blocked
from orchestration.proof.commands import told
from orchestration.proof.evidence import Proof, write_proof
from orchestration.proof.verdict import Failure, Part, Verdict, are_proved
from orchestration.warehouse.gate import REQUIRED_STAGES

NOW = datetime(2026, 11, 22, tzinfo=UTC)
FAILURE = Failure("a path beside the gate", ("lake.web", "int_touchpoints_masked", "marts.x"), "Read the gate")
PARTS: tuple[Part, ...] = ("static", "twins")


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy()


def good(policy: Policy) -> list[Verdict]:
    return [Verdict(part, relation, "p", 3, 3) for part in PARTS for _, relation, _ in wanted(policy)[: _half(policy)]]


def _half(policy: Policy) -> int:
    return len(policy.segments.segments)


def proof_of(*verdicts: Verdict) -> Proof:
    return Proof("0a" * 10, "0b" * 32, "0c" * 32, verdicts, {"static": 1.5, "all": 1.6}, seed=1, is_full=False)


@pytest.mark.parametrize(
    ("verdict", "is_proved"),
    [
        (Verdict("static", "marts.x", "p", 3, 3), True),
        (Verdict("static", "marts.x", "p", 3, 2), False),
        (Verdict("static", "marts.x", "p", 0, 0), False),  # it had nothing to prove, so it shows nothing
        (Verdict("static", "marts.x", "p", 3, 3, (FAILURE,)), False),
    ],
)
def test_verdict_is_proved_only_where_all_of_something_holds(verdict: Verdict, is_proved: bool) -> None:
    assert verdict.is_proved == is_proved == are_proved([verdict])
    assert not are_proved([])


def test_both_parts_are_stages_of_the_release_gate() -> None:
    assert SENTENCES.keys() <= REQUIRED_STAGES


def test_every_mart_needs_a_verdict_of_each_part(policy: Policy) -> None:
    verdicts = good(policy)
    assert all(check.passed for check in checks_of(policy, verdicts))
    for number, missing in enumerate(verdicts):
        checks = checks_of(policy, verdicts[:number] + verdicts[number + 1 :])
        assert [check.name for check in checks if check.blocks] == [name_of(missing.part, missing.relation)]
    assert all(check.blocks for check in checks_of(policy, []))


def test_what_blocks_is_told_also_where_nothing_was_proved(policy: Policy) -> None:
    first, second, *others = good(policy)
    assert why_blocked(checks_of(policy, [first, second, *others]), [first, second, *others]) == []
    failed = Verdict(first.part, first.relation, "p", 3, 2, (FAILURE,))
    said = why_blocked(checks_of(policy, [failed, *others]), [failed, *others])
    assert said == [
        *in_words([failed]),
        f"{second.part}: {name_of(second.part, second.relation)} was proved by nothing",
    ]


def test_relation_that_is_no_mart_blocks_too(policy: Policy) -> None:
    stray = Verdict("static", "intermediate.int_activations_decided", None, 2, 1, (FAILURE,))
    blocking = [check for check in checks_of(policy, [*good(policy), stray]) if check.blocks]
    assert [check.detail for check in blocking] == ["1 of 2 obligations hold"]


def test_one_purpose_that_fails_fails_the_relation(policy: Policy) -> None:
    segment = policy.segments.segments[0].name
    other = Verdict(PARTS[-1], f"marts.{segment}", "another", 2, 1, (FAILURE,))
    blocking = [check.name for check in checks_of(policy, [*good(policy), other]) if check.blocks]
    assert blocking == [name_of(PARTS[-1], f"marts.{segment}")]


def test_failure_is_told_with_its_path_in_words() -> None:
    verdict = Verdict("static", "marts.x", "sms_marketing", 3, 2, (FAILURE,))
    (line,) = in_words([verdict])
    assert "marts.x, for sms_marketing: a path beside the gate" in line
    assert "lake.web → int_touchpoints_masked → marts.x" in line and line.endswith("Read the gate")
    assert in_words([Verdict("twins", "marts.x", None, 3, 2)]) == ["twins: marts.x: 2 of 3 obligations hold"]
    said = "\n".join(told(proof_of(verdict)))
    assert "BAD  static" in said and "→ int_touchpoints_masked" in said and "1 do not" in said


def test_evidence_is_signed_and_tells_tools_hashes_and_paths(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    keys = Keys.open(home)
    proof = proof_of(Verdict("static", "marts.x", "p", 3, 2, (FAILURE,)), Verdict("twins", "marts.x", "p", 5, 5))
    path = write_proof(home, keys, proof, now=NOW)
    assert path.parent == home.evidence / "proofs" and path.name.startswith("0a0a")
    assert write_proof(home, keys, proof, now=NOW) != path, "no proof takes another's place"
    content = json.loads(path.read_bytes())
    public = Ed25519PrivateKey.from_private_bytes(keys.derive("anchor signing")).public_key()
    assert is_signed(content, public)
    assert not is_signed({**content, "failed": 0}, public)
    assert (content["obligations"], content["discharged"], content["failed"]) == (8, 7, 1)
    assert content["parts"]["static"] == {"relations": 1, "obligations": 3, "discharged": 2, "failed": 1}
    assert content["verdicts"][0]["failures"][0]["path"] == list(FAILURE.path)
    assert {"sqlglot", "duckdb", "dbt-core"} <= content["tools"].keys() and content["sql_hash"] == "0c" * 32
