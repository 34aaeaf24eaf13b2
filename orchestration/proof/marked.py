"""What must not lie about: contact details, pseudonyms, audience keys and key material that a home itself knows, drawn
as a sample by seed, in every form in which a file may hold them.

Nothing is planted among people's data: these are the canaries that are there already. Not here: where each may lie
(`allowances.py`) and the search (`canaries.py`)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestration.errors import HomeError
from orchestration.identity.keys import Keys, SubjectRegistry
from orchestration.identity.vault import Vault
from orchestration.retention.needles import forms_of_secret, forms_of_token, forms_of_value
from orchestration.retention.respond import Site
from orchestration.warehouse.publish import connect_published, published

Kind = Literal["contact", "pseudonym", "audience", "purpose_key", "master", "secret"]
SHORTEST = 8  # characters: a shorter value may be in a file by chance
# Of what is derived from the master keys for one use; a test holds it to the code. Purpose keys come beside.
USES = (
    "token", "keyed hash", "anchor signing", "anchor journal", "archive", "identity-resolution", "ledger-detail",
    "ledger-events", "ledger-mirror", "quarantine", "suppression", "suppression list", "wrap data keys",
)  # fmt: skip

SAYS = {
    "contact": "contact details", "pseudonym": "tokens and person keys", "audience": "audience keys",
    "purpose_key": "keys of purposes", "master": "master keys", "secret": "keys derived from them, and people's own",
}  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """One thing that is looked for; `says` names it without giving it away."""

    kind: Kind
    says: str
    forms: frozenset[bytes]
    purpose: str | None = None  # of an audience key


@dataclass(frozen=True)
class Marks:
    """All that is looked for, and of how many of each kind that is the sample."""

    marks: tuple[Mark, ...]
    known: Mapping[str, int]
    lost: Mapping[str, str] = field(default_factory=dict)  # kind → why none of it can be looked for

    def looked_for(self) -> dict[str, int]:
        return {kind: sum(mark.kind == kind for mark in self.marks) for kind in self.known}


def marks_of(site: Site, *, seed: int, sample: int | None) -> Marks:
    """Of each kind `sample` (None: all), of the audience keys of each purpose a third of it; the same for the same seed
    and home."""
    dice = random.Random(seed)
    with SubjectRegistry(site.home, site.keys) as registry, Vault(site.home, site.keys) as vault:
        points = vault.contact_points_arrow()
        kinds = dict(zip(points["token"].to_pylist(), points["kind"].to_pylist(), strict=True))
        tokens = registry.mapping_arrow()["token"].to_pylist()
        chosen = _some(dice, sorted(kinds), sample)
        contacts = _contacts(vault.get(chosen), kinds)
        data_keys = registry.existing_data_keys(chosen)
    lost, people = {}, list[tuple[str, str, str]]()
    try:
        people, contacts_built = _people(site), _contacts_built(site)
    except HomeError:
        lost["audience"], contacts_built = "what is published cannot be read", 0
    if contacts_built and not kinds:
        lost["contact"] = f"what is published knows {contacts_built:,}, and the vault none"
    marks = [
        *contacts,
        *_pseudonyms(_some(dice, tokens, sample), "token"),
        *_pseudonyms(_some(dice, sorted({person for person, _, _ in people}), sample), "person_key"),
        *_audiences(dice, people, sample),
        *_secrets(site, list(data_keys.values())),
    ]
    known = {
        "contact": len(kinds),
        "pseudonym": len(tokens) + len({person for person, _, _ in people}),
        "audience": len({key for _, _, key in people}),
        "purpose_key": len(site.policy.purposes.purposes),
        "master": len(_masters(site.keys)),
        "secret": len(USES) * len(_masters(site.keys)) + len(data_keys),
    }
    return Marks(tuple(marks), known, lost)


def _some(dice: random.Random, values: Sequence[str], sample: int | None) -> list[str]:
    return list(values) if sample is None or sample >= len(values) else dice.sample(values, sample)


def _contacts(plain: Mapping[str, str], kinds: Mapping[str, str]) -> Iterator[Mark]:
    for token, value in plain.items():
        if len(value) >= SHORTEST:
            yield Mark("contact", f"a contact detail ({kinds[token]})", frozenset(forms_of_value(value)))


def _pseudonyms(values: Sequence[str], what: str) -> Iterator[Mark]:
    yield from (Mark("pseudonym", f"a {what}", frozenset(forms_of_token(value))) for value in values)


def _people(site: Site) -> list[tuple[str, str, str]]:
    """Person, purpose and audience key of everybody considered in the generation in force; none before the first."""
    query = "SELECT person_key, purpose, audience_key FROM intermediate.int_audience_keys ORDER BY ALL"
    return [(str(person), str(purpose), str(key)) for person, purpose, key in _published(site, query)]


def _contacts_built(site: Site) -> int:
    """How many contact details the generation in force was built with."""
    return sum(int(number) for (number,) in _published(site, "SELECT count(*) FROM activity.contact_points"))


def _published(site: Site, query: str) -> list[tuple[Any, ...]]:
    if published(site.home) is None:
        return []
    con = connect_published(site.home)
    try:
        return con.execute(query).fetchall()
    finally:
        con.close()


def _audiences(dice: random.Random, people: Sequence[tuple[str, str, str]], sample: int | None) -> Iterator[Mark]:
    most = sample if sample is None else -(-sample // 3)  # these are most of what is looked for
    for purpose in sorted({purpose for _, purpose, _ in people}):
        for key in _some(dice, [key for _, of, key in people if of == purpose], most):
            yield Mark("audience", f"an audience key of {purpose}", frozenset(forms_of_token(key)), purpose)


def _masters(keys: Keys) -> list[bytes]:
    return [keys.master, *keys.later]


def _secrets(site: Site, data_keys: Sequence[bytes]) -> Iterator[Mark]:
    for master in _masters(site.keys):
        yield Mark("master", "a master key", frozenset(forms_of_secret(master)))
        for use in USES:
            yield Mark("secret", f"the key for {use}", frozenset(forms_of_secret(Keys(master).derive(use))))
    for purpose in site.policy.purposes.purposes:
        key = site.keys.derive(f"audience:{purpose.name}")
        yield Mark("purpose_key", f"the key of the purpose {purpose.name}", frozenset(forms_of_secret(key)))
    for key in data_keys:
        yield Mark("secret", "the key of one person's contact details", frozenset(forms_of_secret(key)))
