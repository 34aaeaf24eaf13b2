"""WeCom events: an adviser is added and removed, and only that adviser."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from orchestration.consent.signals import pushed, wecom
from orchestration.consent.signals.signal import Signal
from orchestration.consent.signals.wecom import read
from orchestration.consent.signals.xml import parse
from tests.unit.signals.documents import ANY_JSON, answered, granted, without_one_key

AT, AT_ISO = 1_403_610_513, "2014-06-24T11:48:33+00:00"
OWN = {"ToUserName": "wwcorp", "FromUserName": "sys", "CreateTime": AT, "MsgType": "event"}
WHO = {"UserID": "ZhangSan", "ExternalUserID": "woAJ2GCAAAX"}
THIRD = {"SuiteId": "ww4asffe", "AuthCorpId": "wwcorp", "InfoType": "change_external_contact", "TimeStamp": str(AT)}
EXPECTED = {
    "add_external_contact": {"adviser": "granted"},
    "add_half_external_contact": {"adviser": "granted"},
    "del_external_contact": {"adviser": "refused"},
    "del_follow_user": {"adviser": "refused"},
    "transfer_fail": {"adviser": "refused"},
    "msg_audit_approved": {"chat_archive": "granted"},
}
# "Customer contact: event formats", as WeCom posts it to an app of one's own
POSTED = """<xml>
  <ToUserName><![CDATA[wwcorp]]></ToUserName>
  <FromUserName><![CDATA[sys]]></FromUserName>
  <CreateTime>1403610513</CreateTime>
  <MsgType><![CDATA[event]]></MsgType>
  <Event><![CDATA[change_external_contact]]></Event>
  <ChangeType><![CDATA[{change}]]></ChangeType>
  <UserID><![CDATA[ZhangSan]]></UserID>
  <ExternalUserID><![CDATA[woAJ2GCAAAX]]></ExternalUserID>
  <State><![CDATA[teststate]]></State>
  <WelcomeCode><![CDATA[WELCOMECODE]]></WelcomeCode>
</xml>"""


def own(change: str, **more: Any) -> dict[str, Any]:
    return {**OWN, **WHO, "Event": "change_external_contact", "ChangeType": change, **more}


@pytest.mark.parametrize(("change", "expected"), EXPECTED.items())
def test_change_opens_or_closes_one_adviser(change: str, expected: dict[str, str]) -> None:
    for document in (own(change), parse(POSTED.format(change=change)), {**THIRD, **WHO, "ChangeType": change}):
        (signal,) = read(document)
        assert (signal.answers, signal.problem) == (expected, None)
        told = {name: signal.values[name] for name in ("corp", "adviser", "external_userid", "time", "event")}
        assert told == {
            "corp": "wwcorp",
            "adviser": "zhangsan",  # WeCom's member ids know no case
            "external_userid": "woAJ2GCAAAX",
            "time": AT_ISO,
            "event": change,
        }


def test_event_id_is_that_of_the_retry_and_of_no_other_event() -> None:
    documents = [
        *(own(change) for change in EXPECTED),
        *(own("del_follow_user", **{field: "other"}) for field in ("UserID", "ExternalUserID", "ToUserName")),
        own("del_follow_user", CreateTime=AT + 1),
    ]
    ids = [read(document)[0].values["event_id"] for document in documents]
    assert len(set(ids)) == len(ids)
    (again,) = read(own("del_follow_user", CreateTime=f" {AT} ", UserID="ZHANGSAN"))
    assert again.values["event_id"] == ids[list(EXPECTED).index("del_follow_user")]


@pytest.mark.parametrize(
    "document",
    [
        own("edit_external_contact"),
        own("something_new"),
        own("del_follow_user", Event="customer_acquisition"),
        {**OWN, "Event": "change_external_tag", "ChangeType": "create"},
        {**OWN, "Event": "enter_agent"},
    ],
)
def test_other_events_say_nothing(document: Any) -> None:
    assert read(document) == []


@pytest.mark.parametrize(
    "document",
    [
        *(own(change) for change in ("Add_External_Contact", "")),
        *(own("add_external_contact", **{field: ""}) for field in (*OWN, *WHO) if field != "FromUserName"),
        own("add_external_contact", InfoType="change_external_contact"),
        own("add_external_contact", UserID=["a", "b"]),
        own("add_external_contact", CreateTime=AT * 1000),
        own("add_external_contact", Event=None),
        own("add_external_contact", **{" UserID": "LiSi"}),
        {"ToUserName": "wwcorp", "Encrypt": "abc", "AgentID": "1"},
        *({}, None, "add_external_contact", [7], {"xml": []}),
    ],
)
def test_what_does_not_add_up_grants_nothing(document: Any) -> None:
    signals = read(document)
    assert signals and granted(signals) == set()
    assert all(signal.problem and not signal.answers for signal in signals)


def test_broken_removal_still_names_whom() -> None:
    (signal,) = read(own("del_follow_user", CreateTime="soon"))
    assert (signal.problem, signal.values["adviser"]) == ("no readable CreateTime", "zhangsan")


@pytest.mark.parametrize("change", EXPECTED)
def test_removing_a_part_never_grants(change: str) -> None:
    for document in (own(change), {**THIRD, **WHO, "ChangeType": change}):
        for name, shorter in without_one_key(document):
            assert granted(read(shorter)) <= granted(read(document)), name


CHANGES = st.sampled_from([*EXPECTED, "edit_external_contact", "add_external_contac", "Add_External_Contact", ""])
GIVEN = st.lists(st.tuples(CHANGES, st.sampled_from(["a", "b"]), st.booleans()), max_size=4)


def check_against_the_plain_reader(reader: Callable[[Any], list[Signal]]) -> None:
    """The plain reader knows what was put in: of each complete event, its change and its adviser."""

    @settings(
        deadline=None,
        max_examples=200,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    @given(GIVEN)
    def agrees(events: list[tuple[str, str, bool]]) -> None:
        documents = [own(change, UserID=adviser, CreateTime=AT if dated else "") for change, adviser, dated in events]
        whole = [(EXPECTED[change], adviser) for change, adviser, dated in events if dated and change in EXPECTED]
        for answer in ("granted", "refused"):
            expected = {(code, adviser) for said, adviser in whole for code in said if said[code] == answer}
            assert {(code, adviser) for code, _, _, adviser, *_ in answered(reader(documents), answer)} == expected

    agrees()


def test_plain_reader_agrees() -> None:
    check_against_the_plain_reader(read)


@pytest.mark.parametrize(
    "mutant", ["any case", "time not needed", "everybody's adviser", "removal of a customer ignored"]
)
def test_plain_reader_finds_a_broken_reader(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain_text = wecom.plain_text
    if mutant == "any case":
        monkeypatch.setattr(wecom, "plain_text", lambda value: plain_text(value).lower())
    elif mutant == "time not needed":
        monkeypatch.setattr(pushed.Envelope, "take_time", lambda *_: None)
    elif mutant == "everybody's adviser":
        take = pushed.Envelope.take
        monkeypatch.setattr(
            pushed.Envelope, "take", lambda self, name, *_, **__: name == "adviser" or take(self, name, *_, **__)
        )
    else:
        monkeypatch.delitem(wecom.CHANGES, "del_external_contact")
    with pytest.raises(AssertionError):
        check_against_the_plain_reader(read)


@settings(deadline=None)
@given(ANY_JSON | st.dictionaries(st.sampled_from([*own(""), *THIRD, "xml"]), ANY_JSON))
def test_no_document_raises_or_grants_by_chance(document: Any) -> None:
    assert granted(read(document)) == set()


def test_huge_documents_take_no_time() -> None:
    before = time.process_time()
    read(own("add_external_contact", UserID="x" * 100_000_000))
    assert [signal.problem for signal in read([own("add_external_contact")] * 100_000)] == ["too many events"]
    assert time.process_time() - before < 1
