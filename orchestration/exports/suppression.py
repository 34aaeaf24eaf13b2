"""Tells destinations whom to suppress: those who were delivered earlier and are being erased (fault F12).

The files hold contacts, so they go again before the erasure is physical: until then a recipient fetches them. Not here:
removal lists, which leave with each export (`audience.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestration.atomic import write_json
from orchestration.exports import cells, deliveries, writer
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.vault import Vault
from orchestration.policy.schema import Destination, Policy

FOLDER = "_suppressions"  # no segment begins so


def emit_suppression_files(
    home: Home, policy: Policy, keys: Keys, request: str, tokens: Sequence[str], *, now: datetime
) -> list[dict[str, Any]]:
    """Writes a file for each destination that was ever delivered one of `tokens`, and returns who these recipients are
    with what is outstanding. A destination that policy no longer has is named too: somebody must tell it."""
    log = deliveries.log(home, "deliveries")
    rows = log.filter(pc.is_in(log["token"], value_set=pa.array(list(tokens), pa.string()))).to_pylist()
    known = {destination.name: destination for destination in policy.destinations.destinations}
    with Vault(home, keys) as vault:
        plain = vault.get(list(tokens))
    return [
        _recipient(home, policy, request, name, known.get(name), [r for r in rows if r["destination"] == name], plain,
                   now)
        for name in sorted({row["destination"] for row in rows})
    ]  # fmt: skip


def _recipient(
    home: Home,
    policy: Policy,
    request: str,
    name: str,
    destination: Destination | None,
    rows: list[dict[str, Any]],
    plain: dict[str, str],
    now: datetime,
) -> dict[str, Any]:
    delivered = {row["token"] for row in rows}
    facts: dict[str, Any] = {
        "destination": name,
        "segments": sorted({row["segment"] for row in rows}),
        "delivered_at": max(row["delivered_at"] for row in rows).replace(tzinfo=UTC).isoformat(),
        "identifiers": len(delivered),
        "listed": 0,
        "expires_at": None,
    }
    if destination is None:
        return facts
    region = policy.organisation.phone_region
    contacts = [cells.write_contact(plain[token], destination, region) for token in sorted(delivered & plain.keys())]
    listed = [{"contact": contact} for contact in contacts if contact]
    expires = now + timedelta(hours=destination.expires_after_hours)
    facts |= {"legal_entity": destination.legal_entity, "role": destination.role, "country": destination.country}
    facts |= {"listed": len(listed), "expires_at": expires.isoformat()}
    if listed:
        _write(home, request, destination, listed, {**facts, "request": request, "written_at": now.isoformat()})
    return facts


def _write(
    home: Home, request: str, destination: Destination, rows: list[dict[str, Any]], facts: dict[str, Any]
) -> None:
    folder = writer.make_folder(home.outbox, FOLDER)
    rendered = writer.render(f"{destination.name}.{request}", ("contact",), rows, destination)
    writer.write_file(folder, rendered, home.outbox)
    what = "suppress these contacts and delete what was delivered of them"
    said = {**facts, "what": what, "file": rendered.part.name, "sha256": rendered.part.sha256,
            "contact_written_as": cells.written_as(destination)}  # fmt: skip
    write_json(folder / f"{destination.name}.{request}.json", said, mode=writer.file_mode(home.outbox))


def recall_suppression_files(home: Home, request: str) -> int:
    """Removes the files of a request: it was undone, or they have served. Returns how many."""
    gone = suppression_files(home, request)
    for path in gone:
        path.unlink()
    return len(gone)


def suppression_files(home: Home, request: str) -> list[Path]:
    return sorted((home.outbox / FOLDER).glob(f"*.{request}.*"))
