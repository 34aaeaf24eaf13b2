"""Who was erased stays out: later deliveries are recognised by keyed hashes, blocked at every door, and counted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestration.consent.anchoring.anchor import Anchor
from orchestration.consent.ledger import open_ledger
from orchestration.errors import HomeError
from orchestration.home import Home
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.identity.pseudonymise import Tokeniser
from orchestration.identity.vault import Vault
from orchestration.policy.loader import load_policy
from orchestration.retention.suppressions import FILE, Suppressions
from orchestration.retention.traces import Traces
from tests.unit.ingestion_world import World, row
from tests.unit.test_consent_import import PHONE, Desk, desk
from tests.unit.test_consent_import import row as record

__all__ = ["desk"]  # fixture
JSONL = {"format": "jsonl", "path": "main.jsonl"}
POLICY = load_policy()
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def suppress(home: Home, keys: Keys, *tokens: str) -> Suppressions:
    with open_ledger(home, keys) as (ledger, registry):
        anchor = Anchor(home, keys)
        with anchor.writing(registry, NOW):  # makes the anchor's folder
            pass
        assert ledger.erased is not None
        listed = Suppressions(home, keys, anchor)
        listed.add(tokens)
    return listed


@pytest.mark.fault("F5")
def test_touchpoints_of_an_erased_person_are_blocked_and_counted(tmp_path: Path) -> None:
    """The source delivers the person again: nothing of the row is kept, in any place (F5)."""
    world = World.make(tmp_path, JSONL, after_ingest={"action": "encrypt", "keep_days": 7})
    token = Tokeniser(world.keys).token
    suppress(world.home, world.keys, token("account", "shop", "a1"), token("phone", "e164", PHONE))
    world.put("main.jsonl", [
        row(1, phone=PHONE, note="the erased person"),
        row(2),
        row(3, phone=PHONE, note="somebody else with the same phone"),
        row(4, account="a1", at="no time"),
        row(5, account="b5", at="no time either"),
    ])  # fmt: skip
    report = world.ingest()
    counts = {name: report.counts()[name] for name in ("read", "accepted", "quarantined", "suppressed")}
    assert counts == {"read": 5, "accepted": 2, "quarantined": 2, "suppressed": 1}
    assert world.lake("phone_token") == [(None,), (None,)], "of somebody else's row the link is lost, not the row"
    kept = [line for _, _, line in world.quarantined()]
    assert kept[0] is None and kept[1] is not None and "b5" in kept[1], "a bad line of the person is only counted"
    with Vault(world.home, world.keys) as vault:
        assert vault.contact_points_arrow().num_rows == 0
    stored = world.bytes_at_rest()
    assert not any(token(*of).encode() in stored for of in (("account", "shop", "a1"), ("phone", "e164", PHONE)))
    assert list(world.home.archive.rglob("*.sealed")) == [], "no copy of the file is kept"
    assert not (world.landing / "main.jsonl").exists()


def test_without_suppressions_the_same_rows_are_taken(tmp_path: Path) -> None:
    world = World.make(tmp_path, JSONL, after_ingest={"action": "encrypt", "keep_days": 7})
    world.put("main.jsonl", [row(1, phone=PHONE), row(3, phone=PHONE)])
    assert world.ingest().counts()["suppressed"] == 0
    assert len(world.lake()) == 2
    assert list(world.home.archive.rglob("*.sealed"))


@pytest.mark.fault("F5")
def test_consent_of_an_erased_person_is_blocked_and_counted(desk: Desk) -> None:
    """A new consent by a feed does not bring the person back; staff lift it."""
    listed = suppress(desk.home, desk.keys, desk.token())
    report = desk.deliver(
        record(event_id="e1"), record(event_id="e2", subject=other()), record(event_id="e3", decision="nonsense")
    )
    assert (report.read, report.accepted, report.suppressed, report.quarantined) == (3, 1, 1, 1)
    with SubjectRegistry(desk.home, desk.keys) as registry:
        assert registry.lookup(desk.token()) is None, "nobody is made known again"
    assert desk.token() not in [r["token"] for r in desk.staged()]
    with Vault(desk.home, desk.keys) as vault:
        assert vault.get([desk.token()]) == {}
    assert listed.lift([desk.token()]) == 1
    again = desk.deliver(record(event_id="e1"), name="again.jsonl")
    assert (again.accepted, again.suppressed) == (1, 0)


def other() -> dict[str, str]:
    return {"kind": "phone", "issuer": "e164", "value": "+8613900139001"}


@pytest.mark.fault("F6")
@pytest.mark.parametrize("lost", ["keys", "anchor"])
def test_list_survives_in_either_place(desk: Desk, lost: str) -> None:
    """Keys or anchor come back from an older copy: the other still knows, and tells."""
    suppress(desk.home, desk.keys, desk.token())
    anchor = Anchor(desk.home, desk.keys)
    place = {"keys": desk.home.keys, "anchor": anchor.folder}[lost] / FILE
    place.unlink()
    with open_ledger(desk.home, desk.keys) as (ledger, _):
        assert ledger.erased is not None and ledger.erased.holds([desk.token()]) == {desk.token()}
    assert place.is_file()


def test_list_names_nobody(desk: Desk) -> None:
    suppress(desk.home, desk.keys, desk.token())
    stored = (desk.home.keys / FILE).read_bytes()
    assert desk.token().encode() not in stored and bytes.fromhex(desk.token()) not in stored


def test_damaged_list_stops_everything(desk: Desk) -> None:
    suppress(desk.home, desk.keys, desk.token())
    place = desk.home.keys / FILE
    data = bytearray(place.read_bytes())
    data[30] ^= 1
    place.write_bytes(data)
    with pytest.raises(HomeError, match="damaged"):
        desk.deliver(record(event_id="e1"))


@pytest.mark.parametrize("text", [
    '{"user": "acc-1", "x": 1}', "2026-01-01,acc-1,12", "<FromUserName><![CDATA[acc-1]]></FromUserName>",
    '{"user": "acc-1', "?user=acc-1&x=y", '{"user": "\\u0061cc-1"}', "phone: +86 138 1234 5678; x", "a,13812345678,b",
    "mail=ann%40example.com", '{"e": "Ann@Example.com"}',
])  # fmt: skip
def test_text_names_a_person_however_it_is_written(desk: Desk, text: str) -> None:
    names = {("account", "shop", "acc-1"), ("phone", "e164", PHONE), ("email", "email", "ann@example.com")}
    tokens = {Tokeniser(desk.keys).token(*name) for name in names}
    traces = Traces(POLICY, desk.keys, lambda given: tokens & set(given))
    assert traces.names(text)
    assert not traces.names(text.replace("1", "7").replace("nn", "mm"))
