"""Access: everything known about one person in one page and one JSON, nothing of others, and no token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestration.errors import AssentError
from orchestration.retention import respond
from tests.erasure_world import scattered_world, site_of
from tests.generation_fixture import LATER, SMS, World
from tests.unit.test_exports import quick_checks
from tests.unit.test_retention_requests import ask

__all__ = ["quick_checks", "scattered_world"]  # fixtures


def answered(world: World, folder: Path) -> tuple[dict[str, object], str]:
    folder.mkdir()
    site = site_of(world)
    request, _ = respond.receive(site, "access", world.subject("ann"), now=LATER)
    done, (said, page) = respond.answer_access(site, request.id, folder, now=LATER)
    assert (done.state, done.has_tombstone) == ("answered", False)
    assert {path.stat().st_mode & 0o077 for path in (said, page)} == {0}
    return json.loads(said.read_bytes()), page.read_text(encoding="utf-8")


def test_answer_holds_everything_of_the_person(world: World, tmp_path: Path) -> None:
    """Profile, sources, consent, purposes, segments and deliveries (R-30, R-31, R-98)."""
    said, page = answered(world, tmp_path / "answer")
    values = {one["kind"]: one["value"] for one in said["identifiers"]}  # type: ignore[attr-defined]
    assert (values["phone"], values["email"]) == ("+8613800138000", "ann@example.com")
    assert values["cookie"] is None, "of a cookie only a keyed hash is kept"
    assert [row["item"] for row in said["touchpoints"]] == ["sku-1", "sku-2"]  # type: ignore[attr-defined]
    (source,) = said["sources"]  # type: ignore[misc]
    assert source["lawful_basis"] and source["kept_days"]["behaviour"] == 180
    assert {row.get("purpose") for row in said["consents"]} == {"sms_marketing", None}  # type: ignore[attr-defined]
    assert {(row["destination"], row["legal_entity"]) for row in said["recipients"]} >= {  # type: ignore[attr-defined]
        ("sms_gateway", "Example SMS Co.")
    }
    (shop,) = [at for at in said["explanation"]["at"] if at["controller"] == "shop"]  # type: ignore[index]
    assert [s["is_member"] for s in shop["segments"] if s["segment"] == SMS] == [True]
    for text in ("+8613800138000", "sku-1", "Example SMS Co.", "我们持有的您的个人信息", "History of your consent"):
        assert text in page


def test_answer_holds_no_token_and_nothing_of_others(world: World, tmp_path: Path) -> None:
    said, page = answered(world, tmp_path / "answer")
    text = json.dumps(said, ensure_ascii=False) + page
    for person in world.people.values():
        assert not any(world.token(person.name, kind) in text for kind in person.contacts)
        assert person.name == "ann" or not any(value in text for value in person.contacts.values())
        assert person.key not in text
    assert "sku-3" not in text, "what bob did with her address is his"


def test_page_loads_and_runs_nothing(world: World, tmp_path: Path) -> None:
    _, page = answered(world, tmp_path / "answer")
    assert "default-src 'none'" in page
    assert not any(sign in page for sign in ("<script", "src=", "href=", "@import", "url("))


def test_answer_does_not_lie_in_the_home(world: World) -> None:
    site = site_of(world)
    request, _ = respond.receive(site, "access", world.subject("ann"), now=LATER)
    with pytest.raises(AssentError, match="does not lie in the home"):
        respond.answer_access(site, request.id, world.home.tmp, now=LATER)


@pytest.mark.fault("E10")
def test_command_answers_a_person_read_from_stdin(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "answer"
    folder.mkdir()
    done = ask(world, "access", "--identifier-file", "-", "--to", str(folder), stdin="phone:e164:+8613800138000\n")
    assert done.exit_code == 0, done.output
    assert "13800138000" not in done.output
    assert len(list(folder.iterdir())) == 2
