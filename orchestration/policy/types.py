"""Words and forms that all parts of the policy share. Not here: the parts themselves (`schema*.py`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

# Names reach SQL, dbt and file names: one strict form for all of them.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
Flag = Annotated[bool, Field(strict=True)]  # true or false; "no" is text, not false (fault C14)
Days = Annotated[int, Field(ge=1, le=36500)]
Links = Annotated[int, Field(ge=1, le=1_000_000)]

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
