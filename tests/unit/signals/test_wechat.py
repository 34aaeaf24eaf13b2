"""WeChat events: what they permit per account and template, whom a revocation is about, and what tells a retry."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from orchestration.consent.signals import pushed, wechat, wechat_authorisation, wechat_templates
from orchestration.consent.signals.signal import Signal
from orchestration.consent.signals.wechat import read
from orchestration.consent.signals.xml import parse
from tests.unit.ingestion_world import FIXTURES
from tests.unit.signals.documents import ANY_JSON, answered, granted, without_one_key

MESSAGES = FIXTURES / "wechat_messages"
AT, AT_ISO = 1_626_857_200, "2021-07-21T08:46:40+00:00"
BASE = {"ToUserName": "gh_shop", "FromUserName": "oA-lin", "CreateTime": AT, "MsgType": "event"}
REVOKED = {**BASE, "FromUserName": "oPlatform", "OpenID": "oA-wu", "AppID": "wx13"}
ACCEPT = {"TemplateId": "T1", "SubscribeStatusString": "accept", "PopupScene": "2"}
REJECT = {"TemplateId": "T2", "SubscribeStatusString": "reject"}
SENT = {"TemplateId": "T1", "MsgID": "17", "ErrorCode": "0", "ErrorStatus": "success"}
POPUP, CHANGE = "subscribe_msg_popup_event", "subscribe_msg_change_event"


def event(name: str, **more: Any) -> dict[str, Any]:
    return {**BASE, "Event": name, **more}


def revoked(name: str, **more: Any) -> dict[str, Any]:
    return {**REVOKED, "Event": name, **more}


GOLDEN: dict[str, tuple[Any, list[dict[str, str]]]] = {
    "follow": (event("subscribe"), [{"follow": "granted"}]),
    "follow by a QR code": (event("subscribe", EventKey="qrscene_M9", Ticket="t"), [{"follow": "granted"}]),
    "unfollow": (event("unsubscribe"), [{"follow": "refused"}]),
    "scan": (event("SCAN", EventKey="1"), []),
    "menu": (event("VIEW", EventKey="https://shop.example"), []),
    "a message": ({**BASE, "MsgType": "text", "Content": "subscribe", "MsgId": 1}, []),
    "one entry as an object": (event(POPUP, List=ACCEPT), [{"template.T1": "granted"}]),
    "one entry as a list": (event(POPUP, List=[ACCEPT]), [{"template.T1": "granted"}]),
    "two entries": (
        event(POPUP, SubscribeMsgPopupEvent={"List": [ACCEPT, REJECT]}),
        [{"template.T1": "granted"}, {"template.T2": "refused"}],
    ),
    "entries right in the wrapper": (event(CHANGE, SubscribeMsgChangeEvent=[REJECT]), [{"template.T2": "refused"}]),
    "a change in the popup's wrapper": (
        event(CHANGE, SubscribeMsgPopupEvent={"List": REJECT}),
        [{"template.T2": "refused"}],
    ),
    "accept and reject of one": (
        event(POPUP, List=[ACCEPT, {**ACCEPT, "SubscribeStatusString": "reject"}]),
        [{"template.T1": "refused"}],
    ),
    "reject and accept of one": (
        event(POPUP, List=[{**ACCEPT, "SubscribeStatusString": "reject"}, ACCEPT]),
        [{"template.T1": "refused"}],
    ),
    "a status that is none": (
        event(POPUP, List={**ACCEPT, "SubscribeStatusString": "ban"}),
        [{"template.T1": "refused"}],
    ),
    "an accept in capitals": (
        event(POPUP, List={**ACCEPT, "SubscribeStatusString": "Accept"}),
        [{"template.T1": "refused"}],
    ),
    "sent": (event("subscribe_msg_sent_event", List=SENT), [{"template.T1": "silent"}]),
    "sent and refused": (
        event("subscribe_msg_sent_event", List={**SENT, "ErrorCode": 43101, "ErrorStatus": "user refuse"}),
        [{"template.T1": "refused"}],
    ),
    "template message blocked": (
        event("TEMPLATESENDJOBFINISH", MsgID=9, Status="failed:user block"),
        [{"template.*": "refused"}],
    ),
    "template message arrived": (event("TEMPLATESENDJOBFINISH", MsgID=9, Status="success"), []),
    "profile cleared": (revoked("user_info_modified"), [{"request.erasure": "granted"}]),
    "phone taken back": (
        revoked("user_authorization_revoke", RevokeInfo="8"),
        [{"request.erasure": "granted", "authorised.phone": "refused"}],
    ),
    "name and picture taken back": (
        revoked("user_authorization_revoke", RevokeInfo=205),
        [{"request.erasure": "granted", "authorised.nickname": "refused", "authorised.avatar": "refused"}],
    ),
}


@pytest.mark.parametrize(("document", "expected"), GOLDEN.values(), ids=GOLDEN)
def test_event_permits_what_it_says(document: Any, expected: list[dict[str, str]]) -> None:
    signals = read(document)
    assert [signal.answers for signal in signals] == expected
    assert [signal.problem for signal in signals] == [None] * len(expected)
    for signal in signals:
        assert (signal.values["account"], signal.values["time"]) == ("gh_shop", AT_ISO)
        assert len(signal.values["event_id"]) == 32


def as_xml(name: str, value: Any) -> str:
    if isinstance(value, list):
        return "".join(as_xml(name, one) for one in value)
    inner = "".join(as_xml(*pair) for pair in value.items()) if isinstance(value, dict) else f"<![CDATA[ {value} ]]>"
    return f"<{name}>{inner}</{name}>"


@pytest.mark.parametrize(("document", "expected"), GOLDEN.values(), ids=GOLDEN)
def test_xml_spaces_and_texts_for_numbers_make_no_difference(document: Any, expected: Any) -> None:
    assert read(parse(as_xml("xml", document))) == read(document)
    spaced = {f" {name} ": f" {value} " if isinstance(value, str | int) else value for name, value in document.items()}
    assert read(spaced) == read(document)
    assert read([document]) == read(document)
    assert read(json.loads(json.dumps(document))) == read(document)


@pytest.mark.skipif(not MESSAGES.is_dir(), reason="../shared/fixtures is absent")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("parser_test_parse_subscribe_event_0_subscribe", [{"follow": "granted"}]),
        ("parser_test_parse_subscribe_scan_event_0_subscribe", [{"follow": "granted"}]),
        ("events_test_unsubscribe_event_0_unsubscribe", [{"follow": "refused"}]),
        ("parser_test_parse_scan_event_0_SCAN", []),
        ("parser_test_parse_click_event_0_CLICK", []),
        ("parser_test_parse_view_event_0_VIEW", []),
    ],
)
def test_messages_as_wechat_posts_them(name: str, expected: list[dict[str, str]]) -> None:
    signals = read(parse(Path(MESSAGES / f"{name}.xml").read_bytes()))
    assert [signal.answers for signal in signals] == expected
    for signal in signals:
        assert signal.values["openid"] == "FromUser"
        assert signal.values["time"] == "1973-11-29T21:33:09+00:00"


def test_subject_of_a_revocation_is_not_its_sender() -> None:
    for name in wechat_authorisation.EVENTS:
        (signal,) = read(revoked(name, RevokeInfo="8", UnionID="oU-wu"))
        assert (signal.values["openid"], signal.values["unionid"]) == ("oA-wu", "oU-wu")
        (signal,) = read({k: v for k, v in revoked(name, RevokeInfo="8").items() if k != "OpenID"})
        assert not signal.answers and signal.problem and "openid" not in signal.values


@pytest.mark.parametrize(
    ("said", "surface", "scope"),
    [
        ("1", "mini_program", "license_plate"),
        ("2", "mini_program", "address"),
        ("201", "official_account", "address"),
        ("5", "mini_program", "microphone"),
        ("204", "official_account", "microphone"),
        ("8, 16", "mini_program", "phone,email"),
        ("205", "official_account", "nickname,avatar"),
        ("6,19", "mini_program", "nickname,avatar"),
        ("301", "mobile_app", "everything"),
        ("9", "", "everything"),  # in no table
        ("8,9", "", "everything"),
        ("8,201", "", "everything"),  # of two surfaces at once
        ("", "", "everything"),
        (["8", "9"], "", "everything"),
    ],
)
def test_what_is_taken_back_is_read_by_its_surface(said: Any, surface: str, scope: str) -> None:
    (signal,) = read(revoked("user_authorization_revoke", RevokeInfo=said))
    assert (signal.values.get("surface", ""), signal.values["scope"]) == (surface, scope)
    names = (*wechat_authorisation.FIELDS, "*") if scope == "everything" else scope.split(",")
    assert answered([signal], "refused") == {
        (f"authorised.{name}", *("oA-wu", "", "", "gh_shop", "", AT_ISO, "")) for name in names
    }


def test_cancellation_takes_everything_and_closes_the_account() -> None:
    (signal,) = read(revoked("user_authorization_cancellation"))
    assert signal.values["scope"] == "everything"
    assert {signal.answers[code] for code in ("follow", "template.*", "authorised.*", "authorised.phone")} == {
        "refused"
    }
    assert {code for code, answer in signal.answers.items() if answer == "granted"} == {"request.erasure"}
    assert len(signal.answers) == len(wechat_authorisation.FIELDS) + 4


def test_the_tables_of_two_surfaces_share_no_code() -> None:
    codes = [code for table in wechat_authorisation.SURFACES.values() for code in table]
    assert len(codes) == len(set(codes)) == 16 + 7 + 1


def test_one_accept_is_one_send() -> None:
    accept, change, sent = (
        read(event(name, List=entry))[0].values["credits"]
        for name, entry in ((POPUP, ACCEPT), (CHANGE, ACCEPT), ("subscribe_msg_sent_event", SENT))
    )
    assert (accept, change, sent) == ("1", "0", "-1")
    assert read(event(POPUP, List=REJECT))[0].values["credits"] == "0"
    assert len(read(event(POPUP, List=[ACCEPT, ACCEPT]))) == 1


def test_contradiction_of_one_second_is_a_refusal() -> None:
    accepts = event(POPUP, List=ACCEPT)
    rejects = event(CHANGE, List={**ACCEPT, "SubscribeStatusString": "reject"})
    blocks = event("TEMPLATESENDJOBFINISH", Status="failed: user block")
    for pair in ([accepts, rejects], [accepts, blocks], [event("unsubscribe"), event("subscribe")]):
        for documents in (pair, pair[::-1]):
            assert granted(read(documents)) == set()
            assert {signal.values.get("credits", "0") for signal in read(documents)} == {"0"}
        later = [pair[0], {**pair[1], "CreateTime": AT + 1}]
        assert len(granted(read(later))) == 1


def test_retry_has_the_event_id_of_the_first() -> None:
    def event_id(document: Any) -> str:
        return read(document)[0].values["event_id"]

    assert event_id({**BASE, "CreateTime": f" {AT}", " Event ": "subscribe "}) == event_id(event("subscribe"))
    different = [
        *(event("subscribe"), event("unsubscribe"), event("subscribe", CreateTime=AT + 1)),
        *(event("subscribe", FromUserName="oA-he"), event("subscribe", ToUserName="gh_other")),
        *(event("subscribe", EventKey="qrscene_1"), event("subscribe", MsgId="1"), event("subscribe", MsgId="2")),
        *(event(POPUP, List=ACCEPT), event(CHANGE, List=ACCEPT), event(POPUP, List={**ACCEPT, "TemplateId": "T3"})),
        *(revoked("user_authorization_revoke", RevokeInfo=code) for code in ("7", "8")),
        *(event("subscribe_msg_sent_event", List={**SENT, "MsgID": number}) for number in (1, 2)),
    ]
    assert len({event_id(document) for document in different}) == len(different)
    # one entry that is accepted and rejected is one event with two bodies: the ledger restricts both (fault B2)
    assert event_id(event(POPUP, List=ACCEPT)) == event_id(
        event(POPUP, List={**ACCEPT, "SubscribeStatusString": "reject"})
    )


@pytest.mark.parametrize(
    "document",
    [
        *(event(name) for name in ("Subscribe", "UNSUBSCRIBE", "User_Authorization_Revoke", POPUP)),
        *(event("subscribe", CreateTime=at) for at in (AT * 1000, str(AT * 1000), "yesterday", -1, 0, 1.5, True, None)),
        *(
            event("subscribe", FromUserName=name)
            for name in ("", None, "a b", "张", ["a"], {"a": 1}, "o" * 65, "o\x00")
        ),
        *(event("subscribe", MsgType=kind) for kind in ("", "text", None, ["event"])),
        *(event("unsubscribe", MsgType=kind) for kind in ("evnet", "")),
        *(event("subscribe", UnionID=union) for union in ("a b", 1.5)),
        {k: v for k, v in event("subscribe").items() if k != "ToUserName"},
        {**event("subscribe"), " Event": "unsubscribe"},
        {"xml": "subscribe"},
        {"xml": event("subscribe"), "ToUserName": "gh_shop"},
        {"ToUserName": "gh_shop", "Encrypt": "abc"},
        event(POPUP, List=[ACCEPT, {"SubscribeStatusString": "reject"}]),
        event(POPUP, List=[ACCEPT, "T2"]),
        event(POPUP, List=[ACCEPT, {**REJECT, "TemplateId": "T 2"}]),
        event(POPUP, List=[ACCEPT] * 21),
        event(POPUP, List=[]),
        event(POPUP, List={"List": ACCEPT}),
        [[event("subscribe")]],
        *("subscribe", 7, None, {}, [None]),
    ],
)
def test_what_does_not_add_up_grants_nothing(document: Any) -> None:
    signals = read(document)
    assert signals
    assert granted(signals) == set()
    assert all(signal.problem or answered([signal], "refused") for signal in signals)
    assert any(signal.problem for signal in signals)


def test_broken_refusal_still_names_whom() -> None:
    (signal,) = read(event("unsubscribe", CreateTime="yesterday"))
    assert (signal.problem, signal.values["openid"]) == ("no readable CreateTime", "oA-lin")
    assert "event_id" not in signal.values


def test_problems_quote_nothing() -> None:
    for document in (event("subscribe", CreateTime="SECRET"), event("subscribe", FromUserName="SECRET SECRET")):
        assert all("SECRET" not in str(signal.problem) for signal in read(document))


# What a document grants and refuses, told a second time by a plain reader, from the platform's pages.


def plain_answers(document: Any) -> dict[str, str]:
    """Code to answer, of one event; nothing where anything that a grant needs is missing. Outer spaces do not count."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {name.strip(): clean(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [clean(inner) for inner in value]
        return value.strip() if isinstance(value, str) else value

    said = clean(document)
    name = said.get("Event")
    whom = "OpenID" if str(name).startswith("user_") else "FromUserName"
    at = said.get("CreateTime")
    is_whole = (
        all(
            isinstance(said.get(field), str) and said[field].isascii() and said[field].isalnum()
            for field in (whom, "ToUserName")
        )
        and said.get("MsgType") in ("event", "Event")
        and str(at).isdecimal()
        and 0 < int(at) < 10**10
    )
    if not is_whole:
        return {}
    if name in ("subscribe", "unsubscribe"):
        return {"follow": "granted" if name == "subscribe" else "refused"}
    if name in (POPUP, CHANGE):
        entries = said["List"] if isinstance(said["List"], list) else [said["List"]]
        if not entries or not all(entry.get("TemplateId") for entry in entries):
            return {}
        answers: dict[str, str] = {}
        for entry in sorted(entries, key=lambda entry: entry.get("SubscribeStatusString") != "accept"):
            accepts = entry.get("SubscribeStatusString") == "accept"
            answers[f"template.{entry['TemplateId']}"] = "granted" if accepts else "refused"
        return answers
    return {}


SPACE = st.sampled_from(["", "", " ", "\t"])


def padded(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(SPACE, values, SPACE).map("".join)


STATUSES = st.sampled_from(["accept", "accept", "reject", "reject", "Accept", "acceptt", "", "ban", "1"])
ENTRIES = st.fixed_dictionaries(
    {
        "TemplateId": padded(st.sampled_from(["T1", "T1", "T1", "T2", "T2", ""])),
        " SubscribeStatusString": padded(STATUSES),
    }
)
NAMES = st.sampled_from(["subscribe", "unsubscribe", *[POPUP] * 4, CHANGE, "SCAN", "Subscribe", ""])
SOUND = st.fixed_dictionaries(
    {
        "Event": padded(NAMES),
        "List": ENTRIES | st.lists(ENTRIES, max_size=3),
        " MsgType": padded(st.sampled_from(["event", "Event"])),
        "ToUserName": padded(st.just("ghshop")),
        "FromUserName": padded(st.sampled_from(["oA", "oB"])),
        "CreateTime ": st.sampled_from([AT, str(AT), f" {AT} "]),
    },
)
DEFECTS = st.none() | st.sampled_from(
    [
        *((name, "") for name in (" MsgType", "ToUserName", "FromUserName", "CreateTime ")),
        *((" MsgType", "text"), ("ToUserName", "a b"), ("FromUserName", 1.5)),
        *(("CreateTime ", at) for at in (AT * 1000, "x", -1, None)),
    ]
)
EVENTS = st.tuples(SOUND, DEFECTS).map(lambda pair: {**pair[0], **dict([pair[1]] if pair[1] else [])})


def check_against_the_plain_reader(reader: Callable[[Any], list[Signal]], examples: int) -> None:
    @settings(
        max_examples=examples, database=None, derandomize=True, phases=[Phase.generate], report_multiple_bugs=False
    )
    @given(EVENTS)
    def agrees(document: dict[str, Any]) -> None:
        said = {code: answer for signal in reader(document) for code, answer in signal.answers.items()}
        assert said == plain_answers(document), document

    agrees()


def test_plain_reader_agrees() -> None:
    check_against_the_plain_reader(read, 600)


@pytest.mark.parametrize(
    "mutant",
    [
        "accept in any case",
        "anything accepted",
        "last entry wins",
        "broken entry skipped",
        "time not needed",
        "any case of an event",
    ],
)
def test_plain_reader_finds_a_broken_reader(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain_text, named = pushed.plain_text, wechat_templates._answers
    if mutant == "accept in any case":
        monkeypatch.setattr(wechat_templates, "plain_text", lambda value: plain_text(value).replace("Accept", "accept"))
    elif mutant == "anything accepted":
        monkeypatch.setattr(wechat_templates, "plain_text", lambda value: plain_text(value)[:6])
    elif mutant == "last entry wins":
        monkeypatch.setattr(
            wechat_templates, "_answers", lambda found: {k: v for one in found for k, v in named([one]).items()}
        )
    elif mutant == "broken entry skipped":
        entries = wechat_templates._entries
        monkeypatch.setattr(wechat_templates, "_entries", lambda body: [one for one in entries(body) if one[0]])
    elif mutant == "time not needed":
        monkeypatch.setattr(pushed.Envelope, "take_time", lambda *_: None)
    else:
        monkeypatch.setattr(wechat, "plain_text", lambda value: plain_text(value).lower())
    with pytest.raises(AssertionError):
        check_against_the_plain_reader(read, 600)


@pytest.mark.parametrize(("document", "_"), GOLDEN.values(), ids=GOLDEN)
def test_removing_a_part_never_grants(document: Any, _: Any) -> None:
    """But for what makes it a list of refusals: an entry as a whole."""
    before = granted(read(document))
    for name, shorter in without_one_key(document):
        assert granted(read(shorter)) <= before, name


@settings(deadline=None)
@given(ANY_JSON | st.dictionaries(st.sampled_from([*BASE, "Event", "List", "xml", "OpenID"]), ANY_JSON))
def test_no_document_raises_or_grants_by_chance(document: Any) -> None:
    assert granted(read(document)) == set()
    assert granted(read({**event("nothing"), "List": document})) == set()
    read(event(POPUP, List=document))
    read(revoked("user_authorization_revoke", RevokeInfo=document))


def test_huge_documents_take_no_time() -> None:
    before = time.process_time()
    huge = "x" * 100_000_000
    for document in (huge, event(huge), event("subscribe", EventKey=huge), event(POPUP, List=[ACCEPT] * 500_000)):
        assert granted(read(document)) <= granted(read(event("subscribe")))
    assert [signal.problem for signal in read([event("subscribe")] * 100_000)] == ["too many events"]
    most = [{**ACCEPT, "TemplateId": f"T{number}"} for number in range(wechat_templates.MAX_TEMPLATES)]
    assert len(granted(read([event(POPUP, List=most)] * wechat.MAX_EVENTS))) == wechat_templates.MAX_TEMPLATES
    assert time.process_time() - before < 2
