"""Renders the explanation of one person as one self-contained page in Chinese and English, to be read aloud.

The page loads nothing and runs nothing; every value is escaped; it holds no identifier. Not here: its sentences."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from orchestration.evidence.labels import Text
from orchestration.evidence.person import Person
from orchestration.evidence.person_text import tell
from orchestration.evidence.sentences import Speaker
from orchestration.policy.schema import Policy

HERE = Path(__file__).parent


def render_person(policy: Policy, person: Person) -> str:
    """The page as text."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    speaker = Speaker(policy)
    environment.filters["both"] = both
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["local"] = speaker.time
    environment.globals["label"] = lambda code, kind="": both(speaker.name(code, kind))
    first, controllers = tell(person, speaker)
    style = (HERE / "report.css").read_text(encoding="utf-8") + (HERE / "person.css").read_text(encoding="utf-8")
    return environment.get_template("person.html.j2").render(
        person=person, first=first, controllers=controllers, style=Markup(style), zone=policy.organisation.zone
    )


def both(text: Text) -> Markup:
    """Both languages; the style sheet shows the one that was chosen."""
    return Markup('<span class="zh" lang="zh-CN">{}</span><span class="en" lang="en">{}</span>').format(
        text.zh, text.en
    )
