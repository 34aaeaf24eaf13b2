"""What must have arrived, and which refused files are there now."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from orchestration.errors import AssentError
from orchestration.ingestion.arrivals import last_closed_day
from orchestration.ingestion.reports import refusals
from tests.unit.ingestion_world import NOW, World, row

FEED = {"format": "jsonl", "path": "s-{day}.jsonl", "marker": ".done"}
DAY = "s-2026-05-31.jsonl"  # NOW is 2026-06-01T08:00 in the policy's zone


def test_last_closed_day_is_that_of_the_zone() -> None:
    assert last_closed_day(datetime(2026, 5, 31, 16, tzinfo=UTC), "Asia/Shanghai") == date(2026, 5, 31)
    assert last_closed_day(datetime(2026, 5, 31, 15, 59, tzinfo=UTC), "Asia/Shanghai") == date(2026, 5, 30)


def test_source_that_waits_stops_until_its_day_is_complete(tmp_path: Path) -> None:
    world = World.make(tmp_path, FEED, late="wait")
    with pytest.raises(AssentError, match=r"shop_src: the build waits for 2026-05-31: s-2026-05-31.jsonl is absent"):
        world.ingest()
    file = world.put(DAY, [row(1)])
    with pytest.raises(AssentError, match=r"has no completion marker \.done"):
        world.ingest()
    world.put(DAY + ".done", "")
    file.write_bytes(b"\xff\n")
    with pytest.raises(AssentError, match="was refused"):
        world.ingest()
    world.put(DAY, [row(1)])
    assert world.ingest().accepted == 1
    file.unlink()
    assert world.ingest().accepted == 0  # the lake has the day
    world.put(DAY, [row(2)])
    Path(f"{file}.done").unlink()
    with pytest.raises(AssentError, match="no completion marker"):
        world.ingest()  # a second delivery of the day is on its way


def test_source_that_does_not_wait_is_built_without(tmp_path: Path) -> None:
    world = World.make(tmp_path, FEED)
    world.put(DAY, [row(1)])
    assert world.ingest().waiting == 1


def test_required_source_needs_its_folder(tmp_path: Path) -> None:
    world = World.make(tmp_path, {**FEED, "path": "shop/s-{day}.jsonl"}, required=True)
    with pytest.raises(AssentError, match="shop_src: the landing folder of a required source is absent"):
        world.ingest()
    (world.landing / "shop").mkdir()
    assert world.ingest().read == 0


def test_refused_files_are_those_that_are_there(tmp_path: Path) -> None:
    world = World.make(tmp_path, {"format": "jsonl", "path": "s-{day}.jsonl"})
    kept, replaced = world.put("s-2026-01-01.jsonl", b"\xff\n"), world.put("s-2026-01-02.jsonl", b"\xfe\n")
    assert len(world.ingest().refused) == len(refusals(world.home, "shop_src")) == 2
    first = {path.name: path.read_bytes() for path in refusals(world.home, "shop_src")}
    world.put(replaced.name, [row(1)])
    later = world.ingest(now=NOW.replace(day=2))
    (left,) = refusals(world.home, "shop_src")
    assert (len(later.refused), left.read_bytes()) == (1, first[left.name]), "since when is kept"
    kept.unlink()
    world.ingest()
    assert refusals(world.home, "shop_src") == []
