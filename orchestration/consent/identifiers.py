"""Reads the plain identifiers of consent records into subjects. Not here: their canonical form (`normalise.py`)."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from orchestration.consent.models import Subject
from orchestration.identity.keys import Keys
from orchestration.identity.normalise import canonical
from orchestration.identity.pseudonymise import Tokeniser
from orchestration.policy.schema import Policy

MOST_REMEMBERED = 100_000  # a person's records mostly come together
LONGEST = 1024  # characters; no longer value is accepted anywhere in a record, and megabytes would be remembered
Contact = tuple[str, str, str, str]  # token, kind, issuer, canonical value


class Identifiers:
    """Reads plain identifiers into subjects. An issuer that the policy nowhere names would bind nobody: unreadable."""

    def __init__(self, policy: Policy, keys: Keys) -> None:
        self._organisation = policy.organisation
        self._kinds = {kind.name: kind for kind in policy.organisation.identifier_kinds}
        self._issuers = {(i.kind, i.issuer) for source in policy.sources.sources for i in source.identifiers}
        self._issuers |= {(d.kind, d.issuer) for d in policy.destinations.destinations}
        self._issuers |= {(s.kind, s.issuer) for feed in policy.sources.consent_feeds for s in feed.subjects}
        self._token = Tokeniser(keys).token
        self.subject = functools.lru_cache(MOST_REMEMBERED)(self._subject)

    def issuers_of(self, kind: str) -> frozenset[str]:
        return frozenset(issuer for of, issuer in self._issuers if of == kind)

    def read(self, values: Mapping[str, str], prefix: str) -> tuple[Subject | None, Contact | None]:
        """The subject that a row names, and what the vault keeps of it where its kind is a contact."""
        kind, issuer, value = (values.get(f"{prefix}_{part}", "") for part in ("kind", "issuer", "value"))
        return (None, None) if max(map(len, (kind, issuer, value))) > LONGEST else self.subject(kind, issuer, value)

    def _subject(self, kind: str, issuer: str, value: str) -> tuple[Subject | None, Contact | None]:
        if (kind, issuer) not in self._issuers or not value:
            return None, None
        rule = self._kinds[kind]
        plain = canonical(rule, value, self._organisation)
        if plain is None:
            return None, None
        token = self._token(kind, issuer, plain)
        return Subject(token, kind, issuer), (token, kind, issuer, plain) if rule.contact else None
