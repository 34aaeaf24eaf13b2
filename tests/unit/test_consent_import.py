"""Deliveries of consent feeds: what is accepted, what is quarantined, and that what is broken never lets data pass."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestration.consent.commands import consent
from orchestration.consent.feeds.importer import import_feeds, import_file
from orchestration.consent.feeds.report import ImportReport
from orchestration.consent.ledger import open_ledger
from orchestration.errors import AssentError
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.pseudonymise import Tokeniser
from orchestration.identity.vault import Vault
from orchestration.ingestion.quarantine import read_quarantine
from orchestration.policy.loader import load_policy
from orchestration.settings import Settings
from tests.markers import mark

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
POLICY = load_policy()
FEEDS = {feed.name: feed for feed in POLICY.sources.consent_feeds}
PHONE = "+8613812345678"


@dataclass
class Desk:
    """One home, and a folder from which files are imported."""

    home: Home
    keys: Keys
    folder: Path

    def deliver(self, *rows: dict[str, Any] | str, name: str = "events.jsonl", now: datetime = NOW) -> ImportReport:
        path = self.folder / name
        path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
        return import_file(self.home, POLICY, self.keys, FEEDS["consent_center"], path, now=now)

    def staged(self, table: str = "consent_events") -> list[dict[str, Any]]:
        with open_ledger(self.home, self.keys) as (ledger, registry):
            assert ledger.verify() is None
            rows: list[dict[str, Any]] = ledger.staged(registry, POLICY)[table].to_pylist()
        return rows

    def feed(self, name: str = "consent_center") -> dict[str, Any]:
        return next(row for row in self.staged("feeds") if row["feed"] == name)

    def token(self, value: str = PHONE, kind: str = "phone", issuer: str = "e164") -> str:
        return Tokeniser(self.keys).token(kind, issuer, value)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    home = Home.open(tmp_path / "home")
    folder = tmp_path / "in"
    folder.mkdir()
    return Desk(home, Keys.open(home), folder)


def row(**changes: Any) -> dict[str, Any]:
    """A good grant; `None` takes a key away."""
    made = {
        "event_id": "e1",
        "type": "consent",
        "subject": {"kind": "phone", "issuer": "e164", "value": "138 1234 5678"},
        "controller": "shop",
        "purpose": "sms_marketing",
        "decision": "grant",
        "method": "explicit_click",
        "notice": {"id": "privacy", "version": "1", "language": "zh-CN"},
        "jurisdiction": "CN",
        "effective_at": "2026-11-01T10:00:00+08:00",
        "surface": "mini-program",
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def test_grant_is_staged_under_its_token_and_reaches_the_vault(desk: Desk) -> None:
    report = desk.deliver(row(separate=True, valid_until="2027-11-01T00:00:00Z"))
    assert (report.read, report.accepted, report.quarantined, report.is_incomplete) == (1, 1, 0, False)
    (staged,) = desk.staged()
    assert staged["token"] == desk.token()
    assert (staged["is_separate"], staged["is_guardian"], staged["category"]) == (True, False, None)
    assert staged["effective_at"] == datetime(2026, 11, 1, 2)
    assert staged["valid_until"] == datetime(2027, 11, 1)
    with Vault(desk.home, desk.keys) as vault:
        assert vault.get([desk.token()]) == {desk.token(): PHONE}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"marketing": True}, "unknown_field"),
        ({"subject": {"kind": "phone", "issuer": "e164", "value": PHONE, "name": "x"}}, "unknown_field"),
        ({"purpose": None}, "missing_required"),
        ({"event_id": None}, "missing_required"),
        ({"separate": "yes"}, "bad_value"),
        ({"surface": 7}, "bad_value"),
        ({"surface": "x" * 2000}, "bad_value"),
        ({"subject": {"kind": "phone", "issuer": "e164", "value": "138****5678"}}, "bad_value"),
        ({"subject": {"kind": "phone", "issuer": "E164", "value": PHONE}}, "bad_value"),
        ({"purpose": "world_domination"}, "unknown_reference"),
        ({"controller": "somebody_else"}, "unknown_reference"),
        ({"method": "telepathy"}, "unknown_reference"),
        ({"effective_at": "2026-11-01T10:00:00"}, "bad_timestamp"),
        ({"effective_at": "1970-01-01T00:00:00Z"}, "bad_timestamp"),
        ({"valid_until": "soon"}, "bad_timestamp"),
        ({"effective_at": "2026-11-20T12:06:00Z"}, "future_dated"),
        ({"effective_at": "2024-12-31T15:59:59Z"}, "notice_unpublished"),
    ],
)
def test_grant_that_breaks_a_rule_is_quarantined_and_denies_nothing(
    desk: Desk, changes: dict[str, Any], reason: str
) -> None:
    report = desk.deliver(row(**changes))
    assert report.quarantined_by_reason == {reason: 1}
    assert (report.read, report.accepted, report.presumed_denials, report.is_incomplete) == (1, 0, 0, False)
    assert desk.staged() == []
    with Vault(desk.home, desk.keys) as vault:
        assert vault.contact_points_arrow().num_rows == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"effective_at": "2026-11-20T12:05:00Z"},  # within tolerance: it waits
        {"effective_at": "2024-12-31T16:00:00Z"},  # the very moment of publication
        {"notice": {"id": "privacy", "version": "77"}},  # the decision says `notice_unknown`
        {"decision": "withdraw", "effective_at": "2099-01-01T00:00:00Z"},  # acts at once, however dated
        {"decision": "withdraw", "effective_at": "2024-01-01T00:00:00Z"},  # no notice is needed to say no
    ],
)
def test_row_at_the_edge_is_accepted(desk: Desk, changes: dict[str, Any]) -> None:
    assert desk.deliver(row(**changes)).accepted == 1


@pytest.mark.fault("H1")
def test_withdrawal_that_breaks_a_rule_denies_its_scope_at_its_own_time(desk: Desk) -> None:
    report = desk.deliver(row(decision="withdraw", method="telepathy"))
    assert (report.quarantined_by_reason, report.presumed_denials) == ({"unknown_reference": 1}, 1)
    (denial,) = desk.staged()
    assert (denial["decision"], denial["controller"], denial["purpose"]) == ("presumed_denial", "shop", "sms_marketing")
    assert denial["effective_at"] == datetime(2026, 11, 1, 2)
    assert not desk.feed()["is_incomplete"]


@pytest.mark.fault("H1")
@pytest.mark.parametrize(
    "changes",
    [
        {"decision": "witdraw"},
        {"decision": None},
        {"decision": 7, "effective_at": "2026-11-01"},
        {"type": "consnet"},
        {"decision": "withdraw", "purpose": "world_domination"},
        {"decision": "withdraw", "purpose": ["sms_marketing"]},
        {"decision": "withdraw", "extra": 1},
    ],
)
def test_possible_restriction_of_unclear_scope_denies_every_scope(desk: Desk, changes: dict[str, Any]) -> None:
    clear = changes.keys() == {"decision"}  # only what is denied is unreadable: the scope itself is plain
    desk.deliver(row(**changes))
    (denial,) = desk.staged()
    assert (denial["decision"], denial["token"], denial["controller"]) == ("presumed_denial", desk.token(), "shop")
    assert denial["purpose"] == ("sms_marketing" if clear or "effective_at" in changes else None)


@pytest.mark.fault("H1")
def test_truncated_withdrawal_denies_its_readable_subject_under_every_controller(desk: Desk) -> None:
    line = json.dumps(row(decision="withdraw"))
    report = desk.deliver(line[: line.index('"controller"') + 14])
    assert (report.quarantined_by_reason, report.presumed_denials) == ({"malformed": 1}, 2)
    denials = desk.staged()
    assert {denial["controller"] for denial in denials} == {"shop", "clinic"}
    assert all(d["token"] == desk.token() and d["purpose"] is None for d in denials)
    assert all(d["effective_at"] == NOW.replace(tzinfo=None) for d in denials)
    assert not desk.feed()["is_incomplete"]


@pytest.mark.fault("H2")
@pytest.mark.parametrize(
    "line",
    [
        "{",
        '{"subject": {"kind": "phone", "issuer": "e164", "value": "138',
        '{"subject": {"kind":"phone","issuer":"e164","value":"13812345678"}, "subject": {"kind":"phone"}}',
        '{"subject": {"kind":"phone","issuer":"e164","value":"13812345678"}, "subject": {"kind":"pho',
        "[1, 2]",
        json.dumps(row(decision="withdraw", subject={"kind": "phone", "issuer": "e164", "value": "138****5678"})),
        json.dumps(row(decision="withdraw", subject={"kind": "phone", "issuer": "E.164", "value": PHONE})),
        json.dumps(row(decision="withdraw", subject=PHONE)),
    ],
)
def test_possible_restriction_of_unknown_subject_leaves_the_feed_incomplete_until_corrected(
    desk: Desk, line: str
) -> None:
    assert not desk.feed()["is_incomplete"]
    assert desk.deliver(line).is_incomplete
    assert desk.staged() == []
    assert desk.feed()["is_incomplete"]
    desk.deliver(row(event_id="e9"), name="other.jsonl")
    assert desk.feed()["is_incomplete"]  # another file says nothing about this one
    desk.deliver(row(decision="withdraw"))
    assert not desk.feed()["is_incomplete"]
    desk.deliver(line + " ")
    assert desk.feed()["is_incomplete"]


def test_key_given_twice_is_malformed_and_restricts(desk: Desk) -> None:
    line = json.dumps(row(decision="withdraw")).replace('"surface"', '"decision": "grant", "surface"')
    report = desk.deliver(line)
    assert (report.quarantined_by_reason, report.accepted) == ({"malformed": 1}, 0)
    assert {denial["decision"] for denial in desk.staged()} == {"presumed_denial"}


def test_broken_row_delivered_again_later_denies_nothing_new(desk: Desk) -> None:
    line = json.dumps(row(decision="witdraw", effective_at="yesterday"))
    assert desk.deliver(line).presumed_denials == 1
    again = desk.deliver(line, row(event_id="e2"), name="again.jsonl", now=NOW + timedelta(days=3))
    assert (again.presumed_denials, again.accepted) == (0, 1)


@pytest.mark.fault("B2")
def test_same_id_with_another_body_is_quarantined_and_denied(desk: Desk) -> None:
    desk.deliver(row())
    report = desk.deliver(row(purpose="email_marketing"), row(), name="b.jsonl")
    assert (report.read, report.duplicates, report.quarantined_by_reason) == (2, 1, {"conflict": 1})
    denied = {staged["purpose"] for staged in desk.staged() if staged["decision"] == "presumed_denial"}
    assert denied == {"sms_marketing", "email_marketing"}


@pytest.mark.fault("B1")
def test_same_file_again_is_a_no_op(desk: Desk) -> None:
    desk.deliver(row(), row(event_id="e2"))
    with open_ledger(desk.home, desk.keys) as (ledger, _):
        head = ledger.head()
    again = desk.deliver(row(), row(event_id="e2"), now=NOW + timedelta(days=1))
    assert (again.redelivered, again.read) == (1, 0)
    with open_ledger(desk.home, desk.keys) as (ledger, _):
        assert ledger.head() == head
    assert desk.feed()["last_seen_at"] == NOW.replace(tzinfo=None)  # old news does not make a feed fresh


def test_import_says_how_far_it_is(desk: Desk) -> None:
    file, said = desk.folder / "events.jsonl", list[str]()
    file.write_text("".join(json.dumps(row(event_id=f"e{number}")) + "\n" for number in range(3)), encoding="utf-8")
    import_file(desk.home, POLICY, desk.keys, FEEDS["consent_center"], file, now=NOW, progress=said.append)
    assert said == ["events.jsonl: 3 rows read, 3 accepted"]


def test_other_record_types_reach_their_tables(desk: Desk) -> None:
    bare = dict.fromkeys(("purpose", "decision", "method", "notice", "jurisdiction"))
    other = {"kind": "openid", "issuer": "wx-oa-shop", "value": "oABC"}
    report = desk.deliver(
        row(**bare, event_id="1") | {"type": "permission", "channel": "sms", "state": "closed"},
        row(**bare, event_id="2") | {"type": "contract", "fact": "membership"},
        row(**bare, event_id="3") | {"type": "age", "minor_until": "2030-01-01T00:00:00+08:00"},
        row(**bare, event_id="4") | {"type": "status", "status": "restricted", "state": "on"},
        row(**bare, event_id="5") | {"type": "link", "other": other, "unlink": True},
    )
    assert report.accepted == 5
    assert [r["state"] for r in desk.staged("permissions")] == ["closed"]
    assert [(r["fact"], r["valid_until"]) for r in desk.staged("contracts")] == [("membership", None)]
    assert [r["minor_until"] for r in desk.staged("ages")] == [datetime(2029, 12, 31, 16)]
    assert [(r["status"], r["state"]) for r in desk.staged("statuses")] == [("restricted", "on")]
    (link,) = desk.staged("links")
    assert (link["token_b"], link["is_unlink"]) == (desk.token("oABC", "openid", "wx-oa-shop"), True)


def test_broken_unfollow_closes_its_contact_point_only(desk: Desk) -> None:
    bare = dict.fromkeys(("purpose", "decision", "method", "notice"))
    desk.deliver(row(**bare, jurisdiction="Mars") | {"type": "permission", "channel": "sms", "state": "closed"})
    assert desk.staged() == []
    assert [(r["channel"], r["state"]) for r in desk.staged("permissions")] == [("sms", "closed")]


CSV = "event_id,type,subject_kind,subject_issuer,subject_value,controller,purpose,decision,separate,effective_at\n"
PAPER = "f1,consent,phone,e164,13812345678,clinic,follow_up,grant,TRUE,2026-11-01T10:00:00+08:00\n"


def deliver_csv(desk: Desk, data: bytes, name: str = "forms.csv") -> ImportReport:
    path = desk.folder / name
    path.write_bytes(data)
    return import_file(desk.home, POLICY, desk.keys, FEEDS["paper_forms"], path, now=NOW)


def test_csv_with_byte_order_mark_is_imported(desk: Desk) -> None:
    report = deliver_csv(desk, (CSV + PAPER).encode("utf-8-sig"))
    assert (report.read, report.accepted) == (1, 1)
    (staged,) = desk.staged()
    assert (staged["controller"], staged["is_separate"], staged["feed"]) == ("clinic", True, "paper_forms")


@pytest.mark.fault("H2")
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ((CSV + PAPER + PAPER.replace("f1,", "f2,x,")).encode(), "ragged"),
        ((CSV + PAPER + '"f2,consent\n').encode(), "ragged"),
        (CSV.replace("decision", "Decision").encode(), "unknown_column"),
        (CSV.replace("purpose", "decision").encode(), "unknown_column"),
        (CSV.replace("event_id,", "").encode(), "missing_column"),
        ((CSV + PAPER).replace("clinic", "诊所").encode("gb18030"), "wrong_encoding"),
        (b"", "empty"),
    ],
)
def test_refused_file_appends_nothing_and_leaves_the_feed_incomplete(desk: Desk, data: bytes, reason: str) -> None:
    report = deliver_csv(desk, data)
    assert (report.refused, report.accepted) == ({"forms.csv": reason}, 0)
    assert desk.staged() == []
    assert (desk.feed("paper_forms")["is_incomplete"], desk.feed("paper_forms")["last_seen_at"]) == (True, None)
    assert list(desk.home.tmp.iterdir()) == []
    deliver_csv(desk, (CSV + PAPER).encode())
    assert not desk.feed("paper_forms")["is_incomplete"]


def test_another_refused_file_of_the_same_name_leaves_the_feed_incomplete_again(desk: Desk) -> None:
    for broken in ("f2,x\n", "f3,y\n"):
        assert deliver_csv(desk, (CSV + broken).encode()).refused == {"forms.csv": "ragged"}
        assert desk.feed("paper_forms")["is_incomplete"]
        deliver_csv(desk, (CSV + PAPER + broken[:2] + PAPER[2:]).encode())
        assert not desk.feed("paper_forms")["is_incomplete"]


def test_feed_from_landing_waits_for_its_marker_and_is_deleted_after(desk: Desk) -> None:
    folder = desk.home.landing / "consent"
    folder.mkdir()
    file = folder / "events-2026-11-19.jsonl"
    file.write_text(json.dumps(row()) + "\n", encoding="utf-8")
    assert import_feeds(desk.home, POLICY, desk.keys, desk.home.landing, now=NOW)["consent_center"].waiting == 1
    assert desk.staged() == []
    mark(file)
    report = import_feeds(desk.home, POLICY, desk.keys, desk.home.landing, now=NOW)["consent_center"]
    assert (report.accepted, report.waiting) == (1, 0)
    assert list(folder.iterdir()) == []
    staged = desk.feed()
    assert (staged["last_seen_at"], staged["max_staleness_hours"]) == (NOW.replace(tzinfo=None), 36)


def test_import_killed_before_its_manifest_is_done_again_to_the_same_head(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr("orchestration.consent.feeds.delivery.write_manifest", die)
        with pytest.raises(KeyboardInterrupt):
            desk.deliver(row(), row(event_id="e2", decision="witdraw"), "{")
    with open_ledger(desk.home, desk.keys) as (ledger, _):
        head = ledger.head()
    again = desk.deliver(row(), row(event_id="e2", decision="witdraw"), "{")
    assert (again.duplicates, again.quarantined, again.is_incomplete) == (1, 2, True)
    with open_ledger(desk.home, desk.keys) as (ledger, _):
        assert ledger.head() == head


def test_canary_is_nowhere_in_plain_but_can_be_repaired_from_quarantine(desk: Desk) -> None:
    canary = "canary_77aa@example.invalid"
    subject = {"kind": "email", "issuer": "email", "value": canary}
    desk.deliver(row(subject=subject, actor=canary), row(subject=subject, event_id=canary, decision="witdraw"))
    files = [path for path in desk.home.root.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if canary.encode() in path.read_bytes()]
    (kept,) = desk.home.quarantine.rglob("*.parquet")
    ((_, reason, line),) = read_quarantine(desk.keys, kept)
    assert reason == "unknown_reference" and line is not None and canary in line


def invoke(desk: Desk, *arguments: str, stdin: str = "") -> tuple[Any, str]:
    result = CliRunner().invoke(consent, arguments, input=stdin, obj=Settings(home=desk.home.root))
    return result, result.output


def test_state_shows_the_last_record_per_scope_and_never_the_value(desk: Desk) -> None:
    desk.deliver(
        row(),
        row(event_id="e2", decision="withdraw", effective_at="2026-11-10T00:00:00Z"),
        row(event_id="e3", purpose="email_marketing"),
        row(event_id="e4", effective_at="2026-11-20T12:04:00Z"),
    )
    asked = ("state", "--identifier-file", "-", "--as-of", "2026-11-20T12:00:00Z", "--json")
    result, output = invoke(desk, *asked, stdin=f"phone:e164:{PHONE}\n")
    assert result.exit_code == 0
    assert PHONE not in output and "13812345678" not in output
    (subject,) = json.loads(output)["subjects"]
    assert [(r["purpose"], r["decision"]) for r in subject["records"]] == [
        ("sms_marketing", "withdraw"),
        ("email_marketing", "grant"),
    ]
    assert "decided by the build" in json.loads(output)["caveat"]


def test_history_is_in_order_of_effect_with_detail(desk: Desk) -> None:
    desk.deliver(row(event_id="late", decision="withdraw", effective_at="2026-11-10T00:00:00Z"), row())
    _, output = invoke(desk, "history", "--identifier-file", "-", "--json", stdin="phone:e164:138-1234-5678")
    records = json.loads(output)["subjects"][0]["records"]
    assert [(r["event_id"], r["decision"], r["surface"]) for r in records] == [
        ("e1", "grant", "mini-program"),
        ("late", "withdraw", "mini-program"),
    ]


@pytest.mark.parametrize("line", ["13800001111", "phone:e164:138****1111", "phone:nobody:13800001111"])
def test_unreadable_identifier_is_an_error_that_does_not_repeat_it(desk: Desk, line: str) -> None:
    result, output = invoke(desk, "state", "--identifier-file", "-", stdin=line)
    assert isinstance(result.exception, AssentError)
    assert "1111" not in output + str(result.exception)


def test_import_command_reports_counts_and_refusal_by_exit_code(desk: Desk) -> None:
    good = desk.folder / "good.jsonl"
    good.write_text(json.dumps(row()) + "\n", encoding="utf-8")
    result, output = invoke(desk, "import", str(good), "--feed", "consent_center", "--json")
    assert (result.exit_code, json.loads(output)["accepted"]) == (0, 1)
    (desk.folder / "empty.jsonl").touch()
    result, output = invoke(desk, "import", str(desk.folder / "empty.jsonl"), "--feed", "consent_center")
    assert result.exit_code == 3 and "empty" in output
    result, _ = invoke(desk, "import", str(good), "--feed", "nobody")
    assert isinstance(result.exception, AssentError) and "paper_forms" in str(result.exception)


def in_landing(desk: Desk, name: str, data: bytes, said: str) -> ImportReport:
    (desk.home.landing / "consent").mkdir(exist_ok=True)
    (desk.home.landing / "consent" / name).write_bytes(data)
    (desk.home.landing / "consent" / f"{name}.done").write_text(said, "utf-8")
    return import_feeds(desk.home, POLICY, desk.keys, desk.home.landing, now=NOW)["consent_center"]


def test_consent_file_cut_at_any_line_is_refused_by_its_marker_and_its_feed_incomplete(desk: Desk) -> None:
    """The line that is gone may be the withdrawal: nobody may be added by a file that was cut."""
    rows = [row(), row(event_id="e2", purpose="email_marketing"), row(event_id="e3", decision="withdraw")]
    lines = [json.dumps(each).encode() + b"\n" for each in rows]
    said = hashlib.sha256(b"".join(lines)).hexdigest()
    for kept in (1, 2):
        report = in_landing(desk, "events-2026-11-19.jsonl", b"".join(lines[:kept]), said)
        assert report.refused == {"consent/events-2026-11-19.jsonl": "truncated"}
        assert (report.accepted, desk.staged(), desk.feed()["is_incomplete"]) == (0, [], True)
    assert in_landing(desk, "events-2026-11-19.jsonl", b"".join(lines), said).accepted == 3
    assert not desk.feed()["is_incomplete"]


def test_consent_marker_must_state_what_policy_demands(desk: Desk) -> None:
    data = json.dumps(row()).encode() + b"\n"
    for said in ("", '{"rows": 1}', "whole"):
        report = in_landing(desk, "events-2026-11-19.jsonl", data, said)
        assert report.refused == {"consent/events-2026-11-19.jsonl": "wrong_marker"}
        assert desk.feed()["is_incomplete"]


@pytest.mark.parametrize("feed", ["consent_center", "paper_forms"])
def test_rows_that_a_marker_states_are_counted_before_anything_is_appended(desk: Desk, feed: str) -> None:
    """Also beside a file that somebody names."""
    chosen = FEEDS[feed].model_copy(update={"marker": ".rows", "marker_states": ("rows",)})
    path = desk.folder / "named"
    lines = [CSV, PAPER, PAPER.replace("f1", "f2")] if chosen.format == "csv" else [
        json.dumps(row(event_id=event_id)) + "\n" for event_id in ("e1", "e2")
    ]  # fmt: skip
    path.write_text("".join(lines), "utf-8")
    marker = desk.folder / "named.rows"
    for said, accepted in (('{"rows": 3}', 0), ('{"rows": 1}', 0), ('{"rows": 2}', 2)):
        marker.write_text(said, "utf-8")
        report = import_file(desk.home, POLICY, desk.keys, chosen, path, now=NOW)
        assert (report.accepted, len(desk.staged())) == (accepted, accepted)
        assert report.refused == ({} if accepted else {"named": "truncated"})
        assert desk.feed(feed)["is_incomplete"] is (accepted == 0)


def test_consent_file_whose_last_line_has_no_end_is_refused(desk: Desk) -> None:
    whole = (CSV + PAPER).encode()
    assert deliver_csv(desk, whole[:-1]).refused == {"forms.csv": "truncated"}
    assert desk.staged() == []
    path = desk.folder / "cut.jsonl"
    path.write_text(json.dumps(row()), "utf-8")
    refused = import_file(desk.home, POLICY, desk.keys, FEEDS["consent_center"], path, now=NOW).refused
    assert refused == {"cut.jsonl": "truncated"}
