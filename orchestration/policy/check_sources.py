"""Cross-checks what comes in: sources, their feeds and fields, and every feed's path. Not here: the rest of a consent
feed (`check_consent_feeds.py`)."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from datetime import date, datetime
from zoneinfo import ZoneInfo

import duckdb

from orchestration.ingestion.quoting import text
from orchestration.policy import schema
from orchestration.policy.findings import Findings, Step

FILE = "sources"
# Folders of the lake beside those of the sources, and the relation beside theirs in schema `lake`.
RESERVED = {"links", "manifests", "refused", "completeness"}
Path_ = tuple[Step, ...]
OF_FILES_ONLY = (
    ("marker", None), ("marker_states", ()), ("final_newline", "required"), ("compression", "none"), ("footer_rows", 0)
)  # fmt: skip


def check_sources(policy: schema.Policy, found: Findings) -> None:
    sources = policy.sources.sources
    found.unique(FILE, ("sources",), [s.name for s in sources], "source", "name")
    for index, source in enumerate(sources):
        path: Path_ = ("sources", index)
        if source.name in RESERVED or source.name.startswith("consent_"):
            found.add(
                FILE, (*path, "name"), f"`{source.name}` is a name that Assent uses itself", "Choose another name"
            )
        _check_controllers(policy, found, source, path)
        _check_fields(found, source, path)
        _check_identifiers(policy, found, source, path)
        _check_events(policy, found, source, path)
        _check_times(found, source, path)
        _check_feeds(found, source, path)
        check_after_ingest(found, source.after_ingest, (*path, "after_ingest"))


def _check_controllers(policy: schema.Policy, found: Findings, source: schema.Source, path: Path_) -> None:
    controllers = {c.name for c in policy.organisation.controllers}
    found.known(FILE, (*path, "controller"), source.controller, controllers, "controller")
    for index, feed in enumerate(source.feeds):
        if feed.controller is not None:
            found.known(FILE, (*path, "feeds", index, "controller"), feed.controller, controllers, "controller")


def _check_fields(found: Findings, source: schema.Source, path: Path_) -> None:
    fields = {field.name for field in source.fields}
    found.unique(FILE, (*path, "fields"), [field.name for field in source.fields], "field", "name")
    for index, field in enumerate(source.fields):
        at = (*path, "fields", index)
        if field.pattern is not None and not _is_re2(field.pattern):
            found.add(FILE, (*at, "pattern"), "not a regular expression that DuckDB knows (RE2)", "Use RE2 syntax")
        limits = [limit for limit in (field.minimum, field.maximum) if limit is not None]
        if limits and field.type not in ("integer", "number"):
            found.add(
                FILE, at, f"`{field.name}` is no number, so it has no minimum or maximum", "Remove them, or the type"
            )
        elif limits != sorted(limits):
            found.add(FILE, (*at, "minimum"), "the minimum is above the maximum", "Exchange them")
    for key, name in (("event", source.event), ("event_id", source.event_id)):
        if name is not None:
            found.known(FILE, (*path, key), name, fields, f"field of {source.name}")
    found.known(FILE, (*path, "occurred_at", "field"), source.occurred_at.field, fields, f"field of {source.name}")


@functools.cache
def _engine() -> duckdb.DuckDBPyConnection:
    """One for all patterns: to open it takes 0.02 s."""
    return duckdb.connect()


@functools.cache
def _is_re2(pattern: str, groups: int | None = None) -> bool:
    """Whether DuckDB compiles `pattern`, and it has that many capture groups."""
    try:
        # not as a parameter: for the first of them DuckDB imports pandas, 0.3 s of every command
        _engine().cursor().execute(f"SELECT regexp_full_match('', {text(pattern)})").fetchall()
        return groups is None or re.compile(pattern).groups == groups
    except (duckdb.Error, re.error):
        return False


def _check_identifiers(policy: schema.Policy, found: Findings, source: schema.Source, path: Path_) -> None:
    fields = {field.name: field for field in source.fields}
    kinds = {kind.name for kind in policy.organisation.identifier_kinds}
    found.unique(FILE, (*path, "identifiers"), [i.field for i in source.identifiers], "identifier field", "field")
    if not source.identifiers:
        remedy = "List the fields that say who it was, in order of precedence"
        found.add(
            FILE, (*path, "identifiers"), f"`{source.name}` has no identifier, so nothing of it has a person", remedy
        )
    for index, identifier in enumerate(source.identifiers):
        at = (*path, "identifiers", index)
        found.known(FILE, (*at, "kind"), identifier.kind, kinds, "identifier kind")
        if found.known(FILE, (*at, "field"), identifier.field, fields, f"field of {source.name}") and (
            fields[identifier.field].type != "string"
        ):
            remedy = "Leave its `type:` out; `normalise: number` of the kind takes care of digits"
            found.add(FILE, (*at, "field"), f"the identifier `{identifier.field}` must be read as text", remedy)


def _check_events(policy: schema.Policy, found: Findings, source: schema.Source, path: Path_) -> None:
    raws = [event.raw for event in source.events]
    found.unique(FILE, (*path, "events"), raws, "event", "raw")
    channels = {kind.name: kind.channels for kind in policy.organisation.identifier_kinds}
    kinds = {identifier.field: identifier.kind for identifier in source.identifiers}
    signals = [(signal.raw, signal.channel, signal.field) for signal in source.permissions]
    found.unique(FILE, (*path, "permissions"), signals, "permission")
    for index, signal in enumerate(source.permissions):
        at = (*path, "permissions", index)
        found.known(FILE, (*at, "raw"), signal.raw, raws, f"event of {source.name}")
        known = found.known(FILE, (*at, "field"), signal.field, kinds, f"identifier field of {source.name}")
        if known and signal.channel not in channels.get(kinds[signal.field], ()):
            remedy = "Name the field that is addressed on that channel, or add the channel to its kind"
            what = f"`{signal.field}` is no contact point on channel {signal.channel}"
            found.add(FILE, (*at, "channel"), what, remedy)


def _check_times(found: Findings, source: schema.Source, path: Path_) -> None:
    occurred, at = source.occurred_at, (*path, "occurred_at")
    if occurred.zone is not None and not is_zone(occurred.zone):
        found.add(FILE, (*at, "zone"), "not a time zone", "Write an IANA name such as Asia/Shanghai")
    if occurred.format in ("iso8601", "epoch_s", "epoch_ms"):
        return
    if "%" not in occurred.format:
        remedy = "Write iso8601, epoch_s, epoch_ms or a strptime format such as %Y-%m-%d %H:%M:%S"
        found.add(FILE, (*at, "format"), "not a time format", remedy)
    elif "%z" not in occurred.format and occurred.zone is None:
        found.add(FILE, at, "the format has no offset and no `zone:` is given", "Add `zone:`, such as Asia/Shanghai")


def is_zone(name: str) -> bool:
    """Whether `name` is an IANA time zone."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _check_feeds(found: Findings, source: schema.Source, path: Path_) -> None:
    found.unique(FILE, (*path, "feeds"), [feed.name for feed in source.feeds], "feed", "name")
    if not source.feeds:
        found.add(FILE, (*path, "feeds"), f"`{source.name}` has no feed", "Describe the files or table it delivers")
    for index, feed in enumerate(source.feeds):
        at = (*path, "feeds", index)
        _check_feed_form(found, feed, at)
        _check_feed_columns(found, source, feed, at)
    given = {name for feed in source.feeds for name in (*feed.columns, *feed.constants)}
    for index, field in enumerate(source.fields):
        if field.name not in given:
            remedy = "Add it to the `columns:` of a feed, or remove the field"
            found.add(FILE, (*path, "fields", index), f"no feed delivers `{field.name}`", remedy)
    if source.late == "wait" and not any(feed.marker and "{day}" in (feed.path or "") for feed in source.feeds):
        remedy = "Give a feed with `{day}` in its `path:` a `marker:`, or write build_without"
        found.add(FILE, (*path, "late"), "without a completion marker nobody can tell that it is late", remedy)


def _check_feed_form(found: Findings, feed: schema.Feed, at: Path_) -> None:
    is_table = feed.format == "table"
    for key in ("url_env", "table"):
        if is_table and getattr(feed, key) is None:
            found.add(FILE, at, f"a table feed needs `{key}:`", f"Add `{key}:`")
        elif not is_table and getattr(feed, key) is not None:
            found.add(FILE, (*at, key), f"`{key}:` belongs to format table", "Remove it, or write `format: table`")
    if not is_table and feed.path is None:
        found.add(FILE, at, "a file feed needs `path:`", "Add `path:`, relative to the landing folder")
    for key, default in (("path", None), *OF_FILES_ONLY):
        if is_table and getattr(feed, key) != default:
            found.add(FILE, (*at, key), f"a table has no `{key}:`", "Remove it")
    if feed.footer_rows and feed.format != "csv":
        found.add(FILE, (*at, "footer_rows"), "only CSV files have footer rows", "Remove it")
    for key, default in (("encoding", "utf-8"), ("compression", "none")):
        if feed.format == "parquet" and getattr(feed, key) != default:
            found.add(FILE, (*at, key), f"a Parquet file has its own {key}", "Remove it")


def _check_feed_columns(found: Findings, source: schema.Source, feed: schema.Feed, at: Path_) -> None:
    fields = {field.name: field for field in source.fields}
    for key in ("columns", "constants"):
        for name in getattr(feed, key):
            found.known(FILE, (*at, key, name), name, fields, f"field of {source.name}")
    for name in sorted(set(feed.columns) & set(feed.constants)):
        found.add(FILE, (*at, "constants", name), f"`{name}` is a column and a constant", "Keep one of them")
    needed = {name for name, field in fields.items() if field.required}
    needed |= {source.event, source.occurred_at.field} | ({source.event_id} if source.event_id else set())
    for name in sorted(needed & set(fields) - set(feed.columns) - set(feed.constants)):
        remedy = f"Add `{name}:` to its columns or constants"
        found.add(FILE, (*at, "columns"), f"feed `{feed.name}` does not deliver `{name}`, which is required", remedy)
    found.unique(FILE, (*at, "ignored_columns"), feed.ignored_columns, "column")
    for name, column in feed.columns.items():
        extract = column.extract if isinstance(column, schema.Column) else None
        raw = column.column if isinstance(column, schema.Column) else column
        if extract is not None and not _is_re2(extract, groups=1):
            remedy = "Write an RE2 expression with exactly one pair of capturing brackets"
            found.add(FILE, (*at, "columns", name), "`extract:` must capture one part", remedy)
        if extract is None and raw in feed.ignored_columns:
            found.add(FILE, (*at, "columns", name), f"`{raw}` is read and ignored", "Remove it from `ignored_columns:`")


def check_after_ingest(found: Findings, after: schema.AfterIngest, at: Path_) -> None:
    if (after.action == "encrypt") != (after.keep_days is not None):
        remedy = "Add `keep_days:`" if after.action == "encrypt" else "Remove `keep_days:`, or write `action: encrypt`"
        found.add(FILE, at, "`keep_days:` belongs to `action: encrypt`", remedy)


def check_paths(policy: schema.Policy, found: Findings) -> None:
    """Feed paths stay inside the landing folder (fault C15), and no two feeds read the same files."""
    seen: set[str] = set()
    for at, feed in _file_feeds(policy):
        path = feed.path or ""
        if reason := unsafe_path(path):
            remedy = "Write a path relative to the landing folder, such as web/tag-{day}.jsonl"
            found.add(FILE, (*at, "path"), reason, remedy)
        if path in seen:
            found.add(FILE, (*at, "path"), "another feed reads the same files", "Give each feed its own path")
        seen.add(path)
        if feed.marker is not None and not re.fullmatch(r"[.][A-Za-z0-9._-]{1,31}", feed.marker):
            found.add(FILE, (*at, "marker"), "not a suffix", "Write a suffix such as .done")
        elif feed.marker is not None and path.endswith(feed.marker):
            found.add(FILE, (*at, "marker"), "the files themselves end so", "Choose another suffix for the marker")
        _check_completeness(found, feed, at)
        if not _names_days(feed.day_format):
            found.add(FILE, (*at, "day_format"), "it does not tell one day from another", "Write such as %Y-%m-%d")


def _check_completeness(found: Findings, feed: schema.Feed | schema.ConsentFeed, at: Path_) -> None:
    if feed.marker_states and feed.marker is None:
        found.add(FILE, (*at, "marker_states"), "without `marker:` there is none to state anything", "Add `marker:`")
    if feed.final_newline == "optional" and not feed.marker_states:
        remedy = "Add `marker_states: [sha256]` and such markers, or have each line end with a line end"
        found.add(FILE, (*at, "final_newline"), "nothing then shows that the last line was cut", remedy)
    if feed.final_newline == "optional" and feed.format not in ("jsonl", "csv"):
        found.add(FILE, (*at, "final_newline"), f"{feed.format} has no lines", "Remove it")
    found.unique(FILE, (*at, "marker_states"), feed.marker_states, "marker statement")


def _file_feeds(policy: schema.Policy) -> Iterator[tuple[Path_, schema.Feed | schema.ConsentFeed]]:
    for index, source in enumerate(policy.sources.sources):
        for place, feed in enumerate(source.feeds):
            if feed.path is not None:
                yield ("sources", index, "feeds", place), feed
    for index, consent_feed in enumerate(policy.sources.consent_feeds):
        if consent_feed.path is not None:
            yield ("consent_feeds", index), consent_feed


def unsafe_path(path: str) -> str | None:
    """Why a feed's path is refused, or None. Only relative paths below landing, with at most one `{day}`."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", path):
        return "a URL or drive is not a path"
    if path.startswith(("/", "~", "\\")) or "\\" in path:
        return "the path is not relative"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "the path leaves the landing folder or has empty parts"
    if path.count("{day}") > 1 or re.search(r"[{}*?\[\]\x00-\x1f]", path.replace("{day}", "")):
        return "only one `{day}` is allowed in a path, and no other pattern"
    return None


def _names_days(day_format: str) -> bool:
    day = date(2026, 11, 23)
    try:
        return datetime.strptime(day.strftime(day_format), day_format).date() == day and "/" not in day_format
    except ValueError:
        return False
