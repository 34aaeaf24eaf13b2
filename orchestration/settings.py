"""The environment: the only module that reads `os.environ`. What a rule says belongs to the policy, not here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestration.errors import AssentError
from orchestration.policy.loader import SHIPPED

DEFAULT_HOME = Path("data/home")
# Telemetry stays off in every process we start (fault E9), and dbt and Python write no colours or bytecode into home.
QUIET = {
    "DO_NOT_TRACK": "1",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "DAGSTER_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "NO_COLOR": "1",
}
# pandera's own variables, and the values with which it checks everything; it takes any other spelling for no.
VALIDATION = {
    "PANDERA_VALIDATION_ENABLED": ("True", "true", "1"),
    "PANDERA_VALIDATION_DEPTH": ("SCHEMA_AND_DATA",),
    "PANDERA_USE_NARWHALS_BACKEND": ("False", "false", "0"),
}
SECRET = ("ASSENT_LEDGER_URL", "ASSENT_LEDGER_OWNER_URL", "ASSENT_FAILURE_WEBHOOK")


@dataclass(frozen=True)
class LedgerAt:
    """Where the ledger and its anchor are: a database URL, a folder. None: in the home, and beside it."""

    url: str | None = field(default=None, repr=False)
    anchor: Path | None = None


IN_HOME = LedgerAt()


@dataclass(frozen=True)
class Settings:
    """Where things are. Values that may hold a password never show in `repr` (fault D10)."""

    home: Path = DEFAULT_HOME
    policy_dir: Path = SHIPPED
    landing: Path | None = None  # None: the landing folder of the home
    ledger_url: str | None = field(default=None, repr=False)
    ledger_owner_url: str | None = field(default=None, repr=False)  # for migrations only
    anchor: Path | None = None
    asset_prefix: tuple[str, ...] | None = None  # None: as the policy says
    failure_command: str | None = field(default=None, repr=False)
    failure_webhook: str | None = field(default=None, repr=False)

    @property
    def ledger_at(self) -> LedgerAt:
        return LedgerAt(self.ledger_url, self.anchor)


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process. Refuses to start where validation is switched off (fault G6)."""
    env = os.environ if environment is None else environment
    refuse_without_validation(env)
    return Settings(
        home=_path(env, "ASSENT_HOME") or DEFAULT_HOME,
        policy_dir=_path(env, "ASSENT_POLICY") or SHIPPED,
        landing=_path(env, "ASSENT_LANDING"),
        ledger_url=_text(env, "ASSENT_LEDGER_URL"),
        ledger_owner_url=_text(env, "ASSENT_LEDGER_OWNER_URL"),
        anchor=_path(env, "ASSENT_ANCHOR"),
        asset_prefix=_prefix(env),
        failure_command=_text(env, "ASSENT_FAILURE_COMMAND"),
        failure_webhook=_text(env, "ASSENT_FAILURE_WEBHOOK"),
    )


def refuse_without_validation(env: Mapping[str, str]) -> None:
    """pandera passes invalid data in silence where a variable of its own switches its checks off, or half of them."""
    for name, allowed in VALIDATION.items():
        if env.get(name) not in (None, *allowed):
            raise AssentError(
                "validation is switched off, or changed",
                where=name,
                remedy="Unset the variable; Assent never runs without its contracts",
            )


def source_url(env_name: str, environment: Mapping[str, str] | None = None) -> str:
    """The database URL that a table feed's `url_env:` names. It is never stored or logged."""
    value = _text(os.environ if environment is None else environment, env_name)
    if value is None:
        raise AssentError(
            "the variable is not set",
            where=env_name,
            remedy="Set it to the SQLAlchemy URL of the source, or remove the feed from sources.yaml",
        )
    return value


def shared_secret(env_name: str, environment: Mapping[str, str] | None = None) -> str:
    """The secret of a webhook that a feed's `signature: key_env:` names. It is never stored or logged."""
    value = _text(os.environ if environment is None else environment, env_name)
    if value is None:
        raise AssentError(
            "the variable is not set",
            where=env_name,
            remedy="Set it to the secret that the webhook's sender signs with, or remove the feed's `signature:`",
        )
    return value


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a process we start: telemetry off, without the secrets that it does not need."""
    kept = {name: value for name, value in os.environ.items() if name not in SECRET}
    return {**kept, **QUIET, **(extra or {})}


def choose(name: str, value: Path) -> Callable[[], None]:
    """Makes `value` that of the variable `name`, for this process and those it starts. Returns what undoes it."""
    before = os.environ.get(name)
    os.environ[name] = str(value)

    def undo() -> None:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before

    return undo


def quieten() -> None:
    """Switches telemetry off for this process, before a library that reads these variables is imported."""
    os.environ.update({name: value for name, value in QUIET.items() if name != "NO_COLOR"})


def _text(env: Mapping[str, str], name: str) -> str | None:
    return env.get(name, "").strip() or None


def _path(env: Mapping[str, str], name: str) -> Path | None:
    value = _text(env, name)
    return Path(value).expanduser() if value else None


def _prefix(env: Mapping[str, str]) -> tuple[str, ...] | None:
    value = env.get("ASSENT_ASSET_PREFIX")
    return None if value is None else tuple(part for part in value.strip().split("/") if part)
