"""Reads JSON lines: one parse per question, by key path; a key that policy does not name is not read, only counted."""

from __future__ import annotations

from orchestration.ingestion.parsed import TOO_LONG, Parsed, known_columns, raw_columns
from orchestration.ingestion.quoting import texts
from orchestration.policy.schema import Feed

Path = tuple[str, ...]
_KEYS_DIFFER = "keys_found <> members_present"


def parse(feed: Feed, lines: str) -> Parsed:
    """`lines` names a relation with file_no, row_no and line."""
    leaves = tuple(dict.fromkeys((*raw_columns(feed), *sorted(feed.ignored_columns))))
    levels = _levels(feed)
    members = [(*level, key) for level, keys in levels.items() for key in sorted(keys)]
    document = (
        f"SELECT file_no, row_no, line, CASE WHEN NOT {TOO_LONG} AND json_valid(line) THEN line END AS doc FROM {lines}"
    )
    taken = (
        f"SELECT *, json_extract_string(doc, {texts(_pointer(_steps(leaf)) for leaf in leaves)}) AS leaves, "
        f"json_type(doc, {texts(_pointer(member) for member in [(), *members])}) AS types, "
        f"json_keys(doc, {texts(_pointer(level) for level in levels)}) AS keys FROM ({document})"
    )
    problem = _problem(levels, members, {_steps(column) for column in raw_columns(feed)})
    dropped = f"CASE WHEN {_KEYS_DIFFER} THEN keys_found - keys_known ELSE 0 END"
    counted = f"SELECT *, {_key_counts(levels, members)} FROM ({taken})"
    relation = f"SELECT file_no, row_no, line, {problem} AS problem, {dropped} AS dropped, leaves FROM ({counted})"
    values = {leaf: f"leaves[{number}]" for number, leaf in enumerate(leaves, 1)}
    return Parsed(relation, {name: values[name] for name in raw_columns(feed)}, "to_json(leaves)::VARCHAR")


def _key_counts(levels: dict[Path, set[str]], members: list[Path]) -> str:
    """As many keys as known members: then none is unknown and none comes twice. Only other rows are asked more."""
    present = " + ".join(f"(types[{number}] IS NOT NULL)::INTEGER" for number in range(2, len(members) + 2))
    found = " + ".join(f"coalesce(len(keys[{number}]), 0)" for number in range(1, len(levels) + 1))
    known = " + ".join(
        f"coalesce(len(list_filter(keys[{number}], lambda k: list_contains({texts(sorted(children))}, k))), 0)"
        for number, children in enumerate(levels.values(), 1)
    )
    return (
        f"{found} AS keys_found, {present} AS members_present, "
        f"CASE WHEN {found} <> {present} THEN {known} END AS keys_known"
    )


def _problem(levels: dict[Path, set[str]], members: list[Path], leaves: set[Path]) -> str:
    # Parsers differ on which of two equal keys counts, so such a row is malformed.
    broken = [f"types[{n}] NOT IN ('OBJECT', 'NULL')" for n, member in enumerate(members, 2) if member in levels]
    nested = [f"types[{n}] IN ('OBJECT', 'ARRAY')" for n, member in enumerate(members, 2) if member in leaves]
    return (
        f"CASE WHEN {TOO_LONG} THEN 'oversized' WHEN doc IS NULL OR types[1] <> 'OBJECT' THEN 'malformed' "
        f"WHEN {_KEYS_DIFFER} AND keys_known <> members_present THEN 'malformed' "
        f"WHEN {' OR '.join([*broken, *nested, 'false'])} THEN 'bad_value' END"
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
