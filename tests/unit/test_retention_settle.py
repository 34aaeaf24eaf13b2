"""What the generation in force says is due, and that exactly this goes from the lake."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pyarrow as pa
import pytest

from orchestration.errors import AssentError, VerifyError
from orchestration.evidence.removed import notes_of_removal
from orchestration.retention import settle
from tests.unit.ingestion_world import World, row

T = datetime(2026, 2, 1, tzinfo=UTC)
SOURCE = "shop_src"
PEOPLE, DAYS = 6, (1, 2, 3)


class Generation:
    """Stands for the one in force: its two views, as tables that the test fills."""

    def __init__(self, world: World, patch: pytest.MonkeyPatch, as_of: datetime = T) -> None:
        self.world, self.con, self.is_intact = world, duckdb.connect(), True
        self.con.execute("CREATE SCHEMA intermediate; CREATE SCHEMA meta")
        self.con.execute("CREATE TABLE meta.builds AS SELECT ?::TIMESTAMP AS as_of", [as_of.replace(tzinfo=None)])
        self.con.execute(
            "CREATE TABLE intermediate.int_deletions_due (touchpoint_key VARCHAR, source VARCHAR, category VARCHAR, "
            "occurred_at TIMESTAMP, reason VARCHAR, due_at TIMESTAMP, held_by VARCHAR)"
        )
        self.con.execute(
            "CREATE TABLE intermediate.int_contacts_unsupported "
            "(token VARCHAR, kind VARCHAR, issuer VARCHAR, since TIMESTAMP, held_by VARCHAR)"
        )
        patch.setattr(settle, "published", lambda _: SimpleNamespace(generation="g", as_of=as_of))
        patch.setattr(settle, "require_intact", lambda *_: self._require_intact())
        patch.setattr(settle, "connect_published", self._opened)

    def due(
        self, person: int, day: int, due_at: datetime = T - timedelta(seconds=1), held_by: str | None = None
    ) -> str:
        key, at = self.world.lake_rows[person, day]
        values = [key, SOURCE, "behaviour", at, "never_permitted", due_at.replace(tzinfo=None), held_by]
        self.con.execute("INSERT INTO intermediate.int_deletions_due VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        return key

    def _require_intact(self) -> None:
        if not self.is_intact:
            raise VerifyError("the published generation is not the one that passed its checks")

    @contextmanager
    def _opened(self, _: object) -> Iterator[duckdb.DuckDBPyConnection]:
        yield self.con.cursor()


class Shop(World):
    """Six people on three days."""

    lake_rows: dict[tuple[int, int], tuple[str, datetime]]


@pytest.fixture
def world(tmp_path: Path) -> Shop:
    world = Shop.make(tmp_path, {"format": "jsonl", "path": "touches-{day}.jsonl"})
    assert isinstance(world, Shop)
    for day in DAYS:
        rows = [row(n, id=f"e{n}-{day}", at=f"2026-01-{day:02}T00:{n:02}:00+08:00") for n in range(PEOPLE)]
        world.put(f"touches-2026-01-{day:02}.jsonl", rows)
    assert world.ingest().accepted == PEOPLE * len(DAYS)
    found = world.lake("touchpoint_key, occurred_at, business_day")
    world.lake_rows = {(at.minute, day.day): (key, at) for key, at, day in found}
    return world


@pytest.fixture
def generation(world: Shop, monkeypatch: pytest.MonkeyPatch) -> Generation:
    return Generation(world, monkeypatch)


def find(world: World, now: datetime = T) -> settle.Due:
    return settle.find_due(world.home, world.policy, now=now)


def keys(world: World) -> set[str]:
    return {key for (key,) in world.lake("touchpoint_key")}


def test_due_rows_go_and_the_others_stay(world: Shop, generation: Generation) -> None:
    """R-09. The business day is of Shanghai, where it begins eight hours before that of UTC."""
    gone = {generation.due(person, day) for person, day in ((0, 1), (1, 1), (2, 3))}
    before = keys(world)
    due = find(world)
    assert due.rows.select(["business_day", "reason"]).to_pylist().count(
        {"business_day": date(2026, 1, 1), "reason": "never_permitted"}
    ) == 2  # fmt: skip
    assert due.present == {SOURCE: PEOPLE * len(DAYS)}
    removed = settle.remove_due(world.home, due, now=T)
    assert (removed.rows, removed.files, keys(world)) == (3, 2, before - gone)
    assert {removal.cause for removal in notes_of_removal(world.home)} == {"retention"}
    assert settle.remove_due(world.home, due, now=T).rows == 0 == find(world).rows.num_rows


def test_day_of_which_nothing_may_stay_is_unlinked(
    world: Shop, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for person in range(PEOPLE):
        generation.due(person, 2)
    due = find(world)
    monkeypatch.setattr("orchestration.retention.rewrite.strip", None)
    assert settle.remove_due(world.home, due, now=T).rows == PEOPLE
    assert not (world.home.lake / SOURCE / "day=2026-01-02").exists()


@pytest.mark.parametrize(("offset", "number"), [(-1, 1), (0, 0), (1, 0)])
def test_row_is_due_to_the_second(world: Shop, generation: Generation, offset: int, number: int) -> None:
    generation.due(0, 1, due_at=T + timedelta(seconds=offset))
    assert find(world, now=T + timedelta(days=400)).rows.num_rows == number, "T decides where the clock is later"


@pytest.mark.fault("H7")
def test_nothing_is_due_by_a_time_that_the_clock_has_not_reached(world: Shop, generation: Generation) -> None:
    generation.due(0, 1)
    with pytest.raises(VerifyError, match="the clock has not reached"):
        find(world, now=T - timedelta(seconds=1))


def test_nothing_is_due_by_a_generation_that_was_changed(world: Shop, generation: Generation) -> None:
    generation.due(0, 1)
    generation.is_intact = False
    with pytest.raises(VerifyError):
        find(world)


def test_nothing_is_due_before_anything_is_published(world: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssentError, match="nothing is published"):
        find(world)


@pytest.mark.fault("F10")
def test_held_rows_are_named_and_stay(world: Shop, generation: Generation) -> None:
    generation.due(0, 1, held_by="restricted")
    generation.due(1, 1)
    due = find(world)
    assert (due.rows.num_rows, due.going.num_rows) == (2, 1)
    assert settle.remove_due(world.home, due, now=T).rows == 1
    held = world.policy.retention.model_copy(update={"legal_holds": (SOURCE,)})
    world.policy = world.policy.model_copy(update={"retention": held})
    generation.due(2, 1)
    due = find(world)
    assert (due.rows.num_rows, due.going.num_rows, set(due.rows["held_by"].to_pylist())) == (2, 0, {"legal_hold"})


def test_contact_that_only_a_later_touchpoint_names_is_nobodys_yet_and_stays(
    world: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T may be older than what the lake holds by now: a contact of tomorrow's row must not go with nobody's."""
    generation = Generation(world, monkeypatch, as_of=datetime(2026, 1, 2, tzinfo=UTC))
    ((later,),) = world.lake("max(subject_token) FILTER (business_day = DATE '2026-01-03')")
    for token, since in ((later, None), ("f" * 32, None), ("e" * 32, datetime(2026, 1, 1))):
        generation.con.execute(
            "INSERT INTO intermediate.int_contacts_unsupported VALUES (?, 'phone', 'e164', ?, null)", [token, since]
        )
    found = settle.find_unsupported_contacts(world.home)
    assert sorted(found["token"].to_pylist()) == ["e" * 32, "f" * 32]
    assert found.schema == settle.CONTACTS and isinstance(found, pa.Table)
