"""GPP strings: public vectors, golden sections of every state, what does not add up, and properties of any string."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.consent.signals import gpp, gpp_us
from orchestration.consent.signals.bits import FormatError, Reader, Writer
from orchestration.consent.signals.gpp_ranges import put_ids
from orchestration.consent.signals.gpp_sections import ADDITIONAL, CHILD, LAYOUTS, PERSONAL, SENSITIVE, Layout
from orchestration.consent.signals.gpp_us import UsSection, read_section, write_section
from orchestration.consent.signals.signal import MAX_SIGNAL, Signal
from tests.oracle_signals import gpp as oracle
from tests.unit.signals.strings import (
    answer,
    fillings_that_grant_more,
    flipped,
    gpp_sections,
    prefixes_that_grant_more,
    some_codes,
    us_sections,
)
from tests.unit.signals.test_tcf import GOLDEN, GOLDEN_TEXT

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures" / "iab_gpp_vectors"
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="../shared/fixtures/iab_gpp_vectors is not here")
NATIONAL = next(layout for layout in LAYOUTS if (layout.name, layout.version) == ("usnat", 2))


def vectors(name: str) -> list[Any]:
    return json.loads((FIXTURES / name).read_text()) if FIXTURES.is_dir() else []


def decoded(text: str) -> Signal:
    signal = gpp.decode(text)
    assert signal.problem is None, signal.problem
    return signal


def national(layout: Layout = NATIONAL, gpc: bool | None = None, **fields: int | tuple[int, ...]) -> UsSection:
    """A section in which all is said to be told and nothing is opted out of, but for what is given."""
    quiet = {name: (0,) * count for name, count in layout.fields}
    told = {name: (1,) for name in quiet if name.endswith("Notice")}
    chosen = {name: (2,) for name in quiet if name.endswith("OptOut")}
    base = quiet | told | chosen | {"MspaCoveredTransaction": (2,)}
    base |= {"MspaVersion": (1,)} if layout.headed else {"Version": (layout.version,)}
    return UsSection(layout, base | {n: v if isinstance(v, tuple) else (v,) for n, v in fields.items()}, gpc)


def answers(section: UsSection) -> dict[str, str]:
    return dict(decoded(gpp.encode({section.layout.section: section})).answers)


# What strict reading refuses of the public strings, and why: sections of versions that were never published, and one
# section of Minnesota in a form that its own reference implementation no longer writes.
REFUSED = {
    "DBABBgA~xlgWEYCZAA": "version 49",
    "DBABRgA~bSFgmiU": "version 27",
    "DBABrGA~DSJgmkoZJSA.YA~BlgWEYCY.QA~BSFgmiU~bSFgmJQ.YA~BWJYJllA~bSFgmSZQ.YA": "versions 3 and 27",
}


@needs_fixtures
@pytest.mark.parametrize("vector", vectors("gpp_string_vectors.json"), ids=lambda vector: vector["gpp"][:20])
def test_the_header_of_a_public_string_lists_its_sections(vector: dict[str, Any]) -> None:
    sections = gpp.sections_of(vector["gpp"])
    assert list(sections) == vector["sectionIds"]
    assert list(sections.values()) == vector["sections"]
    stale = sections.get(23) == "BAAAAAABAA.QA"
    signal = gpp.decode(vector["gpp"])
    assert (signal.problem is not None) == (vector["gpp"] in REFUSED or stale)
    if signal.problem is None:
        assert signal.fields["sections"] == vector["sectionIds"]
        assert signal.fields["unread"] == [number for number in vector["sectionIds"] if number == 5]


def us_vectors() -> list[Any]:
    return [
        vector
        for vector in vectors("java_section_vectors.json")
        if vector["section"].startswith("Us") and vector["section"] != "UspV1"
    ]


@needs_fixtures
@pytest.mark.parametrize("vector", us_vectors(), ids=lambda vector: f"{vector['section']}-{vector['test']}")
def test_a_public_us_section_is_read_and_written_bit_for_bit(vector: dict[str, Any]) -> None:
    section = read_section(vector["section_id"], vector["string"])
    legacy = vector["test"] == "testDecodeBackwardsCompatibility"  # 12 data activities; the source fills up to 16
    assert legacy or write_section(section) == vector["string"]
    written = decoded(gpp.encode({vector["section_id"]: section})).fields[section.layout.name]
    expected = dict(vector.get("expected") or {})
    if expected.pop("GpcSegmentIncluded", True) is False or legacy:
        assert written["Gpc"] is None
        expected.pop("Gpc", None)
    for name, value in expected.items():
        got = written[name]
        assert got == (value[: len(got)] if legacy and isinstance(value, list) else value), name


def tcf_vectors() -> list[Any]:
    return [vector for vector in vectors("java_section_vectors.json") if vector["section"] == "TcfEuV2"]


@needs_fixtures
@pytest.mark.parametrize("vector", tcf_vectors(), ids=lambda vector: vector["test"])
def test_a_public_tcf_section_is_read_as_expected(vector: dict[str, Any]) -> None:
    signal = gpp.decode(f"DBABMA~{vector['string']}")
    if vector["test"] == "testDecode6":  # seven bytes of zeros after its publisher segment: content that no field has
        assert signal.problem is not None
        return
    assert signal.problem is None
    fields = signal.fields["tcfeu2"]
    same = {
        "CmpId": "cmpId",
        "CmpVersion": "cmpVersion",
        "ConsentScreen": "consentScreen",
        "ConsentLanguage": "consentLanguage",
        "VendorListVersion": "vendorListVersion",
        "PolicyVersion": "tcfPolicyVersion",
        "IsServiceSpecific": "isServiceSpecific",
        "PurposeOneTreatment": "purposeOneTreatment",
        "PublisherCountryCode": "publisherCC",
        "VendorConsents": "vendorsConsent",
        "VendorLegitimateInterests": "vendorsLegitimateInterest",
        "VendorsDisclosed": "disclosedVendors",
        "VendorsAllowed": "allowedVendors",
    }
    expected = vector.get("expected") or {}
    for theirs, ours in same.items():
        if isinstance(expected.get(theirs), int | str | list):
            assert fields.get(ours, []) == expected[theirs], ours
    for theirs, ours in (("PurposeConsents", "purposesConsent"), ("SpecialFeatureOptins", "specialFeatureOptIns")):
        if isinstance(expected.get(theirs), list):
            assert fields[ours] == [place for place, on in enumerate(expected[theirs], 1) if on]


@pytest.mark.parametrize(
    ("header", "sections"), [("DBABMA", [2]), ("DBABM", [2]), ("DBACNYA", [2, 6]), ("DBABjw", [5, 6]), ("DBAA", [])]
)
def test_a_header_of_the_specification_is_read(header: str, sections: list[int]) -> None:
    assert list(gpp.sections_of("~".join([header, *("x" for _ in sections)]))) == sections


def test_the_sections_that_start_with_a_header_are_read() -> None:
    for section, text in ((25, "ZBABYA.BVVV.kkk"), (27, "bBABYA.BVVV.kkk")):
        found = read_section(section, text)
        assert found.fields[SENSITIVE] == (2, 1, 0, 2, 1, 0, 2, 1)
        assert found.fields["SaleOptOut"] == found.fields[CHILD] == found.fields["MspaMode"] == (1,)
        assert write_section(found) == text
    assert read_section(25, "ZBAA.AQAA").fields["MspaCoveredTransaction"] == (1,)
    second = Writer()  # lists a sub-section that there is none of
    for value, size in ((25, 6), (1, 6)):
        second.put(value, size)
    put_ids(second, [2])
    for text in (
        f"{second.segment()}.BVVV.kkk",
        "BVVV.kkk",
        "ZBAA.BVVV.kkk",
        "ZBABYA.BVVV",
        "bBABYA.BVVV.kkk",
        "ZCABYA.BVVV.kkk",
    ):
        with pytest.raises(FormatError):
            read_section(25, text)


def test_who_did_not_opt_out_is_silent_and_the_section_is_there() -> None:
    found = answers(national())
    assert found.pop("usnat") == "granted"
    assert set(found.values()) == {"silent"}
    assert {"usnat.sale", "usnat.sharing", "usnat.targeted_advertising", "usnat.personal_data", "usnat.gpc"} < set(
        found
    )
    assert {f"usnat.sensitive_data.{number}" for number in range(1, 17)} < set(found)
    assert {f"usnat.known_child.{number}" for number in range(1, 4)} < set(found)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.name}-{layout.version}-{len(layout.fields)}")
def test_every_section_refuses_what_was_opted_out_of(layout: Layout) -> None:
    fields = {name: 1 for name, _ in layout.fields if name.endswith("OptOut")}
    fields[SENSITIVE] = (2,) * (layout.sensitive or dict(layout.fields).get(SENSITIVE, 0))
    if layout.name == "usmd":
        fields.pop(SENSITIVE)
    found = answers(national(layout, True if layout.gpc else None, **fields))
    assert found[layout.name] == "granted"
    assert found[f"{layout.name}.sale"] == "refused"
    assert found.get(f"{layout.name}.gpc", "refused") == "refused"
    sensitive = {found[code] for code in found if ".sensitive_data." in code}
    expected = "silent" if SENSITIVE in layout.opt_outs else "refused" if SENSITIVE in layout.disputed else "granted"
    assert sensitive == (set() if layout.name == "usmd" else {expected})


@pytest.mark.parametrize(
    ("notice", "code"),
    [
        ("SaleOptOutNotice", "sale"),
        ("SharingOptOutNotice", "sharing"),
        ("TargetedAdvertisingOptOutNotice", "targeted_advertising"),
        ("SensitiveDataProcessingOptOutNotice", "sensitive_data.1"),
        ("SensitiveDataLimitUseNotice", "sensitive_data.1"),
    ],
)
def test_a_notice_that_was_not_provided_refuses_what_rests_on_it(notice: str, code: str) -> None:
    consent = {SENSITIVE: (2,) * 16, CHILD: (2,) * 3, PERSONAL: 2}
    before, after = answers(national(**consent)), answers(national(**consent | {notice: 2}))
    assert before[f"usnat.{code}"] != "refused"
    assert after[f"usnat.{code}"] == "refused"
    assert after["usnat.known_child.1"] == after["usnat.personal_data"] == "granted"


def test_without_notice_of_the_processing_itself_everything_is_refused() -> None:
    found = answers(national(SharingNotice=2, **{SENSITIVE: (2,) * 16, PERSONAL: 2}))
    assert {code for code, answer in found.items() if answer != "refused"} == {"usnat", "usnat.gpc"}


def test_a_choice_that_contradicts_its_notice_is_refused() -> None:
    found = answers(national(SaleOptOutNotice=0, SharingOptOutNotice=0, SharingOptOut=0))
    assert found["usnat.sale"] == "refused"  # not applicable, and yet "did not opt out"
    assert found["usnat.sharing"] == "silent"  # not applicable, both


def test_consents_are_granted_only_by_two_and_not_where_the_texts_contradict_each_other() -> None:
    consents = {SENSITIVE: (0, 1, 2, *(0,) * 13), CHILD: (2, 1, 0), PERSONAL: 2}
    found = answers(national(**consents))
    assert [found[f"usnat.sensitive_data.{number}"] for number in (1, 2, 3)] == ["silent", "refused", "granted"]
    assert [found[f"usnat.known_child.{number}"] for number in (1, 2, 3)] == ["granted", "refused", "silent"]
    assert found["usnat.personal_data"] == "granted"
    by_name = {layout.name: layout for layout in LAYOUTS}
    for value in (1, 2):
        assert answers(national(by_name["usca"], **{PERSONAL: value}))["usca.personal_data"] == "refused"
        assert answers(national(by_name["usva"], **{CHILD: value}))["usva.known_child.1"] == "refused"
        assert answers(national(by_name["ustx"], **{ADDITIONAL: value}))["ustx.additional_data_processing"] == "refused"
    assert answers(national(by_name["usde"], **{ADDITIONAL: 2}))["usde.additional_data_processing"] == "granted"


@pytest.mark.parametrize(("gpc", "answer"), [(True, "refused"), (False, "silent"), (None, "silent")])
def test_global_privacy_control_in_a_section_is_refused_only_when_on(gpc: bool | None, answer: str) -> None:
    assert answers(national(gpc=gpc))["usnat.gpc"] == answer


def test_the_sections_of_other_formats_answer_behind_their_names() -> None:
    text = gpp.encode({2: GOLDEN, 6: "1YYN", 7: national(), 5: "not.read"})
    signal = decoded(text)
    assert signal.answers["tcfeu2"] == signal.answers["uspv1"] == signal.answers["usnat"] == "granted"
    assert signal.answers["tcfeu2.vendor.6.purpose.2"] == "granted"
    assert signal.answers["tcfeu2.vendor.8.purpose.4"] == "refused"
    assert signal.answers["uspv1.sale"] == "refused"
    assert signal.values["tcfeu2.created"] == "2026-04-02T00:00:00+00:00"
    assert signal.fields["unread"] == [5]
    assert json.loads(json.dumps(dict(signal.fields)))["usnat"]["SaleOptOut"] == 2
    assert signal.fields["tcfeu2"]["cmpId"] == 31
    assert len(list(signal.answers)) == len(signal.answers)
    for code in ("tcfca", "tcfeu2.", "tcfeu2.vendor.756", "uspv1.", "usca", "usnat.", "", ".sale", 7):
        assert code not in signal.answers


SOUND = gpp.encode({2: GOLDEN, 7: national()})
UNSOUND = {
    "empty": "",
    "no header": "~" + GOLDEN_TEXT,
    "a TC string": GOLDEN_TEXT,
    "header of another type": "CBABMA~" + GOLDEN_TEXT,
    "header of version 2": "DCABMA~" + GOLDEN_TEXT,
    "header alone": "DBABMA",
    "section too many": "DBABMA~" + GOLDEN_TEXT + "~1YNN",
    "section too few": SOUND.rpartition("~")[0],
    "empty section": "DBABMA~",
    "unread section with a space": "DBABjw~a b~1YNN",
    "header with padding": "DBABMA=~" + GOLDEN_TEXT,
    "header with a trailing bit": "DBABMB~" + GOLDEN_TEXT,
    "header with excess bytes": "DBABMAAAAA~" + GOLDEN_TEXT,
    "header whose number does not end": "DBABAA~" + GOLDEN_TEXT,
    "an unsound TC string": "DBABMA~B" + GOLDEN_TEXT[1:],
    "a TC string cut": "DBABMA~" + GOLDEN_TEXT[:40],
    "a sound section beside an unsound one": "DBACNYA~" + GOLDEN_TEXT + "~1ynn",
    "a US Privacy string of version 2": "DBABTA~2NYY",
    "US section of version 3": gpp.encode({7: national(Version=3)}),
    "a value of 3": gpp.encode({7: national(SaleOptOut=3)}),
    "covered transaction of 0": gpp.encode({7: national(MspaCoveredTransaction=0)}),
    "GPC twice": gpp.encode({7: national(gpc=True)}) + ".YA",
    "sub-section of type 2": gpp.encode({7: national()}) + ".gA",
    "GPC where there is none": "DBABRgA~BVWSSVY.YA",
    "US section cut": gpp.encode({7: national()})[:-2],
    "US section with excess bytes": gpp.encode({7: national()}) + "AAAA",
}


@pytest.mark.parametrize("text", UNSOUND.values(), ids=UNSOUND.keys())
def test_a_string_that_does_not_add_up_is_malformed_as_a_whole(text: str) -> None:
    signal = gpp.decode(text)
    assert signal.problem is not None
    assert not signal.answers
    assert oracle.answers(text)("usnat") == oracle.answers(text)("tcfeu2.purpose.1") == "refused"


@pytest.mark.parametrize(
    "text", [None, 7, b"DB", "D" * (MAX_SIGNAL + 1), "é", "\0", "DBABMA~\ud800", "DB" + "_" * 60_000]
)
def test_decoding_never_raises(text: Any) -> None:
    assert gpp.decode(text).problem is not None


@given(gpp_sections())
@settings(max_examples=60, deadline=None)
def test_sections_survive_the_round_trip(sections: dict[int, Any]) -> None:
    text = gpp.encode(sections)
    found = gpp.sections_of(text)
    assert list(found) == sorted(sections)
    for number, section in sections.items():
        if isinstance(section, UsSection):
            assert read_section(number, found[number]) == section
    assert decoded(text).fields["unread"] == [number for number in sorted(sections) if sections[number] == "unread"]


@given(us_sections())
@settings(max_examples=150, deadline=None)
def test_a_us_section_fits_one_form_only(section: UsSection) -> None:
    assert read_section(section.layout.section, write_section(section)) == section


@given(gpp_sections(), st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_every_answer_is_that_of_the_plain_reader_damaged_or_not(sections: dict[int, Any], seed: int) -> None:
    text = gpp.encode(sections)
    for each in (text, flipped(text, random.Random(seed))):
        signal, plain = gpp.decode(each), oracle.answers(each)
        for code in some_codes(signal):
            assert answer(signal, code) == plain(code), code
        for code in ("tcfeu2", "uspv1", "uspv1.sale", "usnat.sale", "usca.gpc", "usva.gpc", "usin.sensitive_data.1"):
            assert signal.answers.get(code, "refused") == plain(code), code


def test_cut_long_form_of_the_first_version_answers_nothing_freely_by_the_short_one() -> None:
    """Hypothesis found it: what the short form takes for consents are other fields of the long one."""
    short, long = (layout for layout in LAYOUTS if (layout.name, layout.version) == ("usnat", 1))
    quiet = {name: (0,) * count for name, count in long.fields}
    said = {"Version": (1,), SENSITIVE: (*(0,) * 15, 1), PERSONAL: (1,), "MspaCoveredTransaction": (1,)}
    whole = UsSection(long, quiet | said)
    cut = read_section(7, write_section(whole)[:10])
    assert cut.layout == short and cut.fields[PERSONAL] == (0,)
    told = gpp_us.answers(cut)
    assert {told["usnat.known_child.1"], told["usnat.known_child.2"], told["usnat.personal_data"]} == {"refused"}
    assert prefixes_that_grant_more(gpp.decode, gpp.encode({7: whole})) == []


@given(gpp_sections())
@settings(max_examples=20, deadline=None)
def test_no_proper_prefix_answers_more_freely_than_the_whole(sections: dict[int, Any]) -> None:
    assert prefixes_that_grant_more(gpp.decode, gpp.encode(sections)) == []


@given(gpp_sections())
@settings(max_examples=30, deadline=None)
def test_no_filling_answers_more_freely_than_the_whole(sections: dict[int, Any]) -> None:
    assert fillings_that_grant_more(gpp.decode, gpp.encode(sections)) == []


def test_the_prefix_property_fails_a_decoder_that_pads_what_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Reader.take

    def padding(reader: Reader, size: int) -> int:
        missing = max(0, reader.at + size - reader.length)
        return honest(reader, size - missing) << missing

    monkeypatch.setattr(Reader, "take", padding)
    monkeypatch.setattr(gpp_us, "COVERED", "Version")
    refusing = national(SaleOptOut=1, **{SENSITIVE: (1,) * 16})
    assert prefixes_that_grant_more(gpp.decode, gpp.encode({7: refusing})) != []


def test_a_hostile_string_takes_less_than_a_second() -> None:
    texts = [
        "D" + "_" * (MAX_SIGNAL - 1),
        "DBAP" + "_" * (MAX_SIGNAL - 4),
        "DB__" + "wAAA" * 16_000,
        "DB__" + "9" * 10 + "~x" * 32_000,
        "~" * MAX_SIGNAL,
        gpp.encode({7: national()}) + ".YA" * 20_000,
        "DBABMA~" + GOLDEN_TEXT + ".IAAA" * 12_000,
    ]
    for text in texts:
        began = time.process_time()
        assert gpp.decode(text).problem is not None
        assert time.process_time() - began < 1
