"""Cross-checks consent feeds: whom they speak for, and what a table's columns and codes mean. Not here: paths of files
(`check_sources.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestration.consent.feeds.judge import REQUIRED, TYPES, known_values
from orchestration.consent.feeds.rows import REQUIRED_COLUMNS
from orchestration.consent.models import DESK
from orchestration.policy import schema
from orchestration.policy.check_signals import OF_EACH_SIGNAL, check_signal
from orchestration.policy.check_sources import FILE, Path_, check_after_ingest, is_zone
from orchestration.policy.findings import Findings

OF_TABLES = ("url_env", "table", "columns", "constants", "values", "cursor", "zone")
MAPPED = ("columns", "constants", "values", "zone")  # of a signal's values too
OF_SIGNALS = ("signal", "body", "encoded", "signature", "subjects", "rules", "choices", "max_age_days")
OF_FILES = {
    "path": None, "marker": None, "marker_states": (), "final_newline": "required", "encoding": "utf-8",
    "after_ingest": schema.AfterIngest(),
}  # fmt: skip
OF_EACH_ROW = ("event_id", "subject_value", "effective_at")


def check_consent_feeds(policy: schema.Policy, found: Findings) -> None:
    feeds = policy.sources.consent_feeds
    controllers = {c.name for c in policy.organisation.controllers}
    found.unique(FILE, ("consent_feeds",), [feed.name for feed in feeds], "consent feed", "name")
    for index, feed in enumerate(feeds):
        at: Path_ = ("consent_feeds", index)
        if feed.name == DESK:
            found.add(FILE, (*at, "name"), f"`{DESK}` is what staff record by hand", "Choose another name")
        found.unique(FILE, (*at, "controllers"), feed.controllers, "controller")
        for place, controller in enumerate(feed.controllers):
            found.known(FILE, (*at, "controllers", place), controller, controllers, "controller")
        if not feed.controllers:
            found.add(FILE, (*at, "controllers"), "the feed speaks for no controller", "Name at least one")
        if feed.marker is not None and feed.path is None:
            found.add(FILE, (*at, "marker"), "a marker without `path:`", "Add `path:`, or remove `marker:`")
        check_after_ingest(found, feed.after_ingest, (*at, "after_ingest"))
        _check_form(found, feed, at)
        if feed.format in ("table", "signal"):
            _check_columns(found, feed, at)
            _check_words(policy, found, feed, at)
        if feed.format == "signal":
            check_signal(policy, found, feed, at)


def _check_form(found: Findings, feed: schema.ConsentFeed, at: Path_) -> None:
    if feed.zone is not None and not is_zone(feed.zone):
        found.add(FILE, (*at, "zone"), "not a time zone", "Write an IANA name such as Asia/Shanghai")
    if feed.format != "signal":
        _check_absent(found, feed, at, OF_SIGNALS, "signal")
    if feed.format != "table":
        of_tables = OF_TABLES if feed.format != "signal" else [key for key in OF_TABLES if key not in MAPPED]
        _check_absent(found, feed, at, of_tables, "table")
        return
    for key in ("url_env", "table", "columns"):
        if not getattr(feed, key):
            found.add(FILE, at, f"a table feed needs `{key}:`", f"Add `{key}:`")
    for key, default in OF_FILES.items():
        if getattr(feed, key) != default:
            found.add(FILE, (*at, key), f"a table has no `{key}:`", "Remove it")


def _check_absent(found: Findings, feed: schema.ConsentFeed, at: Path_, keys: Iterable[str], belongs_to: str) -> None:
    for key in keys:
        if getattr(feed, key):
            remedy = f"Remove it, or write `format: {belongs_to}`"
            found.add(FILE, (*at, key), f"`{key}:` belongs to format {belongs_to}", remedy)


def _check_columns(found: Findings, feed: schema.ConsentFeed, at: Path_) -> None:
    given = {*feed.columns, *feed.constants, *(OF_EACH_SIGNAL if feed.format == "signal" else ())}
    for both in sorted(feed.columns.keys() & feed.constants.keys()):
        found.add(FILE, (*at, "constants", both), f"`{both}` is a column and a constant", "Keep one of them")
    for name in sorted({*REQUIRED_COLUMNS, *REQUIRED.get(feed.constants.get("type", ""), ())} - given):
        remedy = f"Add `{name}:` to its columns or constants"
        found.add(FILE, (*at, "columns"), f"feed `{feed.name}` does not say `{name}`, which is required", remedy)
    for constant in feed.constants:
        if constant in OF_EACH_ROW:
            found.add(
                FILE, (*at, "constants", constant), f"`{constant}` is not the same in every row", "Name its column"
            )
    for field, column in feed.columns.items():
        if not isinstance(column, str) and (field != "event_id" or not column):
            remedy = "Name one column; where it takes several to say it, read a view"
            found.add(FILE, (*at, "columns", field), "only `event_id` is made of several columns", remedy)
    for coded in sorted(feed.values.keys() - feed.columns.keys()):
        found.add(
            FILE, (*at, "values", coded), f"`{coded}` has no column whose codes these are", "Add it to `columns:`"
        )


def _check_words(policy: schema.Policy, found: Findings, feed: schema.ConsentFeed, at: Path_) -> None:
    """A word that no row may hold would quarantine each of them."""
    known = {**known_values(policy, feed), "type": frozenset(TYPES)}
    known["subject_kind"] = known["other_kind"] = frozenset(kind.name for kind in policy.organisation.identifier_kinds)
    is_link = feed.constants.get("type") == "link"
    for where, name, word in _words(feed):
        if name in known and not (name == "method" and is_link):
            found.known(FILE, (*at, *where), word, known[name], name)


def _words(feed: schema.ConsentFeed) -> Iterator[tuple[tuple[str, ...], str, str]]:
    for name, word in feed.constants.items():
        yield ("constants", name), name, word
    for name, codes in feed.values.items():
        for code, word in codes.items():
            yield ("values", name, code), name, word
