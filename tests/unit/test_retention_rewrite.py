"""Rows that go from the lake, its links and the evidence logs: nothing of them is left, and nothing else changes."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.evidence.removed import notes_of_removal
from orchestration.evidence.survey import Survey, survey
from orchestration.exports import deliveries
from orchestration.home import Home
from orchestration.identity.pseudonymise import Tokeniser
from orchestration.identity.vault import CONTACT_POINTS
from orchestration.ingestion import layout
from orchestration.ingestion.lake import link_files, manifests, source_totals
from orchestration.retention import rewrite
from orchestration.retention.holding import files_holding
from orchestration.retention.strip import Strip, strip
from orchestration.warehouse import archive
from orchestration.warehouse.contact_log import contact_points_of, note_contact_points
from orchestration.warehouse.duckdb_settings import connect
from tests.homes import copy_home
from tests.killed import in_child
from tests.unit.ingestion_world import NOW, World, row

SOURCE = "shop_src"
FEED = {"format": "jsonl", "path": "touches-{day}.jsonl"}
DAYS = 3
Rows = list[tuple[Any, ...]]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def make_world(folder: Path) -> World:
    """Three days of twelve people: a<n> is n's account, most rows show a phone too; number 5's phone is also 6's."""
    world = World.make(folder, FEED)
    for day in range(1, DAYS + 1):
        world.put(f"touches-2026-01-{day:02}.jsonl", [touch(number, day) for number in range(12)])
    assert world.ingest().accepted == 12 * DAYS
    return world


def touch(number: int, day: int) -> dict[str, Any]:
    phone = {} if number % 4 == 3 else {"phone": f"1380000{5 if number == 6 else number:04}"}
    return row(number, id=f"e{number}-{day}", at=f"2026-01-{day:02}T10:00:00+08:00", **phone)


def tokens_of(world: World, number: int) -> list[str]:
    """The account and the phone of one person, as the lake knows them."""
    tokens = Tokeniser(world.keys)
    phone = f"+861380000{5 if number == 6 else number:04}"
    return [tokens.token("account", "shop", f"a{number}"), tokens.token("phone", "e164", phone)]


def erase(world: World, *numbers: int) -> rewrite.Removed:
    tokens = [token for number in numbers for token in tokens_of(world, number)]
    return rewrite.erase_tokens(world.home, pa.array(tokens), now=NOW)


def at_rest(world: World) -> bytes:
    """Every byte of the lake, the evidence and what lies aside, Parquet unpacked. Vault and keys are others' work."""
    found = []
    for path in (path for place in ("lake", "evidence", "tmp") for path in (world.home.root / place).rglob("*")):
        if path.is_file():
            found.append(path.read_bytes())
            if path.suffix == ".parquet":
                found.append(str(pq.read_table(path).to_pylist()).encode())
    return b"\n".join(found)


def links(home: Home) -> Rows:
    files = [str(path) for path in link_files(home)]
    return duckdb.execute("SELECT * FROM read_parquet(?) ORDER BY ALL", [files]).fetchall() if files else []


def others(rows: Rows, *tokens: str) -> Rows:
    return [row for row in rows if not set(tokens) & set(row)]


def looked_up(world: World, act: Callable[[], object]) -> Survey:
    files = archive.list_files(world.home)
    act()
    return survey(world.home, files, [world.policy], now=NOW)


@pytest.mark.fault("F1")
def test_erased_tokens_are_in_no_byte_of_the_lake_and_other_rows_are_what_they_were(world: World) -> None:
    tokens, rows, shown = tokens_of(world, 2), world.lake(), links(world.home)
    assert all(token.encode() in at_rest(world) for token in tokens), "the search would find them"
    removed = erase(world, 2)
    assert (removed.rows, removed.cells, removed.links) == (DAYS, 0, DAYS)
    assert not any(token.encode() in at_rest(world) for token in tokens)
    assert world.lake() == others(rows, *tokens) and len(rows) == len(world.lake()) + DAYS
    assert links(world.home) == others(shown, *tokens)


def test_shared_row_loses_the_link_and_not_the_row(world: World) -> None:
    rows, (account, phone) = world.lake("* EXCLUDE (phone_token), phone_token"), tokens_of(world, 5)
    removed = erase(world, 5)
    assert (removed.rows, removed.cells, removed.links) == (DAYS, DAYS, 2 * DAYS)
    blanked = [(*row[:-1], None if row[-1] == phone else row[-1]) for row in others(rows, account)]
    assert sorted(world.lake("* EXCLUDE (phone_token), phone_token"), key=str) == sorted(blanked, key=str)
    assert not any(token.encode() in at_rest(world) for token in (account, phone))


def test_erasing_again_or_somebody_unknown_changes_nothing(world: World) -> None:
    erase(world, 2)
    before = {path: path.stat().st_mtime_ns for path in world.home.root.rglob("*") if path.is_file()}
    again = erase(world, 2)
    nobody = rewrite.erase_tokens(world.home, pa.array(["0" * 32, None]), now=NOW)
    assert (again.rows, again.links, again.files, nobody.files) == (0, 0, 0, 0)
    assert rewrite.erase_tokens(world.home, pa.array([], pa.null()), now=NOW) == rewrite.Removed()
    assert {path: path.stat().st_mtime_ns for path in world.home.root.rglob("*") if path.is_file()} == before


def test_batch_still_adds_up_and_its_delivery_is_still_known(world: World) -> None:
    files = {path.name: path.read_bytes() for path in world.landing.iterdir()}
    erase(world, *range(6))
    totals = source_totals(world.home, SOURCE)
    assert totals["read"] == totals["accepted"] + totals["duplicates"] + totals["quarantined"] == 12 * DAYS
    assert totals["accepted"] - totals["removed"] == len(world.lake()) == 6 * DAYS
    assert [batch.removed for batch in manifests(world.home)] == [{"erasure": 6}] * DAYS
    for name, content in files.items():
        world.put(name, content)
    again = world.ingest()
    assert (again.redelivered, again.accepted) == (DAYS, 0)


def test_rows_of_the_same_batch_that_are_left_are_still_duplicates(world: World) -> None:
    erase(world, 2)
    world.put("touches-2026-01-09.jsonl", [touch(number, 1) for number in range(12)])
    report = world.ingest()
    assert (report.duplicates, report.accepted) == (11, 1), "whether they may come again is not the lake's to say"


def test_batch_of_which_nothing_is_left_stays_complete(world: World) -> None:
    found = looked_up(world, lambda: erase(world, *range(12)))
    assert world.lake() == [] and links(world.home) == []
    assert len(manifests(world.home)) == DAYS and not list((world.home.lake / SOURCE).iterdir())
    assert found.left["path"].to_pylist() == [None] * 2 * DAYS and None not in found.left["batch_day"].to_pylist()
    assert found.rows_gone() == {"links": {"erasure": 9 * DAYS}, "touchpoints": {"erasure": 12 * DAYS}}


def test_replay_is_told_of_each_rewrite_one_after_the_other(world: World) -> None:
    found = looked_up(world, lambda: (erase(world, 1), erase(world, 2)))
    assert {(file.state, file.cause) for file in found.missing} == {("rewritten", "erasure")}
    assert found.rows_gone() == {"links": {"erasure": 2 * DAYS}, "touchpoints": {"erasure": 2 * DAYS}}
    assert sum(row["path"] is not None for row in found.left.to_pylist()) == 2 * DAYS


@pytest.mark.fault("H5")
def test_purge_of_a_day_keeps_the_links_that_its_touchpoints_showed(world: World) -> None:
    shown, day = links(world.home), date(2026, 1, 2)
    found = looked_up(world, lambda: rewrite.unlink_days(world.home, SOURCE, [day], now=NOW))
    assert found.rows_gone() == {"touchpoints": {"retention": 12}}
    assert len(world.lake()) == 12 * (DAYS - 1) and links(world.home) == shown
    assert [batch.removed for batch in manifests(world.home) if batch.removed] == [{"retention": 12}]


def test_expired_day_is_unlinked_without_reading_or_writing_a_row(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pq, "ParquetFile", None)
    monkeypatch.setattr(pq, "write_table", None)
    removed = rewrite.unlink_days(world.home, SOURCE, [date(2026, 1, 1)], now=NOW)
    assert (removed.rows, removed.files) == (12, 1)


def test_named_rows_are_removed_and_only_they(world: World) -> None:
    rows = world.lake("touchpoint_key, business_day")
    (name,) = (name for batch in manifests(world.home) for name in batch.files if "day=2026-01-02" in name)
    keys = pa.table({"path": [name] * 3, "touchpoint_key": [key for key, day in rows if day == date(2026, 1, 2)][:3]})
    found = looked_up(world, lambda: rewrite.remove_rows(world.home, SOURCE, keys, "retention", now=NOW))
    assert world.lake("touchpoint_key, business_day") == [
        row for row in rows if row[0] not in keys["touchpoint_key"].to_pylist()
    ]
    assert found.rows_gone() == {"touchpoints": {"retention": 3}}
    assert rewrite.remove_rows(world.home, SOURCE, keys, "retention", now=NOW).files == 0


def test_columns_keep_their_types_and_order(world: World) -> None:
    def described() -> Rows:
        files = [str(world.home.lake / name) for batch in manifests(world.home) for name in batch.files]
        return duckdb.execute("DESCRIBE SELECT * FROM read_parquet(?)", [files]).fetchall()

    before = described()
    erase(world, 2)
    assert described() == before


def test_evidence_logs_lose_the_tokens_and_their_numbers_stay(world: World) -> None:
    """A log of contact points is read by its number, so a file without rows stays."""
    (gone, phone), (stays, _) = tokens_of(world, 2), tokens_of(world, 4)
    point = {"kind": "phone", "issuer": "e164"}
    with connect(world.home) as con:
        for held in ([gone], [gone, stays], [gone, stays, phone]):
            note_contact_points(
                con, world.home, pa.Table.from_pylist([{"token": t, **point} for t in held]).cast(CONTACT_POINTS)
            )
    at = datetime(2026, 5, 1, tzinfo=UTC)
    deliveries.record(world.home, "seg", "crm", "g1", [gone, stays], now=at)
    deliveries.record(world.home, "seg", "crm", "g2", [gone], now=at)
    deliveries.record_removals(world.home, "seg", "crm", "g2", [], now=NOW)
    found = looked_up(world, lambda: erase(world, 2))
    with connect(world.home) as con:
        held_then = [contact_points_of(con, world.home, number)["token"].to_pylist() for number in (1, 2, 3)]
    assert held_then == [[], [stays], [stays]]
    assert [deliveries.log(world.home, log)["token"].to_pylist() for log in ("deliveries", "removals")] == [[stays]] * 2
    assert found.rows_gone()["deliveries"] == {"erasure": 2}
    assert not any(token.encode() in at_rest(world) for token in (gone, phone))


def test_killed_rewrite_and_another_in_its_place_are_both_explained(world: World) -> None:
    """Killed after the note, then done with one person more: what the first noted never came to be."""

    def both() -> None:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("orchestration.retention.swap.write_manifests", interrupted)
            erase(world, 2)
        erase(world, 2, 3)

    found = looked_up(world, both)
    assert len(notes_of_removal(world.home)) == 2
    assert {(file.state, file.cause) for file in found.missing} == {("rewritten", "erasure")}
    assert found.rows_gone()["touchpoints"] == {"erasure": 2 * DAYS}


@pytest.mark.fault("G1")
def test_full_disk_leaves_every_file_whole_and_the_rest_is_done_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, written = world.lake(), []

    def full(table: pa.Table, path: Path) -> None:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        layout.write_parquet(table, path)

    with monkeypatch.context() as patch:
        patch.setattr("orchestration.retention.strip.write_parquet", full)
        patch.setattr(rewrite, "AT_ONCE", 1)
        with pytest.raises(OSError, match="No space left"):
            erase(world, 2)
    left = world.lake()
    assert set(others(rows, *tokens_of(world, 2))) <= set(left) < set(rows)
    assert not list(world.home.tmp.iterdir())
    erase(world, 2)
    assert world.lake() == others(rows, *tokens_of(world, 2))


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def state(world: World) -> dict[str, object]:
    """Everything that a removal may change, but for notes and counts of one call; by content where names tell it."""
    places = ("lake", "evidence/contact_points", "evidence/deliveries", "evidence/removals")
    files = {
        path.relative_to(world.home.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for place in places
        for path in (world.home.root / place).rglob("*.parquet")
    }
    removed = {batch.batch: batch.removed for batch in manifests(world.home)}
    return {"files": files, "removed": removed, "aside": sorted(world.home.tmp.iterdir())}


def noted(world: World) -> World:
    """The world with logs that name number 2, and parts of four rows."""
    gone, stays = tokens_of(world, 2)[1], tokens_of(world, 4)[1]
    with connect(world.home) as con:
        points = [{"token": token, "kind": "phone", "issuer": "e164"} for token in (gone, stays)]
        note_contact_points(con, world.home, pa.Table.from_pylist(points).cast(CONTACT_POINTS))
    deliveries.record(world.home, "seg", "crm", "g1", [gone, stays], now=NOW)
    deliveries.record(world.home, "seg", "crm", "g2", [gone], now=NOW)
    return world


def rows_of_day(world: World, day: date) -> pa.Table:
    rows = [
        (name, key)
        for batch in manifests(world.home)
        for name in batch.files
        if f"day={day}" in name
        for key in pq.read_table(world.home.lake / name, partitioning=None)["touchpoint_key"].to_pylist()
    ]
    return pa.table({"path": [name for name, _ in rows], "touchpoint_key": [key for _, key in rows]})


def removals(world: World, work: str) -> Callable[[World], object]:
    some = rows_of_day(world, date(2026, 1, 2)).slice(2, 7)
    return {
        "erase": lambda w: erase(w, 2, 5),
        "rows": lambda w: rewrite.remove_rows(w.home, SOURCE, some, "retention", now=NOW),
        "days": lambda w: rewrite.unlink_days(w.home, SOURCE, [date(2026, 1, 1)], now=NOW),
    }[work]


def killed_removal(world: World, tmp_path: Path, work: str, seed: int) -> None:
    """Wherever it was killed, no row of anybody else is lost or there twice, nothing is unexplained, and doing it again
    ends where it would have ended."""
    whole, half = (replace(world, home=Home.open(copy_home(world.home.root, tmp_path / name))) for name in "wh")
    act, rows, files = removals(world, work), world.lake("* EXCLUDE (phone_token)"), archive.list_files(world.home)
    events = in_child(lambda: act(whole), None)
    assert events > 10
    moment = random.Random(seed).randint(1, events)
    assert in_child(lambda: act(half), moment) == -1
    stay = set(whole.lake("* EXCLUDE (phone_token)"))
    left = half.lake("* EXCLUDE (phone_token)")
    assert len(left) == len(set(left)) and stay <= set(left) <= set(rows)
    found = survey(half.home, files, [world.policy], now=NOW)
    assert not [file for file in found.missing if file.is_unexplained], moment
    gone = sum(file.rows_gone for file in found.missing if file.kind == "touchpoints")
    assert gone <= len(rows) - len(left), "a file may have left its manifest and still be there"
    act(half)
    assert state(half) == state(whole)
    if work == "erase":
        assert not any(token.encode() in at_rest(half) for number in (2, 5) for token in tokens_of(world, number))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world for many copies. Do not change it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "ROWS_OF_A_PART", 4)
        patch.setattr(rewrite, "AT_ONCE", 3)
        yield noted(make_world(tmp_path_factory.mktemp("template")))


@pytest.mark.parametrize("work", ["erase", "rows", "days"])
@pytest.mark.parametrize("seed", range(2))
def test_killed_removal_loses_nothing_and_ends_alike(template: World, tmp_path: Path, work: str, seed: int) -> None:
    killed_removal(template, tmp_path, work, seed)


@pytest.mark.slow
@pytest.mark.parametrize("work", ["erase", "rows", "days"])
@pytest.mark.parametrize("seed", range(2, 22))
def test_killed_removal_loses_nothing_and_ends_alike_many_times(
    template: World, tmp_path: Path, work: str, seed: int
) -> None:
    killed_removal(template, tmp_path, work, seed)


TOKENS = st.sampled_from(["a", "b", "c", "d", "e", None])
TOUCHES = st.lists(st.tuples(TOKENS, TOKENS, TOKENS), max_size=30)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TOUCHES, min_size=1, max_size=3), st.sets(st.sampled_from("abcdef"), min_size=1))
def test_any_tokens_go_from_any_rows_and_nothing_else(
    tmp_path: Path, files: list[list[tuple[str | None, ...]]], gone: set[str]
) -> None:
    """Beside the plainest way to say it: a row goes by its subject, a cell by itself."""
    names = ("subject_token", "phone_token", "card_token")
    (tmp_path / "s").mkdir(exist_ok=True)
    values = pa.array(sorted(gone), pa.string())
    for number, rows in enumerate(files):
        columns = {name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate(names)}
        layout.write_parquet(
            pa.table({"n": pa.array(range(len(rows)), pa.int64()), **columns}), tmp_path / f"s/{number}"
        )
    with duckdb.connect() as con:
        holding = files_holding(con, tmp_path, [f"s/{number}" for number in range(len(files))], values)
    for number, rows in enumerate(files):
        path = tmp_path / f"s/{number}"
        assert (f"s/{number}" in holding) == any(gone & {*row} for row in rows)
        found = strip(path, Strip(values, names[:1], names[1:]), tmp_path / "rest")
        expected = [
            (n, row[0], *(None if token in gone else token for token in row[1:]))
            for n, row in enumerate(rows)
            if row[0] not in gone
        ]
        left = path if found is None else found.rest
        assert ([] if left is None else [tuple(row.values()) for row in pq.read_table(left).to_pylist()]) == expected
        assert (0 if found is None else found.rows) == len(rows) - len(expected)
        assert (found is None) == (not any(gone & {*row} for row in rows))
