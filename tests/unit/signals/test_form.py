"""Forms: an answer is exactly a word for yes or no in its column, and a form ticked beforehand asked nobody."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from orchestration.consent.signals import form
from orchestration.consent.signals.form import read
from orchestration.consent.signals.signal import Signal
from tests.oracle_signals import documents as plain_documents
from tests.unit.signals.documents import ANY_JSON, granted, without_one_key

SHEET = """\ufeff门店, 员工 ,凭证,渠道,语言,告知书,版本,时间,手机,短信营销,电话营销,个性化
南京西路店,E017,paper-000381,till,zh-CN,store_notice,3,2026-03-01 15:20,13900000381,是,否,
"""
PAPER = {
    "place": "南京西路店",
    "actor": "E017",
    "evidence": "paper-000381",
    "surface": "call_centre",
    "notice": {"id": "store_notice", "version": 3, "language": "zh-CN"},
    "time": "2026-03-01T15:20:00+08:00",
    "sms": "☑",
    "email": "☐",
    "ads": "maybe",
    "call": True,
    "post": None,
}


def test_row_of_a_sheet() -> None:
    (row,) = csv.DictReader(io.StringIO(SHEET))
    (signal,) = read(row)
    assert (signal.answers["短信营销"], signal.answers["电话营销"]) == ("granted", "refused")
    assert "个性化" not in signal.answers and "手机" not in signal.answers  # a code that is missing counts as refused
    assert (signal.values["门店"], signal.values["员工"]) == ("南京西路店", "E017")
    assert (signal.values["短信营销"], signal.values["凭证"]) == ("是", "paper-000381")
    assert "个性化" not in signal.values and signal.fields["个性化"] == ""


def test_object_of_json() -> None:
    (signal,) = read(PAPER)
    assert signal.answers == {"sms": "granted", "email": "refused", "call": "granted"}
    assert signal.values["notice.version"] == "3"
    assert signal.values["ads"] == "maybe"
    assert "post" not in signal.values


YES = ["是", "同意", "Y", "y", "yes", "true", "TRUE", "1", "☑", " 是 ", "\u3000同意", 1, True]
NO = ["否", "不同意", "N", "no", "false", "0", "☐", 0, False]
NEITHER = [
    "",
    " ",
    "on",
    "是的",
    "同 意",
    "不是",
    "Ｙ",
    "ye\u017f",
    "是/否",
    "是,否",
    "2",
    "-1",
    "☒",
    "x",
    "null",
    "yEs",
    "是\u200b",
]
NEITHER_VALUES: list[Any] = [None, 1.0, 2, -1, ["是"], [], {}]


@pytest.mark.parametrize("word", YES)
def test_word_for_yes_grants(word: Any) -> None:
    assert read({"sms": word})[0].answers == {"sms": "granted"}


@pytest.mark.parametrize("word", NO)
def test_word_for_no_refuses(word: Any) -> None:
    assert read({"sms": word})[0].answers == {"sms": "refused"}


@pytest.mark.parametrize("word", [*NEITHER, *NEITHER_VALUES])
def test_any_other_word_is_no_answer(word: Any) -> None:
    (signal,) = read({"sms": word, "email": "是"})
    assert signal.answers == {"email": "granted"}


@pytest.mark.parametrize("mark", ["是", "1", True, "", None, "unknown", "☑", "no idea", []])
@pytest.mark.parametrize("column", ["pre_ticked", "Pre-Ticked", "is pre ticked", "预勾选", "meta.pre_ticked"])
def test_form_ticked_beforehand_grants_nothing(column: str, mark: Any) -> None:
    (signal,) = read({"sms": "是", "email": "否", column: mark})
    assert set(signal.answers.values()) == {"refused"}
    assert signal.values["sms"] == "是"
    (signal,) = read({"sms": "是", "meta": {"pre_ticked": "是"}})
    assert "granted" not in signal.answers.values()


@pytest.mark.parametrize("mark", ["否", "0", "N", False])
def test_form_that_was_not_ticked_beforehand_is_read_as_any(mark: Any) -> None:
    assert read({"sms": "是", "pre_ticked": mark})[0].answers["sms"] == "granted"


@pytest.mark.parametrize(
    "document",
    [
        {"sms": "是", " sms": "否"},
        {"a.b": "是", "a": {"b": "否"}},
        {"sms": "是", None: ["left over"]},
        {"sms": "是", "": "x"},
        {"sms": "是", " ": "x"},
        {"sms": "是", "note": "x" * 5_000},
        {"sms": "是", "note": "a\x00b"},
        {"sms": "是", "n" * 200: "x"},
        {"sms": "是", "a": {"b": {"c": {"d": {"e": "是"}}}}},
        {f"c{n}": "是" for n in range(501)},
        ["是"],
        "是",
        None,
        7,
    ],
)
def test_what_does_not_add_up_grants_nothing(document: Any) -> None:
    (signal,) = read(document)
    assert signal.problem and not signal.answers


def granted_codes(document: Any) -> set[str]:
    return {code for code, *_ in granted(read(document))}


@pytest.mark.parametrize("document", [PAPER, {"sms": "是"}, {"a": {"b": "是", "c": "否"}}])
def test_removing_a_part_never_grants(document: Any) -> None:
    """But for the mark of a form that was ticked beforehand, which takes back what the rest says."""
    for name, shorter in without_one_key(document):
        assert granted_codes(shorter) <= granted_codes(document), name


PLAIN_YES = {*plain_documents.YES}  # told a second time, as the specification of this format lists them
WORDS = st.sampled_from([*(word for word in YES if isinstance(word, str)), *NEITHER]) | st.text(
    "是否同意yYesnoNOtrue10☑☐ ", max_size=3
)


def check_against_the_plain_reader(reader: Callable[[Any], list[Signal]]) -> None:
    @settings(
        deadline=None,
        max_examples=300,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    @given(
        st.dictionaries(st.sampled_from(["sms", "email", "call", "ads"]), WORDS),
        st.none() | st.sampled_from(["否", "是", "", "x"]),
    )
    def agrees(row: dict[str, str], mark: str | None) -> None:
        expected = {name for name, word in row.items() if word.strip() in PLAIN_YES and mark in (None, "否")}
        document = row if mark is None else {**row, "pre_ticked": mark}
        (signal,) = reader(document)
        assert {name for name, answer in signal.answers.items() if answer == "granted"} <= expected
        assert signal.problem or {name for name in row if signal.answers.get(name) == "granted"} == expected

    agrees()


def test_plain_reader_agrees() -> None:
    check_against_the_plain_reader(read)


@pytest.mark.parametrize("mutant", ["any case", "truthy", "first character", "mark ignored", "blank mark is no mark"])
def test_plain_reader_finds_a_broken_reader(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = form._answer
    if mutant == "any case":
        monkeypatch.setattr(form, "_answer", lambda text: answer(text.casefold()))
    elif mutant == "truthy":
        monkeypatch.setattr(form, "_answer", lambda text: "granted" if text else "refused")
    elif mutant == "first character":
        monkeypatch.setattr(form, "_answer", lambda text: answer(text[:1]))
    elif mutant == "mark ignored":
        monkeypatch.setattr(form, "PRE_TICKED", frozenset())
    else:
        monkeypatch.setattr(form, "NO", form.NO | {""})
    with pytest.raises(AssertionError):
        check_against_the_plain_reader(read)


@settings(deadline=None)
@given(ANY_JSON)
def test_no_document_raises_or_grants_without_the_words(document: Any) -> None:
    (signal,) = read(document)
    (nested,) = read({"q": document})
    for said in (signal, nested):
        for name, answer in said.answers.items():
            assert answer != "granted" or said.values[name] in PLAIN_YES


def test_huge_documents_take_no_time() -> None:
    before = time.process_time()
    huge = "是" * 50_000_000
    assert granted(read({"sms": "是", "note": huge})) == set()
    assert granted(read(dict.fromkeys(map(str, range(200_000)), "是"))) == set()
    assert time.process_time() - before < 1
