"""Cross-checks minimisation: every declared field has one rule, and its verb fits what the field is."""

from __future__ import annotations

from orchestration.policy import schema
from orchestration.policy.findings import Findings, Step

Path_ = tuple[Step, ...]


def check_minimisation(policy: schema.Policy, found: Findings) -> None:
    file, sources = "minimisation", {source.name: source for source in policy.sources.sources}
    rules = policy.minimisation.sources
    found.unique(file, ("sources",), [rule.source for rule in rules], "source", "source")
    for index, of_source in enumerate(rules):
        at: Path_ = ("sources", index)
        if found.known(file, (*at, "source"), of_source.source, sources, "source"):
            _check_field_rules(found, sources[of_source.source], of_source, at)
            _check_field_stages(policy, found, sources[of_source.source], of_source, at)
            _check_sensitive_fields(policy, found, sources[of_source.source], of_source, at)
    for name in sorted(set(sources) - {rule.source for rule in rules}):
        found.add(
            file, ("sources",), f"source `{name}` has no rules, so none of its fields", "Add a rule for each field"
        )
    values = policy.minimisation.sensitive_values
    found.unique(file, ("sensitive_values",), [(v.field, v.value) for v in values], "value")
    for index, value in enumerate(values):
        if "*" in value.value[:-1]:
            remedy = "Write the beginning, then `*`"
            found.add(file, ("sensitive_values", index, "value"), "`*` stands at the end only", remedy)


def _check_field_rules(found: Findings, source: schema.Source, rules: schema.SourceRules, at: Path_) -> None:
    file, fields = "minimisation", {field.name: field for field in source.fields}
    found.unique(file, (*at, "fields"), [rule.field for rule in rules.fields], "field", "field")
    identifiers = {identifier.field for identifier in source.identifiers}
    for index, rule in enumerate(rules.fields):
        place = (*at, "fields", index)
        if not found.known(file, (*place, "field"), rule.field, fields, f"field of {source.name}"):
            continue
        if fault := _misfit(rule, fields[rule.field], source, identifiers):
            found.add(file, (*place, "verb"), *fault)
    for name in fields:
        if name not in {rule.field for rule in rules.fields}:
            remedy = f"Add {{field: {name}, category: …, verb: …}}, or remove the field from sources.yaml (R-60)"
            found.add(file, (*at, "fields"), f"`{source.name}.{name}` has no rule, so it is not ingested", remedy)


def _check_field_stages(
    policy: schema.Policy, found: Findings, source: schema.Source, rules: schema.SourceRules, at: Path_
) -> None:
    """A stage is one that a consent opens, and never of a field that says who, what or when: a refusal must find it."""
    stages = {stage.name for stage in policy.purposes.stages if stage.purpose is not None}
    plain = {identifier.field for identifier in source.identifiers} | {source.event, source.occurred_at.field}
    for index, rule in enumerate(rules.fields):
        path = (*at, "fields", index, "stage")
        if rule.stage is None or not found.known("minimisation", path, rule.stage, stages, "stage with a purpose"):
            continue
        if rule.field in plain:
            found.add("minimisation", path, f"`{rule.field}` says who, what or when", "Remove `stage:`")


def _check_sensitive_fields(
    policy: schema.Policy, found: Findings, source: schema.Source, rules: schema.SourceRules, at: Path_
) -> None:
    """Whether a touchpoint is sensitive is told from what is kept of it: without the field it passes for harmless."""
    looked_at = {value.field for value in policy.minimisation.sensitive_values}
    if all(event.category == "sensitive" for event in source.events):
        return
    for index, rule in enumerate(rules.fields):
        if rule.field in looked_at and rule.verb != "keep":
            what = f"`sensitive_values` looks at `{rule.field}`: without it nothing of {source.name} would be sensitive"
            remedy = "Write `verb: keep`, or say `category: sensitive` of each event of the source"
            found.add("minimisation", (*at, "fields", index, "verb"), what, remedy)


def _misfit(
    rule: schema.FieldRule, field: schema.SourceField, source: schema.Source, identifiers: set[str]
) -> tuple[str, str] | None:
    """What is wrong with a rule's verb, and what to write instead."""
    if rule.field in identifiers and rule.verb != "token":
        return f"`{rule.field}` is an identifier: only its token may be kept", "Write `verb: token`"
    if rule.field in (source.event, source.occurred_at.field) and rule.verb != "keep":
        return f"`{rule.field}` says what happened or when", "Write `verb: keep`"
    if rule.category == "identification" and rule.verb == "keep" and rule.field != source.event:
        return f"`{rule.field}` identifies someone: it may not stay as it is", "Write `verb: token` or `drop`"
    if rule.verb == "truncate_day" and field.type != "string":
        return f"`{rule.field}` is no date", "Write another verb"
    if rule.bucket is not None and (rule.bucket == "hundreds") != (field.type in ("integer", "number")):
        return (
            f"bucket {rule.bucket} does not fit the type {field.type}",
            "hundreds is for numbers, the others for dates",
        )
    return None
