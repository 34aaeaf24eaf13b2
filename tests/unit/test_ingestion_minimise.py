"""Default deny from the door: what policy does not name is dropped and counted, and each verb leaves what it says and
nothing else. Each guarantee has its control: with the field allowed, the search finds the value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.ingestion import minimise
from orchestration.policy.schema import Minimisation
from tests.unit.ingestion_world import FIELDS, VERBS, World, row

NAMES = [str(field["name"]) for field in FIELDS]
NEW, CANARY = "id_card", "canary-110101199003070000"
FORMATS = ("csv", "jsonl", "parquet", "xml")


def deliver(world: World, kind: str, name: str, rows: list[dict[str, Any]], extra: dict[str, str]) -> None:
    """The rows in one of the formats, each with the fields of `extra` beside its own."""
    rows, names = [{**r, **extra} for r in rows], [*NAMES, *extra]
    if kind == "csv":
        lines = [",".join(names), *(",".join(str(r.get(n) or "") for n in names) for r in rows)]
        world.put(name, "\n".join(lines) + "\n")
    elif kind == "xml":
        world.put(name, "".join(f"<xml>{''.join(f'<{n}>{v}</{n}>' for n, v in r.items())}</xml>\n" for r in rows))
    elif kind == "parquet":
        columns = [pa.array([r.get(n) for r in rows], pa.float64() if n == "amount" else pa.string()) for n in names]
        pq.write_table(pa.table(columns, names=names), world.landing / name)
    else:
        world.put(name, rows)


@pytest.mark.fault("C8")
@pytest.mark.parametrize("event_id", ["id", None])
@pytest.mark.parametrize("kind", FORMATS)
def test_new_field_changes_nothing_until_someone_allows_it(tmp_path: Path, kind: str, event_id: str | None) -> None:
    """The lake of a feed with a new field is that of the feed without it, row by row and key by key; the field is
    counted, its value is nowhere, and rows that come again with it are the same rows."""
    feed = {"format": kind, "path": "s-{day}." + kind}
    rows = [row(1), row(2, note="n"), row(3, event="")]
    plain, new = (World.make(tmp_path / name, feed, event_id=event_id) for name in ("plain", "new"))
    new.keys = plain.keys
    deliver(plain, kind, f"s-2026-01-01.{kind}", rows, {})
    deliver(new, kind, f"s-2026-01-01.{kind}", rows, {NEW: CANARY})
    before, report = plain.ingest(), new.ingest()
    assert (before.dropped_fields, report.dropped_fields) == (0, 3)
    assert before.accepted == 2
    assert {**report.counts(), "dropped_fields": 0} == before.counts()
    assert new.lake("* EXCLUDE (batch)") == plain.lake("* EXCLUDE (batch)")
    lines = b"".join((line or "").encode() for _, _, line in new.quarantined())
    assert CANARY.encode() not in new.bytes_at_rest() + (b"" if kind in ("jsonl", "xml") else lines)
    deliver(plain, kind, f"s-2026-01-02.{kind}", rows, {NEW: CANARY})
    again = plain.ingest()
    assert (again.accepted, again.duplicates, again.dropped_fields) == (0, 2, 3)


@pytest.mark.parametrize("kind", FORMATS)
def test_allowed_field_is_read(tmp_path: Path, kind: str) -> None:
    """The control of the test above: once policy names the field, the same search finds its value."""
    columns = {name: name for name in [*NAMES, NEW]}
    feed = {"format": kind, "path": f"s.{kind}", "columns": columns}
    world = World.make(tmp_path, feed, fields=[*FIELDS, {"name": NEW}])
    deliver(world, kind, f"s.{kind}", [row(1)], {NEW: CANARY})
    assert (world.ingest().dropped_fields, world.lake(NEW)) == (0, [(CANARY,)])
    assert CANARY.encode() in world.bytes_at_rest()


def test_field_of_a_closing_under_another_name_is_looked_at(tmp_path: Path) -> None:
    """A contact point that closes must not stay open because its column was renamed: the row is quarantined."""
    signals = [{"raw": "push_off", "channel": "sms", "field": "phone", "state": "closed"}]
    world = World.make(tmp_path, {"format": "jsonl", "path": "s.jsonl"}, permissions=signals)
    off = {**row(1, event="push_off"), "mobile": "13812345678"}
    world.put("s.jsonl", [off, {**off, "id": "e2", "phone": "13812345678"}, {**row(3), "mobile": "x"}])
    report = world.ingest()
    assert (report.accepted, dict(report.quarantined_by_reason)) == (2, {"unknown_field": 1})


VALUES: dict[str, tuple[str, Any, list[bytes]]] = {
    # verb → the field it is tried on, its value, and the spellings that must be gone
    "drop": ("note", "canary-note-91", [b"canary-note-91"]),
    "token": ("note", "canary-note-92", [b"canary-note-92"]),
    "truncate_day": ("note", "2026-01-02T21:43:17Z", [b"21:43", b"21, 43"]),
    "bucket": ("note", "1907-03-07", [b"1907"]),
}


@pytest.mark.parametrize("verb", VALUES)
def test_verb_acts_before_the_lake(tmp_path: Path, verb: str) -> None:
    """With the verb the value is at rest nowhere in its full form; with `keep` instead it is, so the search can see."""
    field, value, spellings = VALUES[verb]
    for applied in (verb, "keep"):
        world = World.make(tmp_path / applied, {"format": "jsonl", "path": "s.jsonl"})
        rules = [
            {"field": name, "category": "behaviour", "verb": VERBS.get(name, "keep")} for name in NAMES if name != field
        ]
        rule = {"field": field, "category": "preference", "verb": applied}
        rule |= {"bucket": "month_of_year"} if applied == "bucket" else {}
        chosen = Minimisation.model_validate({"sources": [{"source": "shop_src", "fields": [*rules, rule]}]})
        world.policy = world.policy.model_copy(update={"minimisation": chosen})
        world.put("s.jsonl", [row(1, **{field: value})])
        assert world.ingest().accepted == 1
        found = any(spelling in world.bytes_at_rest() for spelling in spellings)
        assert found == (applied == "keep"), applied


def test_verb_that_is_not_applied_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: with verbs switched off, the test above fails for each of them but `drop`, which makes no column."""
    monkeypatch.setattr(minimise, "value_sql", lambda source, field, rule, is_identifier: f"f_{field.name}::VARCHAR")
    for verb in ("token", "truncate_day", "bucket"):
        with pytest.raises(AssertionError):
            test_verb_acts_before_the_lake(tmp_path / verb, verb)
