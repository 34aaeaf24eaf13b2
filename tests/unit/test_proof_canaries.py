"""The search of `assent prove --canaries`: what it could not read is not proved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.proof import canaries
from orchestration.proof import prove as proving
from orchestration.proof.verdict import are_proved
from orchestration.retention.readings import Reading, readings, tables_together
from orchestration.retention.respond import Site

NOTE = "evidence/note.json"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    home, keys = Home.open(tmp_path / "home", demo_seed=7), Keys.from_seed(7)
    (home.root / NOTE).write_text("{}")
    return Site(home, load_policy(), keys)


def search(site: Site) -> canaries.Searched:
    with canaries.CanarySearch(site, seed=1, is_full=True) as started:
        return started.run()


def test_home_without_people_is_proved(site: Site) -> None:
    assert are_proved(search(site).verdicts())


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_file_that_cannot_be_read_is_not_proved(site: Site, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def read(home: Home, path: Path, *, is_read_through: bool = False) -> Iterator[Reading]:
        if path == site.home.root / NOTE:
            raise error
        yield from readings(home, path, is_read_through=is_read_through)

    monkeypatch.setattr(canaries, "readings", read)
    wrong = [verdict for verdict in search(site).verdicts() if not verdict.is_proved]
    assert [(one.relation, one.failures[0].path) for one in wrong] == [("evidence", (NOTE,))]


def test_file_that_comes_later_is_not_searched(site: Site) -> None:
    """What works beside the search may write: it is no part of the home that was to be searched."""
    with canaries.CanarySearch(site, seed=1, is_full=True) as started:
        before = sum(started.run().files.values())
        (site.home.root / "evidence" / "later.json").write_bytes(site.keys.master)
        assert sum(started.run().files.values()) == before
    assert not are_proved(search(site).verdicts())


def tables_with_a_key(site: Site) -> str:
    """Packed, so that their bytes show nothing. The name of the one that holds a key."""
    folder = site.home.evidence / "tables"
    folder.mkdir()
    for number in range(5):
        words = [f"word {n}" for n in range(9)] + [site.keys.master.hex()] * (number == 3)
        pq.write_table(pa.table({"a": words, "n": range(len(words))}), folder / f"{number}.parquet", compression="zstd")
    (folder / "cut.parquet").write_bytes((folder / "0.parquet").read_bytes()[:-9])
    return "evidence/tables/3.parquet"


def told(found: canaries.Searched) -> list[str]:
    return [failure.path[0] for verdict in found.verdicts() for failure in verdict.failures]


def test_table_among_many_alike_is_told_by_its_name(site: Site) -> None:
    wrong = tables_with_a_key(site)
    found = search(site)
    assert sorted(told(found)) == [wrong, "evidence/tables/cut.parquet"]
    assert found.control_missed == []


@pytest.mark.parametrize("is_met", [True, False])
def test_tables_are_read_each_by_itself_where_a_control_among_them_is_not_found(
    site: Site, monkeypatch: pytest.MonkeyPatch, is_met: bool
) -> None:
    wrong, through = tables_with_a_key(site), set[Path]()

    def together(paths: Sequence[Path]) -> Iterator[tuple[list[Path], Iterator[Reading]]]:
        """Loses every value of the home, or does not see the controls either."""
        for some, _ in tables_together(paths):
            if is_met or not any("assent-control-" in str(path) for path in some):
                yield some, iter([])

    def read(home: Home, path: Path, *, is_read_through: bool = False) -> Iterator[Reading]:
        through.update([path] if is_read_through else [])
        yield from readings(home, path, is_read_through=is_read_through)

    monkeypatch.setattr(canaries, "tables_together", together)
    monkeypatch.setattr(canaries, "readings", read)
    assert wrong in told(search(site))
    assert through == set()


@pytest.mark.parametrize("part", ["static.prove_statically", "compiled.compiled_project"])
def test_where_another_part_fails_the_search_ends_with_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssentError("it failed", where="here", remedy="none")

    monkeypatch.setattr("orchestration.proof.compiled.compiled_project", lambda *_: None)
    monkeypatch.setattr(f"orchestration.proof.{part}", fail)
    asked = proving.Asked(("static", "canaries"))
    with pytest.raises(AssentError, match="it failed"):
        proving.prove(site, SHIPPED, asked, now=datetime(2026, 11, 22, tzinfo=UTC))
    assert not [*site.home.root.rglob("assent-control-*")]
