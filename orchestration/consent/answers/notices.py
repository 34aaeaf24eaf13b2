"""The exact texts that people agreed to (R-41): of the policy in force and of every archived one, by their hash.

Not here: whether a grant under a version counts (the build), and whom a new version concerns (`notify.py`)."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestration.atomic import write_bytes
from orchestration.errors import AssentError, HomeError
from orchestration.home import Home
from orchestration.policy.loader import canonical
from orchestration.policy.schema import Policy

Key = tuple[str | None, str | None, str | None]  # notice, version, language


@dataclass(frozen=True)
class NoticeText:
    """One text of one version in one language. `sha256` is of its UTF-8 bytes."""

    notice_id: str
    version: str
    language: str
    sha256: str
    published_at: str
    renews_consent: bool
    purposes: tuple[str, ...]
    is_in_force: bool  # as the policy of today has it
    text: str


def archive_policy(home: Home, policy: Policy) -> None:
    """Keeps the policy under which records are accepted, beside those of the builds: `policies/<hash>/policy.json`."""
    content = canonical(policy).encode()
    place = home.policies / hashlib.sha256(content).hexdigest()[:16] / "policy.json"
    if not place.is_file():
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_bytes(place, content)


class NoticeBook:
    """Every text of every notice that this home has ever worked with."""

    def __init__(self, home: Home, policy: Policy) -> None:
        self._texts: dict[Key, dict[str, NoticeText]] = {}
        for is_in_force, tree in [(True, json.loads(canonical(policy))), *((False, t) for t in _archived(home))]:
            for text in _texts(tree, is_in_force):
                key = (text.notice_id, text.version, text.language)
                self._texts.setdefault(key, {}).setdefault(text.sha256, text)

    def find(self, notice_id: str, version: str, language: str) -> list[NoticeText]:
        """The text; several, the one in force first, where somebody edited it after its publication.

        Raises AssentError that names what there is when there is none."""
        found = self._texts.get((notice_id, version, language))
        if found:
            return list(found.values())
        there = [f"{n} {v} {lang}" for n, v, lang in self._texts if n == notice_id] or sorted(
            {str(n) for n, _, _ in self._texts}
        )
        raise AssentError(
            "no policy in force or in the archive has this text",
            where="notice",
            remedy=f"There are: {', '.join(there)}",
        )

    def sha256(self, notice_id: str | None, version: str | None, language: str | None) -> str | None:
        """The hash of the text that a record names; None where it names none, or it is unknown or was edited."""
        found = list(self._texts.get((notice_id, version, language), ()))
        return found[0] if len(found) == 1 else None

    def published_at(self, notice_id: str | None, version: str | None) -> str | None:
        """When a version was published, in any of its languages."""
        for key, texts in self._texts.items():
            if key[:2] == (notice_id, version):
                return next(iter(texts.values())).published_at
        return None

    def edited(self) -> list[str]:
        """The notice, version and language of each text that was changed after publication."""
        return [" ".join(map(str, key)) for key, texts in self._texts.items() if len(texts) > 1]


def _archived(home: Home) -> Iterator[dict[str, Any]]:
    for path in sorted(home.policies.glob("*/policy.json")):
        tree = None
        with contextlib.suppress(OSError, ValueError):
            tree = json.loads(path.read_bytes())
        if not isinstance(tree, dict):
            raise HomeError("an archived policy is damaged", where=str(path), remedy="Restore it from a backup")
        yield tree


def _texts(tree: dict[str, Any], is_in_force: bool) -> Iterator[NoticeText]:
    """Read without the types of today: an archived policy may be of an older form."""
    for notice in tree["notices"]["notices"]:
        for version in notice["versions"]:
            for language, text in version["texts"].items():
                yield NoticeText(
                    notice_id=notice["id"],
                    version=version["version"],
                    language=language,
                    sha256=hashlib.sha256(text.encode()).hexdigest(),
                    published_at=version["published_at"],
                    renews_consent=version["renews_consent"],
                    purposes=tuple(notice["purposes"]),
                    is_in_force=is_in_force,
                    text=text,
                )
