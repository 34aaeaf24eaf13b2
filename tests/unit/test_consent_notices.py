"""Notices: the exact text agreed to can be produced after the policy has moved on, and whom a new version concerns."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import hypothesis
import pyarrow as pa
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given

from orchestration.consent.answers import notify
from orchestration.consent.answers import state as answers
from orchestration.consent.answers.standing import Limits, standings
from orchestration.consent.commands import consent
from orchestration.consent.models import EPOCH, microseconds
from orchestration.errors import AssentError, ExitCode, HomeError
from orchestration.policy.loader import FILES, SHIPPED, load_policy
from orchestration.settings import Settings
from tests.unit.test_consent_import import NOW, PHONE, Desk, desk, invoke, row
from tests.unit.test_consent_state import ROWS, rows_of

__all__ = ["desk"]  # a fixture
POLICY = load_policy()
TEXT = POLICY.notices.notices[0].versions[0].texts["zh-CN"]
ME = f"phone:e164:{PHONE}\n"


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestration.consent.options.end_of_world", lambda _: NOW)


def under(policy: Path, desk: Desk, *arguments: str, stdin: str = "") -> tuple[Any, str]:
    settings = Settings(home=desk.home.root, policy_dir=policy)
    result = CliRunner().invoke(consent, arguments, input=stdin, obj=settings)
    return result, result.output


def changed(folder: Path, change: Any) -> Path:
    """A policy folder like the shipped one, but for its notices."""
    folder.mkdir()
    for name in FILES:
        shutil.copy(SHIPPED / f"{name}.yaml", folder)
    tree = yaml.safe_load((folder / "notices.yaml").read_text(encoding="utf-8"))
    for notice in tree["notices"]:
        for version in notice["versions"]:
            version["published_at"] = version["published_at"].isoformat()
    change(tree["notices"])
    (folder / "notices.yaml").write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    return folder


def delivered(desk: Desk, *rows: dict[str, Any], policy: Path = SHIPPED) -> None:
    """By the command, as companies do: it also archives the policy under which records are accepted."""
    path = desk.folder / "events.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    result, output = under(policy, desk, "import", str(path), "--feed", "consent_center", "--json")
    assert (result.exit_code, json.loads(output)["quarantined"]) == (0, 0), output


def test_notice_is_printed_word_for_word_with_its_hash(desk: Desk) -> None:
    asked = ("notice", "--id", "privacy", "--version", "1", "--language", "zh-CN")
    result, output = invoke(desk, *asked, "--json")
    (text,) = json.loads(output)["texts"]
    assert (result.exit_code, text["text"]) == (0, TEXT)
    assert text["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    result, output = invoke(desk, *asked)
    assert TEXT in output


def test_text_of_every_record_is_found_after_the_policy_has_moved_on(desk: Desk, tmp_path: Path) -> None:
    delivered(desk, row())
    moved = changed(tmp_path / "moved", lambda notices: notices[0]["versions"].pop(0))
    _, output = under(moved, desk, "history", "--identifier-file", "-", "--json", stdin=ME)
    (record,) = json.loads(output)["subjects"][0]["records"]
    named = [record[f"notice_{part}"] for part in ("id", "version", "language")]
    asked = [word for pair in zip(("--id", "--version", "--language"), named, strict=True) for word in pair]
    result, output = under(moved, desk, "notice", *asked, "--json")
    (text,) = json.loads(output)["texts"]
    assert (result.exit_code, text["text"], text["is_in_force"]) == (0, TEXT, False)
    assert text["sha256"] == record["notice_text_sha256"]


def test_text_edited_after_publication_is_found_out(desk: Desk, tmp_path: Path) -> None:
    delivered(desk, row())
    edited = changed(
        tmp_path / "edited", lambda n: n[0]["versions"][0]["texts"].update({"zh-CN": "我们可以做任何事。"})
    )
    result, output = under(edited, desk, "notice", "--id", "privacy", "--version", "1", "--language", "zh-CN", "--json")
    told = json.loads(output)
    assert result.exit_code == ExitCode.VERIFY and told["is_edited"]
    assert [text["text"] for text in told["texts"]] == ["我们可以做任何事。", TEXT]
    again = str(desk.folder / "events.jsonl")
    _, warned = under(edited, desk, "import", again, "--feed", "consent_center")
    assert "privacy 1 zh-CN was edited" in warned
    _, output = under(edited, desk, "history", "--identifier-file", "-", "--json", stdin=ME)
    assert "notice_text_sha256" not in json.loads(output)["subjects"][0]["records"][0]  # nobody can say which


@pytest.mark.parametrize(
    ("which", "there"),
    [(("nobody", "1", "zh-CN"), "clinic-separate"), (("privacy", "9", "zh-CN"), "privacy 2 en"),
     (("privacy", "1", "fr"), "privacy 1 en")],
)  # fmt: skip
def test_unknown_text_is_an_error_that_says_what_there_is(desk: Desk, which: tuple[str, ...], there: str) -> None:
    options = [word for pair in zip(("--id", "--version", "--language"), which, strict=True) for word in pair]
    result, _ = invoke(desk, "notice", *options)
    assert isinstance(result.exception, AssentError) and there in str(result.exception)


def test_damaged_archive_is_an_error(desk: Desk) -> None:
    delivered(desk, row())
    (kept,) = desk.home.policies.glob("*/policy.json")
    kept.write_text("{", encoding="utf-8")
    result, _ = invoke(desk, "notice", "--id", "privacy", "--version", "1", "--language", "en")
    assert isinstance(result.exception, HomeError)


def listed(desk: Desk, tmp_path: Path, notice: str, version: str, policy: Path = SHIPPED) -> list[dict[str, str]]:
    out = tmp_path / "list.csv"
    result, output = under(
        policy, desk, "notify-list", "--notice", notice, "--version", version, "--out", str(out), "--json"
    )
    assert result.exit_code == 0, (output, result.exception)
    assert out.stat().st_mode & 0o077 == 0
    text = out.read_text(encoding="utf-8")
    assert "13812345678" not in text
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert json.loads(output)["rows_written"] == len(rows)
    assert sum(count["subjects"] for count in json.loads(output)["counts"]) == len(rows)  # one purpose each here
    return rows


def somebody(number: int, **changes: Any) -> dict[str, Any]:
    subject = {"kind": "member", "issuer": "loyalty", "value": f"M{number}"}
    return row(event_id=f"e{number}", subject=subject, **changes)


def again(number: int, **changes: Any) -> dict[str, Any]:
    return somebody(number, **{"effective_at": "2026-11-05T00:00:00Z", **changes}) | {"event_id": f"again{number}"}


def test_new_version_concerns_those_whose_consent_in_force_rests_on_an_older_one(desk: Desk, tmp_path: Path) -> None:
    new = {"notice": {"id": "privacy", "version": "2", "language": "en"}}
    delivered(
        desk,
        *(somebody(number) for number in range(1, 10)),
        again(2, **new),  # has agreed to the new one
        again(3, decision="withdraw"),
        again(4, decision="object", purpose=None),
        again(5, decision="withdraw", channel="email"),  # of another channel: still concerned
        again(6, valid_until="2026-11-06T00:00:00Z"),
        somebody(10, effective_at="2025-01-02T00:00:00+08:00", purpose="personalisation"),  # its age has ended it
        somebody(11, notice={"id": "privacy", "version": "0", "language": "en"}),  # a version nobody knows
        somebody(12, decision="deny"),
    )
    rows = listed(desk, tmp_path, "privacy", "2")
    assert [(r["agreed_version"], r["language"]) for r in rows].count(("1", "zh-CN")) == 5  # 1, 5, 7, 8 and 9
    assert {(r["kind"], r["issuer"], r["purpose"]) for r in rows} == {("member", "loyalty", "sms_marketing")}
    assert [r["is_renewal_required"] for r in rows if r["agreed_version"] == "0"] == ["true"]
    assert len(rows) == 6
    assert listed(desk, tmp_path, "privacy", "1") == [r for r in rows if r["agreed_version"] == "0"]


def test_version_that_asks_anew_flags_stale_consents(desk: Desk, tmp_path: Path) -> None:
    clinic = {"controller": "clinic", "purpose": "follow_up", "separate": True, "category": "sensitive"}
    old = {"notice": {"id": "clinic-separate", "version": "1", "language": "zh-CN"}}
    delivered(desk, somebody(1, **clinic, **old, effective_at="2026-08-01T00:00:00Z"))
    (found,) = listed(desk, tmp_path, "clinic-separate", "2")
    assert (found["is_renewal_required"], found["is_stale"]) == ("true", "true")

    def announce(notices: list[dict[str, Any]]) -> None:
        notices[1]["versions"][1]["published_at"] = (NOW + timedelta(days=90)).isoformat()

    announced = changed(tmp_path / "announced", announce)
    (found,) = listed(desk, tmp_path, "clinic-separate", "2", announced)
    assert (found["is_renewal_required"], found["is_stale"]) == ("true", "false")


@given(ROWS)
@hypothesis.settings(max_examples=20, deadline=None)
def test_list_agrees_with_what_stands_for_each_subject(drawn: list[tuple[Any, ...]]) -> None:
    rows = [r | {"subject_ref": "s", "notice_id": "privacy", "notice_version": "1"} for r in rows_of(drawn)]
    columns = {name: pa.array([r.get(name) for r in rows], kind) for name, kind in notify.READ.items()}
    subjects = pa.table({"subject_ref": ["s"], "kind": ["phone"], "issuer": ["e164"]})
    notice = POLICY.notices.notices[0]
    for day in (1, 3, 6):
        at = EPOCH + timedelta(days=day)
        con = notify.select_concerned(pa.table(columns), subjects, POLICY, notice, "2", at)
        found = sorted(con.execute("select purpose, coalesce(channel, '') from concerned").fetchall())
        con.close()
        standing = standings(rows, microseconds(at), answers.LAST, Limits(POLICY))
        assert found == sorted((s.row["purpose"], s.row["channel"] or "") for s in standing if s.in_force)


@pytest.mark.parametrize(("notice", "version"), [("nobody", "1"), ("privacy", "9")])
def test_unknown_version_is_an_error(desk: Desk, notice: str, version: str) -> None:
    result, _ = invoke(desk, "notify-list", "--notice", notice, "--version", version)
    assert isinstance(result.exception, AssentError)


def test_list_that_cannot_be_written_leaves_nothing(desk: Desk, tmp_path: Path) -> None:
    delivered(desk, somebody(1))
    out = tmp_path / "nowhere" / "list.csv"
    result, _ = invoke(desk, "notify-list", "--notice", "privacy", "--version", "2", "--out", str(out))
    assert isinstance(result.exception, AssentError)
    assert not out.parent.exists()
