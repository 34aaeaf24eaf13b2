"""`assent doctor`: whether this machine and this home are fit to run, each finding with what to do.

Not here: whether stored data is whole (`verify.py`)."""

from __future__ import annotations

import json
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import click
from packaging.requirements import Requirement

from orchestration.errors import AssentError, ExitCode
from orchestration.home import Home
from orchestration.identity.master import Keys
from orchestration.policy.loader import PolicyError, load_policy
from orchestration.settings import LedgerAt, Settings

FREE_BYTES = 2 * 1024**3  # a build writes aside before it replaces
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
PROC = Path("/proc")


@dataclass(frozen=True)
class Finding:
    """One question, its answer, and what to do when the answer is bad."""

    name: str
    passed: bool
    detail: str
    remedy: str = ""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_obj
def doctor(settings: Settings, as_json: bool) -> int:
    """Check Python, versions, policy, home, keys, anchor, permissions, disk, and that the Dagster UI is not public."""
    findings = list(examine(settings))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=2))
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.passed else 'BAD '} {finding.name:<12} {finding.detail}")
            if not finding.passed:
                click.echo(f"     {'':<12} → {finding.remedy}")
    return int(ExitCode.OK if all(finding.passed for finding in findings) else ExitCode.VERIFY)


def examine(settings: Settings) -> Iterator[Finding]:
    """Every finding; those on the home only where there is one."""
    yield python()
    yield versions()
    yield attempted("policy", lambda: f"{len(load_policy(settings.policy_dir).segments.segments)} segments")
    yield webserver()
    root = settings.home.expanduser()
    if not (root / "home.json").is_file() and not Home(root).is_restoring:
        yield Finding("home", False, f"none at {root}", "Run `assent demo`, or `assent keys init` for your own data")
        return
    yield attempted("home", lambda: f"{Home.open(root, create=False).info.kind} at {root}")
    home = Home(root.absolute())
    if home.is_restoring:
        return
    yield attempted("keys", lambda: keys(home))
    yield attempted("anchor", lambda: anchor(home, settings.ledger_at))
    yield permissions(home)
    yield disk(home.root)


def attempted(name: str, work: Callable[[], str]) -> Finding:
    """Good when `work` returns; an expected error is the finding, with its own remedy."""
    try:
        return Finding(name, True, work())
    except AssentError as error:
        return Finding(name, False, error.what, error.remedy)
    except PolicyError as error:
        return Finding(name, False, f"{len(error.problems)} problems", "Run `assent policy check`")


def python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", (3, 11) <= sys.version_info[:2] < (3, 14), found, "Use Python 3.11, 3.12 or 3.13")


def versions() -> Finding:
    """Whether what is installed is what pyproject.toml asks for: a forced resolution falls back in silence."""
    try:
        wanted_by_assent = metadata.requires("assent") or []
    except metadata.PackageNotFoundError:
        return Finding("versions", False, "assent is not installed", "Run `make install`")
    wrong = []
    for text in wanted_by_assent:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            found = "absent"
        if found == "absent" or not wanted.specifier.contains(found, prereleases=True):
            wrong.append(f"{wanted.name} {found}")
    detail = ", ".join(wrong) or f"assent {metadata.version('assent')}, every requirement met"
    return Finding("versions", not wrong, detail, "Run `make clean install`")


def keys(home: Home) -> str:
    """Opens existing keys; a home that has none yet gets them on first use, not from a check-up."""
    if home.info.kind == "company" and home.info.keys_check is None:
        return "none yet; made on first use"
    return f"check value {Keys.open(home).id}"


def anchor(home: Home, at: LedgerAt) -> str:
    """Where the anchor lies and what it signed last; whether it is there at all. It is no failure that it lies near."""
    from orchestration.consent.anchoring.anchor import Anchor, anchor_folder

    folder = anchor_folder(home, at)
    is_near = folder.parent == home.root.parent or _device(folder) == _device(home.root)
    near = "; who can rewrite the home can rewrite it: set ASSENT_ANCHOR to a folder that another machine keeps"
    found = f"none yet; made with the first record at {folder}"
    if home.info.kind == "demo" or home.info.keys_check is not None:
        kept = Anchor(home, Keys.open(home), at)
        last = kept.heads.last()
        if last is None:
            kept.refuse_if_anchored()
        else:
            found = f"record {last.seq} signed at {last.recorded_at}, at {folder}"
    return found + (near if is_near else "")


def _device(path: Path) -> int:
    return next(parent for parent in (path, *path.parents) if parent.exists()).stat().st_dev


def permissions(home: Home) -> Finding:
    """Nothing under home but the outbox may be read by group or others (fault G3)."""
    open_to_others = [
        path.relative_to(home.root).as_posix()
        for path in home.root.rglob("*")
        if not path.is_relative_to(home.outbox)
        and not path.is_relative_to(home.landing)
        and not path.is_symlink()
        and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    shown = ", ".join(sorted(open_to_others)[:3])
    detail = f"{len(open_to_others)} open to others: {shown}" if open_to_others else "only the owner may read"
    return Finding("permissions", not open_to_others, detail, f"Run: chmod -R go-rwx {home.root}, then look who did it")


def disk(root: Path) -> Finding:
    free = shutil.disk_usage(root).free
    return Finding("disk", free >= FREE_BYTES, f"{free / 1024**3:.1f} GiB free", "Free at least 2 GiB")


def webserver(proc: Path = PROC) -> Finding:
    """Dagster's UI has no users: bound to anything but loopback, everybody can launch and read (fault G4)."""
    exposed = [pid for pid, arguments in _processes(proc) if _is_exposed(arguments)]
    detail = f"open to others: process {', '.join(exposed)}" if exposed else "no Dagster UI is open to others"
    return Finding("webserver", not exposed, detail, "Start it with `make dev`, or -h 127.0.0.1 behind a login")


def _processes(proc: Path) -> Iterator[tuple[str, list[str]]]:
    for path in sorted(proc.glob("[0-9]*/cmdline")):
        try:
            yield path.parent.name, path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it ended, or is not ours to look at


def _is_exposed(arguments: list[str]) -> bool:
    names = [Path(argument).name for argument in arguments[:3]]
    if not any(name in ("dagster", "dagster-webserver", "dagster_webserver") for name in names):
        return False
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if flag in ("-h", "--host") and value not in LOOPBACK:
            return True
        if flag.startswith("--host=") and flag.removeprefix("--host=") not in LOOPBACK:
            return True
    return False
