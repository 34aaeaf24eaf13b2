"""The types of the policy: what each YAML file may say. Reading, cross-checking and hashing are in `loader.py`."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

# Names reach SQL, dbt and file names: one strict form for all of them.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
Flag = Annotated[bool, Field(strict=True)]  # true or false; "no" is text, not false (fault C14)
Days = Annotated[int, Field(ge=1, le=36500)]

CategoryClass = Literal["identification", "behaviour", "transaction", "preference", "sensitive"]
Channel = Literal["wechat_oa", "wechat_mp", "wecom", "sms", "email", "push", "call", "store", "ads"]
Regime = Literal["PIPL", "GDPR", "CCPA"]
Basis = Literal["consent", "separate_consent", "contract", "opt_out"]
Verb = Literal["keep", "token", "truncate_day", "bucket", "drop"]
Encoding = Literal["utf-8", "utf-8-sig", "gb18030"]
FieldType = Literal["string", "integer", "number", "boolean"]

MAX_SCOPES = 63  # one bit each of a signed 64-bit mask (design §1)


class Strict(BaseModel):
    """A part of the policy: unknown keys are errors, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Label(Strict):
    """What people read, in both languages; codes stay English (R-106)."""

    zh: Text = Field(alias="zh-CN")
    en: Text


class Controller(Strict):
    """A legal entity that answers for data. Consent to one never covers another (R-100)."""

    name: Name
    label: Label
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


class IdentifierKind(Strict):
    """A kind of identifier: how strong its grants are and how its values become canonical."""

    name: Name
    label: Label
    strength: Literal["strong", "weak"]
    anchor: Flag = False  # a person has at most one value per issuer
    normalise: Literal["phone", "email", "opaque", "number"]
    contact: Flag = False  # its plain value goes to the vault, for activation
    channels: tuple[Channel, ...] = ()  # the channels on which it is a contact point


class Jurisdiction(Strict):
    """A code that consent records carry, and the regime that governs there."""

    code: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$")]
    regime: Regime


class Beside(Strict):
    """How Assent sits beside a company's other Dagster code (R-108)."""

    asset_prefix: tuple[Name, ...] = ()


class Organisation(Strict):
    """Who we are: controllers, kinds of identifier, the zone of the business day, jurisdictions."""

    zone: Text  # IANA name of the business day
    partitions_from: date
    controllers: tuple[Controller, ...]
    identifier_kinds: tuple[IdentifierKind, ...]
    jurisdictions: tuple[Jurisdiction, ...]
    default_regime: Regime = "PIPL"  # where no jurisdiction is evidenced; opt-out is never assumed
    unknown_age: Literal["adult", "minor"]
    minor_below_years: Annotated[int, Field(ge=1, le=25)] = 14
    grant_tolerance_minutes: Annotated[int, Field(ge=0, le=1440)] = 5
    phone_region: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] = "CN"
    # Numbers that forward to someone for a while (privacy numbers of platforms): never identifiers.
    virtual_phone_prefixes: tuple[Annotated[str, StringConstraints(pattern=r"^\+[1-9][0-9]{2,13}$")], ...] = ()
    outbox_group: Name | None = None
    beside: Beside = Beside()


class Purpose(Strict):
    """What data may be used for, and what must hold before it is."""

    name: Name
    label: Label
    controllers: tuple[Name, ...]
    recipient: Name = "own"  # "own", or a third party; sharing is a purpose of its own
    basis: dict[Regime, Basis]  # a regime that is absent denies
    explicit: Flag = True
    categories: tuple[CategoryClass, ...]
    separate_consent_for: tuple[CategoryClass, ...] = ("sensitive",)
    channels: tuple[Channel, ...]
    max_consent_age_days: Days | None = None
    contract_facts: tuple[Name, ...] = ()  # for basis contract: any of these must hold
    shows: tuple[Name, ...] = ()  # columns a mart of this purpose may show, beside the standard ones
    impact_assessment_until: date | None = None
    requires_impact_assessment: Flag = False


class Purposes(Strict):
    """What data may be used for, on what legal basis, and on which channels."""

    identity_purpose: Name  # the purpose that permits joining identifiers into a person
    purposes: tuple[Purpose, ...]


class SourceField(Strict):
    """One column of a source after reading. `unit` and format belong to the type."""

    name: Name
    type: FieldType = "string"
    required: Flag = False
    max_length: Annotated[int, Field(ge=1, le=65536)] = 1024
    pattern: str | None = None  # the whole value must match (RE2)
    minimum: float | None = None
    maximum: float | None = None

    @model_validator(mode="after")
    def _pattern_compiles(self) -> Self:
        if self.pattern is not None:
            re.compile(self.pattern)
        return self


class Column(Strict):
    """Where a field comes from in a feed: a raw column, key path (`a.b`) or tag, or the part `extract` captures."""

    column: Text
    extract: str | None = None  # one capture group; no match means absent


class Feed(Strict):
    """One shape of file (or a table) that a source delivers."""

    name: Name
    controller: Name | None = None  # where it differs from the source's
    format: Literal["jsonl", "csv", "xml", "table"]
    path: str | None = None  # relative to landing; `{day}` stands for the business day
    day_format: str = "%Y-%m-%d"
    compression: Literal["none", "gzip"] = "none"
    encoding: Encoding = "utf-8"
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] = ","
    footer_rows: Annotated[int, Field(ge=0, le=10)] = 0
    marker: str | None = None  # suffix of the completion marker's file name, e.g. ".done"
    columns: dict[Name, Column | str]  # field <- raw column
    ignored_columns: tuple[str, ...] = ()  # known, named, never read into the lake
    constants: dict[Name, str] = {}
    url_env: EnvName | None = None  # for format "table": the variable that holds the SQLAlchemy URL
    table: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$")] | None = (
        None
    )
    max_bytes: Annotated[int, Field(ge=1)] = 4_000_000_000
    max_ratio: Annotated[int, Field(ge=2)] = 200  # decompressed ÷ compressed; the bomb of fault C3 has 1000+


class OccurredAt(Strict):
    field: Name
    format: Text  # "iso8601", "epoch_s", "epoch_ms" or a strptime format
    zone: Text | None = None  # of naive local times; without it they are quarantined


class Identifier(Strict):
    """An identifier that a row carries. Listed in order of precedence: the first present is the row's subject."""

    field: Name
    kind: Name
    issuer: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.:-]{0,63}$")]


class Event(Strict):
    """What a raw event name means, and its category of data. An event that is not listed is denied."""

    raw: str
    event: Name
    category: CategoryClass


class PermissionSignal(Strict):
    """An event of this source that opens or closes a contact point (R-101). It never grants a purpose."""

    raw: str
    channel: Channel
    field: Name  # the identifier field that is the contact point
    state: Literal["open", "closed"]


class AfterIngest(Strict):
    action: Literal["keep", "delete", "encrypt"] = "keep"
    keep_days: Days | None = None  # of the encrypted copy


class Source(Strict):
    """Touchpoints from one place. Provenance and lawful basis are required, or the source is refused (R-15)."""

    name: Name
    label: Label
    controller: Name
    owner: Text
    provenance: Text
    lawful_basis: Text
    fields: tuple[SourceField, ...]
    feeds: tuple[Feed, ...]
    event_id: Name | None = None  # the field with the source's id; without one, the keyed hash of the line
    event: Name  # the field with the raw event name
    occurred_at: OccurredAt
    identifiers: tuple[Identifier, ...]
    link_method: Literal["login", "scan", "order", "platform"]
    events: tuple[Event, ...]
    permissions: tuple[PermissionSignal, ...] = ()
    after_ingest: AfterIngest = AfterIngest()
    late: Literal["wait", "build_without"] = "build_without"
    required: Flag = False  # an absent landing folder for it is then an error, not an empty table
    upstream_assets: tuple[tuple[str, ...], ...] = ()  # a company's own Dagster assets it depends on


class ConsentFeed(Strict):
    """Where consent records come from. Beyond `max_staleness_hours` what depends on it stops: `feed_stale` (R-104)."""

    name: Name
    label: Label
    owner: Text
    controllers: tuple[Name, ...]  # the feed may speak for these only
    format: Literal["jsonl", "csv"]
    path: str | None = None  # relative to landing; None: only by `assent consent import`
    day_format: str = "%Y-%m-%d"
    encoding: Encoding = "utf-8"
    marker: str | None = None
    max_staleness_hours: Annotated[int, Field(ge=1, le=24 * 366)] | None = None
    after_ingest: AfterIngest = AfterIngest()


class Sources(Strict):
    """Where touchpoints and consent records come from, in what shape, and what to do when they are late."""

    sources: tuple[Source, ...]
    consent_feeds: tuple[ConsentFeed, ...]


class FieldRule(Strict):
    """What becomes of one field of a source. A field without a rule is not ingested (R-60)."""

    field: Name
    category: CategoryClass
    verb: Verb
    bucket: Literal["month_of_year", "hour", "hundreds", "year"] | None = None

    @model_validator(mode="after")
    def _bucket_needs_size(self) -> Self:
        if (self.verb == "bucket") != (self.bucket is not None):
            raise ValueError("`bucket:` names the size of the bucket, and belongs to `verb: bucket` only")
        return self


class SourceRules(Strict):
    source: Name
    fields: tuple[FieldRule, ...]


class SensitiveValue(Strict):
    """A value that makes a touchpoint sensitive: an item, store or account of, say, a clinic. `*` ends a prefix."""

    field: Literal["item", "store", "account"]
    value: Text


class Minimisation(Strict):
    """What becomes of every field: kept, tokenised, coarsened or dropped. What has no rule is not ingested."""

    sources: tuple[SourceRules, ...]
    sensitive_values: tuple[SensitiveValue, ...] = ()


class RetentionRule(Strict):
    """Days that data of a category may be used, counted from the event's own time. A purpose may shorten them."""

    category: CategoryClass
    days: Days
    purpose: Name | None = None


class Retention(Strict):
    """How many days data of a category may be used, and what is never deleted without a second look."""

    rules: tuple[RetentionRule, ...]
    late_consent_window_days: Days
    links_days: Days
    generations_kept: Annotated[int, Field(ge=1, le=100)] = 3
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    legal_holds: tuple[Name, ...] = ()  # sources whose deletion is deferred; use stays blocked


class NoticeVersion(Strict):
    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,32}$")]
    published_at: datetime
    texts: dict[Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[A-Z]{2})?$")], Text]
    renews_consent: Flag = False  # grants under older versions stop counting from publication


class Notice(Strict):
    id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,47}$")]
    label: Label
    purposes: tuple[Name, ...]
    versions: tuple[NoticeVersion, ...]


class Notices(Strict):
    """The versions of what people were told when they agreed."""

    notices: tuple[Notice, ...]


class Absent(Strict):
    """Data whose absence selects people: it must be provable throughout, or `absence_unproved` (design §4)."""

    source: Name
    category: CategoryClass
    lookback_days: Days


class MartColumn(Strict):
    name: Name
    type: Literal["varchar", "bigint", "double", "date", "boolean"]
    description: Text


class Segment(Strict):
    """A named group of people for one purpose: parameters here, its SQL in `models/marts/marketing/<model>.sql`."""

    name: Name
    label: Label
    description: Label
    owner: Text
    model: Name | None = None  # the SQL model; default: the segment's own name
    purpose: Name
    controller: Name
    channels: tuple[Channel, ...] = ()
    destinations: tuple[Name, ...] = ()
    lookback_days: Days
    parameters: dict[Name, int | float | str | tuple[str, ...]] = {}
    minimum_size: Annotated[int, Field(ge=1)] = 20
    absent: Absent | None = None
    excludes: tuple[Name, ...] = ()  # segments whose people are left out
    columns: tuple[MartColumn, ...] = ()

    @property
    def model_name(self) -> str:
        return self.model or self.name


class Segments(Strict):
    """Which audiences are made, from what, for which purpose and destinations."""

    segments: tuple[Segment, ...]


class Transfer(Strict):
    """How data may leave the country: the mechanism on file, and the purpose whose consent it needs."""

    mechanism: Literal["security_assessment", "standard_contract", "certification", "adequacy"]
    purpose: Name


class Frequency(Strict):
    maximum: Annotated[int, Field(ge=1)]
    days: Days


class QuietHours(Strict):
    start: Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    end: Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class Destination(Strict):
    """Where an audience is delivered. Abroad without a transfer mechanism is denied (R-105)."""

    name: Name
    label: Label
    channel: Channel
    kind: Name  # the identifier kind it is addressed by
    issuer: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.:-]{0,63}$")]
    account: Text
    legal_entity: Text
    recipient: Name = "own"
    role: Literal["own", "processor", "controller"]
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
    transfer: Transfer | None = None
    columns: tuple[Literal["audience_key", "contact", "segment", "consent_until", "admitted_by", "notice"], ...]
    format: Literal["csv", "csv_gb18030", "parquet"] = "csv"
    contact_form: Literal["plain", "national", "sha256"] = "plain"
    row_limit: Annotated[int, Field(ge=1)] = 1_000_000
    needs_permission: Flag = False  # the contact point must be open (followed, push enabled)
    sends_on_receipt: Flag = False
    quiet_hours: QuietHours | None = None
    frequency: Frequency | None = None
    expires_after_hours: Annotated[int, Field(ge=1, le=24 * 31)] = 48


class Destinations(Strict):
    """Where audiences go: channel, legal entity, country, columns and form."""

    destinations: tuple[Destination, ...]


class Scope(Strict):
    """What one consent covers, compiled from the purposes; one bit of the mask (design §1)."""

    bit: Annotated[int, Field(ge=0, lt=MAX_SCOPES)]
    controller: Name
    purpose: Name
    category: CategoryClass
    recipient: Name

    @property
    def mask(self) -> int:
        return 1 << self.bit


class Policy(Strict):
    """All policy files, cross-checked. Made by `loader.load_policy` only."""

    organisation: Organisation
    purposes: Purposes
    sources: Sources
    minimisation: Minimisation
    retention: Retention
    notices: Notices
    segments: Segments
    destinations: Destinations
