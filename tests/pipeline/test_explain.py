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


def test_stranger_is_explained_without_a_trace(built: tuple[Path, Finished]) -> None:
    found = explain(built[0], "account:shop:nobody-has-this").json()
    assert (found["is_member"], found["reason"], found["scopes"]) == (False, "unresolved_identity", [])
