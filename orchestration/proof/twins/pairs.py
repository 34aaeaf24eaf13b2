"""The pairs of worlds that are compared: for each audience, for each channel, and for denials; and what each must show.

Not here: building and comparing them (`prove.py`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

from orchestration.policy.schema import Policy
from orchestration.proof.project import Project
from orchestration.proof.twins.alternatives import Words
from orchestration.proof.twins.changes import Change, Twins
from orchestration.proof.twins.exposed import ACTIVATIONS, REACH, Exposed, Rule, exposures
from orchestration.proof.twins.forbidden import Audience
from orchestration.proof.twins.narrowing import DENIALS, contact_changes, deny, leave_out
from orchestration.proof.twins.others import Others
from orchestration.proof.twins.world import World

Fill = Callable[[World, Collection[Change], Collection[int] | None], None]


@dataclass(frozen=True)
class Pair:
    """A twin of the base: how it is made, by whichever connection, and what must hold for what is exposed. `touched` is
    SQL of the kinds, regimes and people that differ, right after it was made."""

    name: str
    changes: tuple[Change, ...]
    fill: Fill
    checks: tuple[tuple[Exposed, Rule], ...]
    touched: str

    @property
    def is_light(self) -> bool:
        """Whether few models read what differs: measured, a tenth of the time of another."""
        return {change.kind for change in self.changes} == {"contact"}


_FORBIDDEN = (
    "select coalesce(kind, 'field') as kind, regime, person from twin_forbidden where kind is not null or is_here"
)
_DENIED = (
    "select 'denial' as kind, r.regime, d.person from twin_denied as d "
    "inner join twin_regimes as r on d.person = r.person"
)
_UNREACHED = """
    select 'contact' as kind, r.regime, p.person from twin_unreached as u
    inner join twin_people as p on u.token = p.token inner join twin_regimes as r on p.person = r.person
"""


def all_pairs(
    base: World, policy: Policy, project: Project, audiences: Sequence[Audience], words: Words, others: Others
) -> list[Pair]:
    """Every pair that policy asks for. `others` are to be made before the first twin is."""
    found = [
        pair
        for audience in audiences
        for pair in _of_audience(Twins(base, policy, audience, words, others), project, audiences)
    ]
    found += _of_channels(base, policy, words, project, audiences)
    everything = [exposed for audience in audiences for exposed in exposures(project, audience, audiences)]
    rules: tuple[tuple[Exposed, Rule], ...] = tuple((exposed, "nobody gained") for exposed in _people(everything))
    found.append(Pair("denials", DENIALS, partial(deny, policy), rules, _DENIED))
    return found


def _people(exposed: Sequence[Exposed]) -> list[Exposed]:
    """Without counts, of which nobody can be said to be gained."""
    return [one for one in exposed if one.relation != REACH]


def _of_audience(twins: Twins, project: Project, everyone: Sequence[Audience]) -> list[Pair]:
    audience = twins.audience
    changes = tuple(twins.changes())
    seen = exposures(project, audience, everyone)
    excluding = [exposed for exposed in seen if exposed.is_excluding]
    plain = [exposed for exposed in seen if not exposed.is_excluding]

    def pair(what: str, chosen: Sequence[Change], checked: Sequence[Exposed], rule: Rule) -> Pair:
        name = f"{audience.name}{' with sensitive data' if audience.reads_sensitive else ''}: {what}"
        return Pair(name, tuple(chosen), twins.make, tuple((exposed, rule) for exposed in checked), _FORBIDDEN)

    if not excluding:
        return [pair("whatever is forbidden", changes, plain, "same")]
    # excluded are those of whom something is hidden, so with more or less of it people go and come; the others stay
    hidden = [change for change in changes if not change.keeps_hidden]
    return [
        pair("as much is hidden", [change for change in changes if change.keeps_hidden], seen, "same"),
        *([pair("other is hidden", hidden, plain, "same")] if plain else []),
        pair("more is hidden", [c for c in hidden if c.done == "added"], _people(excluding), "nobody gained"),
    ]


def _of_channels(
    base: World, policy: Policy, words: Words, project: Project, audiences: Sequence[Audience]
) -> list[Pair]:
    channel_of = {destination.name: destination.channel for destination in policy.destinations.destinations}
    used = {segment.name: {channel_of[name] for name in segment.destinations} for segment in policy.segments.segments}
    found = []
    for channel in sorted(set().union(*used.values())):
        asked = [audience for audience in audiences if any(channel in used[name] for name in audience.segments)]
        checks: list[tuple[Exposed, Rule]] = [
            (replace(exposed, channel=channel), "same")
            for audience in asked
            for exposed in exposures(project, audience, audiences)
            if exposed.relation in (ACTIVATIONS, REACH)
        ]
        fill = partial(leave_out, (policy, words), asked, channel)
        found.append(Pair(f"channel {channel}", tuple(contact_changes(base)), fill, tuple(checks), _UNREACHED))
    return found
