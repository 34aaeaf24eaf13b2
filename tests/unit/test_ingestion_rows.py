"""Single rows: why one is quarantined, what its values become, and that nothing plain is left anywhere."""

from __future__ import annotations

import base64
import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.identity.pseudonymise import Tokeniser
from orchestration.identity.vault import Vault
from orchestration.ingestion import rows
from orchestration.ingestion.contracts import lake_columns
from orchestration.policy.schema import Minimisation, OccurredAt
from tests.unit.ingestion_world import FIXTURES, World, row

JSONL = {"format": "jsonl", "path": "s-{day}.jsonl"}


def world_of(tmp_path: Path, *given: dict[str, Any] | str, **changes: Any) -> World:
    world = World.make(tmp_path, JSONL, **changes)
    lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in given]
    world.put("s-2026-01-01.jsonl", "\n".join(lines) + "\n")
    return world


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('{"id": "x"', "malformed"),
        ("[1]", "malformed"),
        ('{"id": "x", "id": "y", "event": "view", "at": "2026-01-01T00:00:00Z"}', "malformed"),
        ('{"id": "x", "id": "y", "new": 1, "event": "view", "at": "2026-01-01T00:00:00Z"}', "malformed"),
        (row(2, event=None), "missing_required"),
        (row(2, event=""), "missing_required"),
        (row(2, note={"a": 1}), "bad_value"),
        (row(2, note="a\u0000b"), "bad_value"),
        (row(2, note="a\u202eb"), "bad_value"),
        (row(2, amount="1,5"), "bad_value"),
        (row(2, amount="nan"), "bad_value"),
        (row(2, amount=1001), "bad_value"),
        (row(2, amount=-1), "bad_value"),
        (row(2, note="x" * 2001), "oversized"),
        (row(2, note="x" * (2 << 20)), "oversized"),
        (row(2, at="2026-01-01T00:00:00"), "bad_timestamp"),
        (row(2, at="2026-02-30T00:00:00Z"), "bad_timestamp"),
        (row(2, at="infinity"), "bad_timestamp"),
        (row(2, at="2026-06-01T00:06:00Z"), "future_dated"),
        (row(1, note="another body"), "conflict"),
    ],
)
def test_bad_row_is_quarantined_with_its_reason(tmp_path: Path, bad: dict[str, Any] | str, reason: str) -> None:
    world = world_of(tmp_path, row(1), bad, row(3))
    report = world.ingest()
    assert (report.read, report.accepted, dict(report.quarantined_by_reason)) == (3, 2, {reason: 1})
    ((number, found, line),) = world.quarantined()
    assert (number, found) == (2, reason)
    text = bad if isinstance(bad, str) else json.dumps(bad, ensure_ascii=False)
    assert line == (text if len(text) < 65_536 else None)


def test_repeated_rows_are_counted_once_and_only_once(tmp_path: Path) -> None:
    world = world_of(tmp_path, row(1), row(1), row(2))
    world.put("s-2026-01-02.jsonl", [row(2), row(3), row(1, note="x")])
    report = world.ingest()
    assert (report.read, report.accepted, report.duplicates, report.quarantined) == (6, 3, 2, 1)
    world.put("s-2026-01-03.jsonl", [row(3), row(4), row(2, note="x")])
    later = world.ingest()
    assert (later.accepted, later.duplicates, dict(later.quarantined_by_reason)) == (1, 1, {"conflict": 1})
    assert later.redelivered == 2
    assert len(world.lake()) == 4


def test_rows_without_event_id_are_keyed_by_their_line(tmp_path: Path) -> None:
    without = [{k: v for k, v in row(n).items() if k != "id"} for n in (1, 1, 2)]
    report = world_of(tmp_path, *without, event_id=None).ingest()
    assert (report.accepted, report.duplicates) == (2, 1)


def test_identifiers_become_tokens_links_and_vault_entries(tmp_path: Path) -> None:
    world = world_of(
        tmp_path,
        row(1, phone="138 1234 5678"),
        row(2, account=None, phone="+86-13812345678"),
        row(3, phone="138****5678"),
        row(4, account=None, phone="1.38E+10"),
    )
    assert world.ingest().accepted == 4
    tokeniser = Tokeniser(world.keys)
    phone = tokeniser.token("phone", "e164", "+8613812345678")
    a1, a3 = (tokeniser.token("account", "shop", account) for account in ("a1", "a3"))
    found = world.lake("occurred_at, subject_token, subject_kind, subject_issuer, phone_token")
    assert [r[1:] for r in found] == [
        (a1, "account", "shop", phone),
        (phone, "phone", "e164", phone),
        (a3, "account", "shop", None),
        (None, None, None, None),
    ]
    with Vault(world.home, world.keys) as vault:
        assert vault.get([phone]) == {phone: "+8613812345678"}
    (links,) = (world.home.lake / "links").glob("*.parquet")
    query = "SELECT controller, token_a, kind_a, token_b, kind_b, method, effective_at, is_unlink FROM read_parquet(?)"
    assert duckdb.execute(query, [str(links)]).fetchall() == [
        ("shop", a1, "account", phone, "phone", "login", datetime(2026, 1, 1, 2, 1), False)
    ]


def test_link_of_a_long_file_keeps_when_it_was_last_seen(tmp_path: Path) -> None:
    """A backfill in one file: whether a number was issued anew hangs on the last time as much as on the first."""
    times = ("2025-01-01T10:00:00+08:00", "2025-06-01T10:00:00+08:00", "2026-01-01T10:00:00+08:00")
    rows = [row(n, account="a1", phone="13812345678", at=at) for n, at in enumerate(times)]
    world = world_of(tmp_path, *rows, row(9, account="a9", phone="13812345679"))
    assert world.ingest().accepted == 4
    (links,) = (world.home.lake / "links").glob("*.parquet")
    query = "SELECT list(effective_at ORDER BY effective_at) AS t FROM read_parquet(?) GROUP BY token_a ORDER BY t"
    assert [[str(at) for at in seen] for (seen,) in duckdb.execute(query, [str(links)]).fetchall()] == [
        ["2025-01-01 02:00:00", "2026-01-01 02:00:00"],
        ["2026-01-01 02:09:00"],
    ]


def test_nothing_plain_is_written_but_landing(tmp_path: Path) -> None:
    canaries = ["canary-77@example.invalid", "13987654321", "canary-account", "canary-secret", "canary-event-id"]
    email, phone, account, secret, event_id = canaries
    good = row(1, id=event_id, phone=phone, account=account, secret=f"{secret} {email}")
    good |= {"unknown": email, phone: secret}
    world = world_of(tmp_path, good, {**good, "amount": "x"}, {**good, "note": email}, json.dumps(good)[:-1])
    world.put("s-2026-01-02.jsonl", (json.dumps(good) + "\n").encode() + b"\xff")
    report = world.ingest()
    assert (report.accepted, report.quarantined, len(report.refused)) == (1, 3, 1)
    at_rest = world.bytes_at_rest()
    assert all(canary.encode() not in at_rest for canary in canaries)
    assert secret.encode() in b"".join(path.read_bytes() for path in world.landing.iterdir())  # the search can find it


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        ({"format": "epoch_s"}, "1767225600", datetime(2026, 1, 1)),
        ({"format": "epoch_ms"}, "1767225600123", datetime(2026, 1, 1, 0, 0, 0, 123000)),
        ({"format": "epoch_s"}, "17672256001234", None),
        ({"format": "iso8601"}, "2026-01-01T08:00:00+08:00", datetime(2026, 1, 1)),
        ({"format": "iso8601", "zone": "Asia/Shanghai"}, "2026-01-01 08:00:00", datetime(2026, 1, 1)),
        ({"format": "%Y/%m/%d %H:%M:%S", "zone": "Asia/Shanghai"}, "2026/01/01 08:00:00", datetime(2026, 1, 1)),
        ({"format": "%Y/%m/%d %H:%M:%S"}, "2026/01/01 08:00:00", None),  # no zone: no certain instant
        ({"format": "%Y-%m-%d %H:%M:%S %z"}, "2026-01-01 08:00:00 +0800", datetime(2026, 1, 1)),
        ({"format": "%Y-%m-%d %H:%M:%S", "zone": "Europe/London"}, "2026-03-29 01:30:00", None),  # skipped
        (
            {"format": "%Y-%m-%d %H:%M:%S", "zone": "Europe/London"},
            "2025-10-26 01:30:00",
            datetime(2025, 10, 26, 1, 30),
        ),
    ],
)
def test_times_become_utc_or_the_row_is_quarantined(
    tmp_path: Path, rule: dict[str, str], value: str, expected: datetime | None
) -> None:
    occurred_at = OccurredAt.model_validate({"field": "at", **rule})
    world = world_of(tmp_path, row(1, at=value), occurred_at=occurred_at)
    report = world.ingest()
    assert [found for (found,) in world.lake("occurred_at")] == ([expected] if expected else [])
    assert dict(report.quarantined_by_reason) == ({} if expected else {"bad_timestamp": 1})


def test_business_day_is_of_the_policys_zone(tmp_path: Path) -> None:
    world = world_of(tmp_path, row(1, at="2026-01-01T15:59:59Z"), row(2, at="2026-01-01T16:00:00Z"))
    world.ingest()
    assert sorted(path.name for path in (world.home.lake / "shop_src").iterdir()) == [
        "day=2026-01-01",
        "day=2026-01-02",
    ]


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="../shared/fixtures is absent")
def test_naughty_strings_round_trip_or_are_quarantined(tmp_path: Path) -> None:
    encoded = json.loads((FIXTURES / "naughty_strings" / "blns.base64.json").read_text("utf-8"))
    strings = [base64.b64decode(text).decode("utf-8", "surrogateescape") for text in encoded]
    strings = [text for text in strings if text.isprintable() or not any("\ud800" <= c <= "\udfff" for c in text)]
    world = world_of(tmp_path, *(row(n, id=f"n{n}", note=text) for n, text in enumerate(strings)))
    report = world.ingest()
    assert report.read == len(strings) == report.accepted + report.quarantined
    kept = [note for (note,) in world.lake("coalesce(note, '')")]
    back = [json.loads(line)["note"] for _, _, line in world.quarantined() if line]
    assert sorted(kept + back) == sorted(strings)
    assert report.quarantined < 20


def test_file_of_bad_rows_only_is_read_and_quarantined(tmp_path: Path) -> None:
    report = world_of(tmp_path, row(1, event=None), "{").ingest()
    assert (report.read, report.quarantined, report.refused, report.files) == (2, 2, [], 1)


def test_contract_refuses_what_the_sql_let_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pandera is the second look: with the SQL's own rules switched off it refuses the file, and only that file."""
    world = world_of(tmp_path, row(1, amount=2000))
    world.put("s-2026-01-02.jsonl", [row(2)])
    monkeypatch.setattr(rows, "_broken", lambda _: [])
    report = world.ingest()
    assert [(file.file, file.reason) for file in report.refused] == [("s-2026-01-01.jsonl", "contract_broken")]
    assert (report.accepted, len(world.lake())) == (1, 1)


def test_minimisation_leaves_what_the_verbs_leave(tmp_path: Path) -> None:
    world = world_of(tmp_path, row(1, note="1990-05-17", amount=249.5, secret="2026-01-02T23:00:00Z"))
    verbs = [
        {"field": "event", "category": "behaviour", "verb": "keep"},
        {"field": "note", "category": "preference", "verb": "bucket", "bucket": "month_of_year"},
        {"field": "amount", "category": "transaction", "verb": "bucket", "bucket": "hundreds"},
        {"field": "secret", "category": "behaviour", "verb": "truncate_day"},
    ]
    chosen = Minimisation.model_validate({"sources": [{"source": "shop_src", "fields": verbs}]})
    world.policy = world.policy.model_copy(update={"minimisation": chosen})
    world.ingest()
    assert world.lake("note_month_of_year, amount_hundreds, secret_on, subject_token") == [
        (5, 200, date(2026, 1, 2), None)
    ]
    assert [name for name, _ in lake_columns(world.policy, world.source)][12:] == [
        "note_month_of_year",
        "amount_hundreds",
        "secret_on",
    ]
