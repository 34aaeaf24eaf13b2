"""OneTrust's purposes: ACTIVE and CONFIRMED grant, unless a withdrawal date says that they no longer do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from orchestration.consent.signals import onetrust
from orchestration.consent.signals.document import asked
from tests.unit.signals.objects import RULES, answers, check_form, check_removal, documents, fails, granted, values
from tests.unit.signals.plain_onetrust import plainly_granted

P, Q = "369a7e44-ac23-4b50-a6a8-91c9e4aa3007", "f2229953-b4b5-4042-8cb9-b78038cc4c46"
SAID, LATER, GONE = "2020-02-12T13:56:32.621Z", "2020-02-12T14:22:09.801Z", "2020-02-12T13:59:00.045Z"


def profile(purpose: str = P, status: Any = "ACTIVE", **more: Any) -> dict[str, Any]:
    return {
        "id": purpose,
        "name": "Marketing Communications",
        "version": 2,
        "status": status,
        "consentDate": SAID,
        "lastTransactionDate": SAID,
        "withdrawalDate": None,
        **more,
    }


def details(*profiles: Any, **more: Any) -> dict[str, Any]:
    return {"identifier": "amy@example.com", "identifierType": "Email", "id": "s1", "profiles": list(profiles), **more}


def receipt(*purposes: Any, **more: Any) -> dict[str, Any]:
    return {
        "identifier": "amy@example.com",
        "interactionDate": SAID,
        "language": "en-GB",
        "purposes": list(purposes),
        **more,
    }


def in_webhook(status: str = "ACTIVE", **fields: Any) -> dict[str, Any]:
    return {
        "purposeId": P,
        "collectionPointGuid": "21f16e84",
        "topics": [
            {"topicGuid": "t1", "integrationKey": "fishing", "value": True},
            {"topicGuid": "t2", "value": False},
        ],
        "customPreferences": [{"guid": "c1", "name": "How often", "options": [{"guid": "o1", "name": "Weekly"}]}],
        "profileFields": {
            "TransactionStatus": status,
            "ConsentDate": "1543832130",
            "LastTransaction": "1543832130",
            **fields,
        },
    }


def webhook(*profiles: Any) -> dict[str, Any]:
    return {
        "eventId": "e1",
        "eventTime": "2020-01-09T16:35:26.277+0000",
        "payload": {"dataSubjectGuid": "g1", "dataSubjectEmail": "amy@example.com", "profiles": list(profiles)},
    }


CHOSEN = {"customPreferences": [{"id": "c1", "options": [{"id": "o1", "name": "Weekly"}]}], "topics": [{"id": "t1"}]}
GOLDENS: list[Any] = [
    details(profile(**CHOSEN), profile(Q, "WITHDRAWN", withdrawalDate=GONE, lastTransactionDate=GONE)),
    {"content": [details(profile()), {**details(), "purposes": [profile(Q)]}], "number": 0},
    {"content": [{**profile(), "identifier": "amy@example.com"}]},
    receipt(
        {
            "Id": P,
            "Version": 1,
            "TransactionType": "CONFIRMED",
            "Preferences": [{"TopicId": "t1", "TransactionType": "OPT_IN"}],
        },
        {"Id": Q, "Version": 1, "TransactionType": "NOTGIVEN", "CustomPreferences": [{"Id": "c1", "Options": ["o1"]}]},
    ),
    webhook(in_webhook()),
    details(profile(status="ALWAYS_ACTIVE"), testDataSubject=False),
]
WORDS: list[Any] = [
    *("ACTIVE", "CONFIRMED", "WITHDRAWN", "EXPIRED", "PENDING", "OPT_OUT", "ALWAYS_ACTIVE", "OPT_IN", P, Q, SAID, GONE),
    *(
        profile(),
        profile(Q, "WITHDRAWN"),
        in_webhook(),
        True,
        False,
        "t1",
        {"id": "o2"},
        {"Id": P, "TransactionType": "CONFIRMED"},
    ),
]


@pytest.mark.parametrize("status", ["ACTIVE", "CONFIRMED"])
def test_active_and_confirmed_grant(status: str) -> None:
    (signal,) = onetrust.read(details(profile(status=status)))
    assert granted([signal]) == {P} and signal.values["effectiveDate"] == SAID


@pytest.mark.parametrize(
    "status",
    [
        *(
            "WITHDRAWN",
            "EXPIRED",
            "PENDING",
            "NOTGIVEN",
            "NOT GIVEN",
            "NO_CONSENT",
            "NO_CHOICE",
            "OPT_OUT",
            "HARD_OPT_OUT",
        ),
        *(
            "EXTEND",
            "CHANGE_PREFERENCES",
            "CANCEL",
            "IMPLICIT",
            "NONE",
            "active",
            " ACTIVE",
            "",
            None,
            True,
            ["ACTIVE"],
            1,
        ),
    ],
)
def test_every_other_status_refuses(status: Any) -> None:
    assert granted(onetrust.read(details(profile(status=status, **CHOSEN)))) == set()
    assert onetrust.read(details(profile(status=status)))[0].answers[P] == "refused"


def test_always_active_is_no_consent() -> None:
    (signal,) = onetrust.read(GOLDENS[5])
    assert granted([signal]) == {f"always_active.{P}"} and signal.answers[P] == "refused"
    (later,) = onetrust.read(details(profile(status="WITHDRAWN")))
    assert later.answers[f"always_active.{P}"] == "refused"


@pytest.mark.parametrize("key", ["withdrawalDate", "WithdrawalDate", "withdrawnDate", "reactivationDate"])
@pytest.mark.parametrize("date", [GONE, "1543832130", 1543832130, "someday", 0, False, [], " "])
def test_active_with_a_withdrawal_date_is_withdrawn(key: str, date: Any) -> None:
    assert granted(onetrust.read(details(profile(**{key: date}, **CHOSEN)))) == set()
    assert granted(onetrust.read(receipt({"Id": P, "TransactionType": "CONFIRMED"}, **{key: date}))) == set()


def test_withdrawal_date_in_a_webhook_withdraws() -> None:
    assert granted(onetrust.read(webhook(in_webhook()))) == {P, f"{P}.t1", f"{P}.c1.o1"}
    (signal,) = onetrust.read(webhook(in_webhook(WithdrawalDate="1543832131")))
    assert granted([signal]) == set()
    assert signal.values["withdrawalDate"] == signal.values["effectiveDate"] == "2018-12-03T10:15:31.000+00:00"


@pytest.mark.parametrize("flag", [True, "true", "yes", 1, 0, "", []])
def test_test_subjects_grant_nothing(flag: Any) -> None:
    assert granted(onetrust.read(details(profile(), testDataSubject=flag))) == set()
    assert granted(onetrust.read(receipt({"Id": P, "TransactionType": "CONFIRMED"}, test=flag))) == set()


def test_choices_are_granted_beneath_their_purpose_only() -> None:
    (signal, other) = onetrust.read(GOLDENS[0])
    assert granted([signal]) == {P, f"{P}.t1", f"{P}.c1.o1"}
    assert asked(signal, f"{P}.c1.o2", onetrust.PARTIAL) == "refused"  # an option that is no longer chosen
    assert asked(signal, Q, onetrust.PARTIAL) is None and other.answers[Q] == "refused"
    chosen = [f"{P}.t1", f"{P}.t2"]
    (hook,) = onetrust.read(webhook(in_webhook()))
    assert [hook.answers[code] for code in chosen] == ["granted", "refused"]
    (paper,) = onetrust.read(GOLDENS[3])
    assert granted([paper]) == {P, f"{P}.t1"} and paper.answers[f"{Q}.c1.o1"] == "refused"


def test_one_moment_and_version_is_one_signal() -> None:
    assert len(onetrust.read(details(profile(), profile(Q, "PENDING")))) == 1
    signals = onetrust.read(details(profile(), profile(Q, version=3), profile("R", consentDate=LATER)))
    assert [sorted(granted([signal])) for signal in signals] == [[P], [Q], ["R"]]
    assert [signal.values["version"] for signal in signals] == ["2", "3", "2"]


def test_values_tell_whom_when_and_which_version() -> None:
    whom = {"identifier": "amy@example.com", "identifierType": "Email", "id": "s1"}
    assert values(onetrust.read(GOLDENS[0])) == [
        {**whom, "version": "2", "consentDate": SAID, "lastTransactionDate": SAID, "effectiveDate": SAID},
        {
            **{**whom, "version": "2", "consentDate": SAID, "lastTransactionDate": GONE},
            **{"withdrawalDate": GONE, "effectiveDate": GONE},
        },
    ]
    assert values(onetrust.read(GOLDENS[4])) == [
        {
            "eventId": "e1",
            "eventTime": "2020-01-09T16:35:26.277+0000",
            "payload.dataSubjectGuid": "g1",
            "payload.dataSubjectEmail": "amy@example.com",
            "consentDate": "2018-12-03T10:15:30.000+00:00",
            "lastTransactionDate": "2018-12-03T10:15:30.000+00:00",
            "effectiveDate": "2018-12-03T10:15:30.000+00:00",
        }
    ]
    assert values(onetrust.read(GOLDENS[3]))[0]["effectiveDate"] == SAID
    (expired,) = onetrust.read(details(profile(status="EXPIRED", expiryDate=LATER)))
    assert expired.values["effectiveDate"] == LATER


def test_pages_give_the_purposes_of_each_subject() -> None:
    assert [sorted(granted([signal])) for signal in onetrust.read(GOLDENS[1])] == [[P], [Q]]
    assert granted(onetrust.read(GOLDENS[2])) == {P}
    assert values(onetrust.read(GOLDENS[2]))[0]["identifier"] == "amy@example.com"


@pytest.mark.parametrize("second", ["WITHDRAWN", "OPT_OUT"])
def test_twice_told_purpose_is_refused(second: str) -> None:
    assert (
        granted(onetrust.read(details(profile(), profile(status=second, version=3, lastTransactionDate=LATER))))
        == set()
    )
    assert granted(onetrust.read(details({**profile(), "TransactionType": second}))) == set()


@pytest.mark.parametrize(
    "document",
    [
        *({}, None, "ACTIVE", {"identifier": "a@example.com"}, details(profile(" P", "WITHDRAWN"))),
        *({"profiles": "ACTIVE"}, details({"status": "WITHDRAWN"}), details(None), details("ACTIVE")),
        *(details({**profile(status="WITHDRAWN"), "purposeId": Q}), details(*[profile()] * 301)),
    ],
)
def test_what_does_not_add_up_is_malformed(document: Any) -> None:
    signals = onetrust.read(document)
    assert len(signals) == 1 and signals[0].problem and not signals[0].answers


def test_no_purposes_answer_nothing() -> None:
    assert [(dict(signal.answers), signal.problem) for signal in onetrust.read(details())] == [({}, None)]


def test_more_choices_than_a_purpose_may_have_are_all_refused() -> None:
    many = {"customPreferences": [{"id": "c1", "options": [{"id": f"o{number}"} for number in range(501)]}]}
    (signal,) = onetrust.read(details(profile(**many)))
    assert granted([signal]) == {P} and asked(signal, f"{P}.c1.o1", True) == "refused"


@pytest.mark.parametrize(
    "topics",
    [
        {"topics": [{"topicGuid": "t1", "value": True}, {"value": False}]},
        {"topics": [{"topicGuid": "t1", "value": True}, {"topicGuid": [], "value": False}]},
        {"topics": [{"id": "t1"}, {"id": "t2", "value": 1}]},
        {"topics": [{"id": "t1"}], "Preferences": [{"TransactionType": "OPT_OUT"}]},
        {"Preferences": [{"TopicId": "t1", "TransactionType": "OPT_IN"}, {"TransactionType": "OPT_OUT"}]},
        {"topics": [{"id": "t1"}, {"integrationKey": "fishing"}]},
        {"topics": [{"topicGuid": "t1", "value": True}, "t1"]},
        {"topics": [{"id": "t1"}, {"id": "t2", "topicGuid": []}]},
        {"Preferences": [{"TopicId": "t1", "TransactionType": "OPT_IN"}, {}]},
        {"topics": [{"id": "t1"}, *[{"value": True}] * 500, {"topicGuid": "t1", "value": False}]},
        {
            "Preferences": [
                {"TopicId": "t1", "TransactionType": "OPT_IN"},
                *[{"TransactionType": "OPT_IN"}] * 500,
                {"TransactionType": "OPT_OUT"},
            ]
        },
    ],
)
def test_what_is_no_yes_and_names_no_topic_may_refuse_any(topics: dict[str, Any]) -> None:
    (signal,) = onetrust.read(details(profile(**topics)))
    assert granted([signal]) == {P} and asked(signal, f"{P}.t1", True) == "refused"


STATUS_KEYS = ("status", "Status", "transactionType", "TransactionType", "TransactionStatus")


def denies(path: tuple[Any, ...], part: Any) -> bool:
    is_word = path[-1] in STATUS_KEYS and part not in ("ACTIVE", "CONFIRMED", "OPT_IN")
    is_date = "ithdraw" in str(path[-1]) or "eactivation" in str(path[-1])
    return is_word or is_date or path[-1] in ("test", "testDataSubject", "value") or is_topic_without_a_yes(path, part)


def is_topic_without_a_yes(path: tuple[Any, ...], part: Any) -> bool:
    """An entry of a list of topics that may refuse one."""
    if len(path) < 2 or path[-2] not in ("topics", "Preferences"):
        return False
    said = part if isinstance(part, dict) else {}
    is_yes = said.get("value") is True if path[-2] == "topics" else said.get("TransactionType") == "OPT_IN"
    return not is_yes


@RULES
@given(documents(GOLDENS, WORDS))
def test_damaged_documents_grant_only_what_is_plain(document: Any) -> None:
    check_form(onetrust.read, document)
    assert granted(onetrust.read(document)) == plainly_granted(document)


@RULES
@given(documents(GOLDENS, WORDS))
def test_removing_a_part_never_grants(document: Any) -> None:
    check_removal(onetrust.read, document, denies)


def test_every_answer_is_of_the_purposes_that_are_named() -> None:
    assert answers(onetrust.read(details(profile()))) == [
        {P: "granted", f"always_active.{P}": "refused", f"{P}.*": "refused"}
    ]


def test_properties_catch_a_reader_that_forgets_the_withdrawal_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onetrust, "ENDED", ())

    def check(document: Any) -> None:
        assert granted(onetrust.read(document)) == plainly_granted(document)

    fails(check, documents([*GOLDENS, details(profile(withdrawalDate=GONE))], WORDS))


def test_properties_catch_a_reader_that_takes_always_active_for_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onetrust, "GRANTING", (*onetrust.GRANTING, "ALWAYS_ACTIVE"))

    def check(document: Any) -> None:
        assert granted(onetrust.read(document)) == plainly_granted(document)

    fails(check, documents(GOLDENS, WORDS))
