"""The evidence of a proof names the generation in force only where it was built by the policy that is proved."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.loader import SHIPPED, load_policy, policy_hash
from orchestration.proof import prove
from orchestration.retention.respond import Site


@pytest.mark.parametrize("is_same", [True, False])
def test_evidence_names_a_generation_of_the_policy_proved(
    is_same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(Home.open(tmp_path / "home", demo_seed=7), load_policy(), Keys.from_seed(7))
    built_by = policy_hash(site.policy, SHIPPED) if is_same else "0" * 64
    now = datetime(2026, 11, 26, tzinfo=UTC)
    in_force = SimpleNamespace(generation="g1", policy_hash=built_by, as_of=now)
    monkeypatch.setattr(prove, "last_in_force", lambda _: in_force)
    proof = prove.prove(site, SHIPPED, prove.Asked(parts=()), now=now)
    assert proof.generation == ("g1" if is_same else None)
