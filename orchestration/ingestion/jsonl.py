"""Reads JSON lines: one parse per question, by key path; a key that policy does not name quarantines its row."""

from __future__ import annotations

from orchestration.ingestion.parsed import TOO_LONG, Parsed, known_columns, raw_columns
from orchestration.ingestion.quoting import texts
from orchestration.policy.schema import Feed

Path = tuple[str, ...]


def parse(feed: Feed, lines: str) -> Parsed:
    """`lines` names a relation with file_no, row_no and line."""
    leaves = raw_columns(feed)
    levels = _levels(feed)
    pointers = [_pointer(level) for level in levels]
    document = (
        f"SELECT file_no, row_no, line, CASE WHEN NOT {TOO_LONG} AND json_valid(line) THEN line END AS doc FROM {lines}"
    )
    taken = (
        f"SELECT *, json_extract_string(doc, {texts(_pointer(_steps(leaf)) for leaf in leaves)}) AS leaves, "
        f"json_type(doc, {texts(_pointer(_steps(leaf)) for leaf in leaves)}) AS leaf_types, "
        f"json_keys(doc, {texts(pointers)}) AS keys, json_type(doc, {texts(pointers)}) AS level_types FROM ({document})"
    )
    relation = f"SELECT file_no, row_no, line, {_problem(levels)} AS problem, leaves FROM ({taken})"
    return Parsed(relation, {leaf: f"leaves[{number}]" for number, leaf in enumerate(leaves, 1)})


def _problem(levels: dict[Path, set[str]]) -> str:
    unknown, doubled, broken = [], [], ["level_types[1] IS DISTINCT FROM 'OBJECT'"]
    for number, children in enumerate(levels.values(), 1):
        unknown.append(f"NOT list_has_all({texts(sorted(children))}, coalesce(keys[{number}], []))")
        # Parsers differ on which of two equal keys counts, so neither does.
        doubled.append(f"len(keys[{number}]) <> list_unique(keys[{number}])")
        broken.append(f"coalesce(level_types[{number}], 'NULL') NOT IN ('OBJECT', 'NULL')")
    return (
        f"CASE WHEN {TOO_LONG} THEN 'oversized' WHEN doc IS NULL THEN 'malformed' "
        f"WHEN {' OR '.join([*broken, *doubled])} THEN 'malformed' "
        f"WHEN {' OR '.join(unknown)} THEN 'unknown_field' "
        "WHEN list_has_any(leaf_types, ['OBJECT', 'ARRAY']) THEN 'bad_value' END"
    )


def _levels(feed: Feed) -> dict[Path, set[str]]:
    """Every object that a declared path passes through → the keys it may have. An ignored object is not looked into."""
    levels: dict[Path, set[str]] = {(): set()}
    ignored = {_steps(column) for column in feed.ignored_columns}
    for column in sorted(known_columns(feed)):
        steps = _steps(column)
        for depth in range(len(steps)):
            levels.setdefault(steps[:depth], set()).add(steps[depth])
    return {level: keys for level, keys in levels.items() if not any(level[: len(top)] == top for top in ignored)}


def _steps(column: str) -> Path:
    return tuple(column.split("."))


def _pointer(steps: Path) -> str:
    """RFC 6901: safe for any key, unlike a JSONPath."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
