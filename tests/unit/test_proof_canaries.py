"""The search of `assent prove --canaries`: what it could not read is not proved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.loader import load_policy
from orchestration.proof import canaries
from orchestration.proof.verdict import are_proved
from orchestration.retention.readings import Reading, readings
from orchestration.retention.respond import Site

NOTE = "evidence/note.json"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    home, keys = Home.open(tmp_path / "home", demo_seed=7), Keys.from_seed(7)
    (home.root / NOTE).write_text("{}")
    return Site(home, load_policy(), keys)


def search(site: Site) -> canaries.Searched:
    with canaries.CanarySearch(site, seed=1, sample=None) as started:
        return started.run()


def test_home_without_people_is_proved(site: Site) -> None:
    assert are_proved(search(site).verdicts())


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_file_that_cannot_be_read_is_not_proved(site: Site, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def read(home: Home, path: Path) -> Iterator[Reading]:
        if path == site.home.root / NOTE:
            raise error
        yield from readings(home, path)

    monkeypatch.setattr(canaries, "readings", read)
    wrong = [verdict for verdict in search(site).verdicts() if not verdict.is_proved]
    assert [(one.relation, one.failures[0].path) for one in wrong] == [("evidence", (NOTE,))]
