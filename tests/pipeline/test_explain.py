"""`assent explain` on a real generation: in or out, and why, down to the ledger event and the notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.conftest import Finished, assent


def explain(home: Path, identifier: str, segment: str = "consulted_not_bought_30") -> Finished:
    arguments = ("explain", "--segment", segment, "--identifier-file", "-", "--json")
    return assent(home, *arguments, stdin=identifier + "\n")


def test_member_is_explained_by_the_event_that_admits(built: tuple[Path, Finished]) -> None:
    found = explain(built[0], "account:shop:acc-linyu").json()
    assert found["is_member"] is True
    assert found["admission"]["decision"] == "grant"
    assert (found["admission"]["notice_id"], found["admission"]["notice_version"]) == ("privacy", "2")
    assert {scope["decided_by"] for scope in found["scopes"] if scope["reason"] is None} == {found["admission"]["seq"]}


@pytest.mark.parametrize(
    ("persona", "reason", "decision"),
    [("acc-wujing", "withdrawn", "withdraw"), ("acc-fengqi", "expired", "grant")],
)
def test_outsider_is_explained_by_the_event_that_decides(
    built: tuple[Path, Finished], persona: str, reason: str, decision: str
) -> None:
    done = explain(built[0], f"account:shop:{persona}")
    found = done.json()
    assert (found["is_member"], found["reason"]) == (False, reason)
    scopes = [scope for scope in found["scopes"] if scope["reason"] == reason]
    assert scopes and all(scope["decision"] == decision and scope["decided_by"] > 0 for scope in scopes)
    assert persona not in done.out + done.err, "an identifier is never repeated"


def whole(home: Path, identifier: str, *more: str) -> Finished:
    return assent(home, "explain", "--identifier-file", "-", *more, stdin=identifier + "\n")


@pytest.mark.parametrize("persona", ["acc-linyu", "acc-wujing", "acc-fengqi", "nobody-has-this"])
def test_whole_person_agrees_with_each_segment_and_names_nobody(built: tuple[Path, Finished], persona: str) -> None:
    done = whole(built[0], f"account:shop:{persona}", "--json")
    found = done.json()
    segments = {row["segment"]: row for one in found["at"] for row in one["segments"]}
    one = explain(built[0], f"account:shop:{persona}").json()
    same = segments["consulted_not_bought_30"]
    assert (same["is_member"], same["reason"], same["step"]) == (one["is_member"], one["reason"], one["step"])
    shop = next(at for at in found["at"] if at["controller"] == "shop")
    counted = [row for row in shop["touchpoints"] if row["purpose"] == one["purpose"]]
    by_reason: dict[str, int] = {}
    for row in counted:
        by_reason[row["reason"]] = by_reason.get(row["reason"], 0) + row["touchpoints"]
    assert by_reason == one["touchpoints"]
    told = {row["seq"] for row in shop["events"]}
    assert {scope["decided_by"] for scope in one["scopes"] if scope["decided_by"] is not None} <= told
    assert persona not in done.out + done.err


def test_stranger_is_explained_without_a_trace(built: tuple[Path, Finished]) -> None:
    found = explain(built[0], "account:shop:nobody-has-this").json()
    assert (found["is_member"], found["reason"], found["scopes"]) == (False, "unresolved_identity", [])
