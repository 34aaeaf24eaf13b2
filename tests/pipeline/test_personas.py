"""Every person with a story is where `personas.yaml` says, and a wrong story is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.demo.personas import Expect, load_personas
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.loader import load_policy
from orchestration.warehouse.publish import published
from tests.cast import Stage
from tests.pipeline.conftest import Finished

POLICY = load_policy()
PERSONAS = load_personas(POLICY).personas


@pytest.fixture(scope="module")
def stage(built: tuple[Path, Finished]) -> Stage:
    home = Home.open(built[0])
    current = published(home)
    assert current is not None
    return Stage(home.warehouse / f"{current.generation}.duckdb", Keys.open(home), POLICY)


@pytest.mark.fault("B2", "B3", "B7", "H1", "H4", "H6", "H12")
def test_every_persona_is_where_the_file_says(stage: Stage) -> None:
    wrong = [difference for persona in PERSONAS for difference in stage.differences(persona)]
    assert not wrong, "\n".join(wrong)


def test_a_wrong_expectation_is_noticed(stage: Stage) -> None:
    """The check itself can fail: nobody may be said to be in every segment, nor out of all of them."""
    admitted = next(p for p in PERSONAS if "in" in p.expect.segments.values() and p.expect.exports)
    segments = dict.fromkeys((s.name for s in POLICY.segments.segments), "in")
    everywhere = admitted.model_copy(update={"expect": Expect(segments=segments)})
    nowhere = admitted.model_copy(
        update={"expect": Expect(exports=dict.fromkeys(admitted.expect.exports, "withdrawn"))}
    )
    assert stage.differences(everywhere)
    assert stage.differences(nowhere)
