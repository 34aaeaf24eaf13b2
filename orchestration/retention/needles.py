"""The byte strings that would give somebody away, and a fast search for all of them at once.

Not here: where to look (`search.py`)."""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from hyperscan import HS_FLAG_DOTALL, HS_FLAG_SINGLEMATCH, HS_MODE_BLOCK, Database

ENCODINGS = ("utf-8", "gb18030", "utf-16-le", "utf-16-be")
HASHES = ("sha256", "sha1", "md5")  # unkeyed: a hash of a phone is the phone
SHORTEST = 4  # bytes: a shorter one would be found in any file
LONGEST = 1024  # bytes: of what is longer its beginning is looked for
MOST = 1 << 30  # bytes in one pass: the library counts them in 32 bits


def forms_of_token(token: str) -> set[bytes]:
    """A token as it may lie in a file: as text, as its 16 bytes, and both again in base64 and in hex; as two numbers of
    a processor, as the memory of identities has it."""
    raw = bytes.fromhex(token)
    halves = {raw[:8][::-1], raw[8:][::-1]}
    return _plain(token) | _plain(token.upper()) | {raw} | halves | _packed(token.encode()) | _packed(raw)


def forms_of_value(value: str) -> set[bytes]:
    """A plain value as it may lie in a file, escaped too, and its unkeyed hash. Of a phone also without its plus and
    its country, and in groups."""
    spellings = {value, value.lower(), value.upper(), value.encode("unicode_escape").decode()}
    digits = value.removeprefix("+")
    if digits.isdigit() and value != digits:
        short = digits.removeprefix("86")
        spellings |= {digits, short, *(f"{short[:3]}{by}{short[3:7]}{by}{short[7:]}" for by in " -")}
    found = {form for spelling in spellings for form in _plain(spelling)}
    for spelling in spellings:
        found |= _packed(spelling.encode())
        for name in HASHES:
            digest = hashlib.new(name, spelling.encode(), usedforsecurity=False)
            found |= {digest.digest(), digest.hexdigest().encode(), digest.hexdigest().upper().encode()}
    return {form for form in found if len(form) >= SHORTEST}


def forms_of_secret(secret: bytes) -> set[bytes]:
    """Key material as it may lie in a file: as it is, in hex, in base64."""
    return {secret} | _packed(secret) | {base64.urlsafe_b64encode(secret).rstrip(b"=")[:-1]}


def _plain(text: str) -> set[bytes]:
    return {text.encode(name) for name in ENCODINGS}


def _packed(data: bytes) -> set[bytes]:
    """In hex, and in base64 wherever in a triple of bytes it begins: the parts that do not depend on its neighbours."""
    hexes = {data.hex().encode(), data.hex().upper().encode()}
    shifted = {base64.b64encode(b"\0" * shift + data)[(0, 2, 3)[shift] :].rstrip(b"=")[:-1] for shift in range(3)}
    return {form for form in hexes | shifted if len(form) >= 2 * SHORTEST}


class Needles:
    """Name → the byte strings to look for. All are looked for in one pass, however many there are (Vectorscan, after
    Wang et al. 2019, Hyperscan): measured, 1 GB/s for 18,700 of them, which take 0.7 s to prepare. Of one thread."""

    def __init__(self, forms: Mapping[str, Collection[bytes]]) -> None:
        named: dict[bytes, list[str]] = defaultdict(list)
        for name, some in forms.items():
            for form in some:
                named[form[:LONGEST]].append(name)
        self._names = list(named.values())
        self._longest = max(map(len, named), default=0)
        if named:
            self._database = Database(mode=HS_MODE_BLOCK)
            self._database.compile(
                expressions=[_literal(form) for form in named], flags=HS_FLAG_SINGLEMATCH | HS_FLAG_DOTALL
            )

    def found(self, data: bytes) -> set[str]:
        """The names of those that `data` holds."""
        seen = set[int]()
        for start in range(0, len(data) if self._names else 0, MOST):
            piece = data if len(data) <= MOST else data[start : start + MOST + self._longest]
            self._database.scan(piece, match_event_handler=lambda number, *_: seen.add(number))
        return {name for number in seen for name in self._names[number]}


def _literal(form: bytes) -> bytes:
    """The regular expression of these bytes and nothing else."""
    return ("\\x" + form.hex("x").replace("x", "\\x")).encode()


def needles_of(tokens: Mapping[str, str], values: Iterable[str]) -> dict[str, set[bytes]]:
    """The forms of tokens (name → token) and values, each under a name that gives nothing away."""
    forms = {f"token {name}": forms_of_token(token) for name, token in tokens.items()}
    return forms | {f"value {number}": forms_of_value(value) for number, value in enumerate(sorted(set(values)), 1)}
