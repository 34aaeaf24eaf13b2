"""Exports the published generation: per segment and destination the audience, the removal list, and the manifest last.

A second run with nothing new does nothing; after a withdrawal it writes the same generation minus those withdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from orchestration.atomic import fsync_folder
from orchestration.consent.ledger import Ledger, open_ledger
from orchestration.errors import AssentError, VerifyError
from orchestration.exports import cells, deliveries, writer
from orchestration.exports.audience import Audience, Run, choose, removals_of
from orchestration.exports.manifest import NAME, Manifest, is_current, read_manifest, retract, write_manifest
from orchestration.exports.recheck import recheck, stale_controllers
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.vault import Vault
from orchestration.ingestion.lake import link_files
from orchestration.policy.schema import Destination, Policy, Segment
from orchestration.settings import IN_HOME, LedgerAt
from orchestration.warehouse.checks import CheckResult
from orchestration.warehouse.publish import Published, connect_published, published, require_intact


@dataclass(frozen=True)
class ExportResult:
    """What became of one segment at one destination. `rows` plus the sum of `withheld` is everyone considered."""

    segment: str
    destination: str
    status: Literal["written", "unchanged", "withheld", "failed"]
    rows: int = 0
    removals: int = 0
    withheld: dict[str, int] = field(default_factory=dict)
    path: str | None = None  # of the folder, relative to the home
    sha256: str | None = None
    expires_at: datetime | None = None
    checks: tuple[CheckResult, ...] = ()
    failure: str = ""


def export_generation(
    home: Home,
    policy: Policy,
    keys: Keys,
    *,
    now: datetime,
    ledger_at: LedgerAt = IN_HOME,
    policy_hash: str,
) -> list[ExportResult]:
    """Exports every segment to every destination that policy names. Raises AssentError when nothing is published, the
    policy has changed since or the clock is before T, VerifyError when the generation is not the one that was released
    or the ledger not the one that it saw; then no file in the outbox is deliverable any longer. A failure of one export
    leaves the others alone: its result says so."""
    with home.lock(), ExitStack() as stack:
        try:
            run = stack.enter_context(_open(home, policy, keys, now, ledger_at, policy_hash))
        except AssentError:
            _retire(home, set())  # what cannot be rechecked may hold people who withdrew: no manifest, no delivery
            raise
        home.share_outbox(policy.organisation.outbox_group)
        writer.sweep(home.outbox)
        wanted = _wanted(policy)
        results = [_export(run, segment, destination) for segment, destination in wanted]
        _retire(home, {(segment.name, destination.name) for segment, destination in wanted})
        return results


@contextmanager
def _open(
    home: Home, policy: Policy, keys: Keys, now: datetime, ledger_at: LedgerAt, policy_hash: str
) -> Iterator[Run]:
    generation = published(home)
    if generation is None:
        raise AssentError("nothing is published", where=str(home.root), remedy="Run `assent run` first")
    if policy_hash != generation.policy_hash:
        raise AssentError("the policy has changed since the build", remedy="Run `assent run`, then export again")
    require_intact(home, generation)
    now = _clock(home, generation, now)
    with open_ledger(home, keys, ledger_at) as (ledger, registry):
        head = _verified_head(ledger, generation)
        staged = ledger.staged(registry, policy, since=generation.ledger_seq)
        feeds = ledger.feeds(policy)
    con = connect_published(home)
    try:
        recheck(con, staged, links=link_files(home), now=now)
        with Vault(home, keys) as vault:
            yield Run(home, policy, con, vault, generation, head, stale_controllers(feeds, policy, now=now), now)
    finally:
        con.close()


def _clock(home: Home, generation: Published, now: datetime) -> datetime:
    """A clock before T would call stale feeds fresh and ended consents good. A demo's clock stands still, at T or
    where its world ends."""
    if home.info.kind == "demo":
        return max(now, generation.as_of)
    if now < generation.as_of:
        raise AssentError("the clock is before the build's T", remedy="Set the clock; then export again")
    return now


def _verified_head(ledger: Ledger, generation: Published) -> tuple[int, str]:
    bad = ledger.verify()
    if bad is not None:
        raise VerifyError(
            f"the ledger does not verify from record {bad}", remedy="Run `assent verify`; restore the ledger"
        )
    if not ledger.holds((generation.ledger_seq, generation.ledger_head)):
        raise VerifyError("the ledger is older than the build, or another one", remedy="Restore the ledger")
    return ledger.head()


def _wanted(policy: Policy) -> list[tuple[Segment, Destination]]:
    known = {destination.name: destination for destination in policy.destinations.destinations}
    return [(segment, known[name]) for segment in policy.segments.segments for name in segment.destinations]


def _export(run: Run, segment: Segment, destination: Destination) -> ExportResult:
    folder = writer.make_folder(run.home.outbox, segment.name, destination.name, run.generation.generation)
    audience = choose(run, segment, destination)
    removals, unlistable = removals_of(run, segment, destination, audience.kept)
    removal_file = writer.render("removals", ("contact",), removals, destination)
    file = None if audience.stopped else writer.render("audience", destination.columns, audience.rows, destination)
    manifest = _manifest(run, segment, destination, audience, file, removal_file, unlistable)
    before = read_manifest(folder)
    names = (run.home, segment.name, destination.name, run.generation.generation)
    if before is not None and before.same_content(manifest) and is_current(before, folder, run.now):
        deliveries.record_removals(*names, audience.kept, now=before.written_at)
        _retire_older(folder)
        return _result(run, before, folder, "unchanged")
    checks, failure = _check(run, segment, destination, file)
    if failure:
        for place in folder.parent.iterdir():
            retract(place)
        return ExportResult(segment.name, destination.name, "failed", checks=checks, failure=failure)
    (folder / NAME).unlink(missing_ok=True)  # from here to its return nothing in the folder is deliverable
    fsync_folder(folder)
    _write(run, folder, file, removal_file)
    deliveries.record(*names, audience.tokens, now=run.now)
    write_manifest(folder, manifest, mode=writer.file_mode(run.home.outbox))
    deliveries.record_removals(*names, audience.kept, now=run.now)
    _retire_older(folder)
    return _result(run, manifest, folder, manifest.status, checks)


def _manifest(
    run: Run,
    segment: Segment,
    destination: Destination,
    audience: Audience,
    file: writer.Rendered | None,
    removals: writer.Rendered,
    unlistable: int,
) -> Manifest:
    return Manifest(
        status="withheld" if file is None else "written",
        segment=segment.name,
        destination=destination.name,
        generation=run.generation.generation,
        as_of=run.generation.as_of,
        policy_hash=run.generation.policy_hash,
        ledger_head=run.head[1],
        ledger_seq=run.head[0],
        controller=segment.controller,
        purpose=segment.purpose,
        recipient=destination.recipient,
        legal_entity=destination.legal_entity,
        role=destination.role,
        country=destination.country,
        transfer_mechanism=destination.transfer.mechanism if destination.transfer else None,
        encoding=writer.ENCODINGS[destination.format],
        contact_form=destination.contact_form,
        contact_written_as=cells.written_as(destination),
        audience=None if file is None else file.part,
        removals=removals.part,
        unlistable_removals=unlistable,
        withheld=audience.withheld,
        written_at=run.now,
        expires_at=run.now + timedelta(hours=destination.expires_after_hours),
    )


def _check(
    run: Run, segment: Segment, destination: Destination, file: writer.Rendered | None
) -> tuple[tuple[CheckResult, ...], str]:
    if file is None:
        return (), ""
    if file.part.rows > destination.row_limit:
        return (), f"{file.part.rows} rows are more than the destination's row_limit {destination.row_limit}"
    from orchestration.evidence.expectations import check_export  # imports great-expectations: 4 s

    checks = tuple(check_export(writer.read_back(file, destination), run.policy, segment, destination))
    failed = [check.name for check in checks if not check.passed]
    return checks, f"checks failed: {', '.join(failed)}" if failed else ""


def _write(run: Run, folder: Path, file: writer.Rendered | None, removals: writer.Rendered) -> None:
    files = [removals] if file is None else [file, removals]
    for old in folder.iterdir():
        if old.is_file() and old.name not in {rendered.part.name for rendered in files}:
            old.unlink()
    for rendered in files:
        writer.write_file(folder, rendered, run.home.outbox)


def _result(
    run: Run,
    manifest: Manifest,
    folder: Path,
    status: Literal["written", "unchanged", "withheld"],
    checks: tuple[CheckResult, ...] = (),
) -> ExportResult:
    return ExportResult(
        manifest.segment,
        manifest.destination,
        status,
        rows=manifest.audience.rows if manifest.audience else 0,
        removals=manifest.removals.rows,
        withheld=manifest.withheld,
        path=folder.relative_to(run.home.root).as_posix(),
        sha256=manifest.audience.sha256 if manifest.audience else None,
        expires_at=manifest.expires_at,
        checks=checks,
    )


def _retire_older(folder: Path) -> None:
    """A destination has one audience of a segment: older generations hold people who may have withdrawn since."""
    for older in folder.parent.iterdir():
        if older.is_dir() and older != folder:
            retract(older)
            older.rmdir()


def _retire(home: Home, wanted: set[tuple[str, str]]) -> None:
    """Takes back what policy no longer delivers."""
    for place in home.outbox.glob("*/*"):
        if place.is_dir() and (place.parent.name, place.name) not in wanted:
            for folder in place.iterdir():
                if folder.is_dir():
                    retract(folder)
