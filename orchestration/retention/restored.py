"""Erases again what an older copy of a home brings back of people who were erased since (fault F6).

Who they were nobody keeps; whoever in the copy has a hash on the list of its anchor is one of them. It runs before
anybody may use the home. Not here: replaying the ledger, which destroys keys and details (`backup/replay.py`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.consent.anchoring.anchor import Anchor
from orchestration.errors import HomeError
from orchestration.home import Home
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.identity.vault import Vault
from orchestration.ingestion.lake import lake_files, link_files, manifests
from orchestration.policy.schema import Policy
from orchestration.retention.generations import drop_generations, drop_working_copies, file_holds
from orchestration.retention.rewrite import LINK_ENDS, LOGS, erase_tokens
from orchestration.retention.sealed_files import drop_archived, strip_quarantine
from orchestration.retention.strip import further_columns
from orchestration.retention.suppressions import Suppressions
from orchestration.retention.traces import Traces
from orchestration.warehouse.build import warehouse_file
from orchestration.warehouse.publish import published, release_path


def erase_restored(home: Home, policy: Policy, keys: Keys, anchor: Anchor, *, now: datetime) -> dict[str, int]:
    """Removes from every place of `home` whoever its anchor's list names, and returns what went. The generation in
    force goes too where it names one of them: the next build makes another. Doing it again changes nothing."""
    erased = Suppressions(home, keys, anchor)
    if not erased:
        return {}
    found = {token for tokens in _tokens(home, keys) for token in erased.holds(tokens)}
    traces = Traces(policy, keys, erased.holds)
    lines, batches = strip_quarantine(home, keys, traces)
    counts = {"lines": lines, "archived": drop_archived(home, keys, traces, batches), "identifiers": len(found)}
    if not found:
        return counts
    if home.vault_db.is_file():
        with Vault(home, keys) as vault:
            counts["contacts"] = vault.erase(sorted(found))
    removed = erase_tokens(home, pa.array(sorted(found), pa.string()), now=now).counts()
    with SubjectRegistry(home, keys) as registry:
        counts["subjects"] = registry.forget(found)
    drop_working_copies(home)
    counts["generations"] = _drop_generation_in_force(home, found) + drop_generations(home, found)
    return counts | {name: number for name, number in removed.items() if name != "files_read"}


def _drop_generation_in_force(home: Home, tokens: set[str]) -> int:
    current = None
    with contextlib.suppress(HomeError):  # a damaged one is made again in any case
        current = published(home)
    if current is None or not file_holds(home, warehouse_file(home, current.generation), tokens):
        return 0
    home.published.unlink()
    release_path(home, current.generation).unlink()
    warehouse_file(home, current.generation).unlink()
    return 1


def _tokens(home: Home, keys: Keys) -> Iterator[list[str]]:
    """Every token in the copy, place by place: what a place has that no other knows is found too."""
    with SubjectRegistry(home, keys) as registry:
        yield registry.mapping_arrow()["token"].to_pylist()
    if home.vault_db.is_file():
        with Vault(home, keys) as vault:
            yield vault.contact_points_arrow()["token"].to_pylist()
    sources = {manifest.source for manifest in manifests(home)}
    for path in (path for source in sorted(sources) for path in lake_files(home, source)):
        yield from _of_file(path, ("subject_token", *further_columns(pq.read_schema(path))))
    for path in link_files(home):
        yield from _of_file(path, LINK_ENDS)
    for path in (path for name in LOGS for path in sorted((home.evidence / name).glob("*.parquet"))):
        yield from _of_file(path, ("token",))


def _of_file(path: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    table = pq.read_table(path, columns=list(columns))
    for column in table.columns:
        yield pc.unique(column).drop_null().to_pylist()
