"""The types of the policy: what each YAML file may say. Reading, cross-checking and hashing are in `loader.py`."""

from __future__ import annotations

import hashlib
from datetime import date, datetime
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from orchestration.policy.schema_audiences import (
    Absent,
    Destination,
    Destinations,
    Frequency,
    MartColumn,
    QuietHours,
    Segment,
    Segments,
    Transfer,
)
from orchestration.policy.schema_proof import Reclassification, Reclassifications
from orchestration.policy.schema_sources import (
    AfterIngest,
    Column,
    ConsentFeed,
    Cursor,
    Event,
    Feed,
    FieldRule,
    Identifier,
    Minimisation,
    OccurredAt,
    PermissionSignal,
    SensitiveValue,
    SignalRule,
    SignalSubject,
    Signature,
    Source,
    SourceField,
    SourceRules,
    Sources,
)
from orchestration.policy.types import (
    MAX_SCOPES,
    Basis,
    CategoryClass,
    Channel,
    Days,
    Encoding,
    EnvName,
    FieldType,
    Flag,
    Label,
    Links,
    Name,
    Regime,
    Strict,
    Text,
    Verb,
)

__all__ = [
    "MAX_SCOPES",
    "Absent",
    "AfterIngest",
    "Basis",
    "Beside",
    "CategoryClass",
    "Channel",
    "Column",
    "ConsentFeed",
    "Controller",
    "Cursor",
    "DatasetDays",
    "Days",
    "Destination",
    "Destinations",
    "Encoding",
    "EnvName",
    "Event",
    "Feed",
    "FieldRule",
    "FieldType",
    "Flag",
    "Frequency",
    "Identifier",
    "IdentifierKind",
    "Identity",
    "Jurisdiction",
    "Label",
    "Links",
    "MartColumn",
    "Minimisation",
    "Name",
    "Notice",
    "NoticeVersion",
    "Notices",
    "OccurredAt",
    "Organisation",
    "PermissionSignal",
    "Policy",
    "Purpose",
    "Purposes",
    "QuietHours",
    "Reclassification",
    "Reclassifications",
    "Regime",
    "Retention",
    "RetentionRule",
    "Scope",
    "Segment",
    "Segments",
    "SensitiveValue",
    "ShownCounts",
    "SignalRule",
    "SignalSubject",
    "Signature",
    "Source",
    "SourceField",
    "SourceRules",
    "Sources",
    "Stage",
    "Strict",
    "Text",
    "Transfer",
    "Verb",
]


class Controller(Strict):
    """A legal entity that answers for data. Consent to one never covers another (R-100)."""

    name: Name
    label: Label
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
    contact: Text | None = None  # where a person may write or call, as every receipt says it


# A value in lower case, or a beginning of values: `test@*`. A `*` anywhere else is the mask of a masked value.
Placeholder = Annotated[str, StringConstraints(pattern=r"^[^A-Z*\s][^A-Z*]{0,62}\*?$")]


class IdentifierKind(Strict):
    """A kind of identifier: how strong its grants are, how its values become canonical, and when it joins nobody."""

    name: Name
    label: Label
    strength: Literal["strong", "weak"]
    anchor: Flag = False  # a person has at most one value per issuer
    normalise: Literal["phone", "email", "opaque", "number"]
    contact: Flag = False  # its plain value goes to the vault, for activation
    channels: tuple[Channel, ...] = ()  # the channels on which it is a contact point
    placeholders: tuple[Placeholder, ...] = ()  # further canonical values that identify nobody, beside those of all
    max_links: Links | None = None  # instead of `identity.max_links`
    # When its links to a second anchor of a class begin so long after the last link to the first, it was issued anew:
    # older links and grants are a stranger's. Closer than that, or without this number, both share it: ambiguous.
    reissued_after_days: Days | None = None


class Identity(Strict):
    """When an identifier identifies nobody, or too many (design §4)."""

    placeholders: tuple[Placeholder, ...]  # canonical values of any kind; A-Z is read as a-z
    # An identifier in force with more others is a shared code, a kiosk or a default value: ambiguous. For a strong kind
    # only strong others count, because one person's browsers come and go.
    max_links: Links


class Jurisdiction(Strict):
    """A code that consent records carry, and the regime that governs there."""

    code: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$")]
    regime: Regime


class ShownCounts(Strict):
    """How counts of people are told: none below the minimum, others rounded down, so that differences tell of nobody.
    Minimum 1 rounded to 1 tells them as they are."""

    minimum: Annotated[int, Field(ge=1, le=1000)] = 10
    rounded_to: Annotated[int, Field(ge=1, le=1000)] = 5

    @model_validator(mode="after")
    def _hides_small_counts(self) -> Self:
        is_exact = self.minimum == self.rounded_to == 1
        if not is_exact and (self.rounded_to < 3 or self.minimum % self.rounded_to):
            raise ValueError("round to 3 at least, of which the minimum is a multiple, or counts can be worked out")
        return self


class Beside(Strict):
    """How Assent sits beside a company's other Dagster code (R-108)."""

    asset_prefix: tuple[Name, ...] = ()


class Organisation(Strict):
    """Who we are: controllers, kinds of identifier, the zone of the business day, jurisdictions."""

    zone: Text  # IANA name of the business day
    partitions_from: date
    controllers: tuple[Controller, ...]
    identifier_kinds: tuple[IdentifierKind, ...]
    identity: Identity
    jurisdictions: tuple[Jurisdiction, ...]
    # Where no jurisdiction is evidenced the strictest basis holds that a purpose states for any regime; one without a
    # basis in this regime is denied. Opt-out is never assumed.
    default_regime: Regime = "PIPL"
    unknown_age: Literal["adult", "minor"]
    minor_below_years: Annotated[int, Field(ge=1, le=25)] = 14
    grant_tolerance_minutes: Annotated[int, Field(ge=0, le=1440)] = 5
    phone_region: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] = "CN"
    # Numbers that forward to someone for a while (privacy numbers of platforms): never identifiers.
    virtual_phone_prefixes: tuple[Annotated[str, StringConstraints(pattern=r"^\+[1-9][0-9]{2,13}$")], ...] = ()
    shown_counts: ShownCounts = ShownCounts()
    outbox_group: Name | None = None
    beside: Beside = Beside()

    def placeholders_of(self, kind: IdentifierKind) -> frozenset[str]:
        """Every value or beginning of values that identifies nobody as a `kind`."""
        return frozenset((*self.identity.placeholders, *kind.placeholders))

    def max_links_of(self, kind: IdentifierKind) -> int:
        return kind.max_links or self.identity.max_links


class Purpose(Strict):
    """What data may be used for, and what must hold before it is."""

    name: Name
    label: Label
    controllers: tuple[Name, ...]
    recipient: Name = "own"  # "own", or a third party; sharing is a purpose of its own
    basis: dict[Regime, Basis]  # a regime that is absent denies
    explicit: Flag = True
    categories: tuple[CategoryClass, ...]
    category_since: dict[CategoryClass, datetime] = Field(default_factory=dict)  # taken in later: older grants
    separate_consent_for: tuple[CategoryClass, ...] = ("sensitive",)
    channels: tuple[Channel, ...]
    max_consent_age_days: Days | None = None
    contract_facts: tuple[Name, ...] = ()  # for basis contract: any of these must hold
    shows: tuple[Name, ...] = ()  # columns a mart of this purpose may show, beside the standard ones
    impact_assessment_until: date | None = None
    requires_impact_assessment: Flag = False


class Stage(Strict):
    """A stage of the relationship with a person (R-10, R-81). The first needs nothing; each later one is opened by the
    consent to its purpose, and what a later stage collects may not be read before that."""

    name: Name
    label: Label
    purpose: Name | None = None


class Purposes(Strict):
    """What data may be used for, on what legal basis, and on which channels."""

    identity_purpose: Name  # the purpose that permits joining identifiers into a person
    purposes: tuple[Purpose, ...]
    stages: tuple[Stage, ...] = ()  # from the first visit on


class RetentionRule(Strict):
    """Days that data of a category may be used, counted from the event's own time. A purpose may shorten them."""

    category: CategoryClass
    days: Days
    purpose: Name | None = None


class DatasetDays(Strict):
    """Days that what lies beside the lake is kept, each from its own time. All are required: nothing stays by default.

    A day is 24 hours and ends to the second; there are no months or years, so that none is ever longer (fault B10)."""

    quarantine: Days  # from the end of the day that the file is of
    vault: Days  # from when no purpose permitted any longer to contact the person
    deliveries: Days  # from the delivery, the removal, or the contact's end, which are noted as tokens
    exports: Days  # from the end of their validity
    generations: Days  # from their T; the one in force stays until another is
    dbt: Days  # from the end of the run: compiled SQL and results
    runs: Days  # from the end of the run: Dagster's runs, events, ticks and what steps printed
    backups: Days  # from when the backup was made, of the home and of the keys


class RequestRules(Strict):
    """The clocks of what people ask for: erasure, access, restriction, rectification."""

    due_days: Days = 15
    undo_days: Annotated[int, Field(ge=0, le=30)] = 3  # after its confirmation an erasure waits this long


class Retention(Strict):
    """How many days data of a category may be used, and what is never deleted without a second look."""

    rules: tuple[RetentionRule, ...]
    late_consent_window_days: Days
    withdrawn_days: Days  # from when the last scope that permitted a row ended
    links_days: Days
    datasets: DatasetDays
    generations_kept: Annotated[int, Field(ge=1, le=100)] = 3
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    legal_holds: tuple[Name, ...] = ()  # sources whose deletion is deferred; use stays blocked
    requests: RequestRules = RequestRules()


class NoticeVersion(Strict):
    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,32}$")]
    published_at: datetime
    texts: dict[Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[A-Z]{2})?$")], Text]
    purposes: tuple[Name, ...] | None = None  # those it named, where it did not name all of the notice's
    renews_consent: Flag = False  # grants under older versions stop counting from publication

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 (hex) of the UTF-8 text, by language: what a receipt names, so that the text can be proved."""
        return {language: hashlib.sha256(text.encode()).hexdigest() for language, text in self.texts.items()}


class Notice(Strict):
    id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,47}$")]
    label: Label
    purposes: tuple[Name, ...]
    versions: tuple[NoticeVersion, ...]

    def named_by(self, version: NoticeVersion) -> tuple[str, ...]:
        """The purposes that people were told of by this version: a grant under it covers no other (R-35)."""
        return self.purposes if version.purposes is None else version.purposes


class Notices(Strict):
    """The versions of what people were told when they agreed."""

    notices: tuple[Notice, ...]


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
    reclassifications: Reclassifications = Reclassifications()  # a policy of before they were declared has none
