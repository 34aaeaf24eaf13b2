"""Today's minimisation on what an older one stored: less is left, never more, no row goes, a kill changes nothing."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from orchestration.consent.ledger import open_ledger
from orchestration.consent.models import Record, Subject
from orchestration.errors import AssentError
from orchestration.evidence.removed import notes_of_removal
from orchestration.evidence.survey import survey
from orchestration.identity.pseudonymise import Tokeniser
from orchestration.identity.vault import Vault
from orchestration.ingestion.lake import lake_files, link_files, manifests
from orchestration.policy.schema import Minimisation, Sources
from orchestration.retention import commands_minimise, reminimise, swap
from orchestration.retention.steps import Steps
from orchestration.settings import IN_HOME, load_settings
from orchestration.warehouse import archive
from tests.unit.ingestion_world import NOW, VERBS, World, row

FEED = {"format": "jsonl", "path": "s-{day}.jsonl"}
Verbs = dict[str, str | dict[str, str]]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two days under a policy that keeps nearly everything."""
    world = World.make(tmp_path, FEED)
    for day in (1, 2):
        at = f"2026-01-0{day}T10:00:00+08:00"
        rows = [
            row(n, id=f"e{n}-{day}", at=at, note="1990-05-17", amount=249.5, phone=f"1380000000{n}") for n in (1, 2)
        ]
        world.put(f"s-2026-01-0{day}.jsonl", [*rows, row(3, id=f"e3-{day}", at=at, account=None, phone="13800000003")])
    assert world.ingest().accepted == 6
    return world


def govern(world: World, **verbs: Any) -> None:
    """Another minimisation from now on: field → verb, or the whole of a bucket's rule."""
    rules = []
    for field in world.source.fields:
        verb = verbs.get(field.name, VERBS.get(field.name, "keep"))
        given = {"verb": "bucket", "bucket": verb[1]} if isinstance(verb, tuple) else {"verb": verb}
        rules.append({"field": field.name, "category": "behaviour", **given})
    chosen = Minimisation.model_validate({"sources": [{"source": world.source.name, "fields": rules}]})
    world.policy = world.policy.model_copy(update={"minimisation": chosen})


def apply(world: World) -> dict[str, dict[str, int]]:
    return reminimise.reminimise(world.home, world.policy, world.keys, now=NOW)


def plan(world: World) -> dict[str, reminimise.PlanLine]:
    return {line.column: line for line in reminimise.plan(world.home, world.policy, world.keys)}


def columns(world: World) -> set[str]:
    return {name for path in lake_files(world.home, world.source.name) for name in pq.read_schema(path).names}


def at_rest(world: World) -> bytes:
    """Every byte of the lake and of what lies aside, Parquet unpacked."""
    files = [path for place in (world.home.lake, world.home.tmp) for path in place.rglob("*") if path.is_file()]
    tables = [str(pq.read_table(path).to_pylist()).encode() for path in files if path.suffix == ".parquet"]
    return b"\n".join([*(path.read_bytes() for path in files), *tables])


def test_field_that_became_drop_goes_from_every_file_and_byte(world: World) -> None:
    before = world.lake("* EXCLUDE (note)")
    assert b"1990-05-17" in at_rest(world), "the search would find it"
    govern(world, note="drop")
    assert (plan(world)["note"].fate, plan(world)["note"].values, plan(world)["note"].files) == ("dropped", 4, 2)
    assert apply(world)["shop_src"] == {"files": 2, "columns": 1, "values": 4}
    assert b"1990-05-17" not in at_rest(world)
    assert world.lake() == before, "no row goes, and no other value"
    assert plan(world) == {}


@pytest.mark.parametrize(
    ("verb", "column", "expected"),
    [
        ("token", "note_token", None),
        ("truncate_day", "note_on", date(1990, 5, 17)),
        (("bucket", "month_of_year"), "note_month_of_year", 5),
        (("bucket", "year"), "note_year", 1990),
    ],
)
def test_stored_value_becomes_what_the_door_would_make_of_it(
    world: World, verb: Any, column: str, expected: Any
) -> None:
    govern(world, note=verb)
    assert (plan(world)["note"].fate, plan(world)["note"].into) == ("coarsened", column)
    apply(world)
    if expected is None:
        expected = Tokeniser(world.keys).keyed_hash("note|1990-05-17")
    assert world.lake(column) == [(expected,)] * 4 + [(None,)] * 2
    assert b"1990-05-17" not in at_rest(world)
    world.put("s-2026-01-03.jsonl", [row(1, id="e9", note="1990-05-17")])
    world.ingest()
    assert world.lake(column) == [(expected,)] * 5 + [(None,)] * 2, "the door makes the same of it"


def test_day_becomes_a_bucket_and_a_bucket_becomes_no_other(world: World) -> None:
    govern(world, note="truncate_day")
    apply(world)
    govern(world, note=("bucket", "year"))
    assert plan(world)["note_on"].fate == "coarsened"
    apply(world)
    assert world.lake("note_year") == [(1990,)] * 4 + [(None,)] * 2
    govern(world, note=("bucket", "month_of_year"))
    assert (plan(world)["note_year"].fate, plan(world)["note_year"].into) == ("lost", None)
    apply(world)
    assert {"note_year", "note_month_of_year"} & columns(world) == set(), "what cannot be told goes, and is said"


@pytest.mark.parametrize(
    ("stored", "later"),
    [("token", "keep"), ("truncate_day", "keep"), (("bucket", "year"), "keep"), (("bucket", "year"), "truncate_day")],
)
def test_policy_that_allows_more_changes_nothing_stored(world: World, stored: Any, later: Any) -> None:
    govern(world, note=stored)
    apply(world)
    before, files = world.lake(), lake_files(world.home, "shop_src")
    govern(world, note=later)
    assert {line.fate for line in plan(world).values()} == {"kept"}
    assert apply(world)["shop_src"]["files"] == 0
    assert (world.lake(), lake_files(world.home, "shop_src")) == (before, files)


def test_identifier_that_policy_takes_no_longer_is_nobodys_subject(world: World) -> None:
    """The next identifier of the row is its subject, else nobody; links stay, because refusals spread over them."""
    token = Tokeniser(world.keys).token("account", "shop", "a1")
    rows, links = world.lake(), [path.read_bytes() for path in link_files(world.home)]
    assert any(token in row for row in rows)
    govern(world, account="drop")
    source = world.source.model_copy(update={"identifiers": world.source.identifiers[1:]})
    world.policy = world.policy.model_copy(update={"sources": Sources(sources=(source,), consent_feeds=())})
    assert plan(world)["subject_token"].values == 4
    apply(world)
    assert not any(token in row for row in world.lake())
    assert {kind for (kind,) in world.lake("subject_kind")} == {"phone"}
    assert world.lake("count(*)") == [(6,)]
    assert [path.read_bytes() for path in link_files(world.home)] == links


def test_contact_details_of_a_kind_that_is_none_any_longer_leave_the_vault(world: World) -> None:
    """Lake and registry are what they were: the phone is still an identifier, only nobody may be called any longer."""
    kinds = [
        kind.model_copy(update={"contact": False}) if kind.name == "phone" else kind
        for kind in world.policy.organisation.identifier_kinds
    ]
    token = Tokeniser(world.keys).token("phone", "e164", "+8613800000001")
    rows, sealed = world.lake(), sealed_of(world, token)
    organisation = world.policy.organisation.model_copy(update={"identifier_kinds": tuple(kinds)})
    world.policy = world.policy.model_copy(update={"organisation": organisation})
    assert plan(world)["phone"].values == 3
    assert sealed in world.home.vault_db.read_bytes(), "the search would find it"
    assert apply(world)[reminimise.OF_VAULT]["values"] == 3
    with Vault(world.home, world.keys) as vault:
        assert vault.get([token]) == {}
    assert sealed not in world.home.vault_db.read_bytes()
    assert (world.lake(), plan(world)) == (rows, {})


def sealed_of(world: World, token: str) -> bytes:
    with contextlib.closing(sqlite3.connect(world.home.vault_db)) as con:
        return bytes(con.execute("SELECT sealed FROM contacts WHERE token = ?", [token]).fetchone()[0])


def test_event_that_policy_names_no_longer_goes(world: World) -> None:
    source = world.source.model_copy(update={"events": ()})
    world.policy = world.policy.model_copy(update={"sources": Sources(sources=(source,), consent_feeds=())})
    assert plan(world)["raw_event"].values == 6
    apply(world)
    assert world.lake("DISTINCT raw_event") == [(None,)]


@pytest.mark.fault("F10")
def test_source_under_legal_hold_is_deferred(world: World) -> None:
    govern(world, note="drop")
    retention = world.policy.retention.model_copy(update={"legal_holds": ("shop_src",)})
    free, world.policy = world.policy, world.policy.model_copy(update={"retention": retention})
    assert [(line.column, line.fate, line.files) for line in plan(world).values()] == [(reminimise.EVERY, "kept", 2)]
    before = world.lake()
    assert apply(world)["shop_src"]["files"] == 0
    assert world.lake() == before
    world.policy = free
    assert apply(world)["shop_src"]["files"] == 2, "once the hold is over"


@pytest.mark.fault("F10")
def test_files_with_somebody_under_hold_are_deferred(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Number 9 is on the third day only, and held: that file stays as it is, the others are written again."""
    world.put("s-2026-01-03.jsonl", [row(9, id="e9", note="1990-05-17", at="2026-01-03T10:00:00+08:00")])
    world.ingest()
    token = Tokeniser(world.keys).token("account", "shop", "a9")
    monkeypatch.setattr(reminimise, "held_tokens", lambda *_: pa.array([token]))
    govern(world, note="drop")
    found = plan(world)
    assert (found["note"].files, found[reminimise.EVERY].files) == (2, 1)
    apply(world)
    (held,) = [path for path in lake_files(world.home, "shop_src") if "note" in pq.read_schema(path).names]
    assert "day=2026-01-03" in held.parts
    assert pq.read_table(held)["note"].to_pylist() == ["1990-05-17"]


@pytest.mark.fault("F10")
def test_hold_on_record_is_known_and_ends(world: World) -> None:
    """By the ledger alone nobody can say what else is theirs: the pass stops until a build has."""
    subject = Subject(Tokeniser(world.keys).token("account", "shop", "a1"), "account", "shop")

    def say(state: str, hours: int) -> None:
        at = NOW + timedelta(hours=hours)
        record = Record(event_id=f"h{hours}", type="status", feed="desk", effective_at=at, subject=subject,
                        controller="shop", fact="legal_hold", state=state)  # fmt: skip
        with open_ledger(world.home, world.keys, IN_HOME) as (ledger, _):
            ledger.append([record], at)

    say("on", 1)
    with pytest.raises(AssentError, match="Run `assent run` first"):
        plan(world)
    say("off", 2)
    assert plan(world) == {}


def test_files_are_the_same_ones_where_nothing_is_to_be_named_by_them(world: World) -> None:
    measured, plain = archive.list_files(world.home), archive.list_files(world.home, is_measured=False)
    facts = ["rows", "bytes", "modified_ns", "sha256"]
    assert measured.num_rows > 1 and plain.drop_columns(facts).equals(measured.drop_columns(facts))
    assert all(plain[name].null_count == plain.num_rows for name in facts)


def test_manifests_notes_and_replay_explain_the_difference(world: World) -> None:
    archived = archive.list_files(world.home)
    totals = [(m.read, m.accepted, m.removed) for m in manifests(world.home)]
    govern(world, note="drop")
    apply(world)
    assert [(m.read, m.accepted, m.removed) for m in manifests(world.home)] == totals
    (note,) = notes_of_removal(world.home)
    assert (note.cause, {file.rows for file in note.files}) == ("retention", {0})
    found = survey(world.home, archived, [world.policy], now=NOW)
    assert {(file.kind, file.state, file.cause, file.rows_gone) for file in found.missing} == {
        ("touchpoints", "rewritten", "retention", 0)
    }
    assert world.ingest().redelivered == 2, "what was delivered is still known"


@pytest.mark.fault("A8")
@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("step", ["settle", "note_removed", "write_manifests", "unlink", "done"])
def test_pass_that_is_killed_is_finished_by_another(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str, is_after: bool
) -> None:
    """Killed before or after any of its steps, the lake can be read, and the next pass leaves what one alone leaves."""
    govern(world, note="drop")
    where: Any = Steps if step == "done" else swap
    whole: Callable[..., Any] = getattr(where, step)

    class Killed(BaseException):
        pass

    def kill(*given: Any, **named: Any) -> None:
        if is_after:
            whole(*given, **named)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(where, step, kill)
        with pytest.raises(Killed):
            apply(world)
    assert world.lake("count(*)") == [(6,)]
    with Steps(world.home) as steps:
        assert steps.open_works(reminimise.KIND), "what is not done is on record"
    reminimise.reminimise(world.home, world.policy, world.keys, now=NOW + timedelta(hours=1))
    assert (columns(world) & {"note"}, world.lake("count(*)")) == (set(), [(6,)])
    assert b"1990-05-17" not in at_rest(world)
    with Steps(world.home) as steps:
        assert not steps.open_works(reminimise.KIND)


def test_nightly_warning_counts_what_a_pass_would_change(world: World) -> None:
    assert reminimise.stale_columns(world.home, world.policy, world.source) == 0
    govern(world, note="drop", amount=("bucket", "hundreds"))
    assert reminimise.stale_columns(world.home, world.policy, world.source) == 2
    apply(world)
    assert reminimise.stale_columns(world.home, world.policy, world.source) == 0


def test_command_shows_before_it_changes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    govern(world, note="drop")
    monkeypatch.setattr(commands_minimise, "load_policy", lambda _: world.policy)
    monkeypatch.setenv("ASSENT_HOME", str(world.home.root))

    def run(*arguments: str) -> Any:
        done = CliRunner().invoke(commands_minimise.minimise, ["--json", *arguments], obj=load_settings())
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    planned = run("--plan")
    assert (planned["applied"], [line["column"] for line in planned["plan"]]) == (None, ["note"])
    assert b"1990-05-17" in at_rest(world)
    assert run()["applied"]["shop_src"] == {"files": 2, "columns": 1, "values": 4}
    assert run() == {"plan": [], "applied": None}
    assert "note" not in columns(world)


def test_pass_that_applies_nothing_is_caught(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: a pass that writes the files as they were fails the tests above."""
    monkeypatch.setattr(reminimise, "_rewritten", lambda policy, source, stored: "SELECT * FROM stored")
    with pytest.raises(AssertionError):
        test_field_that_became_drop_goes_from_every_file_and_byte(world)
