"""What comes in badly, too big, too old, twice or in conflict grants nothing, is counted, and is not told on."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestration.consent.commands import consent
from orchestration.consent.feeds.importer import import_file
from orchestration.consent.feeds.payloads import MAX_BODY_BYTES
from orchestration.consent.ledger import open_ledger
from orchestration.errors import ExitCode
from orchestration.identity.pseudonymise import Tokeniser
from orchestration.policy.schema import ConsentFeed
from orchestration.settings import Settings
from tests.unit.signals.test_feeds import (
    ACCOUNT,
    AT,
    COOKIE,
    EMAIL,
    NOW,
    OF_FORMAT,
    OPENID,
    POLICY,
    REQUEST,
    TC,
    Desk,
    browser,
    desk,
    popup,
    segment,
    tc,
    wechat,
)

__all__ = ["desk"]
BOMB = (
    '<!DOCTYPE xml [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
)


def invoke(desk: Desk, *arguments: str, stdin: str | bytes = "") -> Result:
    settings = Settings(home=desk.home.root, policy_dir=Path(__file__).parents[3] / "orchestration" / "policy")
    return CliRunner().invoke(consent, [*arguments], obj=settings, input=stdin)


def test_body_of_a_hundred_megabytes_is_refused_unread(desk: Desk) -> None:
    path = desk.folder / "in"
    with path.open("wb") as file:
        file.write(b'{"a": "')
        file.truncate(100_000_000)
    report = desk.deliver("opendsr", path.read_bytes())
    assert list(report.refused.values()) == ["oversized"]
    assert report.is_incomplete
    assert desk.records() == []


def test_line_beyond_its_bound_is_quarantined_and_its_feed_incomplete(desk: Desk) -> None:
    report = desk.deliver("tcf", json.dumps(browser(tc_string=TC, more="x" * (1 << 20))) + "\n")
    assert (report.read, report.quarantined_by_reason, report.is_incomplete) == (1, {"oversized": 1}, True)
    assert desk.records() == []


@pytest.mark.parametrize(
    "body",
    [
        BOMB + wechat("&c;"),
        '<!DOCTYPE xml SYSTEM "file:///etc/passwd">' + wechat("subscribe"),
        wechat("subscribe") + wechat("subscribe"),
        wechat("subscribe")[:-4],
        "<xml/>",
    ],
    ids=["entities", "external", "two_roots", "cut", "empty"],
)
def test_xml_that_is_not_plain_is_malformed(desk: Desk, body: str) -> None:
    report = desk.deliver("wechat", body)
    assert report.quarantined_by_reason == {"malformed": 1}
    assert report.is_incomplete
    assert desk.records() == []


@pytest.mark.fault("B13")
def test_grant_of_ten_years_ago_is_refused_and_a_refusal_is_not(desk: Desk) -> None:
    old = browser(at="2016-11-20T12:00:00+00:00", tc_string=TC)
    report = desk.deliver("tcf", old)
    assert report.quarantined_by_reason == {"too_old": 1}
    assert desk.records() == ["cookie: deny mass_content"]
    late = (NOW - timedelta(days=31)).isoformat()
    assert desk.deliver("tcf", browser(id="e-2", at=late, tc_string=TC), file="b").quarantined == 1
    soon = (NOW - timedelta(days=29)).isoformat()
    assert desk.deliver("tcf", browser(id="e-3", at=soon, tc_string=TC), file="c").quarantined == 0


@pytest.mark.fault("B13")
def test_replay_is_a_duplicate_also_with_another_envelope(desk: Desk) -> None:
    desk.deliver("tcf", browser(tc_string=TC))
    before = desk.records()
    report = desk.deliver("tcf", browser(tc_string=TC, received="2026-11-11T00:00:00Z"), file="again")
    assert (report.read, report.duplicates, report.accepted) == (2, 2, 0)
    assert desk.records() == before


def test_same_id_with_another_string_presumes_a_denial(desk: Desk) -> None:
    desk.deliver("tcf", browser(tc_string=tc(2, 7)))
    report = desk.deliver("tcf", browser(tc_string=TC), file="again")
    assert report.quarantined_by_reason == {"conflict": 2}
    assert {"cookie: presumed_denial personalisation", "cookie: presumed_denial mass_content"} <= set(desk.records())


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("tcf", {"id": "e-1", "at": AT, "tc_string": TC}),
        ("tcf", {"id": "e-1", "at": AT, "tc_string": TC[:40]}),
        ("tcf", browser(cookie=" ", tc_string=TC)),
        ("wechat", wechat("unsubscribe", account="gh_unknown")),
        ("opendsr", {**REQUEST, "subject_identities": [
            {"identity_type": "email", "identity_value": "d" * 64, "identity_format": "sha256"}]}),
    ],
    ids=["nobody", "nobody_cut", "blank", "other_account", "hashed"],
)  # fmt: skip
def test_whom_a_refusal_is_of_cannot_be_told_so_the_feed_is_incomplete(desk: Desk, name: str, payload: Any) -> None:
    report = desk.deliver(name, payload)
    assert report.is_incomplete
    assert report.accepted == 0
    assert desk.records() == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"at": None}, "missing_required"),
        ({"at": "2026-11-10T08:00:00"}, "bad_timestamp"),
        ({"id": None}, "missing_required"),
    ],
    ids=["no_time", "no_zone", "no_id"],
)
def test_what_a_payload_does_not_say_is_not_guessed(desk: Desk, changes: dict[str, Any], reason: str) -> None:
    report = desk.deliver("tcf", {k: v for k, v in browser(tc_string=TC, **changes).items() if v is not None})
    assert report.quarantined_by_reason == {reason: 2}
    assert not any("grant" in record for record in desk.records())


def test_values_that_two_readers_could_tell_apart_are_malformed(desk: Desk) -> None:
    twice = json.dumps(browser())[:-1] + f', "tc_string": "{TC}", "tc_string": "{tc()}"}}\n'
    assert desk.deliver("tcf", twice).quarantined_by_reason == {"malformed": 1}
    dotted = {**segment(), "tc_string": TC, "context.traits": {"email": EMAIL}, "context": {"traits": {"email": "x"}}}
    assert desk.deliver("tcf", dotted, file="b").quarantined_by_reason == {"malformed": 1}
    assert desk.records() == []


def test_conflicting_signals_of_one_moment_are_all_on_record(desk: Desk) -> None:
    """GPC against a stored grant, US Privacy against TCF, TCF against a CMP: each is a record, and at equal times the
    restriction holds (tests/decision_table.yaml says so of the decision)."""
    desk.deliver("tcf", browser(tc_string=tc(2, 3, 4, 7), account=ACCOUNT))
    desk.deliver("segment", segment(consent={"categoryPreferences": {"Advertising": False}}), file="cmp")
    desk.deliver("gpc", browser(sec_gpc="1", account=ACCOUNT), file="gpc")
    desk.deliver("us_privacy", browser(us_privacy="1YYN", account=ACCOUNT), file="usp")
    records = desk.records()
    assert "account: grant personalisation" in records
    assert {"account: deny personalisation", "account: opt_out personalisation"} <= set(records)
    assert {"cookie: opt_out partner_sharing", "account: opt_out partner_sharing"} <= set(records)
    state = invoke(desk, "state", "--identifier-file", "-", "--purpose", "personalisation", "--json",
                   "--as-of", NOW.isoformat(), stdin=f"account:shop:{ACCOUNT}\n")  # fmt: skip
    found = json.loads(state.output)["subjects"][0]["records"]
    assert not any(record["in_force"] for record in found if record["type"] == "consent")


def test_withdrawal_is_not_undone_by_an_event_that_repeats_the_old_choice(desk: Desk) -> None:
    desk.deliver("segment", segment(consent={"categoryPreferences": {"Advertising": True}}))
    asked = ("--identifier-file", "-", "--controller", "shop", "--purpose", "personalisation")
    withdrawn = invoke(desk, "withdraw", *asked, stdin=f"account:shop:{ACCOUNT}\n")
    assert withdrawn.exit_code == 0, withdrawn.output
    later = {**segment(event="Viewed", consent={"categoryPreferences": {"Advertising": True}}), "messageId": "m-2"}
    report = desk.deliver("segment", later, file="later")
    assert (report.without_effect, report.accepted) == (1, 0)
    assert desk.records() == ["account: grant personalisation", "account: withdraw personalisation"]


def test_template_accepted_and_rejected_in_one_second_is_rejected(desk: Desk) -> None:
    desk.deliver("wechat", popup("tmpl-1", "accept"))
    desk.deliver("wechat", popup("tmpl-1", "reject"), file="b")
    assert [text for text in desk.records() if "closed" in text]
    state = invoke(desk, "state", "--identifier-file", "-", "--json", "--as-of", NOW.isoformat(),
                   stdin=f"openid:wx-oa-shop:{OPENID}\n")  # fmt: skip
    found = json.loads(state.output)["subjects"][0]["records"]
    assert [record["in_force"] for record in found if record["fact"] == "tpl:tmpl-1"] == [False]


def test_import_by_format_from_standard_input_says_nothing_of_the_body(desk: Desk) -> None:
    bad = json.dumps(browser(tc_string=TC[:50], note="canary-7f3a")) + "\n"
    done = invoke(desk, "import", "--format", "tcf", "-", "--json", stdin=bad)
    assert done.exit_code == ExitCode.OK, done.output
    assert json.loads(done.stdout)["quarantined_by_reason"] == {"malformed": 1}
    assert not any(secret in done.output for secret in (COOKIE, "canary-7f3a", TC[:20]))
    assert not list(desk.home.tmp.glob("piped-*"))


def test_string_is_kept_only_where_policy_says_so(desk: Desk) -> None:
    """A TC string can be personal data: it lies in the sealed detail of its record, or nowhere."""

    def raw_of(feed: ConsentFeed, file: str) -> set[str | None]:
        path = desk.folder / file
        path.write_text(json.dumps(browser(id=file, tc_string=TC)) + "\n", encoding="utf-8")
        import_file(desk.home, POLICY, desk.keys, feed, path, now=NOW)
        with open_ledger(desk.home, desk.keys) as (ledger, registry):
            refs = registry.refs([(Tokeniser(desk.keys).token("cookie", "shop.example.com", COOKIE), "cookie", "")])
            rows = [row for row in ledger.subject_rows(list(refs.values())) if row["detail"].event_id.startswith(file)]
        assert rows
        return {row["detail"].rest.get("raw") for row in rows}

    feed = OF_FORMAT["tcf"]
    assert raw_of(feed, "a") == {None}
    keeping = feed.model_copy(update={"columns": {**feed.columns, "raw": "tc_string"}})
    assert raw_of(keeping, "b") == {TC}


def test_import_wants_one_of_feed_and_format(desk: Desk) -> None:
    assert invoke(desk, "import", "-").exit_code == 2
    assert invoke(desk, "import", "--feed", "web_tcf", "--format", "tcf", "-").exit_code == 2


def test_oversized_import_has_exit_code_three(desk: Desk) -> None:
    done = invoke(desk, "import", "--format", "opendsr", "-", stdin=b" " * (MAX_BODY_BYTES + 1))
    assert done.exit_code == ExitCode.REFUSED_INPUT
    assert "oversized" in done.output


def test_decode_shows_what_a_string_says(desk: Desk) -> None:
    done = invoke(desk, "decode", "tcf", TC, "--json")
    (signal,) = json.loads(done.stdout)["signals"]
    assert {"purpose.3", "vendor.4242"} <= set(signal["granted"])
    assert signal["problem"] is None
    cut = invoke(desk, "decode", "tcf", "-", stdin=TC[:50])
    assert cut.exit_code == ExitCode.REFUSED_INPUT
    assert "grants nothing" in cut.output
    document = json.dumps(segment(consent={"categoryPreferences": {"Advertising": True}}))
    assert "granted  Advertising" in invoke(desk, "decode", "segment", "-", stdin=document).output
    assert "granted  follow" in invoke(desk, "decode", "wechat", "-", stdin=wechat("subscribe")).output
    assert invoke(desk, "decode", "segment", "{").exit_code == ExitCode.REFUSED_INPUT


def test_requests_are_listed_without_naming_anybody(desk: Desk) -> None:
    desk.deliver("opendsr", REQUEST)
    done = invoke(desk, "requests", "--json")
    (one,) = json.loads(done.stdout)["requests"]
    assert (one["request"], one["state"], one["feed"]) == ("erasure", "received", "opendsr")
    assert datetime.fromisoformat(one["asked_at"]) == datetime.fromisoformat(AT)
    assert EMAIL not in done.output
    assert "1 request(s)" in invoke(desk, "requests").output


def test_revoked_and_cancelled_authorisations_are_requests_of_the_openid_with_their_fields(desk: Desk) -> None:
    """The subject is `OpenID`, not who sent the event; a revoke names its fields, a cancellation all of them."""
    account, sender = "gh_yueji_mini", "somebody_else"
    more = f"<OpenID>{OPENID}</OpenID><AppID>wx1</AppID><RevokeInfo>8</RevokeInfo>"
    revoked = wechat("user_authorization_revoke", more, account=account).replace(f"[{OPENID}]", f"[{sender}]")
    desk.deliver("wechat", revoked)
    desk.deliver("wechat", revoked.replace("revoke", "cancellation"), file="b")
    with open_ledger(desk.home, desk.keys) as (ledger, registry):
        refs = registry.refs([(Tokeniser(desk.keys).token("openid", "wx-mp-shop", OPENID), "openid", "wx-mp-shop")])
        rows = [row for row in ledger.subject_rows(list(refs.values())) if row["type"] == "request"]
    assert [(row["fact"], row["state"], row["detail"].rest["fields"]) for row in rows] == [
        ("erasure", "received", "phone"),
        ("erasure", "received", "everything"),
    ]
    assert "?: closed wechat_oa" in desk.records()  # whoever cancels refuses what was permitted, too
