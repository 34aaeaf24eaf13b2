"""Tells whether a text names somebody: each piece of it that could be an identifier is made a token, as ingestion does.

It reads lines that no reader took, and files as they landed, so it goes by pieces, not by columns. Not here: what is
done with such a text (`sealed_files.py`, `search.py`)."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any
from urllib.parse import unquote

from orchestration.consent.identifiers import LONGEST, Identifiers
from orchestration.identity.keys import Keys
from orchestration.identity.normalise import canonical_of
from orchestration.identity.pseudonymise import LABELS, Mac
from orchestration.policy.schema import Policy

SHORTEST = 4  # characters of a value that is looked for inside words
FINE = re.compile(r"[\s,;:|\"'<>\[\]{}()=&?]+")
# What a piece needs to be of a kind at all; its canonical form decides.
SHAPES = {"email": re.compile("[@＠﹫]"), "phone": re.compile(r"(?:\d[^\d]*){5}"), "number": re.compile(r"\d")}
MIDDLE = re.compile(r"[,;:|=&\t\r\n\"<>\[\]{}]+")
COARSE = re.compile(r"[,;|\t\r\n\"<>\[\]{}]+")  # keep what holds blanks or colons: +86 138 0013 8000


class Traces:
    """Looks for those of whose tokens `of` says which are meant; `plain` are values to be found anywhere in a text."""

    def __init__(
        self,
        policy: Policy,
        keys: Keys,
        of: Callable[[Iterable[str]], Collection[str]],
        plain: Collection[str] = (),
        pairs: Collection[tuple[str, str]] | None = None,
    ) -> None:
        """`pairs`: the kinds and issuers of their identifiers, where they are known; else all of the policy's."""
        self._of, self._plain = of, [value for value in plain if len(value) >= SHORTEST]
        self._mac, self._organisation = Mac(keys.derive(LABELS["token"])), policy.organisation
        issuers = Identifiers(policy, keys).issuers_of
        self._kinds = [
            (kind, issuer)
            for kind in policy.organisation.identifier_kinds
            for issuer in sorted(issuers(kind.name))
            if pairs is None or (kind.name, issuer) in pairs
        ]

    def names(self, text: str) -> bool:
        """Whether `text` names one of them."""
        return any(value in text for value in self._plain) or bool(self.found([text]))

    def found(self, texts: Iterable[str]) -> set[str]:
        """The tokens of those whom the texts name."""
        pieces = {piece for text in texts for piece in candidates(text)}
        return set(self._of(self._tokens(pieces)))

    def _tokens(self, pieces: Collection[str]) -> Iterator[str]:
        for kind, issuer in self._kinds:
            likely = SHAPES.get(kind.normalise)
            chosen = pieces if likely is None else [piece for piece in pieces if likely.search(piece)]
            plain = {*map(canonical_of(kind, self._organisation), chosen)} - {None}
            start = f"{kind.name}|{issuer}|"
            yield from (found.hex() for found in self._mac.digests(f"{start}{value}".encode() for value in plain))


def candidates(text: str) -> set[str]:
    """The pieces of a text that could be an identifier: between separators, and the values of a JSON document."""
    readings = {text, html.unescape(text)}
    if "%" in text:
        readings.add(unquote(text))
    if "\\u" in text or "\\/" in text:
        readings.update(_json_texts(text))
    pieces = {part.strip() for reading in readings for by in (FINE, MIDDLE, COARSE) for part in by.split(reading)}
    return {piece for piece in pieces if 0 < len(piece) <= LONGEST}


def _json_texts(text: str) -> Iterator[str]:
    """What is escaped in JSON, line by line where it is lines."""
    for line in text.splitlines():
        try:
            yield from _strings(json.loads(line))
        except ValueError:
            yield re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), line).replace("\\/", "/")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
