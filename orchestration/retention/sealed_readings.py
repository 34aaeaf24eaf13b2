"""What lies sealed under the keys of the home, opened for the search: quarantined lines, archived files, contacts,
details of the ledger, the anchor's journal. Not here: files as they lie (`readings.py`)."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

from orchestration.consent.anchoring.anchor import Anchor
from orchestration.consent.database.store import raw_chunks
from orchestration.consent.detail import DetailSealer
from orchestration.consent.ledger import Ledger
from orchestration.identity.vault import Vault
from orchestration.ingestion.archive import read_archived
from orchestration.ingestion.quarantine import read_quarantine
from orchestration.retention.readings import Reading
from orchestration.retention.respond import Site
from orchestration.retention.sealed_files import quarantine_files, texts

CONTACTS_AT_A_TIME = 20_000
DETAILS = """
SELECT d.seq, e.event_key, d.payload, e.detail_commitment, e.subject_ref, e.object_ref
FROM details d JOIN events e ON e.seq = d.seq
"""


def sealed_texts(site: Site) -> Iterator[tuple[Path, str]]:
    """Texts that may name somebody in any way, with the file they are in: quarantine and archive."""
    for path in quarantine_files(site.home):
        lines = [line for _, _, line in read_quarantine(site.keys, path) if line is not None]
        if lines:
            yield path, "\n".join(lines)
    for path in sorted(site.home.archive.rglob("*.sealed")):
        for text in texts(read_archived(site.keys, path)):
            yield path, text


def sealed_values(site: Site) -> Iterator[tuple[Path, Reading]]:
    """Contacts of the vault and details of the ledger, in plain; and whom the anchor's journal names."""
    yield from ((site.home.vault_db, ("opened", part)) for part in _contacts(site))
    yield from ((site.home.ledger_db, ("opened", part)) for part in _details(site))
    journal = Anchor(site.home, site.keys, site.ledger_at)
    if journal.journal.is_begun:
        for entry in journal.entries():
            people = [list(subject) for one in entry.restrictions for subject in one.subjects.values()]
            yield journal.folder / "journal.log", ("opened", json.dumps(people).encode())


def _contacts(site: Site) -> Iterator[bytes]:
    if not site.home.vault_db.is_file():
        return
    with Vault(site.home, site.keys) as vault:
        tokens = vault.contact_points_arrow()["token"].to_pylist()
        for start in range(0, len(tokens), CONTACTS_AT_A_TIME):
            yield "\0".join(vault.get(tokens[start : start + CONTACTS_AT_A_TIME]).values()).encode()


def _details(site: Site) -> Iterator[bytes]:
    sealer = DetailSealer(site.keys)
    with closing(Ledger.open(site.ledger_at.url or site.home.ledger_db)) as ledger, ledger.reading() as connection:
        for rows in raw_chunks(connection, DETAILS):
            found = [sealer.open(key, bytes(payload), committed) for _, key, payload, committed, _, _ in rows]
            said = [[one.event_id, *one.rest.values()] for one in found if one is not None]
            yield "\0".join(part for parts in said for part in parts).encode()


def details_of(site: Site, refs: Collection[str]) -> int:
    """How many details the ledger still has of these subjects, whatever they say."""
    wanted = set(refs)
    with closing(Ledger.open(site.ledger_at.url or site.home.ledger_db)) as ledger, ledger.reading() as connection:
        return sum(bool({row[4], row[5]} & wanted) for part in raw_chunks(connection, DETAILS) for row in part)
