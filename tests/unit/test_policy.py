"""Reading a policy: YAML traps, types, lines, hash. Cross-references are in `test_policy_check.py`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestration.errors import ExitCode
from orchestration.policy.commands import policy as policy_group
from orchestration.policy.jsonschema import json_schemas
from orchestration.policy.loader import FILES, SHIPPED, PolicyError, load_policy, policy_hash, read_policy, scopes
from orchestration.policy.vocabulary import vocabulary


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        shutil.copy(SHIPPED / f"{name}.yaml", tmp_path)
    return tmp_path


def rewrite(folder: Path, file: str, old: str, new: str) -> int:
    """Replaces the first `old` in a policy file; returns its line."""
    path = folder / f"{file}.yaml"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    return text[: text.index(old)].count("\n") + 1


def test_shipped_policy_is_good_and_its_hash_is_stable() -> None:
    policy = load_policy()
    assert policy_hash(policy, SHIPPED) == policy_hash(load_policy(SHIPPED), SHIPPED)
    assert [scope.bit for scope in scopes(policy)] == list(range(len(scopes(policy))))


def test_hash_ignores_comments_and_counts_rules_and_models(folder: Path) -> None:
    before = policy_hash(load_policy(folder), folder)
    rewrite(folder, "retention", "links_days: 1095", "# a comment\nlinks_days: 1095")
    load_policy.cache_clear()
    assert policy_hash(load_policy(folder), folder) == before
    (folder / "models").mkdir()
    (folder / "models" / "own.sql").write_text("select 1", "utf-8")
    with_model = policy_hash(load_policy(folder), folder)
    rewrite(folder, "retention", "links_days: 1095", "links_days: 1094")
    load_policy.cache_clear()
    assert len({before, with_model, policy_hash(load_policy(folder), folder)}) == 3


@pytest.mark.parametrize(
    ("file", "old", "new", "what"),
    [
        ("retention", "max_share: 0.2", "max_share: 0.2\nmax_share: 0.9", "given twice"),
        ("retention", "max_share: 0.2", "max_share: !!python/object/apply:os.getcwd []", "not valid YAML"),
        ("retention", "rules:", "holds: &a [1]\nmore: *a\nrules:", "aliases"),
        ("retention", "max_share: 0.2", f"max_share: {'[' * 60}{']' * 60}", "too deep"),
        ("retention", "max_share: 0.2", f"max_share: {'[' * 100_000}", "too deep"),
        ("retention", "max_share: 0.2", "max_shares: 0.2", "max_shares"),
        ("retention", "  backups: 35 ", "  backup: 35 ", "backup"),
        ("retention", "exports: 1 ", "exports: 0", "exports"),
        ("retention", "max_share: 0.2", "1: 0.2", "not text"),
        ("retention", "max_share: 0.2", "<<: {max_share: 0.2}", "not valid YAML"),
        ("organisation", "unknown_age: adult", "unknown_age: no", "unknown_age"),
        ("organisation", "anchor: true", "anchor: no", "anchor"),
        ("organisation", "anchor: true", "anchor: yes", "anchor"),
        ("sources", "controller: shop", "controllers: shop", "controllers"),
        ("destinations", "format: csv", "format: excel", "format"),
    ],
)
def test_broken_file_is_refused_with_its_line(folder: Path, file: str, old: str, new: str, what: str) -> None:
    line = rewrite(folder, file, old, new)
    policy, _, problems = read_policy(folder)
    assert policy is None
    assert any(
        what in p.what and line <= p.line <= line + 1 and p.file == f"{file}.yaml" and p.remedy for p in problems
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"\xff\xfe", "UTF-8"),
        (b"a: \x00", "not valid YAML"),
        (b"[" * 100_000, "not valid YAML"),
        (b"a: " + b"9" * 10_000, "not valid YAML"),
        (b"#" * 1_000_001, "too large"),
        (b"- 1", "the file"),
        (b"a: [", "not valid YAML"),
    ],
)
def test_hostile_file_is_one_problem_and_no_traceback(folder: Path, content: bytes, what: str) -> None:
    (folder / "notices.yaml").write_bytes(content)
    policy, _, problems = read_policy(folder)
    assert policy is None
    assert any(p.file == "notices.yaml" and what in p.what for p in problems)


def test_no_country_is_norway_and_times_stay_text(folder: Path) -> None:
    rewrite(folder, "destinations", "country: CN", "country: NO")
    rewrite(folder, "destinations", "frequency: {", "quiet_hours: {start: 22:00, end: 08:00}\n    frequency: {")
    destination = load_policy(folder).destinations.destinations[0]
    assert destination.country == "NO"
    assert destination.quiet_hours is not None
    assert destination.quiet_hours.start == "22:00"


def test_missing_and_extra_files_are_named(folder: Path) -> None:
    (folder / "notices.yaml").unlink()
    (folder / "vocabulary.yaml").write_text("reasons: []", "utf-8")
    _, _, problems = read_policy(folder)
    assert {"notices.yaml", "vocabulary.yaml"} == {problem.file for problem in problems}


def test_policy_error_lists_every_problem(folder: Path) -> None:
    rewrite(folder, "retention", "max_share: 0.2", "max_share: 7")
    rewrite(folder, "destinations", "format: csv", "format: excel")
    with pytest.raises(PolicyError) as caught:
        load_policy(folder)
    assert "retention.yaml:" in str(caught.value)
    assert "destinations.yaml:" in str(caught.value)
    assert caught.value.exit_code == ExitCode.POLICY


def test_every_restricting_decision_gives_a_reason_of_the_closed_list() -> None:
    words = vocabulary()
    assert {d.reason for d in words.decisions if d.restricts} <= set(words.names("reasons"))
    assert "presumed_denial" in words.restricting
    assert "implied" not in words.explicit_methods


def test_check_command_tells_good_from_broken(folder: Path) -> None:
    good = CliRunner().invoke(policy_group, ["check", str(folder), "--json"])
    assert good.exit_code == ExitCode.OK
    assert json.loads(good.stdout)["problems"] == []
    line = rewrite(folder, "retention", "max_share: 0.2", "max_share: 7")
    broken = CliRunner().invoke(policy_group, ["check", str(folder)])
    assert broken.exit_code == ExitCode.POLICY
    assert f"retention.yaml:{line}:" in broken.stderr
    as_json = CliRunner().invoke(policy_group, ["check", str(folder), "--json"])
    assert json.loads(as_json.stdout)["problems"][0]["line"] == line


def test_show_command_gives_the_whole_policy() -> None:
    shown = json.loads(CliRunner().invoke(policy_group, ["show", str(SHIPPED), "--json"]).stdout)
    assert {*FILES, "scopes", "policy_hash"} == set(shown)
    assert "sms_marketing" in CliRunner().invoke(policy_group, ["show", str(SHIPPED)]).stdout


def test_schema_command_writes_one_schema_per_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(policy_group, ["schema", "--out", str(tmp_path), "--json"])
    assert result.exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}.schema.json" for name in FILES)
    properties = json_schemas()["notices.yaml"]["$defs"]["Label"]["properties"]
    assert set(properties) == {"zh-CN", "en"}
