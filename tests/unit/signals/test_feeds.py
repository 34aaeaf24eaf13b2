"""From the payload of each format to the records of the ledger, by the shipped policy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestration.consent.feeds.importer import import_file
from orchestration.consent.feeds.report import ImportReport
from orchestration.consent.ledger import open_ledger
from orchestration.consent.signals import gpp, tcf
from orchestration.consent.signals.registry import NAMES, format_of
from orchestration.consent.signals.tcf_model import Ids, TcString
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.pseudonymise import Tokeniser
from orchestration.policy.loader import load_policy
from tests.unit.signals.us import NATIONAL, national

POLICY = load_policy()
FEEDS = {feed.name: feed for feed in POLICY.sources.consent_feeds}
OF_FORMAT = {feed.signal: feed for feed in FEEDS.values() if feed.signal}
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
AT = "2026-11-10T08:00:00+00:00"
SECONDS = int(datetime.fromisoformat(AT).timestamp())
DAY = SECONDS // 86_400 * 864_000  # in deciseconds
COOKIE, ACCOUNT, EMAIL, PHONE, OPENID = "c-31", "acc-31", "lin@example.com", "+8613812345678", "oLin31"
VENDOR = Ids.of([4242])


def tc(*purposes: int, vendor: bool = True) -> str:
    return tcf.encode(
        TcString(
            created=DAY, last_updated=DAY, purposes_consent=Ids.of(purposes, 24), policy_version=5,
            vendors_consent=VENDOR if vendor else Ids.of([7]), vendors_disclosed=VENDOR,
        )
    )  # fmt: skip


TC = tc(3, 4)


def browser(**values: Any) -> dict[str, Any]:
    return {"id": "e-1", "at": AT, "cookie": COOKIE, "choice": True, **values}


@dataclass
class Desk:
    home: Home
    keys: Keys
    folder: Path

    def deliver(self, name: str, payload: Any, *, file: str = "in", now: datetime = NOW) -> ImportReport:
        feed = OF_FORMAT[name]
        path = self.folder / file
        if isinstance(payload, bytes):
            path.write_bytes(payload)
        else:
            path.write_text(payload if isinstance(payload, str) else json.dumps(payload) + "\n", encoding="utf-8")
        return import_file(self.home, POLICY, self.keys, feed, path, now=now)

    def records(self) -> list[str]:
        """Each record but those about feeds, in a few words."""
        names = {self._token(*who): who[0] for who in WHO}
        with open_ledger(self.home, self.keys) as (ledger, registry):
            assert ledger.verify() is None
            staged = ledger.staged(registry, POLICY)
            requests = ledger.requests()
        told = [
            (row["seq"], f"{names.get(row['token'], '?')}: {row['decision']} {row['purpose'] or 'everything'}")
            for row in staged["consent_events"].to_pylist()
        ]
        told += [
            (
                row["seq"],
                f"{names.get(row['token'], '?')}: {row['state']} {row['channel']} {row['fact'] or ''}".rstrip(),
            )
            for row in staged["permissions"].to_pylist()
        ]
        told += [(row["seq"], f"request: {row['fact']} {row['state']}") for row in requests]
        return [text for _, text in sorted(told)]

    def _token(self, kind: str, issuer: str, value: str) -> str:
        return Tokeniser(self.keys).token(kind, issuer, value)


WHO = (
    ("cookie", "shop.example.com", COOKIE),
    ("account", "shop", ACCOUNT),
    ("email", "email", EMAIL),
    ("phone", "e164", PHONE),
    ("openid", "wx-oa-shop", OPENID),
    ("external_userid", "ww-shop", "wmLin31"),
)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    home = Home.open(tmp_path / "home")
    folder = tmp_path / "in"
    folder.mkdir()
    return Desk(home, Keys.open(home), folder)


def wechat(event: str, more: str = "", *, account: str = "gh_yueji_shop", seconds: int = SECONDS) -> str:
    return (
        f"<xml><ToUserName><![CDATA[{account}]]></ToUserName><FromUserName><![CDATA[{OPENID}]]></FromUserName>"
        f"<CreateTime>{seconds}</CreateTime><MsgType>event</MsgType><Event><![CDATA[ {event} ]]></Event>{more}</xml>"
    )


def popup(template: str, status: str, *, seconds: int = SECONDS) -> str:
    entry = (
        f"<List><TemplateId><![CDATA[{template}]]></TemplateId>"
        f"<SubscribeStatusString><![CDATA[{status}]]></SubscribeStatusString><PopupScene>0</PopupScene></List>"
    )
    return wechat(
        "subscribe_msg_popup_event", f"<SubscribeMsgPopupEvent>{entry}</SubscribeMsgPopupEvent>", seconds=seconds
    )


def wecom(change: str, adviser: str = "wangli") -> str:
    return (
        f"<xml><ToUserName>ww-shop</ToUserName><FromUserName>sys</FromUserName><CreateTime>{SECONDS}</CreateTime>"
        f"<MsgType>event</MsgType><Event>change_external_contact</Event><ChangeType>{change}</ChangeType>"
        f"<UserID>{adviser}</UserID><ExternalUserID>wmLin31</ExternalUserID></xml>"
    )


def segment(*, event: str = "Segment Consent Preference Updated", **consent_object: Any) -> dict[str, Any]:
    return {"type": "track", "event": event, "messageId": "m-1", "timestamp": AT, "userId": ACCOUNT,
            "anonymousId": COOKIE, "context": consent_object}  # fmt: skip


FORM = (
    "form_no,time,controller,method,notice_id,notice_version,language,place,actor,evidence,phone,sms,newsletter,"
    "registration\nf1,2026-11-10 16:00:00,shop,signed_form,privacy,2,zh-CN,store-xuhui,staff-7,box 3,"
    f"{PHONE},同意,否,\n"
)
REQUEST = {
    "regulation": "gdpr", "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
    "subject_request_type": "erasure", "submitted_time": AT, "api_version": "2.0",
    "subject_identities": [{"identity_type": "email", "identity_value": EMAIL, "identity_format": "raw"}],
}  # fmt: skip

STAMPED = {"type": "track", "event": "Consent Updated", "messageId": "m-1", "originalTimestamp": AT, "userId": ACCOUNT}
GOLDEN: list[tuple[str, Any, list[str]]] = [
    ("tcf", browser(tc_string=tc(3, 4)), ["cookie: grant personalisation", "cookie: deny mass_content"]),
    ("tcf", browser(tc_string=tc(2, 3, 4, 7)), ["cookie: grant personalisation", "cookie: grant mass_content"]),
    ("tcf", browser(tc_string=tc(3)), ["cookie: deny personalisation", "cookie: deny mass_content"]),
    # vendor and purpose must both hold
    ("tcf", browser(tc_string=tc(3, 4, vendor=False)), ["cookie: deny personalisation", "cookie: deny mass_content"]),
    # no string: nothing is granted; the refusal reaches everybody that is named
    ("tcf", browser(account=ACCOUNT), ["account: deny personalisation", "cookie: deny personalisation",
                                       "account: deny mass_content", "cookie: deny mass_content"]),
    ("tcf", browser(tc_string=tc(3, 4)[:-4]), ["cookie: presumed_denial everything"]),
    ("tcf", browser(tc_string="BOEFEAyOEFEAyAHABDENAI4AAAB9vABAASA"), ["cookie: presumed_denial everything"]),
    ("us_privacy", browser(us_privacy="1YYN"), ["cookie: opt_out partner_sharing"]),
    ("us_privacy", browser(us_privacy="1YNN"), []),
    ("us_privacy", browser(us_privacy="1YN"), ["cookie: presumed_denial everything"]),
    ("us_privacy", browser(), ["cookie: opt_out partner_sharing"]),
    ("gpc", browser(sec_gpc="1", account=ACCOUNT), [
        "account: opt_out partner_sharing", "cookie: opt_out partner_sharing",
        "account: opt_out personalisation", "cookie: opt_out personalisation"]),
    ("gpc", browser(sec_gpc="true"), []),
    ("gpc", browser(), []),
    ("gpp", browser(gpp=gpp.encode({NATIONAL: national()})), []),
    ("gpp", browser(gpp=gpp.encode({NATIONAL: national(SaleOptOut=1)})), ["cookie: opt_out partner_sharing"]),
    ("gpp", browser(gpp=gpp.encode({NATIONAL: national(SaleOptOutNotice=2)})), ["cookie: opt_out partner_sharing"]),
    ("gpp", browser(gpp=gpp.encode({NATIONAL: national(gpc=True)})),
     ["cookie: opt_out partner_sharing", "cookie: opt_out personalisation"]),
    ("gpp", browser(gpp=gpp.encode({2: TC, NATIONAL: national()})), ["cookie: grant personalisation"]),
    ("gpp", browser(gpp=gpp.encode({2: TC, NATIONAL: national(gpc=True)})), [
        "cookie: grant personalisation", "cookie: opt_out partner_sharing", "cookie: opt_out personalisation"]),
    ("gpp", browser(gpp=gpp.encode({2: TC, NATIONAL: national()}) + "B"), ["cookie: presumed_denial everything"]),
    ("consent_mode", browser(consent={"ad_storage": "GRANTED", "ad_user_data": "GRANTED"}),
     ["cookie: deny personalisation", "cookie: grant mass_content"]),
    ("consent_mode", browser(consent={"ad_storage": "UNSPECIFIED", "ad_user_data": "GRANTED"}),
     ["cookie: deny personalisation", "cookie: deny mass_content"]),
    ("segment", segment(consent={"categoryPreferences": {"Advertising": True}}), ["account: grant personalisation"]),
    ("segment", segment(consent={"categoryPreferences": {"Advertising": False}}),
     ["account: deny personalisation", "cookie: deny personalisation"]),
    # a choice that an event repeats is not made anew; a refusal counts wherever it stands
    ("segment", segment(event="Viewed", consent={"categoryPreferences": {"Advertising": True}}), []),
    ("segment", segment(event="Viewed", consent={"categoryPreferences": {"Advertising": False}}),
     ["account: deny personalisation", "cookie: deny personalisation"]),
    ("tcf", browser(choice=False, tc_string=tc(3, 4)), ["cookie: deny mass_content"]),
    ("segment", segment(), ["account: deny personalisation", "cookie: deny personalisation"]),
    ("rudderstack", {**STAMPED, "context": {
        "consentManagement": {"allowedConsentIds": ["advertising"], "deniedConsentIds": []}}},
     ["account: grant personalisation"]),
    ("rudderstack", {**STAMPED, "context": {
        "consentManagement": {"allowedConsentIds": ["advertising"], "deniedConsentIds": ["advertising"]}}},
     ["account: deny personalisation"]),
    ("wechat", wechat("subscribe"), ["openid: open wechat_oa"]),
    ("wechat", wechat("unsubscribe"), ["openid: closed wechat_oa"]),
    ("wechat", wechat("SCAN", "<EventKey>1</EventKey>"), []),
    ("wechat", popup("tmpl-1", "accept"), ["openid: open wechat_mp tpl:tmpl-1"]),
    ("wechat", popup("tmpl-1", "reject"), ["openid: closed wechat_mp tpl:tmpl-1"]),
    ("wecom", wecom("del_follow_user"), ["external_userid: closed wecom adv:wangli"]),
    ("wecom", wecom("add_external_contact"), ["external_userid: open wecom adv:wangli"]),
    ("form", FORM,
     ["phone: grant sms_marketing", "phone: deny email_marketing", "phone: deny registration"]),
    ("opendsr", REQUEST, ["request: erasure received"]),
    ("opendsr", {**REQUEST, "subject_request_type": "access"}, ["request: access received"]),
    ("opendsr", {**REQUEST, "subject_request_type": "portability"}, ["request: portability received"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "payload", "expected"), GOLDEN, ids=[f"{one[0]}-{n}" for n, one in enumerate(GOLDEN)])
def test_payload_becomes_its_records(desk: Desk, name: str, payload: Any, expected: list[str]) -> None:
    report = desk.deliver(name, payload)
    assert desk.records() == expected
    assert not report.refused
    assert report.read == report.accepted + report.duplicates + report.quarantined + report.without_effect
    # the same once more, in another file: nothing new
    again = desk.deliver(name, payload if isinstance(payload, dict) else payload + " ", file="again")
    assert again.accepted == 0
    assert desk.records() == expected


def test_every_format_has_a_feed_and_a_reader() -> None:
    assert OF_FORMAT.keys() == set(NAMES)
    for name in NAMES:
        form = format_of(name)
        assert (form.decode is None) != (form.read is None)
