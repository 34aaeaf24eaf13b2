"""What a build keeps of the ledger gives the same tables as the ledger itself, or is thrown away."""

from __future__ import annotations

import random
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from orchestration.consent import mirror as mirrors
from orchestration.consent.ledger import Ledger
from orchestration.consent.mirror import Mirror
from orchestration.errors import VerifyError
from orchestration.identity.keys import Keys
from orchestration.policy.loader import load_policy
from tests.ledger_places import BEA, NOW, Opened, Place, grant

POLICY = load_policy()
OTHERS = ("permission", "contract", "age", "status", "link", "feed")


def some(rng: random.Random, name: str) -> list:  # type: ignore[type-arg]
    """Records of several types."""
    records = []
    for number in range(rng.randint(1, 6)):
        record = grant(f"{name}.{number}", rng.choice([BEA, grant("x").subject]))
        kind = rng.choice(("consent", *OTHERS))
        if kind == "feed":
            record = replace(record, subject=None, controller=None, state=rng.choice(["complete", "incomplete"]))
        if kind != "consent":
            other = BEA if kind == "link" else None
            record = replace(record, type=kind, purpose=None, decision=None, other=other, batch=name)
        records.append(record)
    return records


def check_same(place: Place, opened: Opened, head: tuple[int, str]) -> None:
    ledger, registry = opened
    kept = Mirror(place.home, Keys.open(place.home)).staged(ledger, registry, POLICY, head)
    whole = ledger.staged(registry, POLICY, until=head[0])
    assert list(kept) == list(whole)
    for name, table in whole.items():
        assert kept[name].schema.equals(table.schema), name
        assert kept[name].equals(table), name


@pytest.fixture
def read_from(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From which sequence the ledger was read each time."""
    seen: list[int] = []
    records = Ledger.records

    def watched(self: Ledger, since: int, until: int | None) -> pa.Table:
        seen.append(since)
        return records(self, since, until)

    monkeypatch.setattr(Ledger, "records", watched)
    return seen


@pytest.mark.parametrize("seed", range(4))
def test_kept_records_are_those_of_the_ledger(place: Place, opened: Opened, seed: int) -> None:
    """Whatever came between the builds, and for the replay of any head before."""
    rng, heads = random.Random(seed), [opened[0].head()]
    for number in range(8):
        opened[0].append(some(rng, f"b{number}"), NOW)
        heads.append(opened[0].head())
        check_same(place, opened, rng.choice(heads))
    for head in heads:
        check_same(place, opened, head)


def build(place: Place, opened: Opened, *names: str) -> None:
    """A build after each batch of records."""
    for name in names:
        opened[0].append([grant(f"{name}.{i}") for i in range(3)], NOW)
        check_same(place, opened, opened[0].head())


def folder(place: Place) -> Path:
    return place.home.warehouse / "ledger"


def test_build_reads_only_what_is_new(place: Place, opened: Opened, read_from: list[int]) -> None:
    mirror, (ledger, _) = Mirror(place.home, Keys.open(place.home)), opened
    for number in range(3):
        ledger.append([grant(f"{number}.{i}") for i in range(3)], NOW)
        assert mirror.read(ledger, ledger.head()).num_rows == 3 * (number + 1)
    assert mirror.read(ledger, ledger.head()).num_rows == 9
    assert read_from == [0, 3, 6]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder(place).iterdir()} == {0o600}


def test_many_pieces_become_one(place: Place, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "MAX_PIECES", 3)
    build(place, opened, *"abcde")
    assert len(list(folder(place).glob("*.parquet"))) == 2


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[list[Path]], object]] = {
    "a byte": lambda pieces: flip(pieces[0]),
    "cut short": lambda pieces: pieces[1].write_bytes(pieces[1].read_bytes()[:100]),
    "gone": lambda pieces: pieces[1].unlink(),
    "swapped": lambda pieces: shutil.copyfile(pieces[0], pieces[1]),
    "index gone": lambda pieces: (pieces[0].parent / "pieces.json").unlink(),
    "index cut": lambda pieces: (pieces[0].parent / "pieces.json").write_text("[{"),
    "index lacks one": lambda pieces: drop_first(pieces[0].parent / "pieces.json"),
}


def drop_first(index: Path) -> None:
    index.write_bytes(mirrors.PIECES.dump_json(mirrors.PIECES.validate_json(index.read_bytes())[1:]))


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_damage_makes_the_next_build_read_everything(
    place: Place, opened: Opened, damage: str, read_from: list[int]
) -> None:
    build(place, opened, "a", "b", "c")
    DAMAGE[damage](sorted(folder(place).glob("*.parquet")))
    read_from.clear()
    Mirror(place.home, Keys.open(place.home)).read(opened[0], opened[0].head())
    assert read_from == [0]
    check_same(place, opened, opened[0].head())
    assert len(list(folder(place).iterdir())) == 2, "what was damaged is gone"


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_piece_made_with_another_key_is_not_believed(place: Place, opened: Opened, read_from: list[int]) -> None:
    build(place, opened, "a")
    read_from.clear()
    Mirror(place.home, Keys.from_seed(99)).read(opened[0], opened[0].head())
    assert read_from == [0]


def test_records_of_another_ledger_are_not_believed(place: Place, opened: Opened, read_from: list[int]) -> None:
    """One whose record where the pieces end is another."""
    build(place, opened, "a", "b")
    place.tamper("UPDATE events SET controller = 'clinic', hash = 'other' WHERE seq = 6")
    read_from.clear()
    kept = Mirror(place.home, Keys.open(place.home)).read(opened[0], opened[0].head())
    assert read_from == [0]
    assert kept["controller"].to_pylist() == ["shop"] * 5 + ["clinic"]


def test_erased_person_drops_out(place: Place, opened: Opened) -> None:
    ledger, registry = opened
    opened[0].append([grant("a"), grant("b", BEA)], NOW)
    check_same(place, opened, ledger.head())
    registry._con.execute("DELETE FROM subjects WHERE token = ?", (BEA.token,))
    check_same(place, opened, ledger.head())
    kept = Mirror(place.home, Keys.open(place.home)).staged(ledger, registry, POLICY, ledger.head())
    assert set(kept["consent_events"]["token"].to_pylist()) == {"a" * 32}


def test_missing_record_is_not_passed_over(place: Place, opened: Opened) -> None:
    opened[0].append([grant(f"{i}") for i in range(5)], NOW)
    place.tamper("DELETE FROM details WHERE seq = 2", "DELETE FROM events WHERE seq = 2")
    with pytest.raises(VerifyError, match="lacks records"):
        Mirror(place.home, Keys.open(place.home)).read(opened[0], opened[0].head())
