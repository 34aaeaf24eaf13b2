"""TC strings: public vectors, golden strings, what does not add up, and properties that no string may break."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.consent.signals import tcf
from orchestration.consent.signals.bits import Reader, Writer
from orchestration.consent.signals.signal import MAX_SIGNAL, Signal
from orchestration.consent.signals.tcf_model import DISCLOSURE_DUE, Ids, Publisher, Restriction, TcString
from orchestration.consent.signals.tcf_reader import read
from tests.oracle_signals import tcf as oracle
from tests.unit.signals.strings import (
    answer,
    deciseconds,
    fillings_that_grant_more,
    flipped,
    prefixes_that_grant_more,
    some_codes,
    tc_strings,
    vendors,
)

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures" / "iab_tcf_vectors"
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="../shared/fixtures/iab_tcf_vectors is not here")
MARCH = deciseconds(2026, 4, 2)
GOLDEN = TcString(
    created=MARCH,
    last_updated=MARCH,
    cmp_id=31,
    vendor_list_version=177,
    publisher_country="DE",
    special_features=Ids.of([1], 12),
    purposes_consent=Ids.of([1, 2, 4], 24),
    purposes_interest=Ids.of([1, 2, 3, 7], 24),
    vendors_consent=Ids.of([2, 6, 8, 755]),
    vendors_interest=Ids.of([8, 9]),
    restrictions=(
        Restriction(2, 0, Ids.of([2])),
        Restriction(4, 2, Ids.of(range(6, 9))),
        Restriction(7, 1, Ids.of([8])),
        Restriction(1, 1, Ids.of([2])),
    ),
    vendors_disclosed=Ids.of([2, 6, 8, 9]),
    publisher=Publisher(Ids.of([3], 24), Ids.of([1, 2, 3], 24), Ids.of([1], 2), Ids.of([2], 2)),
)
GOLDEN_TEXT = (
    "CQiCO8AQiCO8AAfAAAENCxFoANAAAOIAAAYgF5wBAABAAGAAQAvMACQDAECAAQABCQAMABgAIHQAQAEAoAIAAg.IAEkWA.ZAAAHAAAAUg"
)
OLD = GOLDEN._replace(policy_version=4, created=0, last_updated=DISCLOSURE_DUE - 1, vendors_disclosed=None)


def decoded(text: str) -> Signal:
    signal = tcf.decode(text)
    assert signal.problem is None, signal.problem
    return signal


def vectors() -> list[Any]:
    return json.loads((FIXTURES / "tcf_decode_vectors.json").read_text()) if FIXTURES.is_dir() else []


NAMES = {  # of the vectors → of the specification
    "purposesLI": "purposesLITransparency",
    "useNonStandardStacks": "useNonStandardTexts",
    "specialFeatureOptins": "specialFeatureOptIns",
    "vendorConsent": "vendorsConsent",
    "vendorLI": "vendorsLegitimateInterest",
}


@needs_fixtures
@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["id"])
def test_a_public_vector_is_read_as_expected(vector: dict[str, Any]) -> None:
    text, expected = vector["string"], dict(vector["expected"])
    if expected.get("version") == 1:
        assert tcf.decode(text).problem is not None  # v1 is no consent, ever
        return
    if "=" in text:  # the specification's base64url has no padding: strict readers refuse it, and read it without
        assert tcf.decode(text).problem is not None
        text = text.rstrip("=")
    fields = decoded(text).fields
    assert len(fields.get("pubPurposesConsent", [])) == expected.pop("pubPurposesConsent_count", 0)
    assert set(expected.pop("purposesConsent_containsAll", [])) <= set(fields["purposesConsent"])
    restricted = expected.pop("restriction_vendors", {})
    for key, numbers in restricted.items():
        purpose, kind = map(int, key.split("/"))
        found = [
            [vendor for start, end in each["vendors"] for vendor in range(start, end + 1)]
            for each in fields["publisherRestrictions"]
            if (each["purposeId"], each["restrictionType"]) == (purpose, kind)
        ]
        assert found == [numbers]
    for name, value in expected.items():
        got = fields[NAMES.get(name, name)]
        assert (got.replace("+00:00", "Z") if name in ("created", "lastUpdated") else got) == value, name


SEED_NAMES = {  # of the seeds → of the specification
    "version": "version",
    "cmpId": "cmpId",
    "cmpVersion": "cmpVersion",
    "consentScreen": "consentScreen",
    "consentLanguage": "consentLanguage",
    "vendorListVersion": "vendorListVersion",
    "policyVersion": "tcfPolicyVersion",
    "isServiceSpecified": "isServiceSpecific",
    "useNonStandardStacks": "useNonStandardTexts",
    "specialFeatureOptins": "specialFeatureOptIns",
    "purposeConsents": "purposesConsent",
    "purposeLegitimateInterests": "purposesLITransparency",
    "purposeOneTreatment": "purposeOneTreatment",
    "publisherCountryCode": "publisherCC",
    "vendorConsents": "vendorsConsent",
    "vendorLegitimateInterests": "vendorsLegitimateInterest",
}
SEED_KINDS = ("isAllowed", "isConsentRequired", "isLegitimateInterestRequired")


@needs_fixtures
@pytest.mark.parametrize("name", ["consent_a", "consent_b", "consent_c"])
def test_a_seed_string_is_read_as_expected(name: str) -> None:
    seed = json.loads((FIXTURES / "gguridi_seed" / "v2" / f"{name}.json").read_text())
    fields, core = decoded(seed["consent"]).fields, seed["core"]
    for theirs, ours in SEED_NAMES.items():
        expected = sorted(map(int, core[theirs])) if isinstance(core[theirs], dict) else core[theirs]
        assert fields[ours] == expected, ours
    for time_of in ("created", "lastUpdated"):
        assert fields[time_of].startswith(core[time_of])
    restricted = {
        (vendor, each["purposeId"], each["restrictionType"])
        for each in fields["publisherRestrictions"]
        for start, end in each["vendors"]
        for vendor in range(start, end + 1)
    }
    assert restricted == set(seed_restrictions(core["publisherRestrictions"]))
    if "publisherTC" in seed:
        assert fields["pubPurposesConsent"] == sorted(map(int, seed["publisherTC"]["purposeConsents"]))
    if "disclosedVendors" in seed:
        assert fields["disclosedVendors"] == sorted(map(int, seed["disclosedVendors"]))


def seed_restrictions(restrictions: dict[str, list[dict[str, Any]]]) -> Iterator[tuple[int, int, int]]:
    for vendor, entries in restrictions.items():
        for entry in entries:
            allowed, consent, interest = (entry[kind] for kind in SEED_KINDS)
            yield int(vendor), entry["purpose"], 0 if not allowed else 1 if consent else 2 if interest else 3


@needs_fixtures
@pytest.mark.parametrize("name", ["consent_a", "consent_b", "consent_c"])
def test_a_string_of_tcf_v1_is_no_consent(name: str) -> None:
    seed = json.loads((FIXTURES / "gguridi_seed" / "v1" / f"{name}.json").read_text())
    assert tcf.decode(seed["consent"]).problem is not None


def test_the_golden_string_answers_as_its_specification_says() -> None:
    assert tcf.encode(GOLDEN) == GOLDEN_TEXT
    answers = decoded(GOLDEN_TEXT).answers
    granted = {code for code in answers if answers[code] == "granted"}
    assert granted == {
        *("purpose.1", "purpose.2", "purpose.4", "special_feature.1"),
        *("purpose_li.2", "purpose_li.7"),  # not 1, which has none, and not 3, of which v2.2 took it
        *("vendor.2", "vendor.6", "vendor.8"),  # 755 consented to, but not disclosed
        *("vendor_li.8", "vendor_li.9"),
        *("vendor.2.purpose.1", "vendor.2.purpose.4"),  # 2 not allowed to vendor 2; "consent only" leaves consent
        *("vendor.6.purpose.1", "vendor.6.purpose.2", "vendor.8.purpose.1", "vendor.8.purpose.2"),  # 4 interest only
        *("vendor_li.8.purpose_li.2", "vendor_li.9.purpose_li.2", "vendor_li.9.purpose_li.7"),
        *("publisher.3", "publisher_li.2", "publisher_custom.1", "publisher_custom_li.2"),
    }
    assert answers["vendor.755"] == answers["vendor.8.purpose.4"] == answers["purpose.3"] == "refused"
    for absent in ("vendor.756", "vendor.755.purpose.1", "vendor.2.purpose.3", "vendor.2.purpose_li.2", "purpose.25"):
        assert absent not in answers


def test_several_restrictions_of_one_purpose_all_count() -> None:
    each = (Restriction(1, 0, Ids.of([2])), Restriction(1, 2, Ids.of([6, 755])), Restriction(1, 1, Ids.of([8])))
    answers = decoded(tcf.encode(GOLDEN._replace(restrictions=each))).answers
    assert [answers[f"vendor.{vendor}.purpose.1"] for vendor in (2, 6, 8)] == ["refused", "refused", "granted"]


def test_the_golden_string_has_its_values_under_stable_names() -> None:
    assert decoded(GOLDEN_TEXT).values == {
        "created": "2026-04-02T00:00:00+00:00",
        "lastUpdated": "2026-04-02T00:00:00+00:00",
        "cmpId": "31",
        "cmpVersion": "0",
        "consentScreen": "0",
        "consentLanguage": "EN",
        "vendorListVersion": "177",
        "tcfPolicyVersion": "5",
        "publisherCC": "DE",
    }


@pytest.mark.parametrize(
    "change",
    [{"policy_version": 5, "last_updated": DISCLOSURE_DUE - 1}, {"policy_version": 4, "last_updated": DISCLOSURE_DUE}],
    ids=["policy of v2.3", "updated after February 2026"],
)
def test_from_v2_3_on_a_string_without_disclosed_vendors_is_malformed(change: Mapping[str, int]) -> None:
    string = GOLDEN._replace(created=0, **change)  # type: ignore[arg-type]
    assert decoded(tcf.encode(string)).answers["vendor.6"] == "granted"
    assert tcf.decode(tcf.encode(string._replace(vendors_disclosed=None))).problem is not None


def test_up_to_v2_2_vendors_hold_without_disclosed_vendors() -> None:
    for shown in (None, Ids.of([2])):
        answers = decoded(tcf.encode(OLD._replace(vendors_disclosed=shown))).answers
        assert answers["vendor.755"] == answers["vendor.755.purpose.1"] == "granted"


def test_a_string_of_global_scope_grants_nothing() -> None:
    answers = decoded(tcf.encode(GOLDEN._replace(service_specific=False))).answers
    assert set(answers.values()) == {"refused"}


def test_purpose_one_that_was_not_disclosed_does_not_hold() -> None:
    answers = decoded(tcf.encode(GOLDEN._replace(purpose_one_treatment=True))).answers
    assert answers["purpose.1"] == "refused"
    assert "vendor.6.purpose.1" not in answers
    assert answers["vendor.6.purpose.2"] == "granted"


def core_with(more: Sequence[tuple[int, int]] = (), **changes: int) -> str:
    """The core of a string without vendors, with fields of any value at all, and (value, bits) after them."""
    fields = {"version": 2, "created": 10, "updated": 20, "language": 268, "policy": 4, "country": 0} | changes
    writer = Writer()
    for value, size in (
        (fields["version"], 6),
        (fields["created"], 36),
        (fields["updated"], 36),
        (0, 30),
        (fields["language"], 12),
        (0, 12),
        (fields["policy"], 6),
        (1, 1),
        (0, 1),
        (0, 12),
        (fields.get("purposes", 0), 24),
        (0, 25),
        (fields["country"], 12),
    ):
        writer.put(value, size)
    for value, size in (
        (fields.get("last_vendor", 0), 16),
        (fields.get("is_range", 0), 1),
        *([(1, 12), (1, 1), (fields["start"], 16), (fields["end"], 16)] if "start" in fields else []),
        *([(2, 12), (0, 1), (fields["first"], 16), (0, 1), (fields["second"], 16)] if "first" in fields else []),
        (0, 17),
        (fields.get("restrictions", 0), 12),
        *([(fields["purpose"], 6), (fields["kind"], 2), (fields["entries"], 12)] if "purpose" in fields else []),
        *([(0, 1), (fields.get("vendor", 5), 16)] if fields.get("entries") else []),
        (fields.get("trailing", 0), fields.get("trailing_bits", 0)),
        *more,
    ):
        writer.put(value, size)
    return writer.segment()


ONE = {"restrictions": 1, "purpose": 2, "kind": 0, "entries": 1}
UNSOUND: dict[str, str] = {
    "empty": "",
    "only dots": "..",
    "version 1": core_with(version=1),
    "version 3": core_with(version=3),
    "policy of v1": core_with(policy=1),
    "policy of the future": core_with(policy=6),
    "created after update": core_with(created=21),
    "language": core_with(language=26),
    "country": core_with(country=26 << 6),
    "range backwards": core_with(last_vendor=9, is_range=1, start=5, end=4),
    "range of vendor 0": core_with(last_vendor=9, is_range=1, start=0, end=4),
    "range beyond the last vendor": core_with(last_vendor=9, is_range=1, start=5, end=10),
    "ranges that do not ascend": core_with(last_vendor=9, is_range=1, first=5, second=4),
    "a vendor twice": core_with(last_vendor=9, is_range=1, first=5, second=5),
    "bit field that is not there": core_with(last_vendor=400),
    "restrictions that are not there": core_with(restrictions=1),
    "restriction of purpose 0": core_with(**ONE | {"purpose": 0}),
    "restriction of purpose 25": core_with(**ONE | {"purpose": 25}),
    "restriction type 3": core_with(**ONE | {"kind": 3}),
    "restriction of vendor 0": core_with(**ONE | {"vendor": 0}),
    "restriction of nobody": core_with(**ONE | {"entries": 0}),
    "trailing bit": core_with(trailing=1, trailing_bits=3),
    "excess byte": core_with(trailing_bits=24),
    "filling of 24 bits": core_with(last_vendor=5, trailing_bits=24),
    "padding": core_with() + "=",
    "standard base64": core_with(purposes=0xFFFFFF).replace("_", "/"),
    "white space": core_with() + " ",
    "a line end": core_with() + "\n",
    "empty segment": core_with() + ".",
    "segment of type 0": core_with() + ".AAAA",
    "segment of type 4": core_with() + ".gAAA",
    "disclosed vendors twice": core_with() + ".IAAA.IAAA",
    "publisher segment cut": core_with() + ".YAAAAA",
    "a GPP string": "DBABMA~" + core_with(),
}


@pytest.mark.parametrize("text", UNSOUND.values(), ids=UNSOUND.keys())
def test_a_string_that_does_not_add_up_is_malformed(text: str) -> None:
    signal = tcf.decode(text)
    assert signal.problem is not None
    assert not signal.answers
    assert oracle.answers(text)("purpose.1") == "refused"


def test_the_unsound_strings_differ_from_sound_ones_only_in_what_they_name() -> None:
    assert decoded(core_with())
    assert decoded(core_with(**ONE))
    assert decoded(core_with(last_vendor=9, is_range=1, start=5, end=9)).answers["vendor.9"] == "granted"
    assert decoded(core_with(last_vendor=9, is_range=1, first=5, second=6)).answers["vendor.6"] == "granted"
    assert decoded(core_with() + ".IAAA.QAAA")
    assert decoded(core_with(last_vendor=5, trailing_bits=16))


@pytest.mark.parametrize("text", [None, 7, b"CP", [], "C" * (MAX_SIGNAL + 1), "é", "\0", "C" * 5_000])
def test_decoding_never_raises(text: Any) -> None:
    assert tcf.decode(text).problem is not None


def test_a_problem_quotes_nothing_of_the_payload() -> None:
    assert all("secret" not in str(tcf.decode(text).problem) for text in ("secret", "secret.secret", "Csecret!"))


@given(tc_strings())
@settings(max_examples=60, deadline=None)
def test_a_model_survives_the_round_trip(string: TcString) -> None:
    assert read(tcf.encode(string)) == string


@given(tc_strings())
@settings(max_examples=60, deadline=None)
def test_every_answer_is_that_of_the_plain_reader(string: TcString) -> None:
    text = tcf.encode(string)
    told = oracle.told_by(text)
    signal = decoded(text)
    for code in some_codes(signal):
        assert (answer(signal, code) == "granted") == oracle.holds(told, code), code


@given(tc_strings(), vendors(), st.integers(1, 24))
@settings(max_examples=60, deadline=None)
def test_any_pair_asked_for_is_that_of_the_plain_reader(string: TcString, asked: Ids, purpose: int) -> None:
    text = tcf.encode(string)
    told, answers = oracle.told_by(text), decoded(text).answers
    for vendor in asked.numbers()[:20]:
        for code in (f"vendor.{vendor}.purpose.{purpose}", f"vendor_li.{vendor}.purpose_li.{purpose}"):
            assert (answers.get(code) == "granted") == oracle.holds(told, code), code


@given(tc_strings(), st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_a_flipped_bit_grants_only_what_the_plain_reader_grants(string: TcString, seed: int) -> None:
    text = flipped(tcf.encode(string), random.Random(seed))
    signal = tcf.decode(text)
    try:
        told = oracle.told_by(text)
    except oracle.NotSoundError:
        assert signal.problem is not None
        return
    assert signal.problem is None
    assert all((answer(signal, code) == "granted") == oracle.holds(told, code) for code in some_codes(signal))


@given(tc_strings())
@settings(max_examples=25, deadline=None)
def test_no_proper_prefix_grants_more_than_the_whole(string: TcString) -> None:
    assert prefixes_that_grant_more(tcf.decode, tcf.encode(string)) == []


@given(tc_strings())
@settings(max_examples=40, deadline=None)
def test_no_filling_grants_more_than_the_whole(string: TcString) -> None:
    assert fillings_that_grant_more(tcf.decode, tcf.encode(string)) == []


@pytest.mark.parametrize("bit", [0, 1], ids=["zeros", "ones"])
def test_the_prefix_property_fails_a_decoder_that_pads_what_was_cut(bit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the decoder on the registry does: a truncated string is read as if more followed."""
    honest = Reader.take

    def padding(reader: Reader, size: int) -> int:
        missing = max(0, reader.at + size - reader.length)
        value = honest(reader, size - missing) << missing
        return value | ((1 << missing) - 1 if bit else 0)

    monkeypatch.setattr(Reader, "take", padding)
    assert prefixes_that_grant_more(tcf.decode, tcf.encode(OLD)) != []


def test_the_filling_property_fails_a_decoder_that_takes_only_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reader, "finish", lambda reader: None)
    assert tcf.decode(UNSOUND["trailing bit"]).problem is None
    assert tcf.decode(UNSOUND["excess byte"]).problem is None


@given(tc_strings())
@settings(max_examples=30, deadline=None)
def test_the_answers_are_a_mapping(string: TcString) -> None:
    answers = tcf.signal_of(string).answers
    codes = list(islice(answers, 20_000))
    assert all(code in answers and answers[code] in ("granted", "refused") for code in codes)
    assert len(set(codes)) == len(codes)
    if len(answers) < 50_000:
        assert len(list(answers)) == len(answers)


NO_CODES = (
    "",
    "purpose",
    "purpose.0",
    "purpose.01",
    "purpose.1.",
    "purpose.x",
    "purpose.１",
    " purpose.1",
    "purpose.1\n",
)
NO_PAIRS = ("vendor.99999", "vendor.2.purpose", "nothing.1", "vendor.2.purpose.1.purpose.1", "vendor.2.vendor.2")


@pytest.mark.parametrize("code", NO_CODES + NO_PAIRS)
def test_a_code_that_is_none_is_not_among_the_answers(code: str) -> None:
    answers = decoded(GOLDEN_TEXT).answers
    assert code not in answers
    with pytest.raises(KeyError):
        answers[code]
    assert 7 not in answers  # type: ignore[comparison-overlap]


def test_many_texts_are_decoded_in_order_and_equal_ones_once() -> None:
    texts = [GOLDEN_TEXT, "nonsense", GOLDEN_TEXT, core_with()]
    signals = tcf.decode_many(texts)
    assert [signal.problem is None for signal in signals] == [True, False, True, True]
    assert signals[0] is signals[2]
    assert dict(signals[0].answers) == dict(tcf.decode(GOLDEN_TEXT).answers)


ALL = {"start": 1, "end": 65_535}


def hostile() -> list[str]:
    """Strings of the length that is borne, with as many entries as fit."""
    everyone = Ids.of(range(1, 65_536))
    evens = Ids.of(range(2, 8_000, 2))
    odd = GOLDEN._replace(vendors_consent=evens, vendors_interest=evens, restrictions=())
    crowd = GOLDEN._replace(vendors_consent=everyone, vendors_interest=everyone, vendors_disclosed=everyone)
    many = tuple(Restriction(1 + each % 24, 0, evens) for each in range(5))
    of_all = ((2, 6), (0, 2), (1, 12), (1, 1), (1, 16), (65_535, 16))
    return [
        tcf.encode(odd),
        tcf.encode(odd._replace(restrictions=many)),
        tcf.encode(crowd),
        core_with(restrictions=4_095, more=of_all * 4_095, purposes=0xFFFFFF, last_vendor=65_535, is_range=1, **ALL),
        "C" + "_" * (MAX_SIGNAL - 1),
        "C" + "A" * (MAX_SIGNAL - 1),
        GOLDEN_TEXT + ".IAAA" * 10_000,
        "." * MAX_SIGNAL,
    ]


def test_a_hostile_string_takes_less_than_a_second() -> None:
    for text in hostile():
        began = time.process_time()
        signal = tcf.decode(text)
        _ = [answer(signal, code) for code in some_codes(signal)]
        _ = [signal.answers.get(f"vendor.{vendor}.purpose.2") for vendor in range(1, 65_536, 64)]
        assert len(signal.answers) >= 0 and len(signal.fields) >= 0
        assert time.process_time() - began < 1
