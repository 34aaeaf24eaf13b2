"""Verifies an erasure by a search of every byte, and ends what was kept for that: the sealed list of what to look for.

Not here: the search (`search.py`)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from orchestration.consent.answers.state import read_identifier
from orchestration.errors import AssentError
from orchestration.identity.keys import SubjectRegistry
from orchestration.retention.requests import Named, Person, RequestLog
from orchestration.retention.respond import Site
from orchestration.retention.search import Found, Search, plain_values, write_evidence

NO_REQUEST = "by-identifiers"


def verify_erasure(
    site: Site, name: str | None, lines: Sequence[str], *, now: datetime, also: Sequence[Path] = ()
) -> tuple[Found, Path]:
    """Searches for the person of a request, or without one of `lines`, and writes signed evidence. `lines` are
    identifiers (kind:issuer:value) and other words of theirs. Once an erasure that is physical is found clean, its
    tombstone is destroyed: from then on a search needs the identifiers again."""
    home = site.home
    with home.lock(), SubjectRegistry(home, site.keys) as registry, RequestLog(home, registry) as log:
        request = None if name is None else log.get(name)
        has_tombstone = request is not None and request.has_tombstone
        person = log.person(request.id) if request is not None and has_tombstone else _of_lines(site, lines)
        if not person.refs:
            person = replace(person, refs=tuple(registry.refs_of(person.tokens)))
        search = Search(site, person, plain_values(site, lines), also)
        found = search.run()
        path = write_evidence(site, name or NO_REQUEST, search, found, values=len(lines), now=now)
        if request is not None and has_tombstone and found.is_clean and request.reached("physically_erased"):
            log.destroy_tombstone(request.id)
    return found, path


def _of_lines(site: Site, lines: Sequence[str]) -> Person:
    subjects = []
    for line in lines:
        with contextlib.suppress(AssentError):  # another word of theirs: looked for as it is
            subjects.append(Named(*read_identifier(site.policy, site.keys, line)))
    if not subjects:
        raise AssentError(
            "who it was about is destroyed, and no identifier was given",
            where="--value-file",
            remedy="Give kind:issuer:value by a file or standard input",
        )
    return Person(subjects[0], tuple(subjects))
