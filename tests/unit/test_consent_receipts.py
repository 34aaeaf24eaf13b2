"""Receipts: each withdrawal is confirmed, each record has one, the terms exist, and nobody is named in any."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestration.consent.answers.wording import IRI, wording
from orchestration.consent.commands import consent
from orchestration.consent.ledger import Ledger, open_ledger
from orchestration.demo.commands import demo
from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.policy.loader import load_policy
from orchestration.settings import Settings
from tests.unit.test_consent_import import FEEDS, PHONE, Desk, desk, invoke, row

__all__ = ["desk"]  # a fixture
GOLDEN = Path(__file__).parents[1] / "golden"
ME = f"phone:e164:{PHONE}\n"
# Of dpv.csv of DPV 2.0 (w3c/dpv); ConsentReceipt of the terms of DPV 2.3.
DPV = frozenset(
    (
        *("ConsentReceipt", "ConsentRecord", "ConsentNotice", "ConsentGiven", "ConsentRefused", "ConsentWithdrawn"),
        *("ConsentUnknown", "Consent", "Contract", "ExplicitlyExpressedConsent", "ImpliedConsent", "WithdrawConsent"),
        *("DataSubject", "GuardianOfDataSubject", "DataController", "DataProcessor", "Recipient", "ThirdParty"),
        *("Process", "Purpose", "PersonalData", "SensitivePersonalData", "StorageDuration", "hasConsentControl"),
        *("hasConsentStatus", "hasContact", "hasCountry", "hasDataController", "hasDataSubject", "hasDuration"),
        *("hasIndicationMethod", "hasJurisdiction", "hasLegalBasis", "hasName", "hasNotice", "hasPersonalData"),
        *("hasProcess", "hasPurpose", "hasRecipient", "hasRecordOfActivity", "hasStorageCondition", "isExercisedAt"),
        *("isIndicatedAtTime", "isIndicatedBy"),
    )
)


def withdraw(desk: Desk, *arguments: str, stdin: str = ME) -> list[dict[str, Any]]:
    result, output = invoke(desk, "withdraw", "--identifier-file", "-", "--json", *arguments, stdin=stdin)
    assert result.exit_code == 0, (output, result.exception)
    assert PHONE not in output and "13812345678" not in output
    return [receipt for subject in json.loads(output)["subjects"] for receipt in subject["receipts"]]


def issued(desk: Desk, *arguments: str, stdin: str = ME) -> list[dict[str, Any]]:
    result, output = invoke(desk, "receipt", "--identifier-file", "-", "--json", *arguments, stdin=stdin)
    assert result.exit_code == 0, (output, result.exception)
    graph: list[dict[str, Any]] = json.loads(output)["@graph"]
    return graph


def test_withdrawal_at_the_desk_binds_and_is_confirmed_with_what_stops_when(desk: Desk) -> None:
    desk.deliver(row())
    (receipt,) = withdraw(desk, "--controller", "shop", "--purpose", "sms_marketing", "--surface", "hotline")
    _, staged = desk.staged()
    assert (staged["decision"], staged["purpose"], staged["feed"]) == ("withdraw", "sms_marketing", "desk")
    assert (receipt["kind"], receipt["seq"], receipt["purpose"]) == ("withdrawal", 3, "sms_marketing")
    stops = receipt["stops"]
    assert stops["at"] == receipt["recorded_at"]
    assert [file["destination"] for file in stops["files"]] == ["sms_gateway", "wechat_broadcast"]
    assert all(file["last_use_by"] > stops["at"] for file in stops["files"])
    assert not stops["is_deletion_included"]
    assert {feed["feed"] for feed in desk.staged("feeds")} == FEEDS.keys()  # the desk is no feed


def test_receipt_is_found_again_by_its_id_and_names_the_record(desk: Desk) -> None:
    (receipt,) = withdraw(desk, "--controller", "shop", "--all")
    result, output = invoke(desk, "receipt", "--id", receipt["receipt_id"], "--json")
    (again,) = json.loads(output)["@graph"]
    assert again["dct:identifier"] == receipt["receipt_id"]
    assert again["dpv:hasRecordOfActivity"]["assent:recordHash"] == receipt["record_hash"]
    with open_ledger(desk.home, desk.keys) as (ledger, _):
        assert ledger.head() == (receipt["seq"], receipt["record_hash"])
    result, _ = invoke(desk, "receipt", "--id", "0" * 32)
    assert isinstance(result.exception, AssentError)


def test_no_receipt_without_the_record(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the anchor is full")

    monkeypatch.setattr(Ledger, "append", fail)
    result, output = invoke(desk, "withdraw", "--identifier-file", "-", "--controller", "shop", "--all", stdin=ME)
    assert result.exit_code != 0 and output == ""


def test_withdrawing_everything_says_that_service_messages_go_on(desk: Desk) -> None:
    receipts = withdraw(desk, "--controller", "shop", "--controller", "clinic", "--all", "--channel", "sms")
    assert [(r["controller"], r["purpose"], r["channel"]) for r in receipts] == [
        ("shop", None, "sms"),
        ("clinic", None, "sms"),
    ]
    assert [r["stops"]["goes_on"] for r in receipts] == [["service"], ["service"]]
    assert {file["destination"] for r in receipts for file in r["stops"]["files"]} == {"sms_gateway"}


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (("--controller", "shop"), "--purpose"),
        (("--controller", "shop", "--all", "--purpose", "sms_marketing"), "--purpose"),
        (("--controller", "nobody", "--all"), "--controller"),
        (("--controller", "clinic", "--purpose", "email_marketing"), "--purpose"),
        (("--controller", "shop", "--all", "--channel", "pigeon"), "--channel"),
        (("--controller", "shop", "--all", "--feed", "nobody"), "--feed"),
        (("--controller", "shop", "--all", "--feed", "paper_forms"), "--feed"),
        (("--controller", "shop", "--all", "--effective-at", "yesterday"), "--effective-at"),
    ],
)
def test_withdrawal_that_would_bind_nothing_is_refused(desk: Desk, arguments: tuple[str, ...], where: str) -> None:
    result, _ = invoke(desk, "withdraw", "--identifier-file", "-", *arguments, stdin=ME)
    assert isinstance(result.exception, AssentError) and result.exception.where == where
    assert desk.staged() == []


def test_one_bad_identifier_records_nothing_and_is_not_repeated(desk: Desk) -> None:
    lines = f"{ME}phone:e164:138****1111\n"
    result, output = invoke(desk, "withdraw", "--identifier-file", "-", "--controller", "shop", "--all", stdin=lines)
    assert isinstance(result.exception, AssentError) and "1111" not in output + str(result.exception)
    assert desk.staged() == []


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("zh-CN", ("撤回确认", "悦己商城", "删除数据不在本回执之内")),
        ("en", ("Confirmation of withdrawal", "Yueji shop")),
    ],
)
def test_receipt_is_read_in_either_language(desk: Desk, language: str, words: tuple[str, ...]) -> None:
    asked = ("withdraw", "--identifier-file", "-", "--controller", "shop", "--all", "--language", language)
    _, output = invoke(desk, *asked, stdin=ME)
    assert all(word in output for word in words)
    assert "13812345678" not in output


def test_confirmations_of_a_feed_go_on_where_the_last_call_ended(desk: Desk, tmp_path: Path) -> None:
    desk.deliver(row(), row(event_id="e2", decision="withdraw"), row(event_id="e3", decision="deny"))
    desk.deliver(row(event_id="e4", decision="witdraw"), name="2")
    withdraw(desk, "--controller", "shop", "--all")
    out = tmp_path / "confirmations.jsonl"

    def since(seq: int, *more: str) -> list[dict[str, Any]]:
        result, _ = invoke(desk, "receipts", "--since", str(seq), "--out", str(out), *more)
        assert result.exit_code == 0
        return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]

    every = since(0)
    assert [r["decision"] for r in every] == ["withdraw", "deny", "presumed_denial", "withdraw"]
    assert [r["event_id"] for r in since(0, "--feed", "consent_center")][:2] == ["e2", "e3"]
    assert [r["seq"] for r in since(every[1]["seq"])] == [r["seq"] for r in every[2:]]
    result, _ = invoke(desk, "receipts", "--since", "0", "--out", str(out), "--feed", "consent_centre")
    assert "There are: consent_center" in str(result.exception), "else a slip of the pen confirms nothing, for ever"
    result, _ = invoke(desk, "receipts", "--since", str(every[-1]["seq"] + 1), "--out", str(out))
    assert "Begin again from 0" in str(result.exception), "else what a restored ledger numbers anew is never confirmed"
    assert out.stat().st_mode & 0o077 == 0
    assert PHONE not in out.read_text(encoding="utf-8")


def test_receipts_are_the_golden_samples(desk: Desk) -> None:
    desk.deliver(
        row(separate=True, category="sensitive", channel="sms", valid_until="2027-11-01T00:00:00Z", purpose="follow_up",
            controller="clinic", notice={"id": "clinic-separate", "version": "2", "language": "zh-CN"}),
        row(event_id="e2", decision="withdraw", method="verbal_recorded", effective_at="2026-11-19T00:00:00Z"),
    )  # fmt: skip
    for name, receipt in zip(("grant", "withdrawal"), issued(desk), strict=True):
        golden = json.loads((GOLDEN / f"{name}.jsonld").read_text(encoding="utf-8"))
        assert unvarying(receipt) == golden, json.dumps(unvarying(receipt), ensure_ascii=False, indent=2)


def unvarying(receipt: dict[str, Any]) -> dict[str, Any]:
    """Without what differs from home to home: keyed hashes, references, the moment of issue."""
    text = json.dumps(receipt | {"dct:issued": "NOW"}, ensure_ascii=False)
    text = re.sub(r'"assent:recordHash": "[0-9a-f]{64}"', '"assent:recordHash": "HASH"', text)
    found: dict[str, Any] = json.loads(re.sub(r"\b[0-9a-f]{32}\b", "REF", text))
    return found


@pytest.fixture(scope="module")
def persona_receipts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The receipts of everyone in a small demo world, personas included."""
    home = Home.open(tmp_path_factory.mktemp("demo") / "home", demo_seed=7)
    settings = Settings(home=home.root)
    made = CliRunner().invoke(demo, ["--people", "20", "--days", "10", "--home", str(home.root)], obj=settings)
    assert made.exit_code == 0, made.output
    everything = home.landing / "everything.jsonl"
    days = sorted((home.landing / "consent").glob("*.jsonl"))
    everything.write_text("".join(day.read_text(encoding="utf-8") for day in days), encoding="utf-8")
    done = CliRunner().invoke(consent, ["import", str(everything), "--feed", "consent_center"], obj=settings)
    assert done.exit_code == 0, done.output
    values = [
        json.loads(line)["subject"]
        for line in everything.read_text(encoding="utf-8").splitlines()
        if '"subject"' in line
    ]
    lines = {"{kind}:{issuer}:{value}".format(**value) for value in values if "*" not in value["value"]}
    asked = ["receipt", "--identifier-file", "-", "--json"]
    given = CliRunner().invoke(consent, asked, input="\n".join(sorted(lines)), obj=settings)
    assert given.exit_code == 0, given.output
    with open_ledger(home, Keys.open(home)) as (ledger, _):
        records = ledger.export_arrow()["consent_events"].num_rows
    plain = {value["value"] for value in values}
    return {"document": json.loads(given.output), "text": given.output, "records": records, "plain": plain}


def test_every_record_of_the_personas_has_its_receipt(persona_receipts: dict[str, Any]) -> None:
    graph = persona_receipts["document"]["@graph"]
    assert len({receipt["@id"] for receipt in graph}) == persona_receipts["records"] > 100
    assert all(receipt["@type"] == "dpv:ConsentReceipt" for receipt in graph)


def test_no_receipt_names_anybody(persona_receipts: dict[str, Any]) -> None:
    named = [value for value in persona_receipts["plain"] if value in persona_receipts["text"]]
    assert len(persona_receipts["plain"]) > 20 and named == []


def test_every_term_exists(persona_receipts: dict[str, Any]) -> None:
    document = persona_receipts["document"]
    assert document["@context"]["assent"] == IRI
    words = set(_words({key: value for key, value in document.items() if key == "@graph"}))
    used = {word.partition(":")[2] for word in words if word.startswith("dpv:")}
    assert used - DPV == set() and len(used) > 30
    own = {word.partition(":")[2] for word in words if word.startswith("assent:")}
    assert own - {term.name for term in wording().terms} == set() and "SeparateConsent" in own


def _words(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield key
            yield from _words(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _words(value)
    elif isinstance(tree, str):
        yield tree


def test_own_vocabulary_is_listed_in_both_languages_and_rests_on_known_terms(desk: Desk) -> None:
    _, output = invoke(desk, "vocabulary", "--json")
    terms = json.loads(output)["terms"]
    assert all(set(term["label"]) == set(term["definition"]) == {"zh-CN", "en"} for term in terms)
    assert {str(term["broader"]).removeprefix("dpv:") for term in terms if term["broader"]} <= DPV


def test_every_controller_of_the_shipped_policy_says_where_to_write() -> None:
    assert all(controller.contact for controller in load_policy().organisation.controllers)
