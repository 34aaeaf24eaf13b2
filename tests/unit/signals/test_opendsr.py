"""OpenDSR requests: what the specification demands, and nobody guessed from a hash."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from orchestration.consent.signals import opendsr
from orchestration.consent.signals.opendsr import read
from orchestration.consent.signals.signal import Signal
from tests.unit.ingestion_world import FIXTURES
from tests.unit.signals.documents import ANY_JSON, granted, without_one_key

REQUESTS = FIXTURES / "opendsr"
needs_fixtures = pytest.mark.skipif(not REQUESTS.is_dir(), reason="../shared/fixtures is absent")
RAW = {"identity_type": "email", "identity_value": "lin.yu@example.com", "identity_format": "raw"}
HASH = {
    "identity_type": "email",
    "identity_value": hashlib.sha256(b"lin.yu@example.com").hexdigest(),
    "identity_format": "sha256",
}
REQUEST: dict[str, Any] = {
    "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
    "subject_request_type": "erasure",
    "submitted_time": "2018-10-02T15:00:00Z",
    "subject_identities": [RAW],
    "api_version": "2.0",
    "status_callback_urls": ["https://controller.example/opendsr/callbacks"],
    "extensions": {"processor.example": {"property_id": "123456", "custom": 7, "mpids": [1, 2]}},
}


def changed(**more: Any) -> dict[str, Any]:
    return {**REQUEST, **more}


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in REQUEST.items() if name not in names}


@pytest.mark.parametrize("kind", ["erasure", "access", "portability"])
def test_request_is_for_what_it_says(kind: str) -> None:
    (signal,) = read(changed(subject_request_type=kind))
    assert (signal.answers, signal.problem) == ({f"request.{kind}": "granted"}, None)
    assert signal.values == {
        "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
        "subject_request_type": kind,
        "submitted_time": "2018-10-02T15:00:00+00:00",
        "api_version": "2.0",
        **RAW,
        "is_resolvable": "true",
        "extensions.processor.example.property_id": "123456",
        "extensions.processor.example.custom": "7",
        "event_id": signal.values["event_id"],
    }
    assert signal.fields["status_callback_urls"] == ["https://controller.example/opendsr/callbacks"]


def test_each_identity_is_a_signal_of_one_request() -> None:
    card = {"identity_type": "controller_customer_id", "identity_value": "M900001", "identity_format": "raw"}
    signals = read(changed(subject_identities=[RAW, HASH, card, dict(RAW)]))
    assert [signal.values["is_resolvable"] for signal in signals] == ["true", "false", "true"]
    assert {signal.values["subject_request_id"] for signal in signals} == {REQUEST["subject_request_id"]}
    assert len({signal.values["event_id"] for signal in signals}) == 3
    again = read(changed(subject_identities=[card, HASH, RAW]))
    assert {signal.values["event_id"] for signal in again} == {signal.values["event_id"] for signal in signals}


@pytest.mark.parametrize(("form", "digits"), [("md5", 32), ("sha1", 40), ("sha256", 64)])
def test_hash_is_marked_and_has_its_length(form: str, digits: int) -> None:
    for value, is_valid in (("aB" * (digits // 2), True), ("a" * (digits - 1), False), ("g" * digits, False)):
        (signal,) = read(changed(subject_identities=[{**HASH, "identity_format": form, "identity_value": value}]))
        assert (signal.problem is None) is is_valid
        assert signal.values.get("is_resolvable") == ("false" if is_valid else None)


@needs_fixtures
def test_examples_of_the_specification() -> None:
    (signal,) = read(json.loads((REQUESTS / "create_request_erasure.json").read_text("utf-8")))
    assert (signal.answers, signal.values["identity_value"]) == ({"request.erasure": "granted"}, "johndoe@example.com")
    assert signal.values["extensions.example-processor.com.property_id"] == "123456"
    verbatim = (REQUESTS / "create_request_erasure_verbatim_INVALID_JSON.txt").read_text("utf-8")
    with pytest.raises(json.JSONDecodeError):
        json.loads(verbatim)
    assert [said.problem for said in read(verbatim)] == ["not a request object"]
    for name in ("create_response_201", "create_response_400", "status_response", "enums"):
        (signal,) = read(json.loads((REQUESTS / f"{name}.json").read_text("utf-8")))
        assert signal.problem and not signal.answers


@needs_fixtures
def test_words_are_those_of_the_specification() -> None:
    words = json.loads((REQUESTS / "enums.json").read_text("utf-8"))
    assert set(words["identity_types"]) == opendsr.IDENTITY_TYPES
    assert set(words["identity_formats"]) == {"raw", *opendsr.HEX_DIGITS}
    assert set(words["subject_request_types"]) == set(opendsr.REQUEST_TYPES)


@pytest.mark.parametrize(
    "document",
    [
        *(without(name) for name in ("subject_request_id", "subject_request_type", "submitted_time")),
        without("subject_identities"),
        without("subject_identities", "extensions"),
        *(changed(subject_request_type=kind) for kind in ("Erasure", "rectification", "", None, ["erasure"])),
        *(
            changed(subject_request_id=name)
            for name in ("A7551968-D5D6-44B2-9831-815AC9017798", "a7551968-d5d6-14b2-9831-815ac9017798", "1", 1, None)
        ),
        *(
            changed(submitted_time=at)
            for at in ("2018-10-02", "2018-10-02T15:00:00", "2018-10-02 15:00:00Z", "2018-02-30T15:00:00Z", 1538492400)
        ),
        changed(submitted_time="2018-10-02T15:00:60Z"),
        changed(submitted_time="0001-01-01T00:00:00+23:59"),
        *(changed(api_version=version) for version in (2.0, "two", None, "2.0 ")),
        *(changed(regulation=law) for law in ("pipl", None, "GDPR")),
        *(changed(status_callback_urls=urls) for urls in ("https://a.example", [1], None, ["x"] * 51)),
        *(changed(extensions=said) for said in ([], {"a.example": 1}, None, {"": {}})),
        *(changed(subject_identities=said) for said in ([], None, {}, RAW, [RAW] * 101, ["x"])),
        *(changed(subject_identities=[RAW, {**RAW, name: bad}]) for name in RAW for bad in ("", None, "Email ", 1)),
        changed(subject_identities=[{**RAW, "identity_type": "phone"}]),
    ],
)
def test_request_that_breaks_the_specification_grants_nothing(document: Any) -> None:
    signals = read(document)
    assert signals and all(signal.problem and not signal.answers for signal in signals)


def test_broken_request_still_names_whom() -> None:
    signals = read(changed(submitted_time="soon", subject_identities=[RAW, {**HASH, "identity_value": "x"}]))
    assert [signal.values["identity_value"] for signal in signals] == ["lin.yu@example.com"]
    assert all("example.com" not in str(signal.problem) for signal in signals)


def test_removing_a_part_never_grants() -> None:
    document = changed(subject_identities=[RAW, HASH], regulation="gdpr")
    for name, shorter in without_one_key(document):
        if name != "regulation":
            assert granted(read(shorter)) <= granted(read(document)), name


# Told a second time, in the words of §5 and §7.1.
def plain_problem(request: dict[str, Any]) -> bool:
    identities = request.get("subject_identities")
    return not (
        str(request.get("subject_request_id")).count("-") == 4
        and request.get("subject_request_type") in ("erasure", "portability", "access")
        and str(request.get("submitted_time")).endswith(("Z", "+08:00"))
        and request.get("regulation", "gdpr") in ("gdpr", "ccpa")
        and isinstance(identities, list)
        and identities
        and all(
            isinstance(one.get("identity_value"), str)
            and one["identity_value"].strip()
            and (
                one.get("identity_format") == "raw"
                or (one.get("identity_format"), len(one["identity_value"])) == ("md5", 32)
            )
            and one.get("identity_type") in ("email", "android_id")
            for one in identities
        )
    )


IDENTITIES = st.fixed_dictionaries(
    {
        "identity_type": st.sampled_from(["email"] * 4 + ["android_id", "phone"]),
        "identity_value": st.sampled_from(["a@example.com"] * 4 + ["0" * 32, "1" * 31, ""]),
        "identity_format": st.sampled_from(["raw"] * 4 + ["md5", "crc"]),
    }
)
SOUND = st.fixed_dictionaries(
    {
        "subject_request_id": st.uuids(version=4).map(str),
        "subject_request_type": st.sampled_from(["erasure"] * 4 + ["access", "portability", "rectification"]),
        "submitted_time": st.sampled_from(
            ["2018-10-02T15:00:00Z", "2018-10-02t15:00:00.123+08:00", "2018-10-02T15:00:00"]
        ),
        "subject_identities": st.lists(IDENTITIES, max_size=3),
    },
    optional={"regulation": st.sampled_from(["gdpr", "ccpa", "pipl"])},
)


def check_against_the_plain_reader(reader: Callable[[Any], list[Signal]]) -> None:
    @settings(
        deadline=None,
        max_examples=400,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    @given(SOUND, st.none() | st.sampled_from(sorted(REQUEST)[2:]))
    def agrees(request: dict[str, Any], left_out: str | None) -> None:
        document = {name: value for name, value in copy.deepcopy(request).items() if name != left_out}
        signals = reader(document)
        if plain_problem(document):
            assert all(signal.problem and not signal.answers for signal in signals), document
        else:
            code = f"request.{document['subject_request_type']}"
            asked = {
                (one["identity_type"], one["identity_value"], one["identity_format"])
                for one in document["subject_identities"]
            }
            assert all(signal.answers == {code: "granted"} for signal in signals), document
            names = ("identity_type", "identity_value", "identity_format")
            assert {tuple(signal.values[name] for name in names) for signal in signals} == asked

    agrees()


def test_plain_reader_agrees() -> None:
    check_against_the_plain_reader(read)


@pytest.mark.parametrize("mutant", ["any type", "any time", "bad identities skipped", "hash of any length"])
def test_plain_reader_finds_a_broken_reader(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    identities = opendsr._identities
    if mutant == "any type":
        monkeypatch.setattr(opendsr, "_one_of", lambda _, value: value if isinstance(value, str) else "")
    elif mutant == "any time":
        monkeypatch.setattr(opendsr, "_instant", str)
    elif mutant == "bad identities skipped":
        monkeypatch.setattr(
            opendsr, "_identities", lambda *said: (found := identities(*said)[0], None if found else "none")
        )
    else:
        monkeypatch.setattr(opendsr, "HEX_DIGITS", {"md5": 31})
    with pytest.raises(AssertionError):
        check_against_the_plain_reader(read)


@settings(deadline=None)
@given(ANY_JSON, st.sampled_from([*REQUEST, "regulation"]))
def test_no_document_raises_or_grants_by_chance(document: Any, name: str) -> None:
    assert granted(read(document)) == set()
    assert granted(read(changed(**{name: document}))) <= granted(read(REQUEST)) or name in ("extensions", "regulation")
    assert granted(read(changed(subject_identities=[document]))) == set()
    read(changed(extensions={"a.example": document}))


def test_huge_documents_take_no_time() -> None:
    before = time.process_time()
    huge = "x" * 100_000_000
    for document in (changed(subject_request_id=huge), changed(subject_identities=[{**RAW, "identity_value": huge}])):
        assert granted(read(document)) == set()
    assert granted(read(changed(subject_identities=[RAW] * 500_000))) == set()
    assert time.process_time() - before < 1
