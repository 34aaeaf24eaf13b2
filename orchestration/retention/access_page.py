"""Renders what is known about one person as one self-contained page in Chinese and English, for them to keep.

The page loads nothing and runs nothing; every value is escaped. Not here: gathering it (`access.py`)."""

from __future__ import annotations

from pathlib import Path

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from orchestration import evidence
from orchestration.evidence.person_page import both
from orchestration.evidence.person_text import tell
from orchestration.evidence.sentences import Speaker
from orchestration.policy.schema import Policy
from orchestration.retention.access import INTERNAL, Access

HERE = Path(__file__).parent
EVIDENCE = Path(str(evidence.__path__[0]))
SAID_APART = frozenset((*INTERNAL, "source", "feed", "controller", "occurred_at", "raw_event"))


def render_access(policy: Policy, access: Access) -> str:
    """The page as text."""
    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader(HERE), FileSystemLoader(EVIDENCE)]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    speaker = Speaker(policy)
    environment.filters["both"] = both
    environment.filters["local"] = speaker.time
    environment.filters["more"] = lambda row: {name: row[name] for name in sorted(row.keys() - SAID_APART)}
    environment.globals["label"] = lambda code, kind="": both(speaker.name(code, kind))
    style = "".join((EVIDENCE / name).read_text(encoding="utf-8") for name in ("report.css", "person.css"))
    told = None if access.explanation is None else tell(access.explanation, speaker)
    return environment.get_template("access.html.j2").render(
        access=access, controllers=[] if told is None else told[1], style=Markup(style),
        zone=policy.organisation.zone,
    )  # fmt: skip
