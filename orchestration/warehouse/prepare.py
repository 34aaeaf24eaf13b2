"""Prepares the dbt project of one policy under the home: core models, that policy's own, generated YAML, manifest.

`python -m orchestration.warehouse.prepare HOME [POLICY_DIR]` prints the project's path. dbt never runs elsewhere."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

from orchestration import safe_yaml
from orchestration.atomic import fsync_folder
from orchestration.home import Home
from orchestration.policy.loader import SHIPPED, canonical, load_policy, policy_hash
from orchestration.policy.schema import Policy
from orchestration.warehouse.code_hash import DBT_PROJECT
from orchestration.warehouse.dbt import parse
from orchestration.warehouse.declared import require_declared
from orchestration.warehouse.dynamic import refuse_dynamic_sql
from orchestration.warehouse.materialised import refuse_kept_rows
from orchestration.warehouse.models import MARKETING, STAGING, Models, staging_name
from orchestration.warehouse.project_files import generated_files, variables
from orchestration.warehouse.sensitivity import sensitive_segments, staged_columns

CORE = ("macros", "models/intermediate", "models/marts/governance", "tests")
CORE_SUFFIXES = {".sql", ".yml", ".yaml", ".csv", ".md"}


def prepare(home: Home, policy: Policy, policy_dir: Path) -> Path:
    """The ready project of this policy and code: `policies/<hash>/dbt` with `target/manifest.json`.

    The folder's name is the hash of its files, so a changed policy or model is another project (fault G10); one whose
    files are no longer those is made again."""
    files = project_files(policy, policy_dir)
    folder = home.policies / _hash(files)
    if not _is_ready(folder):
        _make(home, folder, files, policy)
    return folder / "dbt"


def project_name(policy: Policy, policy_dir: Path) -> str:
    """The folder of `policies/` that `prepare` gives this policy and code."""
    return _hash(project_files(policy, policy_dir))


def is_unchanged(folder: Path) -> bool:
    """Whether a prepared project still is what its name says: nobody has edited a model since."""
    root = folder / "dbt"
    paths = [path for path in root.rglob("*") if path.is_file() and path.relative_to(root).parts[0] != "target"]
    return _hash({path.relative_to(root).as_posix(): path.read_bytes() for path in paths}) == folder.name


def project_files(policy: Policy, policy_dir: Path) -> dict[str, bytes]:
    """Path → content of every file of the prepared project."""
    models = Models(policy_dir)
    files = {
        path.relative_to(DBT_PROJECT).as_posix(): path.read_bytes()
        for root in CORE
        for path in sorted((DBT_PROJECT / root).rglob("*"))
        if path.suffix in CORE_SUFFIXES
    }
    files["profiles.yml"] = (DBT_PROJECT / "profiles.yml").read_bytes()
    files["dbt_project.yml"] = _dbt_project(policy, policy_dir, models)
    files |= {path: content.encode() for path, content in generated_files(policy).items()}
    return files | _policy_models(policy, models)


def _policy_models(policy: Policy, models: Models) -> dict[str, bytes]:
    """The models that this policy asks for, each under the name by which the policy asks."""
    wanted = [(STAGING, staging_name(source), models.staging(source)) for source in policy.sources.sources]
    wanted += [(MARKETING, segment.name, models.segment(segment)) for segment in policy.segments.segments]
    files: dict[str, bytes] = {}
    for folder, name, model in wanted:
        files[f"{folder.as_posix()}/{name}.sql"] = model.read_bytes()
        files |= {f"{folder.as_posix()}/{path.name}": path.read_bytes() for path in models.beside(model, name)}
    return files


def _dbt_project(policy: Policy, policy_dir: Path, models: Models) -> bytes:
    project = safe_yaml.load((DBT_PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))
    sensitive, staged = sensitive_segments(policy, models), staged_columns(policy, models)
    project["vars"] = variables(policy, policy_hash(policy, policy_dir), sensitive, staged)
    return safe_yaml.dump(project).encode()


def _hash(files: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        digest.update(path.encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


def _is_ready(folder: Path) -> bool:
    return (folder / "dbt" / "target" / "manifest.json").is_file() and is_unchanged(folder)


def _make(home: Home, folder: Path, files: dict[str, bytes], policy: Policy) -> None:
    """Writes and parses the project aside, then renames it; where another process was faster, its result stays."""
    aside = Path(tempfile.mkdtemp(prefix=f"tmp_{folder.name}.", dir=home.policies))
    try:
        for path, content in files.items():
            target = aside / "dbt" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        (aside / "policy.json").write_text(canonical(policy), encoding="utf-8")
        parse(home, aside / "dbt")
        manifest = json.loads((aside / "dbt" / "target" / "manifest.json").read_bytes())
        refuse_kept_rows(manifest)
        refuse_dynamic_sql(manifest)
        require_declared(manifest, policy)
        if folder.exists() and not _is_ready(folder):
            shutil.rmtree(folder)
        if not folder.exists():
            aside.rename(folder)
            fsync_folder(home.policies)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def main(arguments: list[str]) -> None:
    home = Home.open(Path(arguments[0]))
    policy_dir = Path(arguments[1]) if len(arguments) > 1 else SHIPPED
    print(prepare(home, load_policy(policy_dir), policy_dir))


if __name__ == "__main__":
    main(sys.argv[1:])
