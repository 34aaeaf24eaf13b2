"""The journal keeps what restricts, tells what a ledger lacks, forgets people, and notices every alteration."""

from __future__ import annotations

import itertools
import shutil
import struct
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from orchestration.consent.anchoring.journal import KEPT, START, Journal
from orchestration.consent.anchoring.restrictions import Entry, Restriction, missing, restricts
from orchestration.consent.anchoring.signed_heads import AnchorError, Position
from orchestration.consent.models import COLUMNS, RecordType, Subject
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.vocabulary import vocabulary
from tests.anchored import ANNE, BEA, NOW, Anchored, grant, opened, withdrawal

KEYS = Keys(b"k" * 32)
HOME_ID = "0" * 32


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "journal.log", KEYS, HOME_ID)
    journal.make()
    return journal


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Anchored]:
    with opened(Home.open(tmp_path / "home")) as found:
        yield found


def entry(number: int) -> Entry:
    row = dict.fromkeys(KEPT) | {"event_key": f"key{number}", "subject_ref": f"ref{number}", "type": "consent"}
    told = Restriction(row, f"body{number}", {f"ref{number}": Subject(f"token{number}", "phone", "e164")})
    return Entry((number, "a" * 64), (number + 1, "b" * 64), (told,))


def filled(journal: Journal, number: int = 3) -> list[Position]:
    positions = [START]
    for each in range(number):
        positions.append(journal.append(positions[-1], entry(each)))
    return positions


def row(**values: Any) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS) | values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"type": "consent", "decision": "grant"}, False),
        ({"type": "consent", "decision": "grant", "until_at": 1}, True),
        ({"type": "consent", "decision": "of a later version"}, True),
        ({"type": "consent"}, True),
        ({"type": "permission", "state": "open"}, False),
        ({"type": "permission", "state": "closed"}, True),
        ({"type": "status", "state": "off"}, False),
        ({"type": "status", "state": "on"}, True),
        ({"type": "contract"}, False),
        ({"type": "contract", "until_at": 1}, True),
        ({"type": "feed", "state": "complete"}, False),
        ({"type": "feed", "state": "incomplete"}, True),
        ({"type": "age", "until_at": 1}, True),
        ({"type": "link", "state": "on"}, True),
        ({"type": "link", "state": "off"}, True),
        ({"type": "of a later version"}, True),
    ],
)
def test_all_that_does_not_plainly_permit_is_kept(values: dict[str, Any], expected: bool) -> None:
    assert restricts(row(**values)) is expected


def test_every_restricting_decision_is_kept() -> None:
    assert vocabulary().restricting
    assert all(restricts(row(type="consent", decision=decision)) for decision in vocabulary().restricting)


def test_entries_come_back_as_they_were(journal: Journal) -> None:
    positions = filled(journal)
    assert list(journal.entries()) == [(entry(n), positions[n + 1]) for n in range(3)]
    assert [found for found, _ in journal.entries(positions[2])] == [entry(2)]


def test_journal_of_a_ledger_holds_its_restrictions_and_whom_they_name(writer: Anchored) -> None:
    other = Subject("c" * 32, "member", "shop")
    link = grant("l1", type="link", decision=None, purpose=None, state="on", other=other)
    writer.append(grant("g1"), withdrawal("w1", BEA, until=NOW + timedelta(days=3)), link)
    (kept,) = writer.anchor.entries()
    assert (kept.after[0], kept.head) == (0, writer.ledger.head())
    refs = {subject: writer.registry.lookup(subject.token) for subject in (ANNE, BEA, other)}
    on_record = {
        found["event_key"]: found for found in writer.ledger.subject_rows([ref for ref in refs.values() if ref])
    }
    assert [told.row["type"] for told in kept.restrictions] == ["consent", "link"]
    for told in kept.restrictions:
        found = on_record[told.row["event_key"]]
        assert dict(told.row) == {name: found[name] for name in KEPT}
        assert told.body == found["detail"].body
    assert kept.restrictions[0].subjects == {refs[BEA]: BEA}
    assert kept.restrictions[1].subjects == {refs[ANNE]: ANNE, refs[other]: other}


def test_journal_lacks_nothing_that_restricts(writer: Anchored) -> None:
    """The database leaves plain grants out before they are looked at, and nothing else: not what has no decision or
    state, nor what no feed of this version could say."""
    types = [*get_args(RecordType), "of a later version"]
    decisions = [None, "", "grant", "Grant", "of a later version", *vocabulary().restricting]
    states = [None, "open", "closed", "on", "off", "complete", "incomplete"]
    parts = itertools.product(types, decisions, states, [None, NOW + timedelta(days=3)])
    records = [
        grant(f"e{number}", type=of, decision=decision, state=state, until=until)
        for number, (of, decision, state, until) in enumerate(parts)
    ]
    writer.append(*records)
    (ref,) = writer.registry.refs([ANNE]).values()
    (kept,) = writer.anchor.entries()
    on_record = writer.ledger.subject_rows([ref])
    assert len(on_record) == len(records)
    restricting = [found["event_key"] for found in on_record if restricts(found)]
    assert [told.row["event_key"] for told in kept.restrictions] == restricting


def test_conflict_is_kept_with_both_ends(writer: Anchored) -> None:
    writer.append(grant("g1"))
    writer.append(grant("g1", BEA))
    (kept,) = writer.anchor.entries()
    assert {told.row["decision"] for told in kept.restrictions} == {"presumed_denial"}
    assert {subject for told in kept.restrictions for subject in told.subjects.values()} == {ANNE, BEA}


def test_only_what_the_ledger_lacks_is_missing(writer: Anchored) -> None:
    for number in range(3):
        writer.append(withdrawal(f"w{number}"), grant(f"g{number}"))
    keys = [told.row["event_key"] for kept in writer.anchor.entries() for told in kept.restrictions]
    assert [told.row["event_key"] for told in missing(writer.anchor.entries(), {keys[0]})] == keys[1:]
    assert [*missing(writer.anchor.entries(), set(keys))] == []
    twice = [*writer.anchor.entries(), *writer.anchor.entries()]
    assert len([*missing(twice, set())]) == 3


@pytest.mark.parametrize("cut", [1, 4, 40, 100])
def test_half_an_entry_is_ignored_then_overwritten(journal: Journal, tmp_path: Path, cut: int) -> None:
    positions = filled(journal)
    path = tmp_path / "journal.log"
    path.write_bytes(path.read_bytes()[:-cut])
    assert [found for found, _ in journal.entries()] == [entry(0), entry(1)]
    assert journal.append(positions[2], entry(7)).entries == 3
    assert [found for found, _ in journal.entries()] == [entry(0), entry(1), entry(7)]


@pytest.mark.parametrize("tail", [b"\0" * 500, b"\0" * 3, struct.pack(">II", 40, 40) + b"\0" * 112])
def test_length_that_came_before_its_bytes_is_half_an_entry(journal: Journal, tmp_path: Path, tail: bytes) -> None:
    filled(journal)
    with (tmp_path / "journal.log").open("ab") as file:
        file.write(tail)
    assert len(list(journal.entries())) == 3


def test_every_altered_byte_is_noticed(journal: Journal, tmp_path: Path) -> None:
    last = filled(journal)[-1]
    path = tmp_path / "journal.log"
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert not reaches(journal, last), place
    path.write_bytes(whole)
    assert reaches(journal, last)


def reaches(journal: Journal, signed: Position) -> bool:
    """Whether the journal is whole as far as a checkpoint knows it, as `Anchor.entries` asks."""
    try:
        return signed in [at for _, at in journal.entries()]
    except AnchorError:
        return False


@pytest.mark.parametrize("order", [(0, 2), (1, 2), (0, 2, 1), (0, 1, 1, 2)])
def test_removed_reordered_and_repeated_entries_are_noticed(
    journal: Journal, tmp_path: Path, order: tuple[int, ...]
) -> None:
    positions = filled(journal)
    path = tmp_path / "journal.log"
    whole = path.read_bytes()
    parts = [whole[a.size : b.size] for a, b in itertools.pairwise(positions)]
    path.write_bytes(whole[: START.size] + b"".join(parts[n] for n in order))
    assert not reaches(journal, positions[-1])


def test_cut_journal_is_refused_at_the_next_opening(writer: Anchored) -> None:
    for number in range(3):
        writer.append(withdrawal(f"w{number}"))
    path = writer.anchor.folder / "journal.log"
    whole = path.read_bytes()
    for kept in (len(whole) - 1, len(whole) // 2, START.size, 0):
        path.write_bytes(whole[:kept])
        with pytest.raises(AnchorError, match="journal"):
            writer.check()
        with pytest.raises(AnchorError, match="journal"):
            list(writer.anchor.entries())
        with pytest.raises(AnchorError, match="journal"):
            writer.append(grant("g1"))


def test_journal_of_other_keys_or_home_does_not_open(journal: Journal, tmp_path: Path) -> None:
    filled(journal)
    for keys, home_id in ((Keys(b"x" * 32), HOME_ID), (KEYS, "1" * 32)):
        with pytest.raises(AnchorError, match="altered"):
            list(Journal(tmp_path / "journal.log", keys, home_id).entries())


def test_forgotten_people_leave_every_entry_and_nothing_else(journal: Journal, tmp_path: Path) -> None:
    positions = filled(journal)
    assert journal.forget(["ref1", "of nobody"]) == 1
    found = list(journal.entries())
    assert [at for _, at in found] == positions[1:]  # lengths and digests: what was signed still holds
    assert [kept for kept, _ in found][::2] == [entry(0), entry(2)]
    (told,) = found[1][0].restrictions
    assert (told.body, told.subjects, told.row["event_key"]) == (None, {}, "key1")
    assert {path.name for path in tmp_path.iterdir()} == {"journal.log"}
    assert journal.append(positions[-1], entry(3)).entries == 4


def test_who_is_forgotten_cannot_be_put_back_from_another_entry(journal: Journal, tmp_path: Path) -> None:
    positions = filled(journal)
    path = tmp_path / "journal.log"
    shutil.copy(path, tmp_path / "old")
    journal.forget(["ref1"])
    old, new = (tmp_path / "old").read_bytes(), bytearray(path.read_bytes())
    size = positions[2].size - positions[1].size
    assert size == positions[1].size - positions[0].size
    records, people = struct.unpack_from(">II", old, positions[0].size)
    start = 8 + records
    new[positions[1].size + start : positions[1].size + start + people] = old[
        positions[0].size + start : positions[0].size + start + people
    ]
    path.write_bytes(new)
    with pytest.raises(AnchorError, match="altered"):
        list(journal.entries())
