"""Searches every file of a home, as it lies and read through, for what must not be there: contact details in plain,
pseudonyms and key material out of their places, the audience keys of one purpose in a place of another.

It changes nothing among people's data; controls of its own, planted beside and removed, prove that it would have found
what it looks for. Not here: what it looks for (`marked.py`), what may lie where (`allowances.py`)."""

from __future__ import annotations

import csv
import io
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestration.backup.register import is_where_written, noted_backups
from orchestration.consent.anchoring.anchor import Anchor
from orchestration.proof.allowances import NOTHING, Allowances
from orchestration.proof.marked import SAYS, Mark, Marks, marks_of
from orchestration.proof.verdict import Failure, Verdict
from orchestration.retention.control import Control, planted, remove_left
from orchestration.retention.needles import Needles
from orchestration.retention.readings import Reading, UnreadableError, readings, tables_together
from orchestration.retention.respond import Site
from orchestration.retention.search import files_below

SAMPLE = 100  # of each kind: measured, a home of 40 MB takes 3 s of CPU; of all people `--full`
SHOWN = 20  # failures of one area, beyond which they are counted
SEALED = "contents sealed under the home's keys (quarantine, archive, vault, journal): their bytes were searched"
OF_SOURCES = "contact details in landing/: the files are the sources' own"
REMEDIES = {
    "contact": "Find the step that writes this file: contact details belong in the vault, and in the contact column",
    "pseudonym": "Find the step that writes this file; places.yaml says where tokens may lie",
    "audience": "An audience key may be shown for its own purpose only: join no two purposes",
    "purpose_key": "Remove the file, then rotate: `assent keys rotate`, and tell whoever answers for the keys",
    "master": "Remove the file, then rotate: `assent keys rotate`, and tell whoever answers for the keys",
    "secret": "Remove the file, then rotate: `assent keys rotate`, and tell whoever answers for the keys",
}


@dataclass
class Searched:
    """What the search saw, by area (a folder of the home, the anchor, a further folder)."""

    looked_for: dict[str, int]
    known: dict[str, int]
    files: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    hits: dict[str, dict[str, list[Failure]]] = field(default_factory=dict)  # area → file
    lost: dict[str, str] = field(default_factory=dict)  # kind → why it could not be looked for
    unreadable: dict[str, str] = field(default_factory=dict)  # only their bytes were searched
    not_searched: list[str] = field(default_factory=list)
    control_planted: int = 0
    control_missed: list[str] = field(default_factory=list)

    def verdicts(self) -> tuple[Verdict, ...]:
        """One for each area: each of its files holds nothing that it may not; and one for the controls."""
        found = [self._control(), self._looked_for()]
        for area, files in sorted(self.files.items()):
            hits = self.hits.get(area, {})
            failures = tuple(failure for some in hits.values() for failure in some)
            found.append(Verdict("canaries", area, None, files, files - len(hits), failures[:SHOWN]))
        return tuple(found)

    def as_json(self) -> dict[str, Any]:
        """As the evidence tells it, beside the verdicts."""
        looked_for = {
            kind: {"looked_for": number, "known": self.known[kind]} for kind, number in self.looked_for.items()
        }
        return {
            "files": sum(self.files.values()),
            "bytes": self.bytes,
            "looked_for": looked_for,
            "only_bytes": self.unreadable,
            "not_searched": self.not_searched,
            "controls": {"planted": self.control_planted, "missed": len(self.control_missed)},
        }

    def _control(self) -> Verdict:
        missed = tuple(
            Failure(
                "the search does not see through this way of hiding, so it proves nothing",
                (way,),
                "Report it as a fault of Assent; in a folder that cannot be written, run as its owner",
            )
            for way in self.control_missed
        )
        planted = self.control_planted
        return Verdict("canaries", "control", None, planted, planted - len(missed), missed)

    def _looked_for(self) -> Verdict:
        """Of each kind that there is, some were looked for: a search for nothing finds nothing."""
        lacking = {kind for kind, known in self.known.items() if known and not self.looked_for[kind]}
        why = {**dict.fromkeys(lacking, "none of those that are known could be looked for"), **self.lost}
        remedy = "Run `assent doctor`: the vault, the registry or what is published is damaged or gone"
        failures = tuple(
            Failure(f"{SAYS[kind]} were not looked for: {said}", (kind,), remedy) for kind, said in why.items()
        )
        return Verdict("canaries", "looked for", None, len(self.known), len(self.known) - len(why), failures)


class CanarySearch:
    """One search of a home, its anchor and further folders (`also`). To enter it plants the controls and lists the
    files: what comes later is not searched, so that something else may work beside it. Hold the home's lock."""

    def __init__(self, site: Site, *, seed: int, is_full: bool, also: Sequence[Path] = ()) -> None:
        self._site, self._seed, self._also = site, seed, also
        self._sample = None if is_full else SAMPLE
        self._allowed = Allowances(site.policy)
        self._roots = _roots(site, also)
        self._named: dict[str, Mark] = {}
        self._files: dict[Path, list[Path]] = {}
        self._unsearched: dict[Path, dict[str, str]] = {root: {} for root in self._roots}
        self._planted = planted(site.home, site.keys, self._roots, None)

    def __enter__(self) -> CanarySearch:
        self._control = self._planted.__enter__()
        for root in self._roots:
            self._files[root] = [*files_below(root, self._roots, self._unsearched[root])]
        return self

    def __exit__(self, *error: Any) -> None:
        self._planted.__exit__(*error)

    def run(self, say: Callable[[str], None] = lambda _: None) -> Searched:
        marks: Marks = marks_of(self._site, seed=self._seed, sample=self._sample)
        self._named = {str(number): mark for number, mark in enumerate(marks.marks)}
        found = Searched(marks.looked_for(), dict(marks.known), lost=dict(marks.lost))
        control = self._control
        forms = {name: mark.forms for name, mark in self._named.items()}
        needles, seen = Needles({**forms, **control.forms}), set[Path]()
        clear = self._clear(needles, control)
        for root, files in self._files.items():
            say(f"searching {root}")
            for path in files:
                self._look(root, path, needles, control, found, seen, is_clear=path in clear)
            for where, why in self._unsearched[root].items():
                area, name = self._placed(root, Path(where))
                found.files[area] = found.files.get(area, 0) + 1
                self._unread(area, name, why, found)
        found.control_planted = len(control.planted)
        found.control_missed = sorted(way for path, way in control.planted.items() if path not in seen)
        found.not_searched = [
            *self._not_searched(),
            *(f"{root}: nothing could be planted in it" for root in control.bare),
        ]
        return found

    def _clear(self, needles: Needles, control: Control) -> set[Path]:
        """Of small Parquet files, those whose columns hold nothing that may not lie there, as far as all of the same
        columns tell together. None, where no control is among them, or one is not found; what is not here is read by
        itself."""
        clear, controls = set[Path](), 0
        for root, files in self._files.items():
            for paths, columns in tables_together(files):
                held: dict[str, set[str]] = defaultdict(set)
                try:
                    for how, data in columns:
                        held[how] |= needles.found(data)
                except (UnreadableError, pa.ArrowException):
                    continue
                planted = control.planted.keys() & set(paths)
                if planted and not any("control" in names for names in held.values()):
                    return set()
                controls += len(planted)
                marks = {how: self._kinds(names) for how, names in held.items()}
                clear.update(path for path in paths if path not in planted and not self._wrong(root, path, marks))
        return clear if controls else set()

    def _kinds(self, names: Collection[str]) -> set[tuple[str, str | None]]:
        """The kinds of these marks, and their purposes."""
        marks = [self._named[number] for number in names if number != "control"]
        return {(mark.kind, mark.purpose) for mark in marks}

    def _wrong(self, root: Path, path: Path, marks: Mapping[str, Collection[tuple[str, str | None]]]) -> bool:
        """Whether one of the columns holds what it may not."""
        _, name = self._placed(root, path)
        return any(
            not allowed.covers(kind, purpose)
            for how, some in marks.items()
            if some
            for allowed in [NOTHING if root in self._also else self._allowed.of(name, how)]
            for kind, purpose in some
        )

    def _look(
        self,
        root: Path,
        path: Path,
        needles: Needles,
        control: Control,
        found: Searched,
        seen: set[Path],
        *,
        is_clear: bool,
    ) -> None:
        area, name = self._placed(root, path)
        is_control = path in control.planted
        if not is_control:
            found.files[area] = found.files.get(area, 0) + 1
        try:
            for how, data in self._readings(path, name, is_clear):
                found.bytes += len(data) if how == "bytes" else 0
                held = needles.found(data)
                if "control" in held and control.is_found(path, how):
                    seen.add(path)
                if not is_control:
                    self._judge(root, area, name, how, held - {"control"}, found)
        except UnreadableError as error:
            found.unreadable[name] = str(error)
            if area != "landing":  # the sources' own: what was cut is refused, and stays
                self._unread(area, name, str(error), found)
        except FileNotFoundError:  # Dagster's own files come and go
            found.files[area] = found.files.get(area, 0) - (0 if is_control else 1)
        except OSError as error:
            self._unread(area, name, error.strerror or "cannot be read", found)

    def _unread(self, area: str, name: str, why: str, found: Searched) -> None:
        """What was not read through shows nothing."""
        failure = Failure(f"it cannot be searched ({why})", (name,), "Mend it, take it away, or run as its owner")
        found.hits.setdefault(area, {}).setdefault(name, []).append(failure)

    def _placed(self, root: Path, path: Path) -> tuple[str, str]:
        """The area, and the name by which the inventory knows the file."""
        relative = path.relative_to(root)
        if root == self._site.home.root:
            return (relative.parts[0] if len(relative.parts) > 1 else "home"), relative.as_posix()
        if root in self._also:
            return root.name, f"{root.name}/{relative.as_posix()}"
        return "anchor", f"anchor/{root.name}/{relative.as_posix()}"

    def _readings(self, path: Path, name: str, is_clear: bool) -> Iterator[Reading]:
        yield from readings(self._site.home, path, is_read_through=is_clear)
        if name.startswith("outbox/") and path.suffix == ".csv":
            yield from cells(path)

    def _judge(self, root: Path, area: str, name: str, how: str, held: set[str], found: Searched) -> None:
        marks = [self._named[number] for number in held]
        allowed = self._allowed.of(name, how) if marks and root not in self._also else None  # these may hold nothing
        wrong = {mark.says: mark for mark in marks if allowed is None or not allowed.covers(mark.kind, mark.purpose)}
        where = found.hits.setdefault(area, {}).setdefault(name, []) if wrong else []
        told = {failure.what for failure in where}
        for says, mark in sorted(wrong.items()):
            what = f"{says} lies where it may not"
            if what not in told:
                where.append(Failure(what, (name, f"in its {how}"), REMEDIES[mark.kind]))

    def _not_searched(self) -> list[str]:
        copies = noted_backups(self._site.home).values()
        backups = [f"{copy.path}: sealed with a passphrase" for copy in copies if is_where_written(copy)]
        server = (
            [] if self._site.ledger_at.url is None else ["the ledger's database server: only what it sends is seen"]
        )
        temporary = f"{tempfile.gettempdir()}: the system's temporary folder; name it, or a part of it, with --also"
        return [SEALED, OF_SOURCES, *server, temporary, *backups]


def remove_controls(site: Site, also: Sequence[Path]) -> None:
    """Those of a search that was ended."""
    remove_left(site.home, _roots(site, also))


def _roots(site: Site, also: Sequence[Path]) -> list[Path]:
    anchor = Anchor(site.home, site.keys, site.ledger_at).folder
    return [site.home.root, *([anchor] if anchor.is_dir() else []), *also]


def cells(path: Path) -> Iterator[Reading]:
    """A CSV of the outbox by its columns, in both encodings of destinations."""
    data = path.read_bytes()
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            header, *rows = csv.reader(io.StringIO(data.decode(encoding), newline=""))
        except (UnicodeDecodeError, ValueError, csv.Error):
            continue
        for number, name in enumerate(header):
            yield f"column {name}", "\0".join(row[number] for row in rows if number < len(row)).encode()
        return
