"""No false merge on records with known truth: FEBRL's made-up people, by exact keys only.

`rec_id` says who is who. Keys that a household shares must not cost precision, because what is weak joins nobody."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from orchestration.identity.resolve import resolve
from tests.identity_world import AS_OF, make_tables

PEOPLE = Path(__file__).parents[2].parent / "shared" / "fixtures" / "febrl_identity"
FILES = [("dataset1",), ("dataset3",), ("dataset4a", "dataset4b")]
RECALL = {"dataset1": 0.900, "dataset3": 0.856, "dataset4a": 0.912}  # measured; what typing errors in the key cost

pytestmark = pytest.mark.skipif(not PEOPLE.is_dir(), reason="../shared/fixtures/febrl_identity is not here")


def records(names: Iterable[str]) -> list[dict[str, str]]:
    found = []
    for name in names:
        with (PEOPLE / f"{name}.csv").open(newline="", encoding="utf-8") as opened:
            found += list(csv.DictReader(opened, skipinitialspace=True))
    return found


def truth(record: str) -> str:
    return record.split("-")[1]


def links(people: list[dict[str, str]]) -> pa.Table:
    """Each record is an identifier; its number joins (strong), its household's surname and street do not (weak)."""
    pairs = [(r["rec_id"], "phone", r["soc_sec_id"]) for r in people if r["soc_sec_id"]]
    for r in people:
        home = (r["surname"], r["street_number"], r["address_1"], r["postcode"])
        pairs += [(r["rec_id"], "device", " ".join(home))] if all(home) else []
    return pa.table(
        {
            "token_a": [pair[0] for pair in pairs],
            "kind_b": [pair[1] for pair in pairs],
            "token_b": [":".join(pair[1:]) for pair in pairs],
        }
    )


@pytest.mark.fault("H4")
@pytest.mark.parametrize("names", FILES, ids="+".join)
def test_exact_keys_never_join_two_people(
    names: tuple[str, ...], record_property: Callable[[str, object], None]
) -> None:
    people = records(names)
    con = make_tables()
    con.execute("UPDATE policy.identifier_kinds SET max_links = 20")
    con.register("made", links(people))
    con.execute(
        "INSERT INTO identity.links BY NAME SELECT 'shop' AS controller, token_a, 'openid' AS kind_a, 'i' AS issuer_a, "
        "token_b, kind_b, 'i' AS issuer_b, ?::TIMESTAMP AS effective_at, false AS is_unlink FROM made",
        [AS_OF.replace(tzinfo=None)],
    )
    resolve(con, AS_OF, ["web"])
    right, wrong, all_pairs = joined_pairs(con, people)
    record_property("recall", round(right / all_pairs, 3))
    assert wrong == 0, f"precision {right / (right + wrong):.4f}"
    assert right / all_pairs == pytest.approx(RECALL[names[0]], abs=0.001)


def joined_pairs(con: duckdb.DuckDBPyConnection, people: list[dict[str, str]]) -> tuple[int, int, int]:
    """Pairs of records in one group that are one person, that are not, and how many pairs of one person there are."""
    rows = con.execute("SELECT group_id, token FROM identity.identifiers WHERE kind = 'openid'").fetchall()
    joined = pairs_of(Counter(group for group, _ in rows))
    right = pairs_of(Counter((group, truth(record)) for group, record in rows))
    return right, joined - right, pairs_of(Counter(truth(r["rec_id"]) for r in people))


def pairs_of(sizes: Counter[object]) -> int:
    return sum(n * (n - 1) // 2 for n in sizes.values())
