"""Cross-checks what goes out: segments, the SQL models they need, and destinations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from orchestration.policy import schema
from orchestration.policy.findings import Findings, Step
from orchestration.policy.loader import SHIPPED

SHIPPED_MODELS = SHIPPED.parents[1] / "dbt_project" / "models"
MARKETING = Path("marts") / "marketing"
_WORD = re.compile(r"[^\W_]{3,}")
STANDARD_COLUMNS = {"audience_key", "admitted_by", "notice", "consent_until"}
Path_ = tuple[Step, ...]


def check_segments(policy: schema.Policy, found: Findings) -> None:
    segments = policy.segments.segments
    purposes = {purpose.name: purpose for purpose in policy.purposes.purposes}
    found.unique("segments", ("segments",), [segment.name for segment in segments], "segment", "name")
    taken = _taken_names()
    for index, segment in enumerate(segments):
        at: Path_ = ("segments", index)
        if segment.name in taken:
            found.add(
                "segments", (*at, "name"), f"`{segment.name}` is the name of another model", "Choose another name"
            )
        for key in ("channels", "destinations", "excludes", "stages"):
            found.unique("segments", (*at, key), getattr(segment, key), key[:-1])
        _check_excludes(policy, found, segment, at)
        _check_stages(policy, found, segment, at)
        _check_discretion(policy, found, segment, at)
        if not found.known("segments", (*at, "purpose"), segment.purpose, purposes, "purpose"):
            continue
        purpose = purposes[segment.purpose]
        what = f"controller of purpose {purpose.name}"
        found.known("segments", (*at, "controller"), segment.controller, purpose.controllers, what)
        for place, channel in enumerate(segment.channels):
            what = f"channel of purpose {purpose.name}"
            found.known("segments", (*at, "channels", place), channel, purpose.channels, what)
        _check_delivery(policy, found, segment, purpose, at)
        _check_columns(found, segment, purpose, at)
        if segment.absent is not None:
            _check_absent(policy, found, segment, segment.absent, purpose, (*at, "absent"))
    _check_cycles(segments, found)


def _check_stages(policy: schema.Policy, found: Findings, segment: schema.Segment, at: Path_) -> None:
    """Who is anonymous gets content for everybody: nothing of theirs authorises a contact (R-80)."""
    stages = {stage.name: stage for stage in policy.purposes.stages}
    for place, name in enumerate(segment.stages):
        path = (*at, "stages", place)
        if not found.known("segments", path, name, stages, "stage of purposes.yaml"):
            continue
        if stages[name].purpose is None and segment.destinations:
            found.add("segments", path, f"nobody may contact people of stage {name}", "Remove its `destinations:`")


def _check_discretion(policy: schema.Policy, found: Findings, segment: schema.Segment, at: Path_) -> None:
    """Names and labels go into paths, files and reports: one with a sensitive value in it would tell of a treatment."""
    values = [rule.value.removesuffix("*").lower() for rule in policy.minimisation.sensitive_values]
    words = {word for value in values for word in _WORD.findall(value)}
    texts = {"name": segment.name, "model": segment.model or "", "label": f"{segment.label.zh} {segment.label.en}"}
    texts["description"] = f"{segment.description.zh} {segment.description.en}"
    for key, text in texts.items():
        said = text.lower()
        if words & set(_WORD.findall(said)) or any(value in said for value in values):
            what = (
                f"`{key}` holds a sensitive value of minimisation.yaml: it would tell what its people were treated for"
            )
            found.add("segments", (*at, key), what, "Write a neutral one, such as follow_up")


def _taken_names() -> set[str]:
    """The shipped models beside the segments: dbt wants every name once."""
    return {path.stem for path in SHIPPED_MODELS.rglob("*.sql") if path.parent != SHIPPED_MODELS / MARKETING}


def _check_delivery(
    policy: schema.Policy, found: Findings, segment: schema.Segment, purpose: schema.Purpose, at: Path_
) -> None:
    destinations = {destination.name: destination for destination in policy.destinations.destinations}
    for place, name in enumerate(segment.destinations):
        path = (*at, "destinations", place)
        if not found.known("segments", path, name, destinations, "destination"):
            continue
        destination = destinations[name]
        if destination.channel not in segment.channels:
            remedy = f"Add {destination.channel} to the segment's `channels:`, or remove the destination"
            found.add(
                "segments", path, f"`{name}` delivers on {destination.channel}, not a channel of the segment", remedy
            )
        if destination.recipient != purpose.recipient:
            remedy = f"Choose a purpose whose recipient is {destination.recipient}, or another destination"
            what = f"`{name}` goes to {destination.recipient}, but the purpose covers {purpose.recipient} only"
            found.add("segments", path, what, remedy)


def _check_columns(found: Findings, segment: schema.Segment, purpose: schema.Purpose, at: Path_) -> None:
    found.unique("segments", (*at, "columns"), [column.name for column in segment.columns], "column", "name")
    for place, column in enumerate(segment.columns):
        path = (*at, "columns", place, "name")
        if column.name in STANDARD_COLUMNS:
            found.add("segments", path, f"every segment has `{column.name}`", "Remove it from `columns:`")
        elif column.name not in purpose.shows:
            remedy = f"Add it to `shows:` of {purpose.name} in purposes.yaml, or remove it"
            found.add("segments", path, f"purpose `{purpose.name}` may not show `{column.name}`", remedy)


def _check_absent(
    policy: schema.Policy,
    found: Findings,
    segment: schema.Segment,
    absent: schema.Absent,
    purpose: schema.Purpose,
    at: Path_,
) -> None:
    """Where absence could never be proved, the segment would always be empty."""
    sources = {source.name: source for source in policy.sources.sources}
    if not found.known("segments", (*at, "source"), absent.source, sources, "source"):
        return
    source = sources[absent.source]
    if not any(feed.marker and "{day}" in (feed.path or "") for feed in source.feeds):
        remedy = "Give a feed of it a `marker:` and a path with `{day}`, or choose another source"
        found.add("segments", (*at, "source"), f"`{source.name}` has no completion marker per day", remedy)
    if segment.controller not in {source.controller, *(feed.controller for feed in source.feeds)}:
        remedy = "Choose a source of the segment's controller"
        found.add("segments", (*at, "source"), f"`{source.name}` belongs to another controller", remedy)
    if absent.category not in purpose.categories:
        remedy = f"Write one of: {', '.join(purpose.categories)}"
        what = f"purpose `{purpose.name}` may not look at category {absent.category}"
        found.add("segments", (*at, "category"), what, remedy)
    kept = [
        r.days for r in policy.retention.rules if r.category == absent.category and r.purpose in (None, purpose.name)
    ]
    if kept and absent.lookback_days > min(kept):
        what = f"data of category {absent.category} is kept for {min(kept)} days only"
        found.add("segments", (*at, "lookback_days"), what, f"Write at most {min(kept)}")


def _check_excludes(policy: schema.Policy, found: Findings, segment: schema.Segment, at: Path_) -> None:
    segments = {other.name: other for other in policy.segments.segments}
    for place, name in enumerate(segment.excludes):
        path = (*at, "excludes", place)
        if not found.known("segments", path, name, segments, "segment"):
            continue
        other = segments[name]
        if other.controller != segment.controller:
            remedy = "Exclude segments of the same controller only"
            found.add("segments", path, f"`{name}` belongs to another controller: its people cannot be matched", remedy)
        if other.excludes or other.stages:
            what = f"`{name}` leaves people out by exclusion or stage: a withdrawal could hide that they are in it"
            found.add("segments", path, what, "Exclude a segment without `excludes:` and `stages:`")


def _check_cycles(segments: tuple[schema.Segment, ...], found: Findings) -> None:
    edges = {segment.name: segment.excludes for segment in segments}
    for index, segment in enumerate(segments):
        if segment.name in _reached(edges, segment.name):
            remedy = "Remove one of the exclusions"
            found.add(
                "segments", ("segments", index, "excludes"), f"`{segment.name}` excludes itself in a circle", remedy
            )


def _reached(edges: dict[str, tuple[str, ...]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(edges[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(edges.get(name, ()))
    return seen


def check_destinations(policy: schema.Policy, found: Findings) -> None:
    file, destinations = "destinations", policy.destinations.destinations
    found.unique(file, ("destinations",), [destination.name for destination in destinations], "destination", "name")
    for index, destination in enumerate(destinations):
        at: Path_ = ("destinations", index)
        found.unique(file, (*at, "columns"), destination.columns, "column")
        for key, what, remedy in _faults(policy, destination):
            found.add(file, (*at, key), what, remedy)
        if destination.transfer is not None:
            purposes = {purpose.name for purpose in policy.purposes.purposes}
            found.known(file, (*at, "transfer", "purpose"), destination.transfer.purpose, purposes, "purpose")


def _faults(policy: schema.Policy, destination: schema.Destination) -> Iterator[tuple[str, str, str]]:
    """The key, the fault and the remedy of everything wrong inside one destination."""
    kinds = {kind.name: kind for kind in policy.organisation.identifier_kinds}
    kind = kinds.get(destination.kind)
    if kind is None:
        yield (
            "kind",
            f"`{destination.kind}` is no identifier kind of this policy",
            f"Write one of: {', '.join(kinds)}",
        )
        return
    if destination.channel not in kind.channels:
        remedy = f"Write one of: {', '.join(kind.channels) or 'another kind'}"
        yield "channel", f"`{kind.name}` is no contact point on channel {destination.channel}", remedy
    if not kind.contact and "contact" in destination.columns:
        yield "kind", f"`{kind.name}` is no contact kind: nobody keeps its values", "Write a kind with `contact: true`"
    if not {"contact", "audience_key"} & set(destination.columns):
        yield "columns", "nobody can tell whom a row is about", "Add contact or audience_key"
    issuers = _issuers(policy, kind.name)
    if issuers and destination.issuer not in issuers:
        yield (
            "issuer",
            f"no source has kind {kind.name} of issuer `{destination.issuer}`",
            f"Write one of: {', '.join(issuers)}",
        )
    if (destination.role == "controller") != (destination.recipient != "own"):
        remedy = "A controller is a `recipient:` of its own; own and processor leave it out"
        yield "role", f"role {destination.role} and recipient {destination.recipient} contradict each other", remedy
    if destination.contact_form != "plain" and kind.normalise not in _FORMS[destination.contact_form]:
        yield "contact_form", f"{destination.contact_form} does not fit a {kind.name}", "Write `contact_form: plain`"
    quiet = destination.quiet_hours
    if quiet is not None and quiet.start == quiet.end:
        yield "quiet_hours", "the quiet hours are empty", "Write a start and another end"


_FORMS = {"national": ("phone",), "sha256": ("phone", "email")}


def _issuers(policy: schema.Policy, kind: str) -> list[str]:
    identifiers = [identifier for source in policy.sources.sources for identifier in source.identifiers]
    return sorted({identifier.issuer for identifier in identifiers if identifier.kind == kind})


def check_models(policy: schema.Policy, found: Findings, folder: Path) -> None:
    """Every segment and source has its SQL, in the policy's own `models/` or among the shipped models."""
    for index, segment in enumerate(policy.segments.segments):
        path = MARKETING / f"{segment.model_name}.sql"
        if not has_model(folder, path):
            place: Path_ = ("segments", index, "model" if segment.model else "name")
            found.add("segments", place, f"`{segment.name}` has no SQL model", f"Write models/{path.as_posix()}")
    for index, source in enumerate(policy.sources.sources):
        path = Path("staging") / f"stg_{source.name}__touchpoints.sql"
        if not has_model(folder, path):
            remedy = f"Write models/{path.as_posix()}"
            found.add("sources", ("sources", index, "name"), f"`{source.name}` has no staging model", remedy)


def has_model(folder: Path, path: Path) -> bool:
    """Whether the policy folder or the shipped project has this model."""
    return (folder / "models" / path).is_file() or (SHIPPED_MODELS / path).is_file()
