"""Cross-checks a typed policy: every name refers to something, and no two rules contradict each other.

What comes in is checked in `check_sources.py`, `check_consent_feeds.py` and `check_minimisation.py`, what goes out in
`check_audiences.py`, columns from one end to the other in `check_columns.py`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestration.policy import schema
from orchestration.policy.check_audiences import check_destinations, check_models, check_segments
from orchestration.policy.check_columns import check_columns
from orchestration.policy.check_consent_feeds import check_consent_feeds
from orchestration.policy.check_minimisation import check_minimisation
from orchestration.policy.check_sources import check_paths, check_sources, is_zone
from orchestration.policy.findings import Findings, Step
from orchestration.policy.loader import Problem
from orchestration.policy.vocabulary import vocabulary

SECRET_IN_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s@]*:[^/\s@]*@")


def cross_check(policy: schema.Policy, trees: dict[str, Any], folder: Path) -> list[Problem]:
    """Every cross-reference that does not hold, ordered by file and line. `folder` may hold the company's models."""
    found = Findings(trees)
    check_organisation(policy, found)
    check_purposes(policy, found)
    check_notices(policy, found)
    check_retention(policy, found)
    check_sources(policy, found)
    check_consent_feeds(policy, found)
    check_paths(policy, found)
    check_minimisation(policy, found)
    check_segments(policy, found)
    check_destinations(policy, found)
    check_models(policy, found, folder)
    check_columns(policy, found, folder)
    check_reclassifications(policy, found)
    check_no_secrets(trees, found)
    return sorted(found.problems, key=lambda problem: (problem.file, problem.line))


def check_organisation(policy: schema.Policy, found: Findings) -> None:
    org, file = policy.organisation, "organisation"
    if not is_zone(org.zone):
        found.add(file, ("zone",), "not a time zone", "Write an IANA name such as Asia/Shanghai")
    for key, names in (
        ("controllers", [c.name for c in org.controllers]),
        ("identifier_kinds", [k.name for k in org.identifier_kinds]),
    ):
        found.unique(file, (key,), names, key.replace("_", " ")[:-1], "name")
        if not names:
            found.add(file, (key,), f"`{key}` is empty", "Name at least one")
    found.unique(file, ("jurisdictions",), [j.code for j in org.jurisdictions], "jurisdiction", "code")
    found.unique(file, ("identity", "placeholders"), org.identity.placeholders, "placeholder")
    for index, kind in enumerate(org.identifier_kinds):
        path: tuple[Step, ...] = ("identifier_kinds", index)
        found.unique(file, (*path, "channels"), kind.channels, "channel")
        found.unique(file, (*path, "placeholders"), kind.placeholders, "placeholder")
        if kind.anchor and kind.reissued_after_days is not None:
            what = f"`{kind.name}` anchors a person, so it is never issued anew"
            found.add(file, (*path, "reissued_after_days"), what, "Remove `reissued_after_days:`")
        if kind.anchor and kind.strength == "weak":
            found.add(
                file, (*path, "anchor"), f"`{kind.name}` is weak, so it cannot anchor a person", "Remove `anchor:`"
            )
        if kind.contact and not kind.channels:
            remedy = "List its `channels:`, or remove `contact:` so that no plain value is kept"
            found.add(file, (*path, "contact"), f"`{kind.name}` is a contact kind that no channel uses", remedy)


def check_purposes(policy: schema.Policy, found: Findings) -> None:
    file, purposes = "purposes", policy.purposes.purposes
    found.unique(file, ("purposes",), [p.name for p in purposes], "purpose", "name")
    by_name = {p.name: p for p in purposes}
    identity = policy.purposes.identity_purpose
    if found.known(file, ("identity_purpose",), identity, by_name, "purpose") and (
        "identification" not in by_name[identity].categories or by_name[identity].recipient != "own"
    ):
        remedy = "Give it category identification and leave `recipient:` out"
        found.add(file, ("identity_purpose",), f"`{identity}` cannot permit joining identifiers", remedy)
    for index, purpose in enumerate(purposes):
        _check_purpose(policy, found, purpose, ("purposes", index))
    _check_stages(policy, found, by_name)
    count = sum(len(purpose.controllers) * len(purpose.categories) for purpose in purposes)
    if count > schema.MAX_SCOPES:
        remedy = "Merge purposes, or list fewer controllers or categories for them"
        found.add(file, ("purposes",), f"{count} scopes; at most {schema.MAX_SCOPES} fit in one mask", remedy)


def _check_stages(policy: schema.Policy, found: Findings, purposes: dict[str, schema.Purpose]) -> None:
    file, stages = "purposes", policy.purposes.stages
    found.unique(file, ("stages",), [stage.name for stage in stages], "stage", "name")
    found.unique(file, ("stages",), [s.purpose for s in stages if s.purpose], "purpose of a stage", "purpose")
    for index, stage in enumerate(stages):
        path: tuple[Step, ...] = ("stages", index)
        if stage.purpose is not None:
            found.known(file, (*path, "purpose"), stage.purpose, purposes, "purpose")
        if (stage.purpose is None) != (index == 0):
            remedy = "Leave `purpose:` out" if index == 0 else "Name the purpose whose consent opens it"
            found.add(file, path, "the first stage needs no consent, and every later one does", remedy)


def _check_purpose(policy: schema.Policy, found: Findings, purpose: schema.Purpose, path: tuple[Step, ...]) -> None:
    file, controllers = "purposes", {c.name for c in policy.organisation.controllers}
    for key in ("controllers", "categories", "channels", "contract_facts", "shows", "separate_consent_for"):
        found.unique(file, (*path, key), getattr(purpose, key), key.replace("_", " "))
    for index, controller in enumerate(purpose.controllers):
        found.known(file, (*path, "controllers", index), controller, controllers, "controller")
    for key in ("controllers", "categories", "basis"):
        if not getattr(purpose, key):
            found.add(
                file, (*path, key), f"`{purpose.name}` lists no {key}, so it permits nothing", "Name at least one"
            )
    for index, fact in enumerate(purpose.contract_facts):
        facts = vocabulary().names("contract_facts")
        found.known(file, (*path, "contract_facts", index), fact, facts, "contract fact")
    is_contract = "contract" in purpose.basis.values()
    if is_contract != bool(purpose.contract_facts):
        remedy = "Name the facts that must hold" if is_contract else "Remove them, or write `contract` as a basis"
        what = "basis contract and `contract_facts:` belong together"
        found.add(file, (*path, "contract_facts" if purpose.contract_facts else "basis"), what, remedy)
    for regime in ("PIPL", "GDPR"):
        if purpose.basis.get(regime) == "opt_out":
            remedy = "Write consent, separate_consent or contract"
            found.add(file, (*path, "basis", regime), f"{regime} is an opt-in regime: silence never permits", remedy)
    for category, at in purpose.category_since.items():
        where = (*path, "category_since", category)
        found.known(file, where, category, purpose.categories, f"category of {purpose.name}")
        if at.tzinfo is None:
            found.add(file, where, "not an instant", "Write it with its offset, such as 2026-03-01T00:00:00+08:00")
    if "sensitive" in purpose.categories and "sensitive" not in purpose.separate_consent_for:
        remedy = "Add sensitive to `separate_consent_for:`"
        found.add(file, (*path, "separate_consent_for"), "sensitive data needs separate consent (R-14)", remedy)


def check_notices(policy: schema.Policy, found: Findings) -> None:
    file, purposes = "notices", {p.name: p for p in policy.purposes.purposes}
    notices = policy.notices.notices
    found.unique(file, ("notices",), [n.id for n in notices], "notice", "id")
    for index, notice in enumerate(notices):
        path: tuple[Step, ...] = ("notices", index)
        found.unique(file, (*path, "purposes"), notice.purposes, "purpose")
        for at, purpose in enumerate(notice.purposes):
            found.known(file, (*path, "purposes", at), purpose, purposes, "purpose")
        _check_versions(found, notice, (*path, "versions"))
    named = {purpose for notice in notices for purpose in notice.purposes}
    for index, purpose in enumerate(purposes):
        if purpose not in named and set(purposes[purpose].basis.values()) & {"consent", "separate_consent"}:
            remedy = "Add the purpose to a notice in notices.yaml"
            found.add(
                "purposes", ("purposes", index), f"no notice covers `{purpose}`, so no grant for it counts", remedy
            )


def _check_versions(found: Findings, notice: schema.Notice, path: tuple[Step, ...]) -> None:
    file = "notices"
    found.unique(file, path, [v.version for v in notice.versions], "version", "version")
    if not notice.versions:
        found.add(
            file, path, f"`{notice.id}` has no version", "Add its first version with `published_at:` and `texts:`"
        )
    for index, version in enumerate(notice.versions):
        at = (*path, index, "published_at")
        if version.published_at.tzinfo is None or not isinstance(found.raw(file, at), str):
            found.add(file, at, "not an instant", "Write it with its offset, such as 2026-03-01T00:00:00+08:00")
            return
        for place, name in enumerate(version.purposes or ()):
            found.known(
                file, (*path, index, "purposes", place), name, notice.purposes, f"purpose of notice {notice.id}"
            )
        if not version.texts:
            found.add(file, (*path, index, "texts"), "the version has no text", "Add the text in each language shown")
    for index, (older, newer) in enumerate(itertools.pairwise(notice.versions), start=1):
        if newer.published_at <= older.published_at:
            what = "published no later than the version before it"
            found.add(file, (*path, index, "published_at"), what, "List the versions from the oldest to the newest")


def check_retention(policy: schema.Policy, found: Findings) -> None:
    file, rules = "retention", policy.retention.rules
    purposes = {p.name: p for p in policy.purposes.purposes}
    found.unique(file, ("rules",), [(r.category, r.purpose or "every purpose") for r in rules], "rule for")
    days = {rule.category: rule.days for rule in rules if rule.purpose is None}
    for index, rule in enumerate(rules):
        path: tuple[Step, ...] = ("rules", index)
        if rule.purpose is None or not found.known(file, (*path, "purpose"), rule.purpose, purposes, "purpose"):
            continue
        if rule.category not in purposes[rule.purpose].categories:
            remedy = "Remove the rule, or add the category to the purpose"
            found.add(file, path, f"`{rule.purpose}` does not use category {rule.category}", remedy)
        if rule.days > days.get(rule.category, rule.days):
            remedy = f"Write at most {days[rule.category]}"
            found.add(file, (*path, "days"), "a purpose may only shorten its category's days", remedy)
    for category in sorted(_categories_in_use(policy) - set(days)):
        remedy = f"Add: {{category: {category}, days: …}}"
        found.add(file, ("rules",), f"category {category} is in use and has no rule for its days", remedy)
    sources = {source.name for source in policy.sources.sources}
    for index, hold in enumerate(policy.retention.legal_holds):
        found.known(file, ("legal_holds", index), hold, sources, "source")
    window = policy.retention.late_consent_window_days
    if policy.retention.datasets.vault > window:
        what = "contacts would be kept longer than the rows that say when somebody was last heard of"
        found.add(file, ("datasets", "vault"), what, f"Write at most {window}, as late_consent_window_days")
    longest = max((d.frequency.days for d in policy.destinations.destinations if d.frequency), default=0)
    if policy.retention.datasets.deliveries < longest:
        what = f"a destination's frequency cap looks back {longest} days, and deliveries would be forgotten before"
        found.add(file, ("datasets", "deliveries"), what, f"Write at least {longest}")


def check_reclassifications(policy: schema.Policy, found: Findings) -> None:
    names = [one.relation for one in policy.reclassifications.reclassifications]
    found.unique("reclassifications", ("reclassifications",), names, "relation", "relation")


def _categories_in_use(policy: schema.Policy) -> set[str]:
    used = {category for purpose in policy.purposes.purposes for category in purpose.categories}
    used |= {event.category for source in policy.sources.sources for event in source.events}
    used |= {rule.category for rules in policy.minimisation.sources for rule in rules.fields}
    return used | ({"sensitive"} if policy.minimisation.sensitive_values else set())


def check_no_secrets(trees: dict[str, Any], found: Findings) -> None:
    """Passwords stay in the environment; the policy is archived and shown (fault D10)."""
    for file, tree in trees.items():
        for path, text in _texts(tree, ()):
            if SECRET_IN_URL.search(text):
                remedy = "Put the URL into an environment variable and name that in `url_env:`"
                found.add(file, path, "a URL with a password", remedy)


def _texts(tree: Any, path: tuple[Step, ...]) -> Iterator[tuple[tuple[Step, ...], str]]:
    if isinstance(tree, str):
        yield path, tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from _texts(value, (*path, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _texts(value, (*path, index))
