"""What a difference between twins is called: what was changed, by which models it came, and what to do. No value is
told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestration.proof.twins.changes import Change
from orchestration.proof.twins.exposed import Difference, Exposed, Rule
from orchestration.proof.twins.forbidden import KINDS
from orchestration.proof.verdict import Failure

if TYPE_CHECKING:
    from orchestration.proof.twins.shrink import Smallest

REMEDIES = {
    "elsewhere": "Join and filter by the controller wherever the purpose is asked",
    "stranger": "Read touchpoints through segment_touchpoints() and end with "
    "segment_members(); join neither from the left",
    "ended": "Ask for the consent in force at T: segment_members() does, and so do the masks of the gate",
    "withheld": "Ask for the consent of the touchpoint's own category: the masks of the gate do",
    "before": "Ask for the consent in force when the touchpoint was collected: only int_touchpoints_gated has",
    "old": "Ask for the purpose's retention: only int_touchpoints_gated has",
    "unlisted": "Take only touchpoints of categories that the purpose lists: int_touchpoints_gated_by_purpose does",
    "sensitive": "Leave out category 'sensitive', or declare the segment sensitive; "
    "segment_touchpoints() leaves it out",
    "field": "Read no field whose category the purpose does not list, or let the purpose list it",
    "stage": "Read the field from int_touchpoints_gated, where it is empty without the stage's consent",
    "key": "Join audience keys of one purpose only",
    "contact": "Take contacts only of people whose consent covers the channel",
    "denial": "A denial may only take people away: let no filter ask whether "
    "somebody is absent, and no grant follow a link",
}
_GAINED = {
    "same": "differs in what policy must not tell apart",
    "nobody gained": "gains people where only more is denied or hidden",
}


def failure(exposed: Exposed, rule: Rule, told: Smallest | None, found: Difference | None = None) -> Failure:
    """Of a pair of worlds in which `exposed` breaks the rule."""
    found = told.found if told is not None else found
    assert found is not None
    where = f"{exposed.relation}{f' on channel {exposed.channel}' if exposed.channel else ''}"
    what = f"{where} {_GAINED[rule]}: {_counted(found)}"
    if told is None:
        return Failure(what, (exposed.relation,), "Shrink it to see what it depends on")
    whose = f" of {told.people} {'person' if told.people == 1 else 'people'}" if told.people else ""
    steps = tuple(f"{_changed(change)}{whose}" for change in told.changes[:3])
    remedy = "; ".join(dict.fromkeys(REMEDIES[change.kind] for change in told.changes[:3]))
    return Failure(what, (*steps, *told.path), remedy)


def _counted(found: Difference) -> str:
    parts = [f"{found.gained} rows appear and {found.lost} disappear"]
    if found.people_gained or found.people_lost:
        parts.append(f"{found.people_gained} people are new and {found.people_lost} gone")
    if found.columns:
        parts.append("of the same people other " + ", ".join(found.columns))
    return "; ".join(parts)


def _changed(change: Change) -> str:
    place = ".".join(part for part in (change.table, change.column) if part)
    return f"{place or 'the identifiers'} {change.done} in {KINDS[change.kind]}"


def not_run(model: str, relation: str, *, is_twin: bool = False) -> Failure:
    """A model that DuckDB cannot run by itself, or only while the forbidden is as it is."""
    what = (
        f"{model} runs or fails by what policy forbids" if is_twin else f"{model} does not run over the staged tables"
    )
    remedy = (
        "Use try_cast and the like"
        if is_twin
        else "Read only refs and sources, and no file; see what `assent run` says of it"
    )
    return Failure(what, tuple(dict.fromkeys((model, relation))), remedy)


def not_exposed(relation: str) -> Failure:
    """A relation that policy or exports name and the project lacks."""
    return Failure(f"{relation} is not in the project", (relation,), "Write the model that policy names")


def stray(relation: str) -> Failure:
    """A mart that no segment of policy names."""
    return Failure(
        f"{relation} is exposed for no purpose", (relation,), "Name it in segments.yaml, or move it out of the marts"
    )


def unsteady(exposed: Exposed) -> Failure:
    """A difference that was not there a second time."""
    what = f"{exposed.relation} differs from itself when it is made again"
    return Failure(
        what,
        (exposed.relation,),
        "Order by all that tells rows apart wherever the first or last is taken, and ask for no clock or chance",
    )
