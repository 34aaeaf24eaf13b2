"""The people with a story: reads `tests/personas.yaml`, and turns each into raw rows and consent records.

What each must and must not be in is data for the tests; nothing here evaluates a rule."""

from __future__ import annotations

import re
from datetime import date
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from orchestration import safe_yaml
from orchestration.errors import AssentError
from orchestration.policy.schema import Label, Name, Policy
from orchestration.policy.vocabulary import vocabulary

PATH = Path(__file__).parents[2] / "tests" / "personas.yaml"
# alias in the file → kind, issuer, and the field that carries it in the sources
ALIASES = {
    "account": ("account", "shop", "account_id"),
    "email": ("email", "email", "email"),
    "phone": ("phone", "e164", "phone"),
    "cookie": ("cookie", "shop.example.com", "cookie_id"),
    "device": ("device", "shop.app", "device_id"),
    "push": ("push", "shop.app", "push_token"),
    "unionid": ("unionid", "open.shop", "unionid"),
    "openid": ("openid", "wx-oa-shop", "openid"),
    "mp_openid": ("openid", "wx-mp-shop", "mp_openid"),
    "member": ("member", "loyalty", "member"),
}
RESERVED = {"phone": r"\+8613900000\d{3}", "email": r"[a-z.]+@example\.com", "member": r"M9\d{5}"}
SECONDS = {"s": 1, "m": 60, "h": 3600}

Alias = Literal[
    "account", "email", "phone", "cookie", "device", "push", "unionid", "openid", "mp_openid", "member"
]  # fmt: skip
Relative = Annotated[str, StringConstraints(pattern=r"^[+-]?\d+d( [+-]\d+[hms])?$")]
Plain = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9@.+_*:\- ]{1,64}$")]
TagFeed = Literal["tag", "events", "official_account", "mini_program", "till", "clinic_till"]


def offset_ms(relative: str) -> int:
    """Milliseconds from as_of: `-10d -1s` is ten days and one second before it."""
    days, _, rest = relative.partition("d")
    seconds = int(rest[:-1]) * SECONDS[rest[-1]] if rest else 0
    return (int(days) * 86_400 + seconds) * 1000


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Step(Strict):
    """One record of the consent history; `purposes` makes one record each."""

    at: Relative
    by: Alias
    type: Literal["consent", "permission", "contract", "age", "status", "link"] = "consent"
    controller: Name = "shop"
    purposes: tuple[Name, ...] = ()
    decision: Annotated[str, StringConstraints(pattern=r"^[a-z_!?]{1,24}$")] = "grant"
    method: Name = "explicit_click"
    separate: bool = False
    guardian: bool = False
    category: Name | None = None
    recipient: Name | None = None
    channel: Name | None = None
    notice: str | None = None  # absent: the policy's first notice for the purpose; "none": no notice
    version: str | None = None  # absent: the version published at the time
    jurisdiction: str | None = None
    valid_until: Relative | None = None
    arrives: Relative | None = None  # absent: at once, or with the first file
    event_id: Plain | None = None
    fact: Name | None = None
    status: Name | None = None
    state: Name | None = None
    minor_until: Relative | None = None
    other: Alias | None = None
    unlink: bool = False

    @model_validator(mode="after")
    def _consent_names_purposes(self) -> Self:
        if self.type == "consent" and self.decision == "grant" and not self.purposes:
            raise ValueError("a grant names its purposes")
        return self


class Touch(Strict):
    """One raw event of a feed, with the identifiers that it carries."""

    at: Relative
    feed: TagFeed
    event: str
    by: tuple[Alias, ...] = Field(min_length=1)
    arrives: Relative | None = None
    item: Plain | None = None
    amount: float | None = None
    store: Plain = "store-tianhe"
    birthday: Literal["this_month", "other_month"] | None = None
    phone: Plain | None = None  # as typed, instead of the person's own


class Expect(Strict):
    """`in`, `out`, or the reason for being left out. A segment that is not listed: out. Exports are those of the
    segments the person is in; purposes are the person's permission at as_of for data that is not sensitive."""

    segments: dict[Name, Name] = {}
    exports: dict[Name, Name] = {}
    purposes: dict[Name, Name] = {}

    def in_segment(self, segment: str) -> str:
        return self.segments.get(segment, "out")


class Persona(Strict):
    name: Name
    who: Annotated[str, StringConstraints(pattern=r"^[\u4e00-\u9fff]{2,4}$")]
    story: Label
    identifiers: dict[Alias, Plain] = Field(min_length=1)
    consents: tuple[Step, ...] = ()
    touchpoints: tuple[Touch, ...] = Field(min_length=1)
    expect: Expect

    @model_validator(mode="after")
    def _identifiers_are_reserved_and_used(self) -> Self:
        for alias, value in self.identifiers.items():
            if not re.fullmatch(RESERVED.get(alias, ".*"), value):
                raise ValueError(f"the {alias} is not of the form kept for personas: {RESERVED[alias]}")
        used = {alias for touch in self.touchpoints for alias in touch.by} | {step.by for step in self.consents}
        if used - self.identifiers.keys():
            raise ValueError(f"no value for {', '.join(sorted(used - self.identifiers.keys()))}")
        return self


class Personas(Strict):
    """The whole file. Its expectations hold for an as_of from `holds_from` to `holds_until`, with `days` or more."""

    holds_from: date
    holds_until: date
    days: int
    personas: tuple[Persona, ...]


def load_personas(policy: Policy, path: Path = PATH) -> Personas:
    """The personas, checked against the policy. Raises AssentError saying which one is wrong and why."""
    if not path.is_file():
        raise AssentError("the personas are missing", where=str(path), remedy="Run from a checkout of Assent")
    found, problems = None, []
    try:
        found = Personas.model_validate(safe_yaml.load(path.read_bytes()))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False)]
    except yaml.YAMLError:
        problems = ["not valid YAML"]
    if found is not None:
        problems = [problem for persona in found.personas for problem in _unknown_names(persona, policy)]
    if found is None or problems:
        raise AssentError("; ".join(problems), where=path.name, remedy="Correct the file")
    return found


def _unknown_names(persona: Persona, policy: Policy) -> list[str]:
    segments = {segment.name: segment for segment in policy.segments.segments}
    answers = {"in", "out"} | {reason.name for reason in vocabulary().reasons}
    destinations = {destination.name for destination in policy.destinations.destinations}
    purposes = {purpose.name for purpose in policy.purposes.purposes}
    expect, unknown = persona.expect, partial("{}: no such {}: {}".format, persona.name)
    problems = [unknown("segment", name) for name in expect.segments.keys() - segments.keys()]
    problems += [unknown("destination", name) for name in expect.exports.keys() - destinations]
    problems += [unknown("purpose", name) for name in expect.purposes.keys() - purposes]
    problems += [unknown("purpose", name) for step in persona.consents for name in set(step.purposes) - purposes]
    given = {*expect.segments.values(), *expect.exports.values(), *expect.purposes.values()}
    problems += [unknown("answer", name) for name in given - answers]
    reached = {name for s in segments.values() if expect.in_segment(s.name) == "in" for name in s.destinations}
    problems += [f"{persona.name}: says nothing of {name}" for name in reached - expect.exports.keys()]
    problems += [f"{persona.name}: is in no segment of {name}" for name in expect.exports.keys() - reached]
    return sorted(problems)
