"""What a column may hold instead, as SQL, where it belongs to something forbidden: another value that is forbidden too.

Each stands by itself, so any of them may be chosen without the others. Not here: which rows they are for
(`changes.py`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock

import duckdb

from orchestration.ingestion.contracts import lake_column, rules_of
from orchestration.ingestion.quoting import ident, text
from orchestration.policy.schema import FieldRule, Policy
from orchestration.proof.twins.cast import invented_value
from orchestration.proof.twins.forbidden import HIDDEN, WHOLE, Audience, is_listed
from orchestration.proof.twins.sample import NODES

WHAT = "twin_what"  # names the row, or its copy, for the dice
_OPAQUE = ("feed", "body_hash", "batch")  # of the lake: how a row came


@dataclass(frozen=True)
class Words:
    """Lists of what policy knows, as literals: asked for once, they need no query in each row's."""

    con: duckdb.DuckDBPyConnection
    found: dict[str, str] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)  # a connection is of one thread at a time

    def literal(self, query: str) -> str:
        """The list that a query of policy's tables gives, as SQL."""
        with self.lock:
            if query not in self.found:
                words = self.con.execute(query).fetchall()[0][0] or []
                self.found[query] = "[" + ", ".join("null" if word is None else text(word) for word in words) + "]"
            return self.found[query]


@dataclass(frozen=True)
class Alternatives:
    """Of the columns of one staged table, for one audience."""

    policy: Policy
    audience: Audience
    table: str
    words: Words

    @property
    def place(self) -> str:
        return self.table.partition(".")[2]

    @cached_property
    def rules(self) -> dict[str, FieldRule]:
        """The rule of each kept column of the lake."""
        source = next(source for source in self.policy.sources.sources if source.name == self.place)
        rules = rules_of(self.policy, source)
        return {
            lake_column(f, rules[f.name])[0]: rules[f.name]
            for f in source.fields
            if f.name in rules and rules[f.name].verb != "drop"
        }

    def changed(self, kind: str, column: str, sql_type: str) -> str | None:
        """Another value, by which a row stays where it is."""
        if column in NODES:
            return None
        if self.table.startswith("lake."):
            return self._lake_changed(kind, column, sql_type)
        return self._record_changed(column, sql_type) if kind in WHOLE else None

    def moved(self, kind: str, column: str) -> str | None:
        """Another person, time or event, by which a touchpoint goes somewhere else."""
        if not self.table.startswith("lake.") or kind not in ("ended", *HIDDEN):
            return None
        if column == "subject_token":
            return f"twin_token({WHAT})"
        if kind == "ended":
            return None
        if column == "occurred_at":
            earlier = f"{column} - to_minutes((1440 + twin_u('at' || {WHAT}) * 430000)::integer)"
            return earlier if kind in ("before", "old") else f"twin_ago('at' || {WHAT}, 900)"
        if column == "raw_event" and kind == "unlisted":
            return self._event("category is null or category not in " + self._listed)
        return None

    def _lake_changed(self, kind: str, column: str, sql_type: str) -> str | None:
        if column in self.rules:
            return self._field_changed(kind, column, sql_type)
        if kind in ("field", "stage"):
            return None
        if column == "touchpoint_key" or column in _OPAQUE:
            return f"twin_token('{column}' || {WHAT})"
        if column == "business_day":
            return f"twin_ago('day' || {WHAT}, 900)::date"
        if column == "raw_event" and kind in HIDDEN and kind != "unlisted":
            return self._event_of_same_category()
        if column == "raw_event" and kind in (*WHOLE, "ended"):
            return self._event("true")
        if column == "occurred_at" and kind in (*WHOLE, "ended"):
            return f"twin_ago('at' || {WHAT}, 900) + to_days(2)"
        return self._whole_changed(kind, column)

    def _whole_changed(self, kind: str, column: str) -> str | None:
        if kind not in WHOLE:
            return None
        if column == "source":
            return self._pick("select list(source order by source) || ['invented'] from policy.sources", column)
        if column == "controller":
            return self._controller(stays_elsewhere=kind == "elsewhere")
        if column in ("subject_kind", "subject_issuer"):
            name = column.removeprefix("subject_")
            return self._pick(f"select list({name} order by kind, issuer) from twin_kinds", column)
        return None

    def _field_changed(self, kind: str, column: str, sql_type: str) -> str | None:
        rule = self.rules[column]
        if kind == "field" and rule.category in self._categories:
            return None
        if kind == "stage" and rule.stage is None:
            return None
        if column.endswith("_token") and rule.verb == "token":
            return f"twin_token('{column}' || {WHAT})"
        is_free = kind in (*WHOLE, "ended")
        value = invented_value(column, sql_type, WHAT, with_sensitive=is_free)
        if is_free or sql_type != "VARCHAR":
            return value
        kept = [  # what makes a touchpoint sensitive goes on to
            f"when {is_listed(ident(column), v.value)} then {ident(column)}"
            + (f" || twin_token({WHAT})" if v.value.endswith("*") else "")
            for v in self.policy.minimisation.sensitive_values
        ]
        return f"case {' '.join(kept)} else {value} end" if kept else value

    def _record_changed(self, column: str, sql_type: str) -> str:
        """Of the ledger, links and activity of people who never permitted: nothing here may become a permit."""
        other_purpose = f"purpose <> {text(self.audience.purpose)}"
        if column == "decision":  # what names the purpose stays what it is: the same is not asked of what names another
            chosen = self._pick("select list(decision order by decision) from policy.decisions", column)
            return f"case when {other_purpose} then {chosen} else decision end"
        if column == "purpose":
            return self._pick(
                f"select list(purpose order by purpose) || ['invented'] from policy.purposes where {other_purpose}",
                column,
            )
        if column == "jurisdiction":
            opt_out = (
                "select regime from policy.purpose_basis where purpose = "
                f"{text(self.audience.purpose)} and basis = 'opt_out'"
            )
            return self._pick(
                "select coalesce(list(code order by code), []) || ['XX', null] from "
                f"policy.jurisdictions where regime not in ({opt_out})",
                column,
            )
        if column == "fact" and self.table == "ledger.contracts":
            facts = f"select fact from policy.purpose_contract_facts where purpose = {text(self.audience.purpose)}"
            return self._pick(
                "select coalesce(list(distinct fact order by fact), []) || "
                f"['invented'] from policy.purpose_contract_facts where fact not in ({facts})",
                column,
            )
        if column == "controller":
            return self._controller(stays_elsewhere=True)
        if column == "seq":
            return "seq + 9000000000"
        words = self._words(column)
        if words is not None:
            return self._pick(words, column)
        if sql_type in ("TIMESTAMP", "DATE"):
            return f"(twin_ago('{column}' || {WHAT}, 900) + to_days(100))::{sql_type}"
        return f"not coalesce({ident(column)}, false)" if sql_type == "BOOLEAN" else f"twin_token('{column}' || {WHAT})"

    def _words(self, column: str) -> str | None:
        """The list of what policy knows for a column of the records, as SQL."""
        if column.startswith(("kind", "issuer")):
            return f"select list({column.partition('_')[0]} order by kind, issuer) from twin_kinds"
        return {
            "category": "select list(distinct category order by category) || [null] from policy.scopes",
            "recipient": "select list(distinct recipient order by recipient) || [null] from policy.scopes",
            "channel": "select list(distinct channel order by channel) || [null] from policy.purpose_channels",
            "method": "select list(method order by method) || ['login', 'order'] from policy.methods",
            "notice_id": "select list(distinct notice_id order by notice_id) from policy.notices",
            "notice_version": "select list(distinct version order by version) from policy.notices",
            "destination": "select list(destination order by destination) from policy.destinations",
            "state": "select ['on', 'off', 'open', 'closed']",
            "status": "select ['erased', 'restricted', 'legal_hold', 'suppressed', 'invented']",
            "fact": "select [null, 'adv:invented', 'tpl:invented']",
        }.get(column)

    def _controller(self, *, stays_elsewhere: bool) -> str:
        where = f" where controller <> {text(self.audience.controller)}" if stays_elsewhere else ""
        return self._pick(
            f"select coalesce(list(controller order by controller), []) || ['invented'] from policy.controllers{where}",
            "controller",
        )

    def _event(self, condition: str) -> str:
        events = (
            "select coalesce(list(raw_event order by raw_event), []) || "
            f"['invented'] from policy.events where source = {text(self.place)}"
        )
        return self._pick(f"{events} and ({condition})", "event")

    def _event_of_same_category(self) -> str:
        source = next(source for source in self.policy.sources.sources if source.name == self.place)
        alike = "select list(raw_event order by raw_event) from policy.events where source = {} and category = {}"
        cases = [
            f"when {text(event.raw)} then {self._pick(alike.format(text(self.place), text(event.category)), 'event')}"
            for event in source.events
        ]
        return f"case raw_event {' '.join(cases)} else raw_event end" if cases else "raw_event"

    def _pick(self, words: str, column: str) -> str:
        return f"twin_pick({self.words.literal(words)}, '{column}' || {WHAT})"

    @cached_property
    def _categories(self) -> frozenset[str]:
        purpose = next((p for p in self.policy.purposes.purposes if p.name == self.audience.purpose), None)
        allowed = purpose is not None and self.audience.controller in purpose.controllers
        return frozenset(purpose.categories) if purpose is not None and allowed else frozenset()

    @property
    def _listed(self) -> str:
        return "(" + ", ".join(text(category) for category in sorted(self._categories) or [""]) + ")"
