"""Lines that are recognised by their pattern are judged as each would be by itself, whatever is in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestration.consent.feeds import patterns as module
from orchestration.consent.feeds.judge import Judge
from orchestration.consent.feeds.judged import Judged, judge_lines, judge_rows
from orchestration.consent.feeds.patterns import Patterns
from orchestration.consent.feeds.rows import json_row
from orchestration.consent.ledger import open_ledger
from orchestration.consent.postings import posting_of
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.vault import Vault
from orchestration.ingestion.quarantine import read_quarantine
from tests.unit.test_consent_import import FEEDS, NOW, PHONE, POLICY, Desk, desk, row

__all__ = ["desk"]  # a fixture
JUDGE = Judge(POLICY, Keys.from_seed(7), FEEDS["consent_center"], "batch", NOW)
OPENID = {"kind": "openid", "issuer": "wx-oa-shop", "value": "oABC"}


def judged(lines: list[str]) -> tuple[Judged, Judged, Patterns]:
    patterns = Patterns(JUDGE)
    places = list(enumerate(lines, start=1))
    return judge_lines(places, JUDGE, patterns), judge_rows((json_row(*place) for place in places), JUDGE), patterns


def said(result: Judged) -> tuple[Any, ...]:
    return (
        *(result.read, [posting_of(record) for record in result.accepted], result.places, list(result.contacts)),
        *(result.restrictions, result.quarantined, result.is_blind),
    )


def bare(**changes: Any) -> dict[str, Any]:
    return row(**{**dict.fromkeys(("purpose", "decision", "method", "notice", "jurisdiction")), **changes})


SHAPES: tuple[dict[str, Any], ...] = (
    {},
    {"decision": "withdraw"},
    {"valid_until": "2027-11-01T00:00:00Z", "separate": True, "place": "店"},
    {"actor": 'a"b', "evidence": "e\u2028f", "raw": "\\\\"},
)
# A member that is there and says nothing: what a line with the same remainder says in it is judged.
BLANKS: tuple[dict[str, Any], ...] = (
    {"minor_until": " "},
    {"decision": "deny", "minor_until": "", "valid_until": "", "place": ""},
    {"other": {**OPENID, "value": " "}, "evidence": "\t", "raw": ""},
)
FACTS = (
    bare(type="permission", channel="sms", state="closed"),
    bare(type="age", minor_until="2030-01-01T00:00:00+08:00"),
    bare(type="link", other=OPENID, unlink=True),
    bare(type="contract", fact="membership", valid_until="2026-12-01T00:00:00Z"),
    bare(type="status", status="restricted", state="on"),
    bare(type="contract", fact="membership", other=OPENID),
)
TEXTS = st.sampled_from(
    (
        "e1",
        "e2",
        " e1 ",
        "",
        " ",
        "\u3000",
        "\u00a0x",
        "x" * 1024,
        "x" * 1025,
        "\u27e80\u27e9",
        "\ud800",
        "\\",
        '"',
        "\n",
    )
)
TIMES = st.sampled_from(
    (
        *("2026-11-01T10:00:00+08:00", "2026-11-01 10:00:00.5Z", " 2026-11-02T10:00:00Z", "2026-11-20T12:06:00Z"),
        *("2026-11-01T10:00:00", "2026-11-01", "1970-01-01T00:00:00Z", "2024-12-31T15:59:59Z", "soon", ""),
        *("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-11-01T10:00:00+14:01"),
    )
)
VALUES = st.sampled_from(
    (PHONE, "oXYZ", "null", "138 1234 5678", "13900001111", "138****5678", "x@y.z", " ", "\ud83d", "1" * 1100)
)
CHANGES: dict[str, st.SearchStrategy[Any]] = {
    "event_id": TEXTS,
    "effective_at": TIMES,
    "valid_until": TIMES,
    "minor_until": TIMES,
    "place": TEXTS,
    "surface": TEXTS,
    "actor": TEXTS,
    "subject": st.builds(lambda value: {"kind": "phone", "issuer": "e164", "value": value}, VALUES)
    | st.sampled_from((OPENID, {"kind": "phone", "issuer": "e164", "value": 13812345678}, {**OPENID, "name": "x"})),
    "other": st.sampled_from((OPENID, {**OPENID, "value": " "}, {"kind": "phone", "issuer": "e164", "value": PHONE})),
    "decision": st.sampled_from(("grant", "deny", "witdraw", 7)),
    "notice": st.sampled_from(({"id": "privacy", "version": "1"}, {"id": "privacy", "value": "e1"}, {"id": "e1"})),
    "purpose": st.sampled_from(("sms_marketing", "email_marketing", "e1", None)),
}


HOLES = ("event_id", *("effective_at", "valid_until", "minor_until"), *("place", "surface", "actor"), "value", "value")


@st.composite
def deliveries(draw: st.DrawFn) -> list[str]:
    """Lines that mostly repeat a few forms: each first as it is, then with other holes, other members, or broken."""
    chosen = st.sampled_from([*(row(**shape) for shape in (*SHAPES, *BLANKS)), *FACTS])
    trees = draw(st.lists(chosen, min_size=1, max_size=2))
    ascii, separators = draw(st.booleans()), draw(st.sampled_from(((",", ":"), (", ", ": "))))
    several = [written(tree, ascii, separators) for tree in trees]
    for tree in draw(st.lists(st.sampled_from(trees), max_size=12)):
        changed = dict(tree)
        for name in draw(st.lists(st.sampled_from(HOLES), min_size=1, max_size=2)):
            outer = draw(st.sampled_from([outer for outer in ("subject", "other") if outer in tree]))
            if name == "value":
                changed[outer] = {**tree[outer], "value": draw(VALUES)}
            elif name in tree:
                changed[name] = draw(CHANGES[name])
        if draw(st.integers(0, 3)) == 0:
            name = draw(st.sampled_from(sorted(CHANGES)))
            changed[name] = draw(CHANGES[name])
        line = written(changed, ascii, separators)
        several.append(draw(mutated(line)) if draw(st.integers(0, 3)) == 0 else line)
    return several


def written(tree: dict[str, Any], ascii: bool, separators: tuple[str, str]) -> str:
    line = json.dumps(tree, ensure_ascii=ascii, separators=separators)
    is_text = ascii or not any("\ud800" <= character <= "\udfff" for character in line)
    return line if is_text else json.dumps(tree)  # a file of such a line is refused before it is read


@st.composite
def mutated(draw: st.DrawFn, line: str) -> str:
    at = draw(st.integers(0, len(line) - 1))
    part = draw(
        st.sampled_from(
            (
                *(
                    "",
                    '"',
                    "\\",
                    "\\u",
                    "\\u00e9",
                    "\\ud800",
                    "\x00",
                    "\t",
                    "{",
                    "}",
                    ",",
                    ":",
                    " ",
                    "\u00a0",
                    "NaN",
                    "é",
                ),
                *('"event_id":"e1",', '"surface" : "s",', '"value":"e1"', '"\\u0065vent_id":"e3",', '"raw":"\\q",'),
            )
        )
    )
    return line[:at] + part + line[at + draw(st.integers(0, 2)) :]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(several=[json.dumps(row()), json.dumps(row(effective_at="2026-11-20T12:06:00Z"))], is_wide=False)
@example(several=[json.dumps(row()), json.dumps(row(effective_at="2024-12-31T15:59:59Z"))], is_wide=False)
@example(several=[json.dumps(FACTS[2]), json.dumps({**FACTS[2], "other": {**OPENID, "value": "null"}})], is_wide=False)
@given(several=deliveries(), is_wide=st.booleans())
def test_lines_are_judged_alike_with_and_without_patterns(several: list[str], is_wide: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if is_wide:
            patch.setattr(module, "NARROW", module.WIDE)
        fast, slow, _ = judged(several)
    assert said(fast) == said(slow)


MINOR = {"minor_until": "2030-01-01T00:00:00Z"}
OTHER = {"other": {"kind": "phone", "issuer": "e164", "value": "13900001111"}}


@pytest.mark.parametrize("hole", [module.NARROW, module.WIDE], ids=["narrow", "wide"])
@pytest.mark.parametrize(
    ("blank", "filled", "denials", "contacts"),
    [({"minor_until": " "}, MINOR, 1, 1), ({"other": {**OTHER["other"], "value": " "}}, OTHER, 0, 2)],
)
def test_member_that_was_blank_is_judged_once_it_is_filled(
    blank: dict[str, Any],
    filled: dict[str, Any],
    denials: int,
    contacts: int,
    hole: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A grant with a minor's date contradicts itself; another end that is a contact goes to the vault."""
    monkeypatch.setattr(module, "NARROW", hole)
    fast, slow, _ = judged([json.dumps(row(**blank)), json.dumps(row(event_id="e2", **filled))])
    assert said(fast) == said(slow)
    assert (len(fast.restrictions), len(fast.contacts)) == (denials, contacts)


def test_line_that_is_padded_is_not_remembered() -> None:
    padding = " " * module.LONGEST
    fast, slow, patterns = judged([json.dumps(row(event_id=f"e{n}")) + padding for n in range(3)])
    assert said(fast) == said(slow) and len(fast.accepted) == 3
    assert patterns._known == {}


def test_identifier_of_megabytes_is_nobody_and_is_not_remembered() -> None:
    judge = Judge(POLICY, Keys.from_seed(7), FEEDS["consent_center"], "batch", NOW)
    trees = [row(decision="withdraw", subject={**OPENID, "value": letter * 500_000}) for letter in "xy"]
    found = judge_rows((json_row(1, json.dumps(tree)) for tree in trees), judge)
    assert (found.accepted, found.is_blind) == ([], True)
    judge.judge(json_row(3, json.dumps(row())))
    assert judge.identifiers.subject.cache_info().currsize == 2  # the good subject, and that there is no other end


def test_pattern_is_used_for_what_differs_in_id_subject_time_and_detail() -> None:
    """Without this the test above would hold for patterns that recognise nothing."""
    base = [*(row(**shape) for shape in SHAPES), *FACTS[:-1]]
    more = [{**tree, "event_id": "e9", "effective_at": "2026-11-02T00:00:00Z", "subject": OPENID} for tree in base]
    again = [{**tree, "event_id": "e7", "effective_at": "2026-11-03T00:00:00Z"} for tree in base]
    again += [{**tree, "subject": {**OPENID, "value": "oDEF"}} for tree in more]
    _, _, patterns = judged([json.dumps(tree) for tree in base + more])
    found = [patterns.posting(json.dumps(tree)) for tree in again]
    assert None not in found
    known = len(patterns._known)
    judge_lines([(1, json.dumps(tree)) for tree in again], JUDGE, patterns)
    assert len(patterns._known) == known


@pytest.mark.parametrize(
    ("first", "old", "new"),
    [
        ('"\\u0076alid_until": "2027-11-01T00:00:00Z", "surface": "a"', '"e1"', '"e2"'),
        ('"\\u0061ctor": "\u27e8MARK\u27e9", "surface": "a"', '"a"', '"b"'),
        (
            '"\\u0061ctor": "\u27e8MARK\u27e9", "surface": "\u27e8MARK\u27e9"',
            '"surface": "\u27e8',
            '"surface": "b\u27e8',
        ),
        ('"surface": "a", "\\u0073urface": "b"', '"a"', '"b"'),
        ('"\\u0061ctor": "x", "surface": "a"', '"a"', '"b"'),
        ('"surface": "a\\u00', '"e1"', '"e2"'),
        ('"surface": "a"', '"e1"', '"e\t1"'),
    ],
)
@pytest.mark.parametrize("hole", [module.NARROW, module.WIDE], ids=["narrow", "wide"])
def test_hidden_member_is_no_hole(first: str, old: str, new: str, hole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member whose name is escaped is not cut out, and a value may look like a mark."""
    monkeypatch.setattr(module, "NARROW", hole)
    line = json.dumps(row()).replace('"surface": "mini-program"', first)
    for mark in range(4):
        marked = line.replace("MARK", str(mark))
        fast, slow, _ = judged([marked, marked.replace(old, new, 1), marked])
        assert said(fast) == said(slow)


def test_feed_whose_detail_never_repeats_is_recognised_after_some_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    trees = [row(event_id=f"e{number}", place=f"店{number}", actor=f"a\n{number}") for number in range(9)]
    fast, slow, patterns = judged([json.dumps(tree) for tree in trees])
    assert said(fast) == said(slow)
    assert patterns.posting(json.dumps(row(event_id="e10", place="new", actor="x"))) is not None


def test_delivery_is_imported_alike_with_and_without_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the whole importer: rows of the ledger but for what is random, quarantine, vault and report."""
    trees = [
        row(event_id=f"e{number % 9}", purpose=("sms_marketing", "email_marketing")[number % 2]) for number in range(20)
    ]
    several = [json.dumps(tree) for tree in trees] + ["{", json.dumps(row(decision="witdraw"))]
    fast = imported(tmp_path / "fast", several)
    monkeypatch.setattr(Patterns, "posting", lambda *_: None)
    assert imported(tmp_path / "slow", several) == fast


def imported(folder: Path, several: list[str]) -> list[Any]:
    folder.mkdir()
    home = Home.open(folder / "home", demo_seed=7)
    keys = Keys.open(home)
    report = Desk(home, keys, folder).deliver(*several)
    with open_ledger(home, keys) as (ledger, registry):
        assert ledger.verify() is None
        tokens = dict(registry.mapping_arrow().select(["subject_ref", "token"]).to_pandas().values.tolist())
        rows = ledger.subject_rows(list(tokens))
    random = ("detail_commitment", "prev_hash", "hash")
    stored = [{n: tokens.get(str(v), v) for n, v in found.items() if n not in random} for found in rows]
    (kept,) = home.quarantine.rglob("*.parquet")
    with Vault(home, keys) as vault:
        contacts = vault.get(list(tokens.values()))
    return [report, stored, list(read_quarantine(keys, kept)), contacts]
