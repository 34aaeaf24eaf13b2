"""What segments.yaml and destinations.yaml may say: which audiences are made, and where they go."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from orchestration.policy.types import CategoryClass, Channel, Days, Flag, Label, Name, Strict, Text


class Absent(Strict):
    """Data whose absence selects people: it must be provable throughout, or `absence_unproved` (design §4)."""

    source: Name
    category: CategoryClass
    lookback_days: Days


class MartColumn(Strict):
    name: Name
    type: Literal["varchar", "bigint", "double", "date", "boolean"]
    category: CategoryClass  # of the data that it tells
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
    parameters: dict[Name, int | float | str | tuple[str, ...]] = Field(default_factory=dict)
    minimum_size: Annotated[int, Field(ge=1)] = 20
    absent: Absent | None = None
    excludes: tuple[Name, ...] = ()  # segments whose people are left out
    stages: tuple[Name, ...] = ()  # only people of these stages; none: of any
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
