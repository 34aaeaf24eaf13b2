"""The steps of lineage that no SQL model takes: at the door, into the ledger and the vault, by identity, and out to
a destination. What they do is read from the policy and from the tables that the code declares.

Not here: the models (`proof/flow.py`), and questions to the whole graph (`graph.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestration.consent.staging import TABLES as LEDGER_TABLES
from orchestration.identity.numbering import LEDGER_TABLES as IDENTIFYING
from orchestration.ingestion.contracts import kept_fields, lake_column
from orchestration.ingestion.minimise import identifiers_of, kind_of
from orchestration.policy.schema import ConsentFeed, Destination, Policy, Segment, Source
from orchestration.proof.lineage.edges import ROWS, Column, Direct, Edge, direct, indirect
from orchestration.warehouse.relations import DECLARED

LANDING, FEEDS, LAKE, LEDGER, EXPORTS = "landing", "consent_feeds", "lake", "ledger", "exports"
VAULT = "vault.contacts"  # a column for each kind of identifier
ACTIVATIONS = "intermediate.int_activations_decided"
# A column of the ledger's events → the field of a consent record that fills it. The others are the ledger's own.
FILLED_BY: Mapping[str, tuple[str, ...]] = {
    "is_separate": ("separate",),
    "is_guardian": ("guardian",),
    "until_at": ("valid_until", "minor_until"),
    "fact": ("fact", "status"),
    "state": ("state", "unlink"),
}
OWN = {"seq", "recorded_at", "feed", "batch"}
SUBJECT = {
    "subject_ref": ("", "subject"),
    "object_ref": ("_b", "other"),
}  # reference → suffix of its columns, and of whom
# What the recheck before each export reads of records that came after the build (`exports/recheck.py`).
RECHECKED = tuple(
    Column(f"ledger.{table}", name)
    for table, names in {
        "consent_events": ("decision", "purpose"), "permissions": ("state",), "statuses": ("state",),
    }.items()
    for name in ("token", *names)
)  # fmt: skip


def edges(policy: Policy) -> Iterator[Edge]:
    """Every edge that is not in a model."""
    for source in policy.sources.sources:
        yield from _door(policy, source)
        yield from _identified(source)
    for feed in policy.sources.consent_feeds:
        yield from _recorded(policy, feed)
    yield from _resolved()
    yield from _activity()
    for segment, destination in delivered(policy):
        yield from _exported(segment, destination)


def delivered(policy: Policy) -> list[tuple[Segment, Destination]]:
    """The audiences that policy delivers."""
    known = {destination.name: destination for destination in policy.destinations.destinations}
    return [(segment, known[name]) for segment in policy.segments.segments for name in segment.destinations]


def export_name(segment: Segment, destination: Destination) -> str:
    return f"{EXPORTS}.{segment.name}__{destination.name}"


def field(source: Source, name: str) -> Column:
    return Column(f"{LANDING}.{source.name}", name)


def _door(policy: Policy, source: Source) -> Iterator[Edge]:
    """What minimisation leaves of each field, and what every row has beside that (`ingestion/minimise.py`)."""
    lake = f"{LAKE}.{source.name}"
    for known, rule in kept_fields(policy, source):
        verb: Direct = "keep" if rule.verb == "drop" else rule.verb
        yield direct(field(source, known.name), Column(lake, lake_column(known, rule)[0]), verb)
    yield direct(field(source, source.event), Column(lake, "raw_event"), "keep")
    yield direct(field(source, source.occurred_at.field), Column(lake, "occurred_at"), "keep")
    yield direct(field(source, source.occurred_at.field), Column(lake, "business_day"), "truncate_day")
    for name in [source.event_id] if source.event_id else [known.name for known in source.fields]:
        yield direct(field(source, name), Column(lake, "touchpoint_key"), "token")
    for known in source.fields:  # a keyed hash of the row as it came tells one delivered twice from one that differs
        yield direct(field(source, known.name), Column(lake, "body_hash"), "token")
        yield direct(field(source, known.name), Column(f"quarantine.{source.name}", known.name), "encrypt")
        if source.after_ingest.action == "encrypt":
            yield direct(field(source, known.name), Column(f"archive.{source.name}", known.name), "encrypt")
    yield from _identifiers(policy, source, lake)
    yield from _signals(policy, source)


def _identifiers(policy: Policy, source: Source, lake: str) -> Iterator[Edge]:
    """The first identifier that a row has is its subject; each further one is linked to it."""
    known = identifiers_of(policy, source)
    for place, identifier in enumerate(known):
        plain = field(source, identifier.field)
        yield direct(plain, Column(lake, "subject_token"), "token")
        for name in ("subject_kind", "subject_issuer"):
            yield indirect(plain, Column(lake, name), "conditional")
        for end in ("a", "b") if len(known) > 1 else ():
            if end == "a" or place > 0:
                yield direct(plain, Column("identity.links", f"token_{end}"), "token")
                yield indirect(plain, Column("identity.links", f"kind_{end}"), "conditional")
                yield indirect(plain, Column("identity.links", f"issuer_{end}"), "conditional")
        if kind_of(policy, identifier.kind).contact:
            yield from _contact(plain, identifier.kind)
    if len(known) > 1:
        yield direct(field(source, source.occurred_at.field), Column("identity.links", "effective_at"), "keep")


def _signals(policy: Policy, source: Source) -> Iterator[Edge]:
    """Events that open or close a contact point are permissions in the ledger."""
    permissions = f"{LEDGER}.permissions"
    tokens = {identifier.field for identifier in identifiers_of(policy, source)}
    for signal in source.permissions:
        if signal.field in tokens:
            yield direct(field(source, signal.field), Column(permissions, "token"), "token")
            yield direct(field(source, source.event), Column(permissions, "state"), "compute")
            yield direct(field(source, source.event), Column(permissions, "channel"), "compute")
            yield direct(field(source, source.occurred_at.field), Column(permissions, "effective_at"), "keep")


def _recorded(policy: Policy, feed: ConsentFeed) -> Iterator[Edge]:
    """The records of a consent feed, as the warehouse is handed them (`consent/staging.py`)."""
    has = fields_of(feed)
    source = f"{FEEDS}.{feed.name}"
    for table, (_, columns) in LEDGER_TABLES.items():
        if table == "feeds":
            continue
        target = f"{LEDGER}.{table}"
        for name, event, _ in columns:
            if event in SUBJECT:
                suffix, whom = SUBJECT[event]
                yield from _named(source, has, target, "_a" if table == "links" and not suffix else suffix, whom)
            elif event not in OWN:
                for filled in FILLED_BY.get(event, (event,)):
                    if filled in has:
                        yield direct(Column(source, filled), Column(target, name), "keep")
    for kind in _contact_kinds(policy, feed) if "subject_value" in has else ():
        yield from _contact(Column(source, "subject_value"), kind)


def _contact_kinds(policy: Policy, feed: ConsentFeed) -> list[str]:
    """The kinds of contact detail that its subjects may be: any, where policy does not say which kinds they are."""
    contacts = [kind.name for kind in policy.organisation.identifier_kinds if kind.contact]
    named = {subject.kind for subject in feed.subjects} | {feed.constants.get("subject_kind", "")} - {""}
    return [kind for kind in contacts if not named or kind in named]


def _contact(plain: Column, kind: str) -> Iterator[Edge]:
    """The plain value goes to the vault under a key of its person, and nowhere else."""
    yield direct(plain, Column(VAULT, kind), "encrypt")
    yield direct(plain, Column("activity.contact_points", "token"), "token")
    for name in ("kind", "issuer"):
        yield indirect(plain, Column("activity.contact_points", name), "conditional")


def _named(source: str, has: frozenset[str], target: str, suffix: str, whom: str) -> Iterator[Edge]:
    if f"{whom}_value" in has:
        yield direct(Column(source, f"{whom}_value"), Column(target, f"token{suffix}"), "token")
        yield direct(Column(source, f"{whom}_kind"), Column(target, f"kind{suffix}"), "keep")
        yield direct(Column(source, f"{whom}_issuer"), Column(target, f"issuer{suffix}"), "keep")


def fields_of(feed: ConsentFeed) -> frozenset[str]:
    """The fields of a consent record that the feed can fill."""
    if feed.format in ("jsonl", "csv"):
        from orchestration.consent.feeds.rows import COLUMNS

        return COLUMNS
    said = {*feed.columns, *feed.constants, *(name for rule in feed.rules for name in rule.set)}
    return frozenset(said | {"subject_kind", "subject_issuer", "subject_value", "decision", "type"})


def _identified(source: Source) -> Iterator[Edge]:
    """Every subject of a touchpoint is one of the identifiers."""
    for name in ("token", "kind", "issuer"):
        yield direct(Column(f"{LAKE}.{source.name}", f"subject_{name}"), Column("identity.identifiers", name), "copy")
    yield direct(Column(f"{LAKE}.{source.name}", "controller"), Column("identity.identifiers", "controller"), "copy")


def _resolved() -> Iterator[Edge]:
    """Who is one person (`identity/resolve.py`): by the links on record, but for identifiers of the erased."""
    of_ledger = DECLARED[LEDGER]["links"]
    for name in DECLARED["identity"]["links"]:
        if name in of_ledger:
            yield direct(Column("ledger.links", name), Column("identity.links", name), "copy")
    named = [(Column("identity.links", f"{name}_{end}"), name) for name in ("token", "kind", "issuer") for end in "ab"]
    named += [(Column(f"ledger.{table}", name), name) for table in IDENTIFYING for name in ("token", "kind", "issuer")]
    for column, name in named:
        yield direct(column, Column("identity.identifiers", name), "copy")
    ids = [Column("identity.identifiers", name) for name in ("identifier_id", "group_id", "group_token")]
    reach = [Column("identity.denial_reach", name) for name in ("identifier_id", "group_id")]
    counted = [
        Column("identity.identifiers", name) for name in ("group_size", "is_whole", "is_ambiguous", "held_since")
    ]
    for target in (*ids, *reach):
        yield direct(Column("identity.identifiers", "token"), target, "compute")
    for target in (*ids[1:], *reach[1:], *counted):
        for name in ("token_a", "token_b"):
            yield direct(Column("identity.links", name), target, "compute")
        for name in ("effective_at", "is_unlink"):
            yield indirect(Column("identity.links", name), target, "filter")
        for name in ("token", "status", "state", "effective_at"):
            yield indirect(Column("ledger.statuses", name), target, "filter")
        for name in ("is_strong", "is_anchor", "max_links"):
            yield indirect(Column("policy.identifier_kinds", name), target, "conditional")
    for name in ("is_strong", "is_anchor"):
        yield direct(Column("policy.identifier_kinds", name), Column("identity.identifiers", name), "copy")
        yield indirect(Column("identity.identifiers", "kind"), Column("identity.identifiers", name), "join")


def _activity() -> Iterator[Edge]:
    yield direct(Column("keys.audience", "key"), Column("identity.purpose_keys", "key"), "compute")
    yield direct(Column("policy.purposes", "purpose"), Column("identity.purpose_keys", "purpose"), "copy")
    for name in DECLARED["activity"]["deliveries"]:
        yield direct(Column("evidence.deliveries", name), Column("activity.deliveries", name), "copy")


def _exported(segment: Segment, destination: Destination) -> Iterator[Edge]:
    """One file (`exports/audience.py`): permitted members with a contact from the vault, minus who withdrew since."""
    target = export_name(segment, destination)
    for name in destination.columns:
        if name == "contact":
            yield direct(Column(VAULT, destination.kind), Column(target, name), "decrypt")
            yield indirect(Column(ACTIVATIONS, "contact_token"), Column(target, name), "join")
        else:
            yield direct(Column(ACTIVATIONS, name), Column(target, name), "copy")
    for chosen in ("segment", "destination", "reason"):
        yield indirect(Column(ACTIVATIONS, chosen), Column(target, ROWS), "filter")
    yield indirect(Column(ACTIVATIONS, ROWS), Column(target, ROWS), "rows")
    for column in RECHECKED:
        yield indirect(column, Column(target, ROWS), "filter")
