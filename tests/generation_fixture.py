"""A tiny published generation made by hand: five people of the shop, one of the clinic, and the tables dbt would write.

The home, keys, vault, ledger, gate and publication are the real ones; only dbt's output is written here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from orchestration.consent.ledger import open_ledger
from orchestration.consent.models import Record, Subject
from orchestration.home import Home
from orchestration.identity.keys import Keys
from orchestration.identity.pseudonymise import Tokeniser
from orchestration.identity.vault import Vault
from orchestration.ingestion.lake import Manifest as Batch
from orchestration.ingestion.lake import write_manifests
from orchestration.policy.loader import SHIPPED, load_policy, policy_hash
from orchestration.policy.schema import Policy
from orchestration.policy.tables import write_policy_tables
from orchestration.warehouse.build import Build
from orchestration.warehouse.checks import CheckResult
from orchestration.warehouse.duckdb_settings import connect
from orchestration.warehouse.gate import REQUIRED_STAGES, release
from orchestration.warehouse.publish import publish
from orchestration.warehouse.relations import DECLARED
from tests.homes import copy_home

AS_OF = datetime(2026, 6, 1, tzinfo=UTC)
GRANTED = datetime(2026, 4, 1, tzinfo=UTC)
LATER = AS_OF + timedelta(hours=2)
SMS, RECALL, PUSH, EMAIL = "consulted_not_bought_7", "follow_up", "birthday_month", "second_purchase"
ISSUERS = {"phone": "e164", "email": "email", "push": "shop.app", "openid": "wx-oa-shop", "cookie": "shop.example.com"}

DBT_TABLES = {
    "intermediate.int_identifiers_resolved": "identifier_id BIGINT, controller VARCHAR, token VARCHAR, kind VARCHAR, "
    "issuer VARCHAR, is_strong BOOLEAN, is_ambiguous BOOLEAN, group_id BIGINT, person_key VARCHAR, is_joined BOOLEAN",
    "intermediate.int_segment_people": "segment VARCHAR, purpose VARCHAR, person_key VARCHAR, audience_key VARCHAR, "
    "is_permitted BOOLEAN, is_member BOOLEAN, reason VARCHAR, admitted_by BIGINT, notice VARCHAR, "
    "consent_until TIMESTAMP",
    "intermediate.int_activations_decided": "segment VARCHAR, destination VARCHAR, channel VARCHAR, "
    "person_key VARCHAR, audience_key VARCHAR, contact_token VARCHAR, contact_kind VARCHAR, reason VARCHAR, "
    "admitted_by BIGINT, "
    "notice VARCHAR, consent_until TIMESTAMP",
    "intermediate.int_bases_resolved": "group_id BIGINT, purpose VARCHAR, basis VARCHAR",
    "intermediate.int_decisions": "touchpoint_key VARCHAR, controller VARCHAR, person_key VARCHAR, purpose VARCHAR, "
    "reason VARCHAR",
    "intermediate.int_permissions_now": "person_key VARCHAR, controller VARCHAR, purpose VARCHAR, category VARCHAR, "
    "recipient VARCHAR, scope_bit INTEGER, reason VARCHAR, decided_by BIGINT, admitted_by BIGINT, notice VARCHAR, "
    "consent_until TIMESTAMP, is_own BOOLEAN",
    "intermediate.int_units": "unit_id BIGINT, person_key VARCHAR, controller VARCHAR, group_id BIGINT, "
    "is_own BOOLEAN, status_reason VARCHAR, is_suppressed BOOLEAN",
    "intermediate.int_people_staged": "person_key VARCHAR, controller VARCHAR, stage VARCHAR, is_open BOOLEAN",
    "intermediate.int_mismatches": "unit_id BIGINT, purpose VARCHAR",
    "intermediate.int_audience_keys": "person_key VARCHAR, purpose VARCHAR, audience_key VARCHAR",
    "intermediate.int_touchpoints_masked": "touchpoint_key VARCHAR, source VARCHAR, category VARCHAR, "
    "occurred_at TIMESTAMP, person_key VARCHAR, identifier_id BIGINT",
    "intermediate.int_people_held": "identifier_id BIGINT, held_by VARCHAR",
    "intermediate.int_deletions_due": "touchpoint_key VARCHAR, source VARCHAR, category VARCHAR, "
    "occurred_at TIMESTAMP, reason VARCHAR, due_at TIMESTAMP, held_by VARCHAR",
    "intermediate.int_contacts_unsupported": "token VARCHAR, kind VARCHAR, issuer VARCHAR, since TIMESTAMP, "
    "held_by VARCHAR",
    "governance.decisions_by_purpose": "purpose VARCHAR, reason VARCHAR, touchpoints BIGINT",
    "governance.segment_waterfalls": "segment VARCHAR, step_order BIGINT, step VARCHAR, destination VARCHAR, "
    "reason VARCHAR, people BIGINT",
    "governance.coverage": "source VARCHAR, controller VARCHAR, touchpoints BIGINT, with_person BIGINT, "
    "permitted_any BIGINT",
    "governance.deletions_due": "source VARCHAR, category VARCHAR, reason VARCHAR, business_day DATE, due_on DATE, "
    "held_by VARCHAR, rows_due BIGINT",
}
CHANNELS = {"sms_gateway": ("sms", "phone"), "front_desk": ("call", "phone"), "push_service": ("push", "push"),
            "email_service": ("email", "email"), "wechat_broadcast": ("wechat_oa", "openid")}  # fmt: skip
CHANNELS["overseas_crm"] = ("email", "email")
DESTINATIONS = {SMS: ("sms_gateway", "wechat_broadcast"), RECALL: ("front_desk",), PUSH: ("push_service",),
                EMAIL: ("email_service", "overseas_crm")}  # fmt: skip


@dataclass
class Person:
    """`name` is for the tests; `cookie` stands for an identifier that only denials reach."""

    name: str
    controller: str = "shop"
    contacts: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"person-{self.name}"

    def audience_key(self, purpose: str) -> str:
        return (f"{ord(self.name[0]):02x}{len(purpose):02x}" * 8)[:32]


def people() -> list[Person]:
    shop = [
        Person(
            name,
            contacts={"phone": f"+8613800138{n:03}", "email": f"{name}@example.com", "push": f"=push-{name}",
                      "openid": f"openid-{name}", "cookie": f"cookie-{name}"},
        )
        for n, name in enumerate(("ann", "bob", "cat", "dan", "eve"))
    ]  # fmt: skip
    return [*shop, Person("fay", controller="clinic", contacts={"phone": "+8613900139000"})]


@dataclass
class World:
    home: Home
    policy: Policy
    keys: Keys
    build: Build
    people: dict[str, Person]

    def token(self, name: str, kind: str) -> str:
        return Tokeniser(self.keys).token(kind, ISSUERS[kind], self.people[name].contacts[kind])

    def subject(self, name: str, kind: str = "phone") -> Subject:
        return Subject(self.token(name, kind), kind, ISSUERS[kind])

    def tell(
        self, name: str, *, kind: str = "phone", at: datetime = LATER, now: datetime | None = None, **parts: Any
    ) -> None:
        """Appends one record about a person to the ledger, as a consent feed would: decided `at`, learned `now`."""
        values: dict[str, Any] = {
            "controller": self.people[name].controller,
            "type": "consent",
            "feed": "consent_center",
        }
        with open_ledger(self.home, self.keys) as (ledger, _):
            event_id = f"test-{ledger.head()[0]}"
            record = Record(event_id=event_id, effective_at=at, subject=self.subject(name, kind), **(values | parts))
            ledger.append([record], now or at)

    def hear(self, at: datetime, state: str = "complete") -> None:
        """The consent feed was heard at `at`."""
        with open_ledger(self.home, self.keys) as (ledger, _):
            record = Record(event_id=f"heard-{at}", type="feed", feed="consent_center", effective_at=at,
                            state=state, batch=f"batch-{at:%d%H}")  # fmt: skip
            ledger.append([record], at)


def shrunk_policy() -> Policy:
    """The shipped policy with segments of two people allowed."""
    policy = load_policy(SHIPPED)
    small = tuple(s.model_copy(update={"minimum_size": 2 if s.name != RECALL else 1}) for s in policy.segments.segments)
    return policy.model_copy(update={"segments": policy.segments.model_copy(update={"segments": small})})


def make_world(
    root: Path,
    *,
    consent_until: datetime | None = None,
    beside: Callable[[duckdb.DuckDBPyConnection, World], None] | None = None,
) -> World:
    """A home under `root` with one published generation. `beside` writes what a test needs into its file besides."""
    home = Home.open(root / "home", demo_seed=7)
    policy, keys = shrunk_policy(), Keys.from_seed(7)
    everyone = people()
    build = Build(AS_OF, policy_hash(policy, SHIPPED), "", 0, "lake", "", keys.id, "code")
    world = World(home, policy, keys, build, {person.name: person for person in everyone})
    _fill_vault(world)
    world.hear(AS_OF)
    for person in everyone:
        purpose = "sms_marketing" if person.controller == "shop" else "follow_up"
        world.tell(person.name, at=GRANTED, decision="grant", purpose=purpose, method="explicit_click",
                   notice_id="privacy", notice_version="2")  # fmt: skip
    with open_ledger(home, keys) as (ledger, registry):
        seq, head = ledger.head()
        staged = ledger.staged(registry, policy)
    world.build = Build(AS_OF, build.policy_hash, head, seq, "lake", "", keys.id, "code")
    con = connect(home, world.build.path(home))
    _write_generation(con, world, staged, consent_until or AS_OF + timedelta(days=300))
    if beside is not None:
        beside(con, world)
    con.close()
    release(home, world.build, [CheckResult(stage, "good", True) for stage in sorted(REQUIRED_STAGES)])
    assert publish(home, world.build, now=AS_OF)
    _write_batches(world)
    return world


def copy_world(world: World, root: Path) -> World:
    """The same world in a home of its own: making one takes a second."""
    return replace(world, home=Home.open(copy_home(world.home.root, root / "home"), create=False))


def _fill_vault(world: World) -> None:
    contactable = {kind.name for kind in world.policy.organisation.identifier_kinds if kind.contact}
    with Vault(world.home, world.keys) as vault:
        vault.put([
            (world.token(person.name, kind), kind, ISSUERS[kind], plain)
            for person in world.people.values() for kind, plain in person.contacts.items() if kind in contactable
        ])  # fmt: skip


def _write_generation(con: duckdb.DuckDBPyConnection, world: World, staged: dict[str, Any], until: datetime) -> None:
    con.execute("begin")  # hundreds of statements: each by itself would be written to the disk
    for schema in ("meta", "ledger", "identity", "intermediate", "marts", "governance"):
        con.execute(f"create schema if not exists {schema}")
    write_policy_tables(
        con,
        world.policy,
        policy_hash=world.build.policy_hash,
        sensitive_segments=frozenset({RECALL}),
        stages_read={SMS: frozenset({"full"})},
    )
    build = world.build
    con.execute(
        "create table meta.builds as select ? as generation, ?::timestamp as as_of, ? as policy_hash, "
        "? as ledger_head, ?::bigint as ledger_seq",
        [build.generation, AS_OF.replace(tzinfo=None), build.policy_hash, build.ledger_head, build.ledger_seq],
    )
    for table in ("consent_events", "contracts", "statuses", "ages"):
        names = ", ".join(DECLARED["ledger"][table])
        con.register("staged_table", staged[table])
        con.execute(f"create table ledger.{table} as select {names} from staged_table")
        con.unregister("staged_table")
    links = ", ".join(f"{name} {kind}" for name, kind in DECLARED["identity"]["links"].items())
    con.execute(f"create table identity.links ({links})")
    for table, columns in DBT_TABLES.items():
        con.execute(f"create table {table} ({columns})")
    con.execute("create table identity.denial_reach (identifier_id BIGINT, group_id BIGINT)")
    _write_identifiers(con, world)
    for segment in world.policy.segments.segments:
        extra = "".join(f", {column.name} {column.type}" for column in segment.columns)
        con.execute(f"create table marts.{segment.name} (audience_key VARCHAR, admitted_by BIGINT, notice VARCHAR, "
                    f"consent_until TIMESTAMP{extra})")  # fmt: skip
    _write_members(con, world, until.replace(tzinfo=None))
    _write_consents(con, world)
    _write_governance(con, world)
    con.execute("commit")


def _write_identifiers(con: duckdb.DuckDBPyConnection, world: World) -> None:
    number = 0
    for group, person in enumerate(world.people.values()):
        for kind in person.contacts:
            number += 1
            row = [number, person.controller, world.token(person.name, kind), kind, ISSUERS[kind], True, False, group,
                   person.key, True]  # fmt: skip
            con.execute(f"insert into intermediate.int_identifiers_resolved values ({', '.join('?' * 10)})", row)
            con.execute("insert into identity.denial_reach values (?, ?)", [number, group])


def _write_members(con: duckdb.DuckDBPyConnection, world: World, until: datetime) -> None:
    purposes = {segment.name: segment.purpose for segment in world.policy.segments.segments}
    for segment, destinations in DESTINATIONS.items():
        controller = "clinic" if segment == RECALL else "shop"
        first = 7 if segment == RECALL else 2  # the sequence of the first person's grant
        for seq, person in enumerate((p for p in world.people.values() if p.controller == controller), start=first):
            key = person.audience_key(purposes[segment])
            extra = [3] if len(con.execute(f"describe marts.{segment}").fetchall()) == 5 else []
            marks = ", ".join("?" * (4 + len(extra)))
            con.execute(f"insert into marts.{segment} values ({marks})", [key, seq, "privacy@2", until, *extra])
            member = [segment, purposes[segment], person.key, key, True, True, None, seq, "privacy@2", until]
            con.execute(f"insert into intermediate.int_segment_people values ({', '.join('?' * 10)})", member)
            for destination in destinations:
                channel, kind = CHANNELS[destination]
                token, reason = world.token(person.name, kind), _reason(destination, person)
                row = [segment, destination, channel, person.key, key, token, kind, reason, seq, "privacy@2", until]
                con.execute(f"insert into intermediate.int_activations_decided values ({', '.join('?' * 11)})", row)
    for name, reason in (("gus", "withdrawn"), ("hal", None)):  # one refused, one whom the rule did not choose
        row = [SMS, "sms_marketing", f"person-{name}", f"{name}-key", reason is None, False, reason, None, None, None]
        con.execute(f"insert into intermediate.int_segment_people values ({', '.join('?' * 10)})", row)


def _write_consents(con: duckdb.DuckDBPyConnection, world: World) -> None:
    """Each person agreed to SMS, or at the clinic to recalls, by their phone; each has two touchpoints, one of them
    collected before that; phone and e-mail are linked."""
    for unit, person in enumerate(world.people.values(), start=1):
        purpose = "sms_marketing" if person.controller == "shop" else "follow_up"
        seq = unit + 1  # the first record is about the feed
        con.execute("insert into intermediate.int_units values (?, ?, ?, ?, false, null, false)",
                    [unit, person.key, person.controller, unit - 1])  # fmt: skip
        con.execute("insert into intermediate.int_permissions_now values (?, ?, ?, 'behaviour', 'own', 1, null, ?, ?, "
                    "'privacy@2', timestamp '2027-01-01', false)",
                    [person.key, person.controller, purpose, seq, seq])  # fmt: skip
        for name in {segment.purpose for segment in world.policy.segments.segments}:
            con.execute("insert into intermediate.int_audience_keys values (?, ?, ?)",
                        [person.key, name, person.audience_key(name)])  # fmt: skip
        for n, verdict in enumerate(("before_consent", None)):
            key = f"{person.name}-{n}"
            con.execute("insert into intermediate.int_touchpoints_masked values (?, 'web', 'behaviour', ?, ?, ?)",
                        [key, GRANTED.replace(tzinfo=None) + timedelta(days=n - 1), person.key, unit])  # fmt: skip
            con.execute("insert into intermediate.int_decisions values (?, ?, ?, ?, ?)",
                        [key, person.controller, person.key, purpose, verdict])  # fmt: skip
        if "email" in person.contacts:
            con.execute("insert into identity.links values (?, ?, 'phone', 'e164', ?, 'email', 'email', 'login', ?, ?, "
                        "false)", [person.controller, world.token(person.name, "phone"),
                        world.token(person.name, "email"), *[GRANTED.replace(tzinfo=None)] * 2])  # fmt: skip


def _reason(destination: str, person: Person) -> str | None:
    if destination == "overseas_crm":
        return "transfer_not_allowed"
    return "permission_missing" if destination == "wechat_broadcast" and person.name == "eve" else None


def _write_governance(con: duckdb.DuckDBPyConnection, world: World) -> None:
    con.execute(
        "insert into governance.coverage values ('web', 'shop', 900, 700, 420), "
        "('in_store', 'shop', 90, 80, 60), ('in_store', 'clinic', 10, 10, 8)"
    )
    for n, purpose in enumerate(p.name for p in world.policy.purposes.purposes):
        rows = [("permit", 400 - 40 * n), ("no_consent", 300 + 40 * n), ("withdrawn", 100), ("before_consent", 200)]
        for verdict, count in rows:
            con.execute("insert into governance.decisions_by_purpose values (?, ?, ?)", [purpose, verdict, count])
    falls = [(1, "all", None, 14), (2, "known", "ambiguous_identity", 2), (2, "known", None, 12),
             (3, "permitted", "no_consent", 4), (3, "permitted", "withdrawn", 1), (3, "permitted", None, 7),
             (4, "in_segment", "not_selected", 2), (4, "in_segment", None, 5)]  # fmt: skip
    for segment in (SMS, RECALL, PUSH, EMAIL):
        one = [(1, "all", None, 1), (4, "in_segment", None, 1)]
        for order, step, reason, count in one if segment == RECALL else falls:
            con.execute("insert into governance.segment_waterfalls values (?, ?, ?, null, ?, ?)",
                        [segment, order, step, reason, count])  # fmt: skip
    con.execute(
        "insert into governance.deletions_due values ('web', 'behaviour', 'never_permitted', "
        "date '2025-11-01', date '2025-11-15', null, 41)"
    )


def _write_batches(world: World) -> None:
    for source, accepted, reasons in (("web", 900, {"malformed": 3, "future_dated": 2}), ("in_store", 100, {})):
        quarantined = sum(reasons.values())
        write_manifests(world.home, [Batch(
            source=source, feed="tag", batch="b" * 32, input_sha256="0" * 64, file="f", day=None, is_complete=True,
            read=accepted + quarantined + 7, accepted=accepted, duplicates=7, quarantined=quarantined,
            quarantined_by_reason=reasons, files=[], links_file=None, recorded_at=AS_OF,
        )])  # fmt: skip
