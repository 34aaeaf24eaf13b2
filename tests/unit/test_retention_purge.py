"""The purge: what is due goes and nothing else, it says only what is so, and it survives kills and full disks."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from orchestration.backup import commands as backup_commands
from orchestration.backup.register import noted_backups
from orchestration.errors import AssentError, ExitCode, HomeError, VerifyError
from orchestration.evidence.removed import notes_of_removal
from orchestration.home import Home
from orchestration.identity import commands as keys_commands
from orchestration.identity.keys import Keys
from orchestration.identity.vault import Vault
from orchestration.policy.loader import SHIPPED, load_policy
from orchestration.retention import commands, deletions
from orchestration.retention.deletions import DELETIONS
from orchestration.retention.plan import DATASETS
from orchestration.retention.purge import At, PurgeReport, look, purge
from orchestration.retention.record import last_purges
from orchestration.retention.steps import Steps
from orchestration.settings import Settings
from orchestration.warehouse import contact_log
from orchestration.warehouse.publish import published
from tests import retention_world
from tests.generation_fixture import AS_OF
from tests.homes import put_back
from tests.killed import in_child
from tests.retention_world import CLOCK, GENERATION, HELD, OLD_BATCH, YOUNG_BATCH, Retained

# Part → units that are due in the world of these tests; the row of the one under legal hold is not.
DUE = {
    "touchpoints:web": 4, "settled:web": 2, "links": 1, "quarantine": 1, "archive:wechat": 1, "vault": 1,
    "deliveries": 1, "removals": 1, "contact_points": 2, "exports": 1, "generations": 1, "dbt": 1, "backups": 1,
}  # fmt: skip
LATER = datetime.now(UTC) + timedelta(days=40)  # of what the commands date by the wall clock
GOES = {name: units for name, units in DUE.items() if units}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Retained:
    return retention_world.make(tmp_path_factory.mktemp("template") / "place")


@pytest.fixture(scope="module")
def kept(template: Retained) -> Path:
    """Its folder, backups and all, which nobody changes."""
    place = template.backups.parent
    return Path(shutil.copytree(place, place.with_name("kept")))


@pytest.fixture
def made(template: Retained, kept: Path) -> Retained:
    """In its own place: the notes of the backups name them there."""
    put_back(kept, template.backups.parent)
    return template


def records(home: Home) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted((home.evidence / "purges").glob("*.json"))]


def files(home: Home) -> dict[str, str]:
    """Every file that holds data → its hash. Not the databases' journals, nor what says what went."""
    left_out = ("evidence/purges/", "evidence/removed/", "evidence/backups/", "tmp/", "lock", "work.sqlite")
    names = {path.relative_to(home.root).as_posix(): path for path in home.root.rglob("*") if path.is_file()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in names.items()
        if not name.startswith(left_out) and not name.endswith("-journal")
    }


def contacts(made: Retained, *names: str) -> set[str]:
    tokens = {name: made.world.token(name, "email") for name in names}
    with Vault(made.home, made.world.keys) as vault:
        there = vault.get(list(tokens.values()))
    return {name for name, token in tokens.items() if token in there}


def test_every_dataset_has_a_way_to_go() -> None:
    assert set(DELETIONS) == set(DATASETS)


def test_what_is_due_goes_and_the_rest_is_what_it_was(made: Retained) -> None:
    before = files(made.home)
    report = purge(made.at())
    assert report.state == "done"
    assert report.units == GOES
    after = files(made.home)
    changed = {name for name, sha256 in before.items() if after.get(name) != sha256}
    assert {name for name in changed if name.startswith(("lake/web", "lake/links"))} == {
        f"lake/web/day=2024-01-10/{OLD_BATCH}.parquet",
        f"lake/web/day=2026-05-10/{YOUNG_BATCH}.parquet",
        f"lake/links/{OLD_BATCH}.parquet",
    }
    assert made.lake_keys() == {f"old-{HELD}", *(f"young-{n}" for n in range(2, 8))}
    assert not [name for name in after if OLD_BATCH in name and name.startswith(("quarantine", "archive"))]
    assert [name for name in after if YOUNG_BATCH in name and name.startswith("quarantine")]
    assert len([name for name in after if name.startswith("archive")]) == 2
    assert len([name for name in after if name.startswith("evidence/deliveries")]) == 1
    assert [path.parent.parent.name for path in made.home.outbox.rglob("manifest.json")] == ["to_current"]
    assert contacts(made, "ann", "bob", "dan", HELD) == {"bob", "dan", HELD}
    assert published(made.home) is not None


def test_second_purge_removes_nothing_more(made: Retained) -> None:
    purge(made.at())
    before = files(made.home)
    again = purge(made.at())
    assert (again.state, again.units) == ("done", {})
    assert files(made.home) == before


def test_evidence_counts_by_dataset_and_rule_and_names_nobody(made: Retained) -> None:
    report = purge(made.at())
    (record,) = records(made.home)
    assert (record["state"], record["gone"]) == ("done", GOES)
    told = {part["dataset"]: (part["days"], part["units"]) for part in record["parts"]}
    assert told["quarantine"] == (made.world.policy.retention.datasets.quarantine, 1)
    assert told["touchpoints"] == (730, 4)
    text = (made.home.root / report.evidence).read_text()
    tokens = [made.world.token(p.name, kind) for p in made.world.people.values() for kind in p.contacts]
    assert not [token for token in tokens if token in text]


def test_replay_is_told_of_every_file_that_went(made: Retained) -> None:
    purge(made.at())
    named = {file.path for removal in notes_of_removal(made.home) for file in removal.files}
    assert {f"lake/links/{OLD_BATCH}.parquet", f"lake/web/day=2024-01-10/{OLD_BATCH}.parquet"} <= named
    assert any(name.startswith("evidence/deliveries/") for name in named)


def test_log_of_contacts_forgets_who_left_and_keeps_its_numbers(made: Retained) -> None:
    """The builds count its files; whom an old one saw is no longer known, who is there and who left lately is."""
    purge(made.at())
    assert [path.stem for path in sorted((made.home.evidence / "contact_points").iterdir())] == [
        "00000001", "00000002", "00000003",
    ]  # fmt: skip
    with duckdb.connect() as con:
        points = [contact_log.contact_points_of(con, made.home, number)["token"].to_pylist() for number in (1, 2, 3)]
    bob, dan = made.world.token("bob", "phone"), made.world.token("dan", "phone")
    assert [sorted(tokens) for tokens in points] == [sorted([bob, dan]), sorted([bob, dan]), [bob]]


@pytest.mark.fault("F11")
def test_contact_goes_at_its_last_second_whatever_others_of_its_day_do(made: Retained) -> None:
    """Bob's is due 4 days after T; one of the same day, later, does not keep it."""
    last = AS_OF - timedelta(days=10) + timedelta(days=made.world.policy.retention.datasets.vault)
    assert purge(made.at(as_of=last, now=last - timedelta(seconds=1))).units["vault"] == 1
    assert contacts(made, "bob", "dan") == {"bob", "dan"}
    report = purge(made.at(as_of=last, now=last))
    assert (report.units["vault"], contacts(made, "bob", "dan")) == (1, {"dan"})


@pytest.mark.fault("H7")
@pytest.mark.parametrize("clock", ["as_of", "now"])
def test_one_clock_far_ahead_deletes_what_the_other_would(made: Retained, clock: str) -> None:
    at = made.at(**{clock: datetime(2100, 1, 1, tzinfo=UTC)})
    assert purge(at).units == GOES


@pytest.mark.fault("H7")
def test_clock_before_the_generation_deletes_nothing_by_its_masks(made: Retained) -> None:
    early = CLOCK - timedelta(hours=3)  # before T
    report = purge(made.at(now=early))
    assert not {"settled:web", "vault"} & set(report.units)


@pytest.mark.fault("F10")
def test_legal_hold_on_a_source_defers_and_says_so(made: Retained) -> None:
    report = purge(made.at(legal_holds=("web", "wechat")))
    assert not {"touchpoints:web", "settled:web", "quarantine", "archive:wechat"} & set(report.units)
    assert report.deferred["touchpoints:web"] == 5
    assert {f"old-{HELD}", "old-ann", "young-0"} <= made.lake_keys()
    assert {part["dataset"] for part in records(made.home)[0]["deferred"]} >= {"touchpoints", "settled", "quarantine"}


@pytest.mark.fault("F10")
def test_person_under_legal_hold_keeps_rows_and_contacts_while_others_go(made: Retained) -> None:
    report = purge(made.at())
    assert (report.deferred["touchpoints:web"], report.deferred["vault"]) == (1, 1)
    assert {key for key in made.lake_keys() if key.startswith("old")} == {f"old-{HELD}"}


@pytest.mark.fault("F8")
def test_lake_file_that_is_not_there_is_an_error(made: Retained) -> None:
    next((made.home.lake / "links").glob(f"{OLD_BATCH}*")).unlink()
    with pytest.raises(HomeError, match="not there"):
        purge(made.at())


@pytest.mark.fault("F8")
def test_target_that_vanishes_is_an_error_and_not_done(made: Retained, monkeypatch: pytest.MonkeyPatch) -> None:
    delete = deletions.delete_items

    def vanish(going: Any, dataset: str, items: Any) -> int:
        if dataset == "quarantine":
            (made.home.root / items[0].name).unlink()
        return delete(going, dataset, items)

    monkeypatch.setattr("orchestration.retention.purge.delete_items", vanish)
    report = purge(made.at())
    assert (report.state, list(report.failed), report.is_good) == ("incomplete", ["quarantine"], False)
    assert "quarantine" not in report.units
    assert records(made.home)[0]["state"] == "incomplete"


@pytest.mark.fault("G1")
def test_full_disk_fails_clearly_and_the_next_purge_goes_on(made: Retained, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    current = published(made.home)
    before = files(made.home)
    with monkeypatch.context() as patch:
        patch.setattr(deletions, "remove_rows", full)
        patch.setattr("orchestration.retention.rewrite.strip", full)
        report = purge(made.at())
    assert report.state == "incomplete"
    assert set(report.failed) == {"touchpoints:web", "settled:web"}
    assert all("No space left" in why for why in report.failed.values())
    assert records(made.home)[0]["state"] == "incomplete"
    assert published(made.home) == current
    name = f"lake/web/day=2026-05-10/{YOUNG_BATCH}.parquet"
    assert files(made.home)[name] == before[name]
    assert purge(made.at()).state == "done"
    assert [record["state"] for record in records(made.home)] == ["done", "done"]
    assert made.lake_keys() == {f"old-{HELD}", *(f"young-{n}" for n in range(2, 8))}


def test_purge_by_a_rule_that_was_changed_since_is_not_gone_on_with(
    made: Retained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody stopped it and mended the policy: what is left goes only if it is due by that."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(deletions, "remove_rows", stop)
        with pytest.raises(KeyboardInterrupt):
            purge(made.at())
    datasets = made.world.policy.retention.datasets.model_copy(update={"quarantine": 3000})
    mended = replace(made.at(datasets=datasets), policy_hash="another")
    report = purge(mended)
    assert (report.state, "quarantine" in report.units) == ("done", False)
    assert sorted(record["state"] for record in records(made.home)) == ["done", "given_up"]
    assert report.units["exports"] == 1


def test_damaged_record_of_a_purge_that_is_over_is_passed_by(made: Retained) -> None:
    purge(made.at())
    (path,) = (made.home.evidence / "purges").glob("*.json")
    path.write_bytes(path.read_bytes()[:-40])
    assert last_purges(made.home, 5) == []
    assert purge(made.at()).state == "done"


def test_damaged_record_of_an_open_purge_is_an_error(made: Retained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could say what it was about to delete."""
    with monkeypatch.context() as patch:
        patch.setattr(deletions, "retract", lambda folder: (folder / "nowhere").stat())
        assert purge(made.at()).state == "incomplete"
    (path,) = (made.home.evidence / "purges").glob("*.json")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(VerifyError, match="damaged"):
        purge(made.at())


@pytest.mark.fault("A6")
def test_half_an_export_that_a_kill_left_goes_too(made: Retained) -> None:
    folder = next(path.parent for path in made.home.outbox.rglob("manifest.json") if "expired" in path.as_posix())
    (folder / "manifest.json").unlink()
    left = list(folder.iterdir())
    for path in left:
        os.utime(path, times=(retention_world.OLD.timestamp(),) * 2)
    assert purge(made.at()).units["exports"] == len(left)
    assert not folder.exists()


@pytest.mark.fault("F7")
def test_backup_that_went_before_its_note_was_written_is_noted(made: Retained) -> None:
    (note,) = [n for n, noted in noted_backups(made.home).items() if noted.path.endswith("old.backup")]
    place = made.home.evidence / "backups" / note
    content = json.loads(place.read_bytes())
    place.write_text(json.dumps({**content, "deleting_at": CLOCK.isoformat()}))
    (made.backups / "old.backup").unlink()
    report = purge(made.at())
    assert (report.units["backups"], report.outside) == (1, ())
    assert note not in noted_backups(made.home)


@pytest.mark.fault("G1")
def test_disk_full_before_the_evidence_deletes_nothing(made: Retained, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = files(made.home)
    monkeypatch.setattr("orchestration.retention.record.write_json", full)
    with pytest.raises(HomeError, match="No space left"):
        purge(made.at())
    assert files(made.home) == before


@pytest.mark.fault("F7")
def test_backup_past_its_window_is_deleted_with_evidence(made: Retained) -> None:
    assert purge(made.at()).units["backups"] == 1
    assert [path.name for path in made.backups.iterdir()] == ["young.backup"]
    notes = [json.loads(path.read_bytes()) for path in sorted((made.home.evidence / "backups").glob("*.json"))]
    assert [note["deleted_at"] is not None for note in notes] == [True, False]


@pytest.mark.fault("F7")
def test_backup_that_was_carried_away_is_named(made: Retained, tmp_path: Path) -> None:
    (made.backups / "old.backup").rename(tmp_path / "elsewhere.backup")
    report = purge(made.at())
    assert "backups" not in report.units
    assert [(one.code, one.count) for one in report.outside] == [("backups_carried_away_past_their_days", 1)]
    assert (tmp_path / "elsewhere.backup").is_file()


@pytest.mark.fault("F7")
def test_another_file_under_the_name_of_a_backup_is_not_deleted(made: Retained) -> None:
    path = made.backups / "old.backup"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    report = purge(made.at())
    assert list(report.failed) == ["backups"]
    assert path.read_bytes() == content


@pytest.fixture
def company(tmp_path: Path) -> At:
    """A company's home whose quarantine is all past its days; nothing is published."""
    home = Home.open(tmp_path / "company")
    made = retention_world.quarantined(home, days=5)
    policy = load_policy(SHIPPED)
    assert made == 5
    return At(home, policy, Keys.open(home), CLOCK, CLOCK, "h", home.landing)


@pytest.mark.fault("H8")
def test_more_than_max_share_waits_until_its_plan_is_confirmed(company: At) -> None:
    stopped = purge(company)
    assert (stopped.state, stopped.units, stopped.stopped, stopped.is_good) == ("done", {}, {"quarantine": 5}, False)
    assert records(company.home)[0]["stopped"][0]["units"] == 5
    assert len(list(company.home.quarantine.rglob("*.parquet"))) == 5
    with pytest.raises(AssentError, match="has changed"):
        purge(company, confirm="0" * 12)
    assert purge(company, confirm=stopped.plan_id).units == {"quarantine": 5}
    assert not list(company.home.quarantine.rglob("*.parquet"))


@pytest.mark.fault("H8")
def test_confirmation_is_of_what_was_seen(company: At) -> None:
    seen = purge(company).plan_id
    retention_world.quarantined(company.home, days=6)
    with pytest.raises(AssentError, match="has changed"):
        purge(company, confirm=seen)


def test_commands_show_the_plan_and_ask_for_its_id(company: At, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_at", lambda _: company)
    settings = Settings(home=company.home.root)

    def said(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(commands.retention, arguments, obj=settings, standalone_mode=False)
        return int(done.return_value), done.output

    code, text = said("plan")
    assert (code, "STOPPED" in text) == (ExitCode.RETENTION, True)
    plan = json.loads(said("plan", "--json")[1])
    assert plan["plan_id"] in text
    code, text = said("run")
    assert (code, plan["plan_id"] in text) == (ExitCode.RETENTION, True)
    assert said("run", "--confirm", plan["plan_id"])[0] == ExitCode.OK
    assert said("plan")[0] == ExitCode.OK


def test_without_a_generation_nothing_of_people_goes(made: Retained) -> None:
    """Nobody could say who is under legal hold."""
    made.home.published.unlink()
    report = purge(made.at())
    assert not {"touchpoints:web", "settled:web", "links", "vault"} & set(report.units)
    assert report.units["quarantine"] == 1


def killed_purge(made: Retained, tmp_path: Path, seed: int) -> None:
    """However far it came, it never says "done" before it is; the next purge ends as one that nobody killed."""
    whole, half = (retention_world.copy(made, tmp_path / name) for name in ("whole", "half"))
    events = in_child(lambda: purge(whole.at()), None)
    assert events > 50
    assert in_child(lambda: purge(half.at()), random.Random(seed).randrange(1, events * 9 // 10)) == -1
    with Steps(half.home) as steps:
        unfinished = {work.work_id for work in steps.open_works("purge")}
    said = {record["work_id"]: record["state"] for record in records(half.home)}
    assert not [work for work in unfinished if said[work] == "done"]
    report = purge(half.at())
    assert report.state == "done"
    assert {record["state"] for record in records(half.home)} <= {"done", "given_up"}
    kept = [{name: sha for name, sha in files(m.home).items() if not name.endswith(".sqlite")} for m in (half, whole)]
    assert kept[0] == kept[1]
    assert contacts(half, "ann", "bob", "dan", HELD) == contacts(whole, "ann", "bob", "dan", HELD)


@pytest.mark.fault("A8")
@pytest.mark.parametrize("seed", range(4))
def test_killed_purge_resumes_and_claims_nothing(made: Retained, tmp_path: Path, seed: int) -> None:
    killed_purge(made, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4, 24))
def test_killed_purge_resumes_and_claims_nothing_many_times(made: Retained, tmp_path: Path, seed: int) -> None:
    killed_purge(made, tmp_path, seed)


def test_old_evidence_file_of_a_generation_goes_and_its_reports_stay(made: Retained) -> None:
    (made.home.evidence / GENERATION / "summary.json").write_text("{}")
    report: PurgeReport = purge(made.at())
    assert report.units["generations"] == 1
    assert [path.name for path in (made.home.evidence / GENERATION).iterdir()] == ["summary.json"]


def test_looking_changes_nothing(made: Retained) -> None:
    before = files(made.home)
    with made.home.lock():
        plan, _ = look(made.at())
    assert {part.name: part.units for part in plan.parts if part.units} == GOES
    assert files(made.home) == before


def test_landing_folder_of_others_is_named_and_left_alone(made: Retained, tmp_path: Path) -> None:
    theirs = tmp_path / "their_landing"
    theirs.mkdir()
    (theirs / "old.csv").write_text("id\n")
    os.utime(theirs / "old.csv", times=(retention_world.OLD.timestamp(),) * 2)
    report = purge(replace(made.at(), landing=theirs))
    assert [one.code for one in report.outside] == ["landing_is_not_ours"]
    assert records(made.home)[0]["outside"] == {"landing_is_not_ours": 1}
    assert (theirs / "old.csv").is_file()


@pytest.mark.fault("F7")
def test_backups_that_the_commands_write_are_known(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    Keys.open(home)
    for command, name in ((keys_commands.backup, "k"), (backup_commands.backup, "b")):
        arguments = [str(tmp_path / name), *(["--home", str(home.root)] if name == "k" else [])]
        done = CliRunner().invoke(
            command,
            arguments,
            input="a long passphrase for tests\n",
            obj=Settings(home=home.root),
            standalone_mode=False,
        )
        assert done.exception is None, done.exception
    noted = {one.kind: one for one in noted_backups(home).values()}
    assert {kind: Path(one.path).name for kind, one in noted.items()} == {"keys": "k", "home": "b"}
    made = At(home, load_policy(SHIPPED), Keys.open(home), LATER, LATER, "h", home.landing)
    assert purge(made).units["backups"] == 2
    assert not (tmp_path / "k").exists() and not (tmp_path / "b").exists()
