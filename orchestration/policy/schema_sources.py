"""What sources.yaml and minimisation.yaml may say: where touchpoints and consent records come from, what is kept."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from orchestration.policy.types import (
    CategoryClass,
    Channel,
    Days,
    Encoding,
    EnvName,
    FieldType,
    Flag,
    Label,
    Name,
    Strict,
    Text,
    Verb,
)

# The fields of a consent record as a table may fill them; a test holds them against those of a delivered file.
ConsentField = Literal[
    "event_id", "type", "controller", "purpose", "category", "recipient", "channel", "decision", "basis", "method",
    "subject_kind", "subject_issuer", "subject_value", "other_kind", "other_issuer", "other_value",
    "notice_id", "notice_version", "notice_language", "locale", "jurisdiction", "fact", "status", "state",
    "effective_at", "valid_until", "minor_until", "separate", "guardian", "unlink",
    "surface", "place", "actor", "evidence", "system", "fields", "raw",
]  # fmt: skip
TableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$")]

SignalFormat = Literal[
    "tcf", "gpp", "us_privacy", "gpc", "consent_mode", "segment", "rudderstack", "snowplow", "mparticle", "onetrust",
    "trustarc", "hubspot", "wechat", "wecom", "form", "opendsr",
]  # fmt: skip
# How payloads lie in a file: one on each line, one in each row, or one body (which may be a list of them).
SignalShape = Literal["jsonl", "csv", "json", "xml", "xml_lines"]

MarkerStates = Literal["rows", "sha256"]
FinalNewline = Literal["required", "optional"]


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
    format: Literal["jsonl", "csv", "parquet", "xml", "table"]
    path: str | None = None  # relative to landing; `{day}` stands for the business day
    day_format: str = "%Y-%m-%d"
    compression: Literal["none", "gzip"] = "none"
    encoding: Encoding = "utf-8"
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] = ","
    footer_rows: Annotated[int, Field(ge=0, le=10)] = 0
    marker: str | None = None  # suffix of the completion marker's file name, e.g. ".done"
    marker_states: tuple[MarkerStates, ...] = ()  # what a marker must state of its file, or the file is refused
    final_newline: FinalNewline = "required"  # a last line without its end is a cut one
    columns: dict[Name, Column | str]  # field <- raw column
    ignored_columns: tuple[str, ...] = ()  # known, named, never read into the lake
    constants: dict[Name, str] = Field(default_factory=dict)
    url_env: EnvName | None = None  # for format "table": the variable that holds the SQLAlchemy URL
    table: TableName | None = None
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


class Cursor(Strict):
    """The column by which a table is read onward. Rows may commit after later ones, so an overlap is read again."""

    column: Text  # only ever grows: a generated id, or the time of the last change
    overlap: Annotated[int, Field(ge=1)] | None = None  # of a number, in its own unit
    # Of a time. Local clocks are set back by an hour, which must not hide what follows.
    overlap_minutes: Annotated[int, Field(ge=61, le=60 * 24 * 366)] | None = None

    @model_validator(mode="after")
    def _is_number_or_time(self) -> Self:
        if (self.overlap is None) == (self.overlap_minutes is None):
            raise ValueError("write `overlap:` for a column of numbers, `overlap_minutes:` for one of times")
        return self


class SignalSubject(Strict):
    """Somebody whom a payload names. A grant is of the first that is there, a refusal of each of them."""

    value: Text  # the payload's own name for it
    kind: Name
    issuer: Text
    where: dict[Text, Text] = Field(default_factory=dict)  # only where these values of the payload are so


class SignalRule(Strict):
    """What the answers of a payload say of one scope of ours: it is granted where every code is, else refused.

    `template.*` is one record for each code that begins so; what follows takes the place of `*` in `set`. There,
    `{adviser}` stands for a value of the payload."""

    needs: Annotated[tuple[Text, ...], Field(min_length=1)]
    given: Text | None = None  # the rule says nothing where the payload does not grant this code, as of a section
    set: dict[ConsentField, Text]
    refused: Literal["deny", "withdraw", "object", "opt_out"] = "deny"  # as what a refusal is recorded


class Signature(Strict):
    """How a webhook is signed. Names are those of the envelope that the company's receiver keeps; `{name}` in `of`
    stands for that value, `{body}` for the body as it arrived. What does not hold is nobody's word: quarantined, and
    its feed is incomplete, since it may have been a refusal."""

    key_env: EnvName  # the variable that holds the shared secret
    value: Text  # where the signature is, such as `headers.x-signature`
    of: Text = "{body}"  # what is signed
    method: Literal["hmac_sha256", "hmac_sha1", "sha1_sorted"] = "hmac_sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""  # before it, such as `sha256=`
    signed_at: Text | None = None  # when it was signed and when it came: far apart, it is a replay
    received_at: Text | None = None
    max_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300

    @model_validator(mode="after")
    def _times_are_compared(self) -> Self:
        if (self.signed_at is None) != (self.received_at is None):
            raise ValueError("`signed_at:` and `received_at:` are compared with each other: write both or none")
        if self.signed_at is not None and f"{{{self.signed_at}}}" not in self.of:
            raise ValueError("the time of `signed_at:` must be part of what is signed: anybody could renew it else")
        return self


class ConsentFeed(Strict):
    """Where consent records come from. Beyond `max_staleness_hours` what depends on it stops: `feed_stale` (R-104)."""

    name: Name
    label: Label
    owner: Text
    controllers: tuple[Name, ...]  # the feed may speak for these only
    format: Literal["jsonl", "csv", "table", "signal"]
    path: str | None = None  # relative to landing; None: only by `assent consent import`
    day_format: str = "%Y-%m-%d"
    encoding: Encoding = "utf-8"
    marker: str | None = None
    marker_states: tuple[MarkerStates, ...] = ()
    final_newline: FinalNewline = "required"
    # Of a table or view: the variable with the SQLAlchemy URL, its name, and what its columns mean.
    url_env: EnvName | None = None
    table: TableName | None = None
    columns: dict[ConsentField, Text | tuple[Text, ...]] = Field(default_factory=dict)  # several: `event_id` only
    constants: dict[ConsentField, Text] = Field(default_factory=dict)
    values: dict[ConsentField, dict[str, Text]] = Field(default_factory=dict)  # field → its code there → ours
    cursor: Cursor | None = None  # None: the whole table every time
    zone: Text | None = None  # of naive local times; without it they are quarantined
    # Of payloads in a format of others: which one, how they lie in a file, and what their answers say of our scopes.
    signal: SignalFormat | None = None
    shape: SignalShape = "jsonl"
    body: Text | None = None  # where in an envelope the payload is
    encoded: Text | None = None  # the name of the value that holds the string of a format that is one
    signature: Signature | None = None  # of a webhook, whose body lies in its envelope as text
    subjects: tuple[SignalSubject, ...] = ()
    rules: tuple[SignalRule, ...] = ()
    # Of a payload in which somebody chose. Others repeat a choice, and a grant that is repeated is not made anew: it
    # would undo a withdrawal made elsewhere in between. Refusals always count.
    choices: dict[Text, Text] = Field(default_factory=dict)
    max_age_days: Days | None = None  # a grant that comes later than so long after it was given is not believed
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
    stage: Name | None = None  # of the relationship: not read before that stage's consent, nor without it
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
