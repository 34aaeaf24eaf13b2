"""Searches every byte for somebody: under the home, its anchor and storage, temporary files and further folders; and
proves, by a control of its own, that it would have found them. The finding is signed evidence.

Files are searched as they lie and read through; what is sealed under the home's keys is opened. Backups are sealed with
a passphrase, so they are named, not searched. Not here: forms of what is looked for (`needles.py`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestration.atomic import write_json
from orchestration.backup.register import is_where_written, noted_backups
from orchestration.consent.anchoring.anchor import Anchor
from orchestration.consent.identifiers import Identifiers
from orchestration.evidence.signing import signed
from orchestration.retention.control import Control, planted
from orchestration.retention.needles import Needles, needles_of
from orchestration.retention.readings import UnreadableError, readings
from orchestration.retention.requests import Person
from orchestration.retention.respond import Site
from orchestration.retention.sealed_readings import details_of, sealed_texts, sealed_values
from orchestration.retention.traces import Traces

FOLDER = "erasures"  # of evidence/


@dataclass
class Found:
    """What a search saw: hits by file (relative to its folder) and by what was found; and how much it read."""

    files: int = 0
    bytes: int = 0
    readings: dict[str, int] = field(default_factory=dict)  # by how they were read
    hits: dict[str, list[str]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)  # only their bytes were searched
    unsearched: dict[str, str] = field(default_factory=dict)  # not even these
    sealed_copies: list[str] = field(default_factory=list)  # backups: sealed with a passphrase, so not searched
    control_planted: int = 0
    control_missed: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether the search saw through every way of hiding, in every folder, and read every file."""
        return self.control_planted > 0 and not self.control_missed and not self.unsearched

    @property
    def is_clean(self) -> bool:
        return self.is_sound and not self.hits

    def read(self, how: str) -> None:
        self.readings[how] = self.readings.get(how, 0) + 1

    def hit(self, where: str, what: str) -> None:
        if what not in self.hits.setdefault(where, []):
            self.hits[where].append(what)


class Search:
    """One search for one person. `values` are plain identifiers and other words, as somebody gave them."""

    def __init__(self, site: Site, person: Person, values: Sequence[str], also: Sequence[Path] = ()) -> None:
        self._site, self._person = site, person
        tokens = {f"{number} {one.kind}": one.token for number, one in enumerate(person.identifiers, 1)}
        self._forms = needles_of(tokens, values)
        pairs = {(one.kind, one.issuer) for one in person.identifiers}
        self._traces = Traces(site.policy, site.keys, set(person.tokens).intersection, list(values), pairs or None)
        anchor = Anchor(site.home, site.keys, site.ledger_at).folder
        self._roots = [site.home.root, *([anchor] if anchor.is_dir() else []), *also]

    @property
    def roots(self) -> list[Path]:
        return list(self._roots)

    def run(self) -> Found:
        found = Found()
        line = f"control,{os.urandom(8).hex()}"
        with planted(self._site.home, self._site.keys, self._roots, line) as control:
            needles = Needles({**self._forms, **control.forms})
            seen = set[Path]()
            for root in self._roots:
                for path in files_below(root, self._roots, found.unsearched):
                    self._look(root, path, needles, found, control, seen)
            found.unsearched |= {str(root): "nothing could be planted in it" for root in control.bare}
            self._look_into_sealed(needles, found, control, seen)
            copies = noted_backups(self._site.home).values()
            found.sealed_copies = sorted(copy.path for copy in copies if is_where_written(copy))
            found.control_planted = len(control.planted)
            found.control_missed = sorted(way for path, way in control.planted.items() if path not in seen)
        return found

    def _look(self, root: Path, path: Path, needles: Needles, found: Found, control: Control, seen: set[Path]) -> None:
        where = path.relative_to(root.parent).as_posix()
        try:
            for how, data in readings(self._site.home, path):
                found.read(how.split()[0])
                found.bytes += len(data) if how == "bytes" else 0
                for name in needles.found(data):
                    if name == "control":
                        seen |= {path} if control.is_found(path, how) else set()
                    elif path not in control.planted:
                        found.hit(where, f"{name} in its {how}")
        except UnreadableError as error:
            found.unreadable[where] = str(error)
        except FileNotFoundError:  # Dagster's own files come and go
            return
        except OSError as error:
            found.unsearched[where] = error.strerror or "cannot be read"
        found.files += path not in control.planted

    def _look_into_sealed(self, needles: Needles, found: Found, control: Control, seen: set[Path]) -> None:
        root = self._site.home.root.parent
        for path, text in sealed_texts(self._site):
            found.read("opened")
            if path in control.planted:
                if control.line in text:
                    seen.add(path)
            elif self._traces.names(text):
                found.hit(path.relative_to(root).as_posix(), "named in what is sealed")
        for path, (how, data) in sealed_values(self._site):
            found.read(how)
            for name in needles.found(data):
                found.hit(_relative(path, root), f"{name} in what is sealed")
        if details := details_of(self._site, self._person.refs):
            found.hit("ledger", f"{details} details of the person")


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def files_below(root: Path, roots: Sequence[Path], unsearched: dict[str, str]) -> Iterator[Path]:
    """Every file below, hidden ones too. A folder that cannot be listed is `unsearched`, and a link that leads out of
    `roots`: it is not followed."""

    def unlisted(error: OSError) -> None:
        unsearched[str(error.filename)] = error.strerror or "cannot be listed"

    for folder, folders, files in os.walk(root, onerror=unlisted):
        folders.sort()
        for path in sorted(Path(folder) / name for name in (*folders, *files)):
            if not path.is_symlink():
                yield from [path] if path.is_file() else []
            elif not any(path.resolve().is_relative_to(one.resolve()) for one in roots):
                unsearched[str(path)] = "a link to another place: name that with --also"


def plain_values(site: Site, lines: Sequence[str]) -> list[str]:
    """The values to look for of lines `kind:issuer:value`, as given and in canonical form; other lines as they are."""
    identifiers = Identifiers(site.policy, site.keys)
    found: list[str] = []
    for line in (line.strip() for line in lines):
        kind, _, rest = line.partition(":")
        issuer = next((one for one in identifiers.issuers_of(kind) if rest.startswith(f"{one}:")), None)
        if issuer is None:
            found.append(line)
            continue
        value = rest[len(issuer) + 1 :]
        found.append(value)
        _, contact = identifiers.read(
            {"subject_kind": kind, "subject_issuer": issuer, "subject_value": value}, "subject"
        )
        found += [contact[3]] if contact is not None else []
    return [value for value in dict.fromkeys(found) if value]


def write_evidence(site: Site, request: str, search: Search, found: Found, *, values: int, now: datetime) -> Path:
    """Keeps what was searched and found, signed. It names files and counts, never a value or a token."""
    content: dict[str, Any] = {
        "format": 1,
        "what": "search of every byte for one person",
        "request": request,
        "searched_at": now.isoformat(),
        "folders": [str(root) for root in search.roots],
        "values_given": values,
        "is_clean": found.is_clean,
        "is_sound": found.is_sound,
        **asdict(found),
    }
    folder = site.home.evidence / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{request}-{now:%Y%m%dT%H%M%S%f}.json"
    write_json(path, signed(content, site.keys))
    return path
