"""Renders lineage as one self-contained page in Chinese and English: every column that is shown or delivered, back to
its origins, and every field of a source, forward. It loads nothing, and holds names and codes only; without its script
it is the same, in one long list. Not here: the answers (`answers.py`)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from orchestration import evidence
from orchestration.evidence.labels import Text
from orchestration.evidence.person_page import both
from orchestration.policy.schema import Policy
from orchestration.proof.lineage.answers import Goes, Origins, Told, goes_of, origins_of
from orchestration.proof.lineage.edges import ROWS, Column
from orchestration.proof.lineage.facts import Facts, Kind
from orchestration.proof.lineage.graph import SHOWN, Lineage
from orchestration.proof.lineage.origins import FEEDS, LANDING
from orchestration.proof.lineage.words import Words

HERE = Path(__file__).parent
EVIDENCE = Path(str(evidence.__path__[0]))
# In the order in which a reader asks: of data about people first.
ORDER: tuple[Kind, ...] = (
    "segment", "file", "governance", "field", "consent", "stored", "log", "made", "policy", "key", "build", "model",
    "kept",
)  # fmt: skip
GATED: tuple[Kind, ...] = ("field", "segment", "governance", "file")  # of which gates are told
WHOLE: tuple[Kind, ...] = ("policy", "consent")  # of which a line names the tables, and the feeds


@dataclass(frozen=True)
class Group:
    """A relation on the page, with an answer for each of its columns."""

    relation: str
    kind: Kind
    title: Text
    recipient: str
    why: dict[str, Text]  # column → why it is there
    answers: Sequence[Origins | Goes]

    @property
    def words(self) -> str:
        """By which its columns are found, beside their names."""
        return f"{self.title.zh} {self.title.en}"


@dataclass(frozen=True)
class Line:
    """Ends on one line: the first of them, and the names that stand for all."""

    one: Told
    names: tuple[str, ...]
    title: Text


def render_lineage(policy: Policy, lineage: Lineage, *, policy_hash: str) -> str:
    """The page as text. Autoescape is on for everything but the style sheet and the script, which are files of ours."""
    facts, words = Facts(policy), Words(policy)
    shown = [_group(lineage, facts, words, name) for name in _relations(lineage, SHOWN)]
    fields = [_group(lineage, facts, words, name) for name in _relations(lineage, (LANDING, FEEDS))]
    script = (HERE / "page.js").read_text(encoding="utf-8")
    style = (EVIDENCE / "report.css").read_text(encoding="utf-8") + (HERE / "page.css").read_text(encoding="utf-8")
    return _environment(words).get_template("page.html.j2").render(
        shown=shown, fields=fields, policy_hash=policy_hash, gates_of_all=lineage.gates, gated=GATED, whole=WHOLE,
        reviews=policy.reclassifications.reclassifications,
        style=Markup(style), script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        counts={
            "fields": sum(len(group.answers) for group in fields if group.kind == "field"),
            "columns": sum(len(group.answers) for group in shown),
            "models": len(_relations(lineage, ("staging", "intermediate", *SHOWN[:2]))),
        },
    )  # fmt: skip


def _relations(lineage: Lineage, schemas: Sequence[str]) -> list[str]:
    found = [name for name, columns in lineage.relations.items() if columns and name.partition(".")[0] in schemas]
    return sorted(found, key=lambda name: (schemas.index(name.partition(".")[0]), name))


def _group(lineage: Lineage, facts: Facts, words: Words, relation: str) -> Group:
    is_feed = relation.startswith(f"{FEEDS}.")  # its fields all go the same way, into the ledger: one answer for them
    columns = [Column(relation, name) for name in ((ROWS,) if is_feed else lineage.relations[relation])]
    destination = facts.destination(relation)
    kind = facts.kind(columns[0])
    return Group(
        relation,
        kind,
        words.relation(relation),
        recipient="" if destination is None else f"{destination.legal_entity}, {destination.country}",
        why={str(column): why for column in columns if (why := words.why(column)) is not None},
        answers=[
            (goes_of if kind in ("field", "consent") else origins_of)(lineage, facts, column) for column in columns
        ],
    )


def _environment(words: Words) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["label"] = lambda code, kind="": both(words.label(code, kind))
    environment.filters |= {
        "both": both,
        "verb": lambda code: both(words.verb(code)),
        "kind": lambda code: both(words.kind(code)),
        "review": lambda code: both(words.review(code)),
        "purpose": lambda code: both(words.purpose(code)),
        "stage": lambda code: both(words.stage(code)),
        "title": lambda relation: both(words.relation(relation)),
        "table": lambda relation: relation.partition(".")[2],
        "relation": lambda column: column.rpartition(".")[0],
        "column": lambda column: column.rpartition(".")[2],
        "place": lambda column: column.removesuffix(f".{ROWS}"),
        "made_lines": lambda told: made_lines(told, words),
        "goes_lines": lambda told: goes_lines(told, words),
        "deciders": lambda told: deciders(told, words),
    }
    return environment


def made_lines(told: Iterable[Told], words: Words) -> list[Line]:
    """A line for the fields of a source that come the same way; of consent one for each field of a record, which names
    the feeds."""

    def place_of(one: Told) -> str:
        if one.kind == "consent":
            return one.column.rpartition(".")[2]
        return f"{one.relation} {one.category} {one.verbs}"

    return _lines(told, words, place_of)


def goes_lines(told: Iterable[Told], words: Words) -> list[Line]:
    """A line for each segment, file or table, which names the columns."""
    return _lines(told, words, lambda one: one.relation)


def deciders(told: Iterable[Told], words: Words) -> list[Line]:
    """A line for each place and the gates that all its ways pass; of the policy, and of consent, one that names the
    tables, or feeds: they are many."""
    return _lines(told, words, lambda one: one.kind if one.kind in WHOLE else one.relation)


def _lines(told: Iterable[Told], words: Words, place_of: Callable[[Told], str]) -> list[Line]:
    lines: dict[tuple[str, str, object], tuple[Told, dict[str, None]]] = {}
    for one in sorted(told, key=lambda one: (ORDER.index(one.kind), one.column)):
        is_whole = one.kind in WHOLE
        name = (one.relation.partition(".") if is_whole else one.column.rpartition("."))[2]
        gates = (one.gates, one.around, one.is_gated) if one.kind in GATED else None
        _, names = lines.setdefault((one.kind, place_of(one), gates), (one, {}))
        names[name] = None
    return [
        Line(one, tuple(names), words.kind(one.kind) if one.kind in WHOLE else words.relation(one.relation))
        for one, names in lines.values()
    ]
