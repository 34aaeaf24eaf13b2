"""Where a persona is in a built generation: what the pipeline says, in the words of `personas.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from orchestration.demo.personas import ALIASES, Persona
from orchestration.identity.keys import Keys
from orchestration.identity.normalise import canonical
from orchestration.identity.pseudonymise import Tokeniser
from orchestration.policy.schema import Policy


@dataclass
class Stage:
    """A generation's file, and the keys under which its people are known."""

    file: Path
    keys: Keys
    policy: Policy

    def differences(self, persona: Persona) -> list[str]:
        """What the pipeline says about the persona and the file does not, or the other way round."""
        expected = {f"segment {s.name}": persona.expect.in_segment(s.name) for s in self.policy.segments.segments}
        expected |= {f"purpose {name}": answer for name, answer in persona.expect.purposes.items()}
        expected |= {f"destination {name}": answer for name, answer in persona.expect.exports.items()}
        tokens = self._tokens(persona)
        wrong = []
        with duckdb.connect(str(self.file), read_only=True) as con:
            said = {kind: getattr(self, f"_{kind}s")(con, tokens) for kind in ("segment", "purpose", "destination")}
            for what, answer in expected.items():
                kind, name = what.split()
                found = said[kind].get(name, {"no_consent"} if kind == "purpose" else set())
                fits = (
                    "in" not in found if answer == "out" else answer in found and (answer == "in" or "in" not in found)
                )
                if not fits:
                    wrong.append(f"{persona.name}: {what} should be {answer}, is {sorted(found) or 'nowhere'}")
        return wrong

    def _tokens(self, persona: Persona) -> list[str]:
        kinds = {kind.name: kind for kind in self.policy.organisation.identifier_kinds}
        tokeniser, found = Tokeniser(self.keys), []
        for alias, value in persona.identifiers.items():
            kind, issuer, _ = ALIASES[alias]
            plain = canonical(kinds[kind], value, self.policy.organisation)
            if plain is not None:
                found.append(tokeniser.token(kind, issuer, plain))
        return found

    def _segments(self, con: duckdb.DuckDBPyConnection, tokens: list[str]) -> dict[str, set[str]]:
        return self._answers(
            con,
            "select p.segment, case when p.is_member then 'in' else coalesce(p.reason, 'out') end "
            "from intermediate.int_segment_people as p "
            "join policy.segments as s on p.segment = s.segment "
            "join intermediate.int_identifiers_resolved as i "
            "on p.person_key = i.person_key and i.controller = s.controller "
            "where list_contains(?, i.token)",
            tokens,
        )

    def _destinations(self, con: duckdb.DuckDBPyConnection, tokens: list[str]) -> dict[str, set[str]]:
        return self._answers(
            con,
            "select a.destination, coalesce(a.reason, 'in') from intermediate.int_activations_decided as a "
            "join intermediate.int_identifiers_resolved as i on a.person_key = i.person_key "
            "where list_contains(?, i.token)",
            tokens,
        )

    def _purposes(self, con: duckdb.DuckDBPyConnection, tokens: list[str]) -> dict[str, set[str]]:
        found = self._answers(
            con,
            "select p.purpose, coalesce(p.reason, 'in') from intermediate.int_permissions_now as p "
            "join intermediate.int_identifiers_resolved as i on p.person_key = i.person_key "
            "where list_contains(?, i.token) and p.category <> 'sensitive'",
            tokens,
        )
        return {purpose: {"in"} if "in" in answers else answers for purpose, answers in found.items()}

    @staticmethod
    def _answers(con: duckdb.DuckDBPyConnection, sql: str, tokens: list[str]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for name, answer in con.execute(sql, [tokens]).fetchall():
            found.setdefault(name, set()).add(answer)
        return found
